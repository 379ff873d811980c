-- Replaces the directives, if they are still of the version expected. Answers 1 if they were.
--
-- KEYS: directives. ARGV: the version expected, the new value, which begins with its version.
local stored = redis.call('GETRANGE', KEYS[1], 0, 20)
local version = string.match(stored, '^%d+') or '0'
if version ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1

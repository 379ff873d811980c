-- Makes what a store has from its beginning, unless it is there. Answers what is there.
--
-- KEYS: format, seed, secret. ARGV: the format known, a seed, a secret.
local format = redis.call('GET', KEYS[1])
if not format then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    return redis.error_reply('DAMAGED there is a seed, but no format')
  end
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], ARGV[2])
  redis.call('SET', KEYS[3], ARGV[3])
elseif tonumber(format) and tonumber(format) <= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
return { redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]) }

-- Makes somebody the owner of a slot, if the owner is the one expected. Answers the owner.
--
-- KEYS: own. ARGV: the owner expected, empty for none; the owner to be.
local own = redis.call('GET', KEYS[1]) or ''
if own ~= ARGV[1] or own == ARGV[2] then
  return own
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]

-- Puts right what the view shows of some slots, where it still shows what was read.
--
-- KEYS: owners, version. ARGV: slot, owner shown, true owner, again and again; empty for none.
local changed = false
for at = 1, #ARGV, 3 do
  local slot, shown, owner = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if (redis.call('HGET', KEYS[1], slot) or '') == shown then
    if owner == '' then
      redis.call('HDEL', KEYS[1], slot)
    else
      redis.call('HSET', KEYS[1], slot, owner)
    end
    changed = true
  end
end
if changed then
  redis.call('INCR', KEYS[2])
end
return redis.status_reply('OK')

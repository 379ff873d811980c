-- Shows new owners in the view that all read. An older owner never replaces a newer one.
--
-- KEYS: owners, version. ARGV: slot and owner, again and again.
local changed = false
for at = 1, #ARGV, 2 do
  local slot, owner = ARGV[at], ARGV[at + 1]
  local shown = redis.call('HGET', KEYS[1], slot) or ''
  local epoch = tonumber(string.match(shown, '^%d+') or -1)
  if tonumber(string.match(owner, '^%d+')) > epoch then
    redis.call('HSET', KEYS[1], slot, owner)
    changed = true
  end
end
if changed then
  redis.call('INCR', KEYS[2])
end
return redis.status_reply('OK')

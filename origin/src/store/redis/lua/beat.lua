-- Renews the lease of a member. Answers the seed, the version of the view, that of the directives,
-- and for each member its id, how many milliseconds its lease lasts, and its description.
--
-- KEYS: leases, members, version, seed, directives.
-- ARGV: id, milliseconds, description, after how many milliseconds a silent one is forgotten.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local ended = string.format('(%.0f', now - ARGV[4])
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ended)) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], member)
end
local directives = string.match(redis.call('GETRANGE', KEYS[5], 0, 20), '^%d+')
local answer = {
  redis.call('GET', KEYS[4]),
  tonumber(redis.call('GET', KEYS[3]) or 0),
  tonumber(directives or 0),
}
local leases = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #leases, 2 do
  local description = redis.call('HGET', KEYS[2], leases[at])
  if description then
    table.insert(answer, leases[at])
    table.insert(answer, leases[at + 1] - now)
    table.insert(answer, description)
  end
end
return answer

-- Answers the time, in milliseconds since 1970, of the server that has a key.
--
-- KEYS: any of a slot.
local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)

-- Replaces the pins.
--
-- KEYS: pins, version. ARGV: the pins.
redis.call('SET', KEYS[1], ARGV[1])
redis.call('INCR', KEYS[2])
return redis.status_reply('OK')

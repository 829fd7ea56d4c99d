#!lua flags=allow-oom
-- Deliveries are given up: move them to the dead letters.
-- KEYS: due, owed, dead-due, dead   ARGV: (id, at ms, payload)…
for i = 1, #ARGV, 3 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('HDEL', KEYS[2], ARGV[i])
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 2])
  redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i])
end
return #ARGV / 3

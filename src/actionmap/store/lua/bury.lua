#!lua flags=allow-oom
-- Deliveries are given up: move them to the dead letters.
-- KEYS: due, owed, dead-due, dead, owed by integration   ARGV: (id, integration, at ms, payload)…
for i = 1, #ARGV, 4 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 and redis.call('HINCRBY', KEYS[5], ARGV[i + 1], -1) <= 0 then
    redis.call('HDEL', KEYS[5], ARGV[i + 1])
  end
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 3])
  redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i])
end
return #ARGV / 4

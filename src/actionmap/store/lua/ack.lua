#!lua flags=allow-oom
-- Deliveries were accepted: remove them, and remember their ids for a day so that a rewind does not owe them again.
-- KEYS: due, owed, settled, owed by integration
-- ARGV: now ms, how long to remember ms, how many to remember, (id, integration)…
for i = 4, #ARGV, 2 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 and redis.call('HINCRBY', KEYS[4], ARGV[i + 1], -1) <= 0 then
    redis.call('HDEL', KEYS[4], ARGV[i + 1])
  end
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[1] - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[3])
return (#ARGV - 3) / 2

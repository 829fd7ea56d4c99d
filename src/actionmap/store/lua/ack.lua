#!lua flags=allow-oom
-- Deliveries were accepted: remove them, and remember their ids for a day so that a rewind does not owe them again.
-- KEYS: due, owed, settled   ARGV: now ms, how long to remember ms, how many to remember, id…
for i = 4, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('HDEL', KEYS[2], ARGV[i])
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[1] - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[3])
return #ARGV - 3

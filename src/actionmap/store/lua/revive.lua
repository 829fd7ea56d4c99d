#!lua
-- Dead deliveries are owed again. One that is no dead letter any more is left out.
-- KEYS: due, owed, dead-due, dead, owed by integration   ARGV: (id, integration, due ms, payload)…
local revived = 0
for i = 1, #ARGV, 4 do
  if redis.call('HDEL', KEYS[4], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[3], ARGV[i])
    if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 3]) == 1 then
      redis.call('ZADD', KEYS[1], ARGV[i + 2], ARGV[i])
      redis.call('HINCRBY', KEYS[5], ARGV[i + 1], 1)
    end
    revived = revived + 1
  end
end
return revived

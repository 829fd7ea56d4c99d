#!lua
-- Dead deliveries are owed again. One that is no dead letter any more is left out, and so is one whose visitor was erased.
-- KEYS: due, owed, dead-due, dead, owed by integration, erasures
-- ARGV: (id, integration, due ms, payload, visitor, erasures that it survives)…
-- include: was_erased.lua
local revived = 0
for i = 1, #ARGV, 6 do
  if not was_erased(KEYS[6], ARGV[i + 4], ARGV[i + 5]) and redis.call('HDEL', KEYS[4], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[3], ARGV[i])
    if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 3]) == 1 then
      redis.call('ZADD', KEYS[1], ARGV[i + 2], ARGV[i])
      redis.call('HINCRBY', KEYS[5], ARGV[i + 1], 1)
    end
    revived = revived + 1
  end
end
return revived

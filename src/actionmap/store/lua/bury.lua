#!lua flags=allow-oom
-- Deliveries are given up: move them to the dead letters, and queue what they ended with for their visitors, once.
-- One that is not owed was settled before, or the store has lost it: see ack.lua.
-- KEYS: due, owed, dead-due, dead, owed by integration, line, places, outcomes
-- ARGV: (id, integration, at ms, payload, outcome or '')…
-- include: line.lua
local queued = 0
for i = 1, #ARGV, 5 do
  local id, integration, at, payload, outcome = unpack(ARGV, i, i + 4)
  redis.call('ZREM', KEYS[1], id)
  local was_owed = redis.call('HDEL', KEYS[2], id) == 1
  if was_owed then
    if redis.call('HINCRBY', KEYS[5], integration, -1) <= 0 then redis.call('HDEL', KEYS[5], integration) end
    if outcome ~= '' then
      redis.call('RPUSH', KEYS[8], outcome)
      queued = queued + 1
    end
  end
  if was_owed or outcome == '' then
    redis.call('HSET', KEYS[4], id, payload)
    redis.call('ZADD', KEYS[3], at, id)
  end
  leave_line(KEYS[6], KEYS[7], KEYS[1], id, at)
end
return queued

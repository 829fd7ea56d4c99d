#!lua flags=allow-oom
-- Deliveries were accepted: remove them, and remember their ids for a day so that a rewind does not owe them again.
-- What they ended with is queued for their visitors, once; the newest are kept in the journal, for people.
-- One that is not owed was settled before, or its store has lost it with the event that led to it. That event comes again,
-- and so must the delivery where its visitor is to hear of its end: it is not remembered then.
-- KEYS: due, owed, settled, owed by integration, line, places, outcomes, journal by time, journal
-- ARGV: now ms, how long to remember ms, how many to remember, how many in the journal,
--       (id, integration, outcome or '', what the journal keeps or '')…
-- include: line.lua
local queued = 0
for i = 5, #ARGV, 4 do
  local id, integration, outcome, kept = unpack(ARGV, i, i + 3)
  redis.call('ZREM', KEYS[1], id)
  local was_owed = redis.call('HDEL', KEYS[2], id) == 1
  if was_owed then
    if redis.call('HINCRBY', KEYS[4], integration, -1) <= 0 then redis.call('HDEL', KEYS[4], integration) end
    if outcome ~= '' then
      redis.call('RPUSH', KEYS[7], outcome)
      queued = queued + 1
    end
    if kept ~= '' then
      redis.call('HSET', KEYS[9], id, kept)
      redis.call('ZADD', KEYS[8], ARGV[1], id)
    end
  end
  if was_owed or outcome == '' then redis.call('ZADD', KEYS[3], ARGV[1], id) end
  leave_line(KEYS[5], KEYS[6], KEYS[1], id, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[1] - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[3])
local excess = redis.call('ZCARD', KEYS[8]) - ARGV[4]
if excess > 0 then
  local oldest = redis.call('ZRANGE', KEYS[8], 0, math.min(excess, 1000) - 1)
  redis.call('ZREM', KEYS[8], unpack(oldest))
  redis.call('HDEL', KEYS[9], unpack(oldest))
end
return queued

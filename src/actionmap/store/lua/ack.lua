#!lua flags=allow-oom
-- Deliveries were accepted: remove them, and remember their ids for a day so that a rewind does not owe them again.
-- What they ended with is queued for their visitors, once; the newest are kept in the journal, for people.
-- KEYS: due, owed, settled, owed by integration, line, places, outcomes, journal by time, journal
-- ARGV: now ms, how long to remember ms, how many to remember, how many in the journal,
--       (id, integration, outcome or '', what the journal keeps or '')…
-- include: line.lua
-- include: take_out.lua
local queued = 0
for i = 5, #ARGV, 4 do
  local id, integration, outcome, kept = unpack(ARGV, i, i + 3)
  local was_owed = take_out(KEYS[1], KEYS[2], KEYS[4], KEYS[7], id, integration, outcome)
  if was_owed then
    if outcome ~= '' then queued = queued + 1 end
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

-- A delivery is settled: it is owed no more, and what it ended with is queued for its visitor, once. Answers whether it
-- was owed. One that was not was settled before, or its store has lost it with the event that led to it. That event comes
-- again, and so must the delivery where its visitor is to hear of its end: it must not be remembered as settled then.
local function take_out(due, owed, by_integration, outcomes, id, integration, outcome)
  redis.call('ZREM', due, id)
  if redis.call('HDEL', owed, id) == 0 then return false end
  if redis.call('HINCRBY', by_integration, integration, -1) <= 0 then redis.call('HDEL', by_integration, integration) end
  if outcome ~= '' then redis.call('RPUSH', outcomes, outcome) end
  return true
end

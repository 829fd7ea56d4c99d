#!lua flags=allow-oom
-- Deliveries are given up: move them to the dead letters, and queue what they ended with for their visitors, once.
-- What is not owed any more because its visitor was erased is gone.
-- KEYS: due, owed, dead-due, dead, owed by integration, line, places, outcomes, erasures
-- ARGV: (id, integration, at ms, payload, outcome or '', visitor, erasures that it survives)…
-- include: line.lua
-- include: take_out.lua
-- include: was_erased.lua
local queued = 0
for i = 1, #ARGV, 7 do
  local id, integration, at, payload, outcome = unpack(ARGV, i, i + 4)
  local was_owed = take_out(KEYS[1], KEYS[2], KEYS[5], KEYS[8], id, integration, outcome)
  if was_owed and outcome ~= '' then queued = queued + 1 end
  if was_owed or (outcome == '' and not was_erased(KEYS[9], ARGV[i + 5], ARGV[i + 6])) then
    redis.call('HSET', KEYS[4], id, payload)
    redis.call('ZADD', KEYS[3], at, id)
  end
  leave_line(KEYS[6], KEYS[7], KEYS[1], id, at)
end
return queued

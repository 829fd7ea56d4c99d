#!lua flags=allow-oom
-- Deliveries are in the log of parked ones, at the offsets given: take them out of the outbox. One that lies there
-- before the position was passed over because it was still owed here, so here it stays.
-- KEYS: due, owed, owed by integration, parked, parked by integration   ARGV: (id, integration, offset)…
local position, stop = unpack(redis.call('HMGET', KEYS[4], 'pos', 'end'))
position, stop = tonumber(position or -1), tonumber(stop or -1)
if position >= stop then
  -- Nothing else is parked: reading begins with the first of these.
  position = tonumber(ARGV[3])
  for i = 6, #ARGV, 3 do position = math.min(position, tonumber(ARGV[i])) end
  stop = position
end
local parked = 0
for i = 1, #ARGV, 3 do
  local id, integration, offset = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  if offset >= position and redis.call('HDEL', KEYS[2], id) == 1 then
    redis.call('ZREM', KEYS[1], id)
    if redis.call('HINCRBY', KEYS[3], integration, -1) <= 0 then redis.call('HDEL', KEYS[3], integration) end
    redis.call('HINCRBY', KEYS[5], integration, 1)
    stop, parked = math.max(stop, offset + 1), parked + 1
  end
end
if parked > 0 then redis.call('HSET', KEYS[4], 'pos', position, 'end', stop) end
return parked

#!lua
-- What the log of parked deliveries holds from the position to another one is owed again, given up, or has been put at
-- the log's tail; once, whoever else reads the same. What is known here in any form is passed over. It was sorted when so
-- many visitors had been erased; after another erasure it is to be sorted anew.
-- KEYS: due, owed, settled, dead-due, dead, owed by integration, parked, parked by integration, outcomes, fence
-- ARGV: position, position afterwards, end at least, '1' when the end is exactly that, erasures,
--       ('owe', 'bury' or 'drop', id, integration, due or at ms, payload, outcome or '')…
local position, stop = unpack(redis.call('HMGET', KEYS[7], 'pos', 'end'))
if #ARGV % 6 ~= 5 then return redis.error_reply('ERR unpark: wrong number of arguments') end
if tonumber(position or -1) ~= tonumber(ARGV[1]) then return 0 end
if (redis.call('HGET', KEYS[10], 'ers') or '0') ~= ARGV[5] then return 0 end
for i = 6, #ARGV, 6 do
  local kind, id, integration, at, payload, outcome = unpack(ARGV, i, i + 5)
  if not redis.call('ZSCORE', KEYS[3], id) and redis.call('HEXISTS', KEYS[5], id) == 0
      and redis.call('HEXISTS', KEYS[2], id) == 0 then
    if kind == 'owe' then
      redis.call('HSET', KEYS[2], id, payload)
      redis.call('ZADD', KEYS[1], at, id)
      redis.call('HINCRBY', KEYS[6], integration, 1)
    elseif kind == 'bury' then
      redis.call('HSET', KEYS[5], id, payload)
      redis.call('ZADD', KEYS[4], at, id)
      if outcome ~= '' then redis.call('RPUSH', KEYS[9], outcome) end
    end
    if redis.call('HINCRBY', KEYS[8], integration, -1) <= 0 then redis.call('HDEL', KEYS[8], integration) end
  end
end
stop = ARGV[4] == '1' and tonumber(ARGV[3]) or math.max(tonumber(stop or -1), tonumber(ARGV[3]))
-- Nothing that was taken out of the outbox lies at or after the end, so now nothing is parked.
if tonumber(ARGV[2]) >= stop then redis.call('DEL', KEYS[8]) end
redis.call('HSET', KEYS[7], 'pos', ARGV[2], 'end', stop)
return 1

#!lua
-- One batch of one partition: visitors, outbox, dead letters and fence change together, or nothing does.
-- KEYS: fence, due, owed, settled, dead records by time, dead records, dead deliveries by time, dead deliveries, visitor…
-- ARGV: expected token, token, offset, revision, stream time, outbox cap, dead record cap, visitor ttl ms, now ms,
--       visitors, deliveries, dead letters, then state per visitor, (id, due, payload) per delivery,
--       (kind, id, at, payload) per dead letter
local token, owner, revision = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own', 'rev'))
local n, m, k = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
-- An error after the first write would leave half a batch behind, so everything is checked before it.
if #KEYS ~= 8 + n or #ARGV ~= 12 + n + 3 * m + 4 * k then
  return redis.error_reply('ERR apply: wrong number of keys or arguments')
end
for _, at in ipairs({3, 4, 5, 6, 7, 8, 9}) do
  if not tonumber(ARGV[at]) then return redis.error_reply('ERR apply: argument ' .. at .. ' is no number') end
end
if token == ARGV[2] then return {'ok', ''} end
if token ~= ARGV[1] then return {'mismatch', owner or ''} end
if revision and tonumber(ARGV[4]) < tonumber(revision) then return {'rules-old', ''} end
-- The last batch before the cap may go beyond it: one that is larger than the room left would otherwise wait for ever.
if m > 0 and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then return {'full', ''} end

for i = 1, n do
  redis.call('SET', KEYS[8 + i], ARGV[12 + i], 'PX', ARGV[8])
end
local at = 12 + n
for _ = 1, m do
  local id, due, payload = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if not redis.call('ZSCORE', KEYS[4], id) and redis.call('HEXISTS', KEYS[8], id) == 0
      and redis.call('HSETNX', KEYS[3], id, payload) == 1 then
    redis.call('ZADD', KEYS[2], due, id)
  end
  at = at + 3
end
for _ = 1, k do
  local times, letters = KEYS[5], KEYS[6]
  if ARGV[at + 1] == 'delivery' then times, letters = KEYS[7], KEYS[8] end
  redis.call('HSET', letters, ARGV[at + 2], ARGV[at + 4])
  redis.call('ZADD', times, ARGV[at + 3], ARGV[at + 2])
  at = at + 4
end
-- Kafka still has the records, so only the newest are kept here; deliveries given up are never dropped.
local excess = k > 0 and redis.call('ZCARD', KEYS[5]) - tonumber(ARGV[7]) or 0
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[5], 0, excess - 1)) do
    redis.call('ZREM', KEYS[5], id)
    redis.call('HDEL', KEYS[6], id)
  end
end
redis.call('HSET', KEYS[1], 'o', ARGV[3], 'tok', ARGV[2], 'rev', ARGV[4], 'st', ARGV[5], 'at', ARGV[9])
return {'ok', ''}

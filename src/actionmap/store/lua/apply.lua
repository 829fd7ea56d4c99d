#!lua
-- One batch of one partition: visitors, timers, outbox, dead letters and fence change together, or nothing does.
-- KEYS: fence, due, owed, settled, dead records by time, dead records, dead deliveries by time, dead deliveries,
--       timers, owed by integration, outcomes, line, places, erased visitors to be swept, erasures by time, erasures,
--       visitor…, erased visitor…
-- ARGV: expected token, token, offset, revision, stream time, wall clock of it, fingerprint, outbox cap, dead record cap,
--       visitor ttl ms, now ms, outcomes taken, the last of them as it was read, cap of ordered deliveries of one
--       integration, visitors, timers, deliveries, dead letters, erased visitors, erasures with these, how long an
--       erasure is known ms, how many are known, then state per visitor,
--       (visitor, due or '') per timer, (id, integration, due, payload, visitor, 's' and 'o' as far as it is sync and
--       strict) per delivery, (kind, id, at, payload, outcome or '') per dead letter, visitor per erased visitor
-- include: line.lua
local HEAD, FIXED = 22, 16
local token, owner, revision = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own', 'rev'))
local n, t, m, k = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local e = tonumber(ARGV[19])
-- An error after the first write would leave half a batch behind, so everything is checked before it.
if #KEYS ~= FIXED + n + e or #ARGV ~= HEAD + n + 2 * t + 6 * m + 5 * k + e then
  return redis.error_reply('ERR apply: wrong number of keys or arguments')
end
for _, at in ipairs({3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 20, 21, 22}) do
  if not tonumber(ARGV[at]) then return redis.error_reply('ERR apply: argument ' .. at .. ' is no number') end
end
local given_up = 0
local function done()
  return {'ok', '', redis.call('ZRANGE', KEYS[9], 0, 0, 'WITHSCORES')[2] or '', redis.call('LLEN', KEYS[11]), given_up}
end
if token == ARGV[2] then return done() end
if token ~= ARGV[1] then return {'mismatch', owner or '', '', 0, 0} end
-- A store that has lost its tail may hold other outcomes there by now, and the token does not tell.
if tonumber(ARGV[12]) > 0 and redis.call('LINDEX', KEYS[11], ARGV[12] - 1) ~= ARGV[13] then
  return {'mismatch', owner or '', '', 0, 0}
end
if revision and tonumber(ARGV[4]) < tonumber(revision) then return {'rules-old', '', '', 0, 0} end
-- The last batch before the cap may go beyond it: one that is larger than the room left would otherwise wait for ever.
if m > 0 and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[8]) then return {'full', '', '', 0, 0} end

if tonumber(ARGV[12]) > 0 then redis.call('LTRIM', KEYS[11], ARGV[12], -1) end
for i = 1, n do
  redis.call('SET', KEYS[FIXED + i], ARGV[HEAD + i], 'PX', ARGV[10])
end
local at = HEAD + n
for _ = 1, t do
  if ARGV[at + 2] == '' then redis.call('ZREM', KEYS[9], ARGV[at + 1])
  else redis.call('ZADD', KEYS[9], ARGV[at + 2], ARGV[at + 1]) end
  at = at + 2
end
for _ = 1, m do
  local id, integration, due, payload = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if not redis.call('ZSCORE', KEYS[4], id) and redis.call('HEXISTS', KEYS[8], id) == 0
      and redis.call('HSETNX', KEYS[3], id, payload) == 1 then
    local visitor, is = ARGV[at + 5], ARGV[at + 6]
    if is ~= '' and tonumber(redis.call('HGET', KEYS[10], integration) or 0) >= tonumber(ARGV[14]) then
      -- It cannot be parked, and must not take the room of others: people are owed it.
      redis.call('HDEL', KEYS[3], id)
      redis.call('HSET', KEYS[8], id, '{"id":"' .. id .. '","kind":"delivery","reason":"line-full","detail":"' .. ARGV[14]
        .. ' deliveries to the integration wait already, and ordered ones are not parked","at":' .. ARGV[11]
        .. ',"delivery":' .. payload .. '}')
      redis.call('ZADD', KEYS[7], ARGV[11], id)
      given_up = given_up + 1
    else
      local sync, strict = is:find('s') ~= nil, is:find('o') ~= nil
      redis.call('ZADD', KEYS[2], join_line(KEYS[12], KEYS[13], id, integration, visitor, sync, strict, due), id)
      redis.call('HINCRBY', KEYS[10], integration, 1)
    end
  end
  at = at + 6
end
for _ = 1, k do
  local times, letters = KEYS[5], KEYS[6]
  if ARGV[at + 1] == 'delivery' then
    times, letters = KEYS[7], KEYS[8]
    -- Evaluated again, what is dead already has told its visitor so.
    if ARGV[at + 5] ~= '' and redis.call('HEXISTS', letters, ARGV[at + 2]) == 0 then
      redis.call('RPUSH', KEYS[11], ARGV[at + 5])
    end
  end
  redis.call('HSET', letters, ARGV[at + 2], ARGV[at + 4])
  redis.call('ZADD', times, ARGV[at + 3], ARGV[at + 2])
  at = at + 5
end
-- Kafka still has the records, so only the newest are kept here; deliveries given up are never dropped.
local excess = k > 0 and redis.call('ZCARD', KEYS[5]) - tonumber(ARGV[9]) or 0
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[5], 0, excess - 1)) do
    redis.call('ZREM', KEYS[5], id)
    redis.call('HDEL', KEYS[6], id)
  end
end
if e > 0 then
  for i = 1, e do
    local visitor, number = ARGV[at + i], ARGV[20] - e + i
    redis.call('DEL', KEYS[FIXED + n + i])
    redis.call('ZREM', KEYS[9], visitor)
    redis.call('HSET', KEYS[14], visitor, number)
    redis.call('ZADD', KEYS[15], ARGV[11], redis.sha1hex(visitor))
    redis.call('HSET', KEYS[16], redis.sha1hex(visitor), number)
  end
  local old = redis.call('ZRANGE', KEYS[15], '-inf', ARGV[11] - ARGV[21], 'BYSCORE', 'LIMIT', 0, 1000)
  local beyond = math.min(redis.call('ZCARD', KEYS[15]) - ARGV[22], 1000)
  if #old < beyond then old = redis.call('ZRANGE', KEYS[15], 0, beyond - 1) end
  if #old > 0 then
    redis.call('ZREM', KEYS[15], unpack(old))
    redis.call('HDEL', KEYS[16], unpack(old))
  end
  redis.call('PEXPIRE', KEYS[15], ARGV[21])
  redis.call('PEXPIRE', KEYS[16], ARGV[21])
  redis.call('HSET', KEYS[1], 'ers', ARGV[20])
end
redis.call('HSET', KEYS[1], 'o', ARGV[3], 'tok', ARGV[2], 'rev', ARGV[4], 'st', ARGV[5], 'sta', ARGV[6],
  'fp', ARGV[7], 'at', ARGV[11])
return done()

#!lua
-- Change the set of definitions if it is still at the revision that the change was made from. What it replaces is kept.
-- KEYS: definitions, revision, token of the last write, log of writes, former versions, last versions of deleted ones,
--       audit
-- ARGV: expected revision, token, what the new revision is greater than, how many audit entries are kept, number of
--       changed, number of deleted, (key, its version so far or '', stored form)…, (key, its version so far or '')…,
--       audit entry…
local revision = tonumber(redis.call('GET', KEYS[2]) or '0')
-- Sent again by a client that did not get the answer.
if redis.call('GET', KEYS[3]) == ARGV[2] then return {'ok', revision} end
if revision ~= tonumber(ARGV[1]) then return {'conflict', revision} end
local changed, deleted = tonumber(ARGV[5]), tonumber(ARGV[6])
local newest = redis.call('XREVRANGE', KEYS[7], '+', '-', 'COUNT', 1)[1]
local audited = newest and tonumber(string.match(newest[1], '^%d+')) or 0
revision = math.max(revision, tonumber(ARGV[3]), audited) + 1
local written = string.format('%d', revision)
local at, keys = 7, {written .. ' ' .. ARGV[2]}

local function keep_former(key, version)
  local former = version ~= '' and redis.call('HGET', KEYS[1], key)
  if former then redis.call('HSET', KEYS[5], key .. '@' .. version, former) end
end

for _ = 1, changed do
  local key = ARGV[at]
  keep_former(key, ARGV[at + 1])
  redis.call('HSET', KEYS[1], key, ARGV[at + 2])
  redis.call('HDEL', KEYS[6], key)
  keys[#keys + 1] = key
  at = at + 3
end
for _ = 1, deleted do
  local key = ARGV[at]
  keep_former(key, ARGV[at + 1])
  redis.call('HDEL', KEYS[1], key)
  if ARGV[at + 1] ~= '' then redis.call('HSET', KEYS[6], key, ARGV[at + 1]) end
  keys[#keys + 1] = key
  at = at + 2
end
for i = at, #ARGV do
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[4], written .. '-' .. (i - at + 1), 'e', ARGV[i])
end
-- What changes much is read as a whole, and the log begins anew after it.
if #keys > 1000 then
  redis.call('DEL', KEYS[4])
  keys = {keys[1]}
end
redis.call('RPUSH', KEYS[4], table.concat(keys, '\n'))
redis.call('LTRIM', KEYS[4], -1000, -1)
redis.call('SET', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], written)
return {'ok', revision}

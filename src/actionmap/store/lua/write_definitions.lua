#!lua
-- Change the set of definitions if it is still at the revision that the change was made from.
-- KEYS: definitions, revision, token of the last write, log of changes
-- ARGV: expected revision, token, number of changed, (key, stored form)…, deleted key…
local revision = tonumber(redis.call('GET', KEYS[2]) or '0')
-- Sent again by a client that did not get the answer.
if redis.call('GET', KEYS[3]) == ARGV[2] then return {'ok', revision} end
if revision ~= tonumber(ARGV[1]) then return {'conflict', revision} end
local at, keys = 4, {string.format("%d", revision + 1) .. " " .. ARGV[2]}
for _ = 1, tonumber(ARGV[3]) do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  keys[#keys + 1] = ARGV[at]
  at = at + 2
end
for i = at, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  keys[#keys + 1] = ARGV[i]
end
-- What changes much is read as a whole, and the log begins anew after it.
if #keys > 1000 then
  redis.call('DEL', KEYS[4])
  keys = {keys[1]}
end
redis.call('RPUSH', KEYS[4], table.concat(keys, '\n'))
redis.call('LTRIM', KEYS[4], -1000, -1)
redis.call('SET', KEYS[3], ARGV[2])
return {'ok', redis.call('INCR', KEYS[2])}

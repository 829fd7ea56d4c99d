#!lua
-- Change the set of definitions if it is still at the revision that the change was made from.
-- KEYS: definitions, revision, token of the last write
-- ARGV: expected revision, token, number of changed, (key, stored form)…, deleted key…
local revision = tonumber(redis.call('GET', KEYS[2]) or '0')
-- Sent again by a client that did not get the answer.
if redis.call('GET', KEYS[3]) == ARGV[2] then return {'ok', revision} end
if revision ~= tonumber(ARGV[1]) then return {'conflict', revision} end
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('SET', KEYS[3], ARGV[2])
return {'ok', redis.call('INCR', KEYS[2])}

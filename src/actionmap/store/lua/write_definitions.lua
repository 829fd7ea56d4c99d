#!lua
-- Change the set of definitions if it is still at the revision that the change was made from.
-- KEYS: definitions, revision   ARGV: expected revision, number of changed, (key, stored form)…, deleted key…
local revision = tonumber(redis.call('GET', KEYS[2]) or '0')
if revision ~= tonumber(ARGV[1]) then return {'conflict', revision} end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return {'ok', redis.call('INCR', KEYS[2])}

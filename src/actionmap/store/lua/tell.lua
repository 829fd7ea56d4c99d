#!lua
-- Tell in the audit of what was done beside any write of definitions. It has the revision of the last write, which the
-- next one goes beyond, so that entries stay in their order and nobody has definitions to read anew.
-- KEYS: revision, audit
-- ARGV: token, how many entries are kept, entry
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
-- Sent again by a client that did not get the answer.
if newest and newest[2][4] == ARGV[1] then return newest[1] end
local audited = newest and tonumber(string.match(newest[1], '^%d+')) or 0
local revision = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), audited)
local id = string.format('%d-*', revision)
return redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], id, 'e', ARGV[3], 't', ARGV[1])

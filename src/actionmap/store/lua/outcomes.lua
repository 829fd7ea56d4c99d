#!lua flags=no-writes
-- What deliveries ended with and their visitors do not know yet, the oldest first, if the fence still holds the token.
-- KEYS: fence, outcomes   ARGV: token, limit
local token, owner = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own'))
if token ~= ARGV[1] then return {'mismatch', owner or ''} end
return {'ok', redis.call('LRANGE', KEYS[2], 0, ARGV[2] - 1)}

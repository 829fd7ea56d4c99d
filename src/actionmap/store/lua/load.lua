#!lua flags=no-writes
-- Visitors, if the fence still holds the token: else they may have effects in them that the store is about to forget.
-- KEYS: fence, visitor…   ARGV: token
local token, owner = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own'))
if token ~= ARGV[1] then return {'mismatch', owner or ''} end
return {'ok', redis.call('MGET', unpack(KEYS, 2))}

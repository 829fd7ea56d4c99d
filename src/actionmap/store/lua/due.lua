#!lua flags=no-writes
-- Visitors whose next timer is due, and when the one after these is, if the fence still holds the token.
-- KEYS: fence, timers   ARGV: token, until ms, limit
local token, owner = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own'))
if token ~= ARGV[1] then return {'mismatch', owner or ''} end
local ready = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
local following = redis.call('ZRANGE', KEYS[2], #ready / 2, #ready / 2, 'WITHSCORES')
return {'ok', ready, following[2] or ''}

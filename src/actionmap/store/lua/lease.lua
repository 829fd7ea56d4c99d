#!lua flags=allow-oom
-- Hand out due deliveries for one attempt each; each becomes due again when the lease ends.
-- KEYS: due, owed, owed by integration   ARGV: now ms, limit, lease ms
local ids = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
local payloads = {}
for i, id in ipairs(ids) do
  payloads[i] = redis.call('HGET', KEYS[2], id)
  redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[3], id)
end
local nearest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {payloads, nearest[2] or '', redis.call('HGETALL', KEYS[3])}

#!lua flags=allow-oom
-- Attempts failed: keep each delivery until the time beside it. One that is gone stays gone.
-- KEYS: due, owed   ARGV: (id, due ms, payload)…
for i = 1, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
    redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
  end
end
return #ARGV / 3

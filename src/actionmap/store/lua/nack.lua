#!lua flags=allow-oom
-- Attempts failed: keep each delivery until the time beside it. One that is gone stays gone.
-- KEYS: due, owed, line, places   ARGV: now ms, (id, due ms, payload, '1' when it is not sync, or not any more)…
-- include: line.lua
for i = 2, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
    redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
    if ARGV[i + 3] == '1' then was_answered(KEYS[3], KEYS[4], KEYS[1], ARGV[i], ARGV[1]) end
  end
end
return (#ARGV - 1) / 4

#!lua flags=allow-oom
-- Hold an integration, or let it go. A worker holds only one that nobody holds, and whose failures nobody has forgotten.
-- KEYS: holds, health, probes   ARGV: name, hold or '' to let go, '1' when a worker asks
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
if ARGV[3] == '1' and (redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1

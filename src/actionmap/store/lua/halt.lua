#!lua flags=allow-oom
-- Note beside the fence why the partition stopped.
-- KEYS: fence   ARGV: why, as JSON
return redis.call('HSET', KEYS[1], 'halt', ARGV[1])

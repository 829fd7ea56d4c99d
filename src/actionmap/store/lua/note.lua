#!lua flags=allow-oom
-- How an integration is doing, as one worker saw it last, or what came of probing it.
-- KEYS: health or probes   ARGV: name, what is noted or '' to forget it
if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])

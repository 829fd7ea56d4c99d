#!lua flags=allow-oom
-- Tell a halted partition what to do.
-- KEYS: fence   ARGV: policy
if redis.call('HEXISTS', KEYS[1], 'halt') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'res', ARGV[1])
return 1

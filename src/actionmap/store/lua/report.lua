#!lua flags=allow-oom
-- One worker says how its breakers are.
-- KEYS: reports   ARGV: worker, report, how long it counts ms
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', time[1] * 1000) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1

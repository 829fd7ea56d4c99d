#!lua flags=allow-oom
-- Forget the position and the timers, and mark the partition until its visitors are forgotten, too.
-- KEYS: fence, timers   ARGV: token
redis.call('HDEL', KEYS[1], 'o', 'st', 'sta', 'fp', 'cid', 'np')
redis.call('HSET', KEYS[1], 'tok', ARGV[1], 'reb', '1')
redis.call('DEL', KEYS[2])
return 1

#!lua flags=allow-oom
-- A write whose being on disk can be waited for; what drains a full store waits for it, too.
-- KEYS: mark
return redis.call('SET', KEYS[1], '')

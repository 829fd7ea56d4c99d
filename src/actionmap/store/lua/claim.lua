#!lua flags=allow-oom
-- Become the owner of a partition: from now on only commits that expect this token are applied.
-- KEYS: fence   ARGV: owner, token, cluster, partitions
redis.call('HSET', KEYS[1], 'own', ARGV[1], 'tok', ARGV[2], 'cid', ARGV[3], 'np', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'ep', 1)
return redis.call('HMGET', KEYS[1], 'o', 'tok', 'own', 'rev', 'st', 'cid', 'np')

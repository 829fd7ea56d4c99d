#!lua flags=no-writes
-- Revision and definitions, read in one step.
-- KEYS: definitions, revision
return {redis.call('GET', KEYS[2]) or '0', redis.call('HGETALL', KEYS[1])}

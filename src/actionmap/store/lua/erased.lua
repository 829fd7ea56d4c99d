#!lua flags=no-writes
-- The number of the last erasure of each visitor, '' of one that was not erased lately.
-- KEYS: erasures   ARGV: visitor…
local found = {}
for i, visitor in ipairs(ARGV) do found[i] = redis.call('HGET', KEYS[1], redis.sha1hex(visitor)) or '' end
return found

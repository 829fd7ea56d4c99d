#!lua flags=allow-oom
-- Requests of one integration, by all workers, evenly spaced (GCRA: a virtual clock that each request moves on).
-- KEYS: when the next request may go, in microseconds   ARGV: requests, rate per second
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local start = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local after = start + ARGV[1] * 1000000 / ARGV[2]
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return math.ceil((start - now) / 1000)

#!lua flags=no-writes
-- What has changed since a write, read in one step: some definitions where the log of writes tells, else all.
-- KEYS: definitions, revision, token of the last write, log of writes   ARGV: revision and token of that write
-- Each entry of the log is one write: revision and token, then the keys that it wrote or deleted, a line each. By its
-- token a write is told from another one of the same revision, made after the store had lost it.
local revision, token = tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('GET', KEYS[3]) or ''
local since = tonumber(ARGV[1])
local answer, seen = {revision, token, 'some'}, {}
if revision == since and token == ARGV[2] then return answer end
local entries = {}
if 0 < since and since < revision then entries = redis.call('LRANGE', KEYS[4], since - revision - 1, -1) end
if #entries == 0 or #entries ~= revision - since + 1
    or string.match(entries[1], '^[^\n]+') ~= since .. ' ' .. ARGV[2] then
  return {revision, token, 'all', redis.call('HGETALL', KEYS[1])}
end
for i = 2, #entries do
  for key in string.gmatch(entries[i], '\n([^\n]+)') do
    if not seen[key] then
      seen[key] = true
      answer[#answer + 1] = key
      answer[#answer + 1] = redis.call('HGET', KEYS[1], key)
    end
  end
end
return answer

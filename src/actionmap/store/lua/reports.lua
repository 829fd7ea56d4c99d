#!lua
-- What the workers said that still counts; what does not is forgotten.
-- KEYS: reports   ARGV: how long a report counts ms
local now, found = redis.call('TIME')[1] * 1000, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, report = string.match(all[i + 1], '^(%d+) (.*)$')
  if now - at > tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], all[i])
  elseif report ~= '{}' then
    found[#found + 1] = all[i]
    found[#found + 1] = report
  end
end
return found

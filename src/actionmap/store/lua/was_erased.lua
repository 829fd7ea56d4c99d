-- Whether a visitor was erased after what survives the erasures up to that number.
local function was_erased(erasures, visitor, survives)
  local number = redis.call('HGET', erasures, redis.sha1hex(visitor))
  return number and tonumber(number) > tonumber(survives)
end

#!lua flags=allow-oom
-- What visitors that were erased have left is removed, as far as it was found in one step, if the fence still holds the
-- token. Nobody hears of it; what waited for it in its visitor's line has its turn.
-- KEYS: fence, due, owed, owed by integration, line, places, outcomes, erased visitors to be swept, then by time and by
--       id: journal, dead deliveries, dead records
-- ARGV: token, now ms, (what, id, integration or number or '')…
-- include: line.lua
-- include: take_out.lua
local token, owner = unpack(redis.call('HMGET', KEYS[1], 'tok', 'own'))
if token ~= ARGV[1] then return {'mismatch', owner or ''} end
local kept = {['journal'] = 9, ['dead delivery'] = 11, ['dead record'] = 13}
for i = 3, #ARGV, 3 do
  local what, id, more = unpack(ARGV, i, i + 2)
  if what == 'owed' then
    take_out(KEYS[2], KEYS[3], KEYS[4], KEYS[7], id, more, '')
    leave_line(KEYS[5], KEYS[6], KEYS[2], id, ARGV[2])
  elseif what == 'outcome' then
    redis.call('LREM', KEYS[7], 1, id)
  elseif what == 'done' then
    if redis.call('HGET', KEYS[8], id) == more then redis.call('HDEL', KEYS[8], id) end
  else
    redis.call('ZREM', KEYS[kept[what]], id)
    redis.call('HDEL', KEYS[kept[what] + 1], id)
  end
end
return {'ok', ''}

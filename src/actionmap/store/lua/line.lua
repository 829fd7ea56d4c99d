-- Visitors' lines: who waits for whom. A delivery that others may wait for has a place in its visitor's line until it is
-- settled (strict: later strict ones to the same integration wait) or its first attempt has ended (sync: all later ones
-- wait); one that waits has a place, too, and is due at NOT_YET until it has its turn.
-- places: id -> 'visitor number what integration', with what it is: 's' sync, 'o' strict, 'w' waits, '-' none of them.
-- line: members in the order of the alphabet, so that nothing is ever read but what is asked for:
--   'visitor s number id' for each that is sync, 'visitor o integration number id' for each that is strict,
--   'visitor w number id' for each that waits.
local NOT_YET = 9000000000000000
local AT_ONCE = 100
-- The first of the members that begin so; nil without one.
local function first_of(line, prefix)
  return redis.call('ZRANGE', line, '[' .. prefix, '(' .. prefix .. '\255', 'BYLEX', 'LIMIT', 0, 1)[1]
end
local function number_in(member)
  return member and string.match(member, ' (%d+) %S+$')
end
local function members_of(one)
  local found = {}
  if one.sync then found[#found + 1] = one.visitor .. ' s ' .. one.number .. ' ' .. one.id end
  if one.strict then found[#found + 1] = one.visitor .. ' o ' .. one.integration .. ' ' .. one.number .. ' ' .. one.id end
  if one.waits then found[#found + 1] = one.visitor .. ' w ' .. one.number .. ' ' .. one.id end
  return found
end
local function read_place(places, id)
  local place = redis.call('HGET', places, id)
  if not place then return nil end
  local visitor, number, what, integration = string.match(place, '^(%x+) (%d+) (%S+) (%S+)$')
  return {id = id, visitor = visitor, number = number, integration = integration, sync = what:find('s') ~= nil,
    strict = what:find('o') ~= nil, waits = what:find('w') ~= nil}
end
local function put_place(line, places, before, one)
  for _, member in ipairs(before) do redis.call('ZREM', line, member) end
  local after = members_of(one)
  if #after == 0 then
    redis.call('HDEL', places, one.id)
    return
  end
  for _, member in ipairs(after) do redis.call('ZADD', line, 0, member) end
  local what = (one.sync and 's' or '') .. (one.strict and 'o' or '') .. (one.waits and 'w' or '')
  redis.call('HSET', places, one.id, table.concat({one.visitor, one.number, what, one.integration}, ' '))
end
-- Whether a strict one to the same integration came before.
local function strict_before(line, one)
  local first = one.strict and number_in(first_of(line, one.visitor .. ' o ' .. one.integration .. ' '))
  return first and first < one.number
end
-- A new delivery takes its place, where it needs one; answers when it is due.
local function join_line(line, places, id, integration, visitor_id, sync, strict, due)
  if not sync and not strict and redis.call('EXISTS', line) == 0 then return due end
  local one = {visitor = redis.sha1hex(visitor_id), sync = sync, strict = strict, integration = integration, id = id,
    number = '999999999999999'}
  one.waits = first_of(line, one.visitor .. ' s ') ~= nil or strict_before(line, one)
  if one.waits or sync or strict then
    one.number = string.format('%015d', redis.call('HINCRBY', places, ' ', 1))
    put_place(line, places, {}, one)
  end
  return one.waits and NOT_YET or due
end
local function give_turn(line, places, due, one, now)
  local before = members_of(one)
  one.waits = false
  put_place(line, places, before, one)
  redis.call('ZADD', due, now, one.id)
end
-- A sync one holds nobody up any more: those behind it have their turn, as far as the next sync one, and that one too.
local function pass_sync(line, places, due, visitor, now)
  local stop = number_in(first_of(line, visitor .. ' s ')) or '999999999999999'
  local from = '[' .. visitor .. ' w '
  while true do
    local found = redis.call('ZRANGE', line, from, '(' .. visitor .. ' w \255', 'BYLEX', 'LIMIT', 0, AT_ONCE)
    for _, member in ipairs(found) do
      if number_in(member) > stop then return end
      local one = read_place(places, string.match(member, '%S+$'))
      if not strict_before(line, one) then give_turn(line, places, due, one, now) end
    end
    if #found < AT_ONCE then return end
    from = '(' .. found[#found]
  end
end
-- A strict one is settled: the next one to its integration has its turn, unless a sync one stands before it.
local function pass_strict(line, places, due, visitor, integration, now)
  local member = first_of(line, visitor .. ' o ' .. integration .. ' ')
  local one = member and read_place(places, string.match(member, '%S+$'))
  if not one or not one.waits then return end
  local sync = number_in(first_of(line, visitor .. ' s '))
  if not sync or sync >= one.number then give_turn(line, places, due, one, now) end
end
-- The delivery is settled: nobody waits for it any more.
local function leave_line(line, places, due, id, now)
  local one = read_place(places, id)
  if not one then return end
  local before, sync, strict = members_of(one), one.sync, one.strict
  one.waits, one.sync, one.strict = false, false, false
  put_place(line, places, before, one)
  if sync then pass_sync(line, places, due, one.visitor, now) end
  if strict then pass_strict(line, places, due, one.visitor, one.integration, now) end
end
-- A sync delivery holds nobody up any more, though it is not settled.
local function was_answered(line, places, due, id, now)
  local one = read_place(places, id)
  if not one or not one.sync then return end
  local before = members_of(one)
  one.sync = false
  put_place(line, places, before, one)
  pass_sync(line, places, due, one.visitor, now)
end

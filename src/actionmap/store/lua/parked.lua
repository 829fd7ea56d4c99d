#!lua flags=no-writes
-- Where reading of the parked deliveries goes on, where they end, and what is parked for and owed to each integration.
-- And how often visitors were erased.
-- KEYS: parked, parked by integration, owed by integration, fence
return {redis.call('HGET', KEYS[1], 'pos') or '-1', redis.call('HGET', KEYS[1], 'end') or '-1',
  redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]), redis.call('HGET', KEYS[4], 'ers') or '0'}

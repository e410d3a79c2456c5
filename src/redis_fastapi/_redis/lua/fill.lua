-- Stores the staged entry and ends the lease, if the lease is still the filler's; the body never enters Lua.
-- KEYS: entry, lease, staging   ARGV: lease value, milliseconds
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  redis.call('DEL', KEYS[3])
  return 0
end
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 1

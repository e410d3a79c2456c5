-- Stores the staged entry and ends the lease, if the lease is still the filler's; the body never enters Lua.
-- KEYS: entry, lease, staging   ARGV: lease value, milliseconds ('' keeps the entry without expiry)
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  redis.call('DEL', KEYS[3])
  return 0
end
redis.call('RENAME', KEYS[3], KEYS[1])
if ARGV[2] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1

-- Ends a lease that is still the caller's, or leaves a pass behind that nobody waits for.
-- KEYS: lease   ARGV: lease value, pass ('' for none), milliseconds of the pass
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1

-- Returns the value that holds the lease afterwards: the claim, or the one it has to wait for;
-- nothing where an entry was named and is there.
-- KEYS: lease [entry]   ARGV: claim, milliseconds, what the claimant has read ('' yields to any)
if KEYS[2] and redis.call('PTTL', KEYS[2]) ~= -2 then
  return false
end
local held = redis.call('GET', KEYS[1])
if held and (ARGV[3] == '' or string.sub(held, 10) == ARGV[3]) then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]

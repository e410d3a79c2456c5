-- Returns the value that holds the lease afterwards: the claim, or the one it has to wait for.
-- KEYS: lease   ARGV: claim, milliseconds, what the claimant has read ('' yields to any holder)
local held = redis.call('GET', KEYS[1])
if held and (ARGV[3] == '' or string.sub(held, 10) == ARGV[3]) then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]

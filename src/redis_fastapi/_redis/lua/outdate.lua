-- Writes over a part of a value that is there; where it is missing nothing is made.
-- KEYS: entry or generation   ARGV: offset, bytes
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('SETRANGE', KEYS[1], ARGV[1], ARGV[2])
return 1

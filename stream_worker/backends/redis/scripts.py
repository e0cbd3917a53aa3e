"""What Redis does in one step for a partition: claim it, save records, raise its floor. All keys are of one slot."""

# KEYS: token, floor. ARGV: a token given before; takes a new one and returns it and the floor, as texts.
# A token is at least the time in microseconds: one that was given before the store was wiped never comes again.
CLAIM = """
local now = redis.call('TIME')
local token = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
token = string.format('%.0f', math.max(token, tonumber(now[1]) * 1000000 + tonumber(now[2])))
redis.call('SET', KEYS[1], token)
return {token, redis.call('GET', KEYS[2])}
"""

# KEYS: token, records... ARGV: token, ttl in milliseconds (0: none), records...; returns how many were written, or
# -current - 1 when the token is another.
# What is no record of a version that is known (see `core.memory_record`) is written over, whatever it is.
# Lua compares strings by the server's locale (under en_US, "a" < "B"), so next offsets are compared as two numbers.
SAVE = """
local function lower(stored, given)
  local version = #stored == 9 and string.byte(stored) or 0
  if version < 1 or version > 2 then return false end
  local stored_high, stored_low = struct.unpack('>I4I4', string.sub(stored, 2))
  local given_high, given_low = struct.unpack('>I4I4', given)
  if stored_high ~= given_high then return given_high < stored_high end
  return given_low < stored_low
end
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
local written = 0
for i = 2, #KEYS do
  local value = ARGV[i + 1]
  local stored = redis.pcall('GETRANGE', KEYS[i], 0, 8)
  if type(stored) == 'table' and not string.find(stored.err, 'WRONGTYPE') then return stored end
  if type(stored) == 'table' or not lower(stored, string.sub(value, 2, 9)) then
    if ARGV[2] == '0' then redis.call('SET', KEYS[i], value)
    else redis.call('SET', KEYS[i], value, 'PX', ARGV[2]) end
    written = written + 1
  end
end
return written
"""

# KEYS: token, floor. ARGV: token, floor.
SET_FLOOR = """
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
if tonumber(redis.call('GET', KEYS[2]) or '-1') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 0
"""

"""Lua scripts that claim a partition, save its records and raise its floor, and hold worker slots; a script's keys are
in one cluster slot."""

# Takes a new token for a partition.
# KEYS: token, floor, topic.
# ARGV: a token given before, the topic's id ('': unknown), the number of partitions when the group began, and now (0:
#   unknown).
# Returns {token, floor, generation of the topic, id of the other topic that the floor was of until now ('': none),
#   highest n of a record ('': not known)}.
# A token is at least the time in microseconds, so a token from before a wipe of the store is not given again.
CLAIM = """
local function kept(name) return redis.call('HGET', KEYS[3], name) or '' end
local now = redis.call('TIME')
local token = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
token = string.format('%.0f', math.max(token, tonumber(now[1]) * 1000000 + tonumber(now[2])))
redis.call('SET', KEYS[1], token)
local before = ''
if ARGV[2] ~= '' and kept('id') ~= ARGV[2] then
  before = kept('id')
  redis.call('HSET', KEYS[3], 'id', ARGV[2])
  if before ~= '' then
    redis.call('HSET', KEYS[3], 'generation', string.format('%.0f', (tonumber(kept('generation')) or 0) + 1))
    redis.call('HSET', KEYS[3], 'stood', '0', 'remembered', '0')
    redis.call('SET', KEYS[2], '-1')
  end
end
local first, most = tonumber(kept('first')) or 0, tonumber(kept('most')) or 0
if tonumber(ARGV[3]) > 0 and (first == 0 or tonumber(ARGV[3]) < first) then
  redis.call('HSET', KEYS[3], 'first', ARGV[3])
end
if tonumber(ARGV[4]) > most then redis.call('HSET', KEYS[3], 'most', ARGV[4]) end
return {token, redis.call('GET', KEYS[2]), kept('generation'), before, kept('remembered')}
"""

# Returns {floor, topic's id, where its reader stood, numbers of partitions at first, and at most} of a partition.
# KEYS: floor, topic.
KEPT = """
local function kept(name) return redis.call('HGET', KEYS[2], name) or '' end
return {redis.call('GET', KEYS[1]), kept('id'), kept('stood'), kept('first'), kept('most')}
"""

# Writes records whose n is not lower than that of the stored record.
# KEYS: token, topic, records... ARGV: token, time to live in milliseconds (0: none), highest n of these, records...
# Returns the number of written records, or -current - 1 if the current token is not the given one.
# A value that is no record of a known version (see `core.memory_record`) is overwritten.
# Lua compares strings by the server's locale (under en_US, "a" < "B"), so n is compared as two numbers.
SAVE = """
local function lower(stored, given)
  local version = #stored == 9 and string.byte(stored) or 0
  if version < 1 or version > 3 then return false end
  local stored_high, stored_low = struct.unpack('>I4I4', string.sub(stored, 2))
  local given_high, given_low = struct.unpack('>I4I4', given)
  if stored_high ~= given_high then return given_high < stored_high end
  return given_low < stored_low
end
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
if tonumber(ARGV[3]) > (tonumber(redis.call('HGET', KEYS[2], 'remembered') or '0') or 0) then
  redis.call('HSET', KEYS[2], 'remembered', ARGV[3])
end
local written = 0
for i = 3, #KEYS do
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

# Raises the floor of a partition, and the offset where its reader stood. Returns 0, or -current - 1 as SAVE does.
# KEYS: token, floor, topic. ARGV: token, floor, where its reader stood.
SET_FLOOR = """
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] then return -(tonumber(current) or 0) - 1 end
if tonumber(redis.call('GET', KEYS[2]) or '-1') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
if tonumber(ARGV[3]) > (tonumber(redis.call('HGET', KEYS[3], 'stood') or '0') or 0) then
  redis.call('HSET', KEYS[3], 'stood', ARGV[3])
end
return 0
"""

# The holder of a worker slot is kept as `<nonce> <place>`; an empty text says that the slot was given back.

# Makes a start the owner of a worker slot, and ends the holding of another one.
# KEYS: owners, holder. ARGV: slot, nonce.
TAKE_SLOT = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local held = redis.call('GET', KEYS[2])
if held and string.match(held, '^[^ ]*') ~= ARGV[2] then redis.call('SET', KEYS[2], '', 'PX', 1000) end
return 0
"""

# Holds a worker slot if it is free. Returns 1 if it was, else 0.
# KEYS: holder. ARGV: this holder, milliseconds, its place ('': none), '1' if the group has a member of the slot.
CLAIM_SLOT = """
local held = redis.call('GET', KEYS[1])
if not held then
  if ARGV[4] == '1' then return 0 end
elseif held ~= '' and (ARGV[3] == '' or string.match(held, ' (.*)$') ~= ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# Holds a worker slot on, unless another start holds it. Returns 1 if it is held, else 0.
# KEYS: holder. ARGV: this holder, milliseconds.
KEEP_SLOT = """
local held = redis.call('GET', KEYS[1])
if held and held ~= '' and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# Gives a worker slot back, if it is this holder's. KEYS: holder. ARGV: this holder, milliseconds.
GIVE_SLOT_BACK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], '', 'PX', ARGV[2]) end
return 0
"""

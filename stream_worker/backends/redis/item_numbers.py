"""The dictionary of items in Redis: one for all workers of a group, with all keys in one cluster slot.

Hashes `ids` (id -> number) and `names` (number -> id) hold the young generation, `ids:old` and `names:old` the old one;
`core.item_dictionary` explains the rule. `turned` is the time when the young generation began, in seconds by the
server's clock. Forgetting a generation unlinks two keys, which Redis frees in the background. Memory per id: 135 bytes
for 7 digits, 197 for a UUID, 742 for 256 bytes (used_memory of Redis 7.0, at 200,000 ids; ADR 0016).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any

from stream_worker.backends.redis.connection import Connection, script_of
from stream_worker.backends.redis.number_gap import NumberGap
from stream_worker.core.item_dictionary import LAST_NUMBER

# Ids or numbers per call of a script, which blocks Redis meanwhile. Not tuned.
_CHUNK = 1_000

# Gives numbers to item ids.
# KEYS: ids, names, ids:old, names:old, counter, epoch, turned.
# ARGV: the expected epoch of the dictionary ('': any), the epoch for a new dictionary, the highest number of ids, the
#   seconds for which ids are kept (0: for ever), ids...
# Returns {epoch, number of ids in the dictionary, number of each asked id...}; a new id gets a new number, or 0 if the
#   dictionary is full. Returns {epoch} alone if the epoch is not the expected one.
# A server whose memory is full refuses SET and HSET but executes RENAME and HDEL, so the former come first.
NUMBER = f"""
local epoch = redis.call('GET', KEYS[6])
if ARGV[1] ~= '' and ARGV[1] ~= epoch then return {{epoch or ''}} end
if not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[6], epoch)
end
if ARGV[4] ~= '0' then
  local now, turned = tonumber(redis.call('TIME')[1]), tonumber(redis.call('GET', KEYS[7]))
  if not turned or now < turned then
    redis.call('SET', KEYS[7], string.format('%.0f', now))
  elseif now - turned >= tonumber(ARGV[4]) then
    redis.call('SET', KEYS[7], string.format('%.0f', now))
    redis.call('UNLINK', KEYS[3], KEYS[4])
    if redis.call('EXISTS', KEYS[1]) == 1 then
      redis.call('RENAME', KEYS[1], KEYS[3])
      redis.call('RENAME', KEYS[2], KEYS[4])
    end
  end
end
local size = redis.call('HLEN', KEYS[1]) + redis.call('HLEN', KEYS[3])
local counter = tonumber(redis.call('GET', KEYS[5]) or '0')
local numbers = {{epoch, 0}}
for i = 5, #ARGV do
  local id = ARGV[i]
  local number = redis.call('HGET', KEYS[1], id)
  if not number then
    local old = redis.call('HGET', KEYS[3], id)
    if old then
      number = old
    elseif size < tonumber(ARGV[3]) and counter < {LAST_NUMBER} then
      size, counter = size + 1, redis.call('INCR', KEYS[5])
      number = string.format('%.0f', counter)
    end
    if number then
      redis.call('HSET', KEYS[1], id, number)
      redis.call('HSET', KEYS[2], number, id)
    end
    if old then
      redis.call('HDEL', KEYS[3], id)
      redis.call('HDEL', KEYS[4], old)
    end
  end
  numbers[i - 2] = tonumber(number or '0')
end
numbers[2] = size
return numbers
"""

# Returns the ids of numbers. A script, because between two commands an id could move to the other key.
# KEYS: names, names:old. ARGV: numbers...
NAME = """
local ids = {}
for i = 1, #ARGV do ids[i] = redis.call('HGET', KEYS[1], ARGV[i]) or redis.call('HGET', KEYS[2], ARGV[i]) end
return ids
"""


class ItemNumbers:
    """Translates item ids to item numbers and back.

    The dictionary has a random epoch. If it changes, the dictionary was lost, and MemoriesLost is raised.

    prefix: the beginning of all its keys.
    most: the highest number of ids in the dictionary.
    kept_seconds: an id is forgotten between one and two times as long after its last use; infinite: never.

    `size` is the number of ids when Redis was asked last. `turned` and `keys` are names of keys.
    """

    def __init__(self, connection: Connection, prefix: str, most: int, kept_seconds: float) -> None:
        self._connection = connection
        self._most = most
        self._kept = "0" if math.isinf(kept_seconds) else str(math.ceil(kept_seconds))
        young, old = [f"{prefix}:ids", f"{prefix}:names"], [f"{prefix}:ids:old", f"{prefix}:names:old"]
        self.turned = f"{prefix}:turned"
        self.keys = [*young, *old, f"{prefix}:counter", f"{prefix}:epoch", self.turned]
        self._name_keys = [young[1], old[1]]
        self._number = script_of(NUMBER)
        self._gap = NumberGap(connection, f"{prefix}:counter", f"{prefix}:master")
        self._name = script_of(NAME)
        self._epoch = ""
        self.size = 0

    def begin_again(self) -> None:
        self._epoch = ""

    def numbers(self, ids: Sequence[str]) -> list[int]:
        numbers: list[int] = []
        if ids and not self._epoch:
            self._gap.leave()
        for start in range(0, len(ids), _CHUNK):
            with self._connection.claimed():
                asked = [self._epoch, secrets.token_hex(8), str(self._most), self._kept, *ids[start : start + _CHUNK]]
                answer: Any = self._connection.run(self._number, self.keys, asked)
            epoch = answer[0].decode()
            if self._epoch and epoch != self._epoch:
                self._connection.lose("its dictionary of items is gone")
            self._epoch, self.size = epoch, answer[1]
            numbers += answer[2:]
        return numbers

    def ids(self, numbers: Sequence[int]) -> list[str | None]:
        ids: list[str | None] = []
        for start in range(0, len(numbers), _CHUNK):
            asked = [str(number) for number in numbers[start : start + _CHUNK]]
            with self._connection.available():
                names: Any = self._connection.run(self._name, self._name_keys, asked)
            ids += [None if name is None else name.decode() for name in names]
        return ids

"""The dictionary of item numbers: one for all workers of a group, in one slot, by whatever connection.

Hashes `ids` (id -> number) and `names` (number -> id) hold the young generation, `ids:old` and `names:old` the old one
(see `core.item_dictionary`, whose rule this is); `turned` is when the young one began, in seconds by the server's
clock. What is forgotten goes as two whole keys, which Redis frees in the background. Bytes an id: 135 for one of 7
digits, 197 for a UUID, 742 for one of 256 bytes (used_memory of Redis 7.0, at 200,000 ids).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any

from stream_worker.backends.redis.connection import Connection, script_of
from stream_worker.backends.redis.number_gap import NumberGap
from stream_worker.core.item_dictionary import LAST_NUMBER

_CHUNK = 1_000

# KEYS: ids, names, ids:old, names:old, counter, epoch, turned. ARGV: the dictionary's epoch ('': any), one for a new
# dictionary, the most ids, for how many seconds they are kept (0: for ever), ids...; returns the epoch, how many ids
# there are, and the numbers of those asked for, giving new ones to the unknown (0: there is no room); the epoch alone
# where it is another.
# A server whose memory is full refuses SET and HSET, but does RENAME and HDEL: the former come first.
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

# KEYS: names, names:old. ARGV: numbers...; returns their ids. In one step: meanwhile an id may move to the other key.
NAME = """
local ids = {}
for i = 1, #ARGV do ids[i] = redis.call('HGET', KEYS[1], ARGV[i]) or redis.call('HGET', KEYS[2], ARGV[i]) end
return ids
"""


class ItemNumbers:
    """Item id <-> number. Its `epoch` says whether the dictionary is still the one that numbers were taken from; `size`
    is how many ids it had when it was asked last."""

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

"""The dictionary of item numbers: one for all workers of a group, in one slot, by whatever connection."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from stream_worker.backends.redis.connection import Connection, script_of
from stream_worker.backends.redis.number_gap import NumberGap

_CHUNK = 1_000

# KEYS: ids, names, counter, epoch. ARGV: the dictionary's epoch ('': any), one for a new dictionary, ids...; returns
# the epoch and the ids' numbers, giving new ones to the unknown; the epoch alone where it is another.
NUMBER = """
local epoch = redis.call('GET', KEYS[4])
if ARGV[1] ~= '' and ARGV[1] ~= epoch then return {epoch or ''} end
if not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[4], epoch)
end
local numbers = {epoch}
for i = 3, #ARGV do
  local id = ARGV[i]
  local number = redis.call('HGET', KEYS[1], id)
  if not number then
    number = redis.call('INCR', KEYS[3])
    redis.call('HSET', KEYS[1], id, number)
    redis.call('HSET', KEYS[2], number, id)
  end
  numbers[i - 1] = tonumber(number)
end
return numbers
"""


class ItemNumbers:
    """Item id <-> number. Its `epoch` says whether the dictionary is still the one that numbers were taken from."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._names = f"{prefix}:names"
        self.keys = [f"{prefix}:ids", self._names, f"{prefix}:counter", f"{prefix}:epoch"]
        self._number = script_of(NUMBER)
        self._gap = NumberGap(connection, f"{prefix}:counter", f"{prefix}:master")
        self._epoch = ""

    def begin_again(self) -> None:
        self._epoch = ""

    def numbers(self, ids: Sequence[str]) -> list[int]:
        numbers: list[int] = []
        if ids and not self._epoch:
            self._gap.leave()
        for start in range(0, len(ids), _CHUNK):
            with self._connection.claimed():
                asked = [self._epoch, secrets.token_hex(8), *ids[start : start + _CHUNK]]
                answer: Any = self._connection.run(self._number, self.keys, asked)
            epoch = answer[0].decode()
            if self._epoch and epoch != self._epoch:
                self._connection.lose("its dictionary of items is gone")
            self._epoch = epoch
            numbers += answer[1:]
        return numbers

    def ids(self, numbers: Sequence[int]) -> list[str | None]:
        if not numbers:
            return []
        with self._connection.available():
            names: Any = self._connection.redis.hmget(self._names, [str(number) for number in numbers])
        return [None if name is None else name.decode() for name in names]

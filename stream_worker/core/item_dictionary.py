"""The dictionary of items: gives each item id a number that never means another id, and bounds how many ids it keeps.

Numbers count up and are never given again. Ids are kept in two generations. An id that is asked for moves to the
*young* one. After `kept_seconds` the young generation becomes the *old* one, and all ids that are still in the former
old one are forgotten. So an id is kept for at least `kept_seconds` after it was last asked for, and for less than
twice as long. An id that comes back later gets a new number; its former number names nothing. When there are `most`
ids, a new id gets 0, which is no number (ADR 0016).

The in-memory twin uses this class; `backends/redis/item_numbers.py` does the same in a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

LAST_NUMBER = 2**32 - 1  # the largest number that a place of a ring can hold (see `core.memory_record`)
_MARGIN_SECONDS = 86_400.0  # a day, for records that waited to be written (ADR 0016)


def numbers_kept_seconds(expire_seconds: float) -> float:
    """Return for how many seconds a number is kept after its item was last asked for.

    `expire_seconds`: half of the time that a user's record is kept after its last event; 0: records are kept for ever.

    A number has to outlive all records that were written while its item was live, which takes 2 x `expire_seconds`.
    The rest allows for workers that ask an eighth of this time late, and for records that waited to be written.
    """
    return 2.5 * expire_seconds + _MARGIN_SECONDS if expire_seconds else math.inf


class ItemDictionary:
    """The dictionary, in memory. `most`: ids that it keeps; `kept_seconds`: see the module; inf: for ever."""

    def __init__(self, most: int, kept_seconds: float = math.inf) -> None:
        self.most = most
        self.kept_seconds = kept_seconds
        self.counter = 0
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._turned_ts: float | None = None

    def __len__(self) -> int:
        return len(self._names)

    def numbers(self, ids: Sequence[str], now_ts: float = 0.0) -> list[int]:
        """Return a number for each id: the one that it has, else a new one, or 0 when there is no room for more."""
        if self.kept_seconds < math.inf:
            self._turn(now_ts)
        return [self._number(item) for item in ids]

    def ids(self, numbers: Sequence[int]) -> list[str | None]:
        """Return the id of each number; None for a number that names nothing (any more)."""
        return [self._names.get(number) for number in numbers]

    def entries(self) -> Iterator[tuple[int, str, bool]]:
        """Yield (number, id, True if the id is of the old generation), in the order of numbers."""
        return ((number, item, item in self._old) for number, item in sorted(self._names.items()))

    def restore(self, entries: Sequence[tuple[int, str, bool]], counter: int) -> None:
        """Replace the contents by what `entries` gave. No id is forgotten within `kept_seconds` from now."""
        self._names = {number: item for number, item, _ in entries}
        self._young = {item: number for number, item, old in entries if not old}
        self._old = {item: number for number, item, old in entries if old}
        self.counter, self._turned_ts = counter, None

    def _turn(self, now_ts: float) -> None:
        # After the clock was put back, the time of the young generation starts anew.
        if self._turned_ts is None or now_ts < self._turned_ts:
            self._turned_ts = now_ts
        elif now_ts - self._turned_ts >= self.kept_seconds:
            for number in self._old.values():
                del self._names[number]
            self._old, self._young, self._turned_ts = self._young, {}, now_ts

    def _number(self, item: str) -> int:
        number = self._young.get(item) or self._old.pop(item, 0) or self._next()
        if number:
            self._young[item], self._names[number] = number, item
        return number

    def _next(self) -> int:
        if len(self) >= self.most or self.counter >= LAST_NUMBER:
            return 0
        self.counter += 1
        return self.counter

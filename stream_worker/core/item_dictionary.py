"""The dictionary of item numbers, as a rule: each number means one id for ever, and there is an end to ids.

Numbers count up and are never given again. Ids are kept in two generations: whoever is asked for is in the *young* one.
After `kept_seconds` the young one becomes the *old* one, and what is left in the old one is forgotten. So an id is
kept for at least so long after it was asked for last, and for less than twice as long; if it comes again after that,
it gets a new number, and its former one names nothing. At `most` ids a new one gets no number: 0.

The twin is this; `backends/redis/item_numbers.py` does the same in a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

# What a place in a ring holds (see `core.memory_record`).
LAST_NUMBER = 2**32 - 1
_MARGIN_SECONDS = 86_400.0


def numbers_kept_seconds(expire_seconds: float) -> float:
    """For how long a number is kept after its item was asked for last, where records of users go twice `expire_seconds`
    after their last event: until no record is left that was written while the item was there. The half and the day
    more are for workers that ask an eighth of the time late, and for records that waited to be written."""
    return 2.5 * expire_seconds + _MARGIN_SECONDS if expire_seconds else math.inf


class ItemDictionary:
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
        """A number for each id, the same as before if it has one; new ids get new numbers, as far as there is room."""
        if self.kept_seconds < math.inf:
            self._turn(now_ts)
        return [self._number(item) for item in ids]

    def ids(self, numbers: Sequence[int]) -> list[str | None]:
        return [self._names.get(number) for number in numbers]

    def entries(self) -> Iterator[tuple[int, str, bool]]:
        """(number, id, whether it is of the old generation), by number."""
        return ((number, item, item in self._old) for number, item in sorted(self._names.items()))

    def restore(self, entries: Sequence[tuple[int, str, bool]], counter: int) -> None:
        """What `entries` gave; nothing is forgotten before `kept_seconds` are over from now on."""
        self._names = {number: item for number, item, _ in entries}
        self._young = {item: number for number, item, old in entries if not old}
        self._old = {item: number for number, item, old in entries if old}
        self.counter, self._turned_ts = counter, None

    def _turn(self, now_ts: float) -> None:
        # A clock that was put back begins anew.
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

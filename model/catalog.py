"""Item number <-> row of the item tables. Rows are recycled, numbers never are.

A *number* is the item's name in user rings (given by the memory store, the same for every worker); a *row* is where
this line keeps its vector and counts. Capacity grows by doubling; at `max_items` the rows not seen for longest are
evicted, a sixteenth at a time, and given to newcomers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST_CAPACITY = 1024
_EVICTED_SHARE = 16


class Catalog:
    """id_N, number_N, born_N and seen_N (counts of events of this line) by row; row 0 is real, -1 means none."""

    def __init__(self, max_items: int) -> None:
        self.max_items = max_items
        self.number_N = np.zeros(min(_FIRST_CAPACITY, max_items), dtype=np.uint32)
        self.born_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.seen_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.ids: list[str] = []
        self.evicted = 0
        self._row_of_id: dict[str, int] = {}
        self._row_of_number = np.full(_FIRST_CAPACITY, -1, dtype=np.int32)
        self._free: list[int] = []

    def __len__(self) -> int:
        """Live items."""
        return len(self._row_of_id)

    @property
    def capacity(self) -> int:
        return len(self.number_N)

    @property
    def rows_used(self) -> int:
        """One past the highest row ever given out; rows that wait for recycling are below it."""
        return len(self.ids)

    def live_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.number_N[: self.rows_used])

    def find(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """The row of each id, -1 where it has none."""
        find = self._row_of_id.get
        return np.fromiter((find(item, -1) for item in ids), dtype=np.int32, count=len(ids))

    def rows_of_numbers(self, numbers: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The row of each item number, -1 for 0 and for items without a row."""
        inside = numbers < len(self._row_of_number)
        return np.where(inside, self._row_of_number[np.where(inside, numbers, 0)], -1).astype(np.int32)

    def room_for(self, count: int) -> NDArray[np.int64]:
        """Make room for `count` new items; returns the rows evicted for it, those seen longest ago.

        To be asked before a batch is looked at, for as many items as it may bring: what is evicted then depends on
        the past alone, not on the batch.
        """
        missing = len(self) + count - self.max_items
        if missing <= 0:
            return np.zeros(0, dtype=np.int64)
        if count > self.max_items:
            raise ValueError(f"model.max_items: {self.max_items} are too few for a batch of {count} new items")
        live = self.live_rows()
        wanted = min(len(live), max(missing, self.max_items // _EVICTED_SHARE))
        return self._evict(live[np.argsort(self.seen_N[live], kind="stable")[:wanted]])

    def add(self, ids: Sequence[str], numbers: Sequence[int], now: int) -> NDArray[np.int32]:
        """Give each new id a row. `room_for` must have been asked first."""
        rows = np.fromiter((self._take_row() for _ in ids), dtype=np.int32, count=len(ids))
        self._grow_numbers(max(numbers, default=0))
        for item, row in zip(ids, rows.tolist(), strict=True):
            self.ids[row] = item
            self._row_of_id[item] = row
        self.number_N[rows] = numbers
        self._row_of_number[numbers] = rows
        self.born_N[rows] = now
        self.seen_N[rows] = now
        return rows

    def begin(self, rows: NDArray[np.int32], now: int) -> None:
        """Their first events are looked at."""
        self.born_N[rows] = self.seen_N[rows] = now

    def renumber(self, rows: NDArray[np.int64], numbers: Sequence[int]) -> None:
        """All live rows get new numbers: those of a dictionary that has begun again."""
        self._row_of_number[:] = -1
        self._grow_numbers(max(numbers, default=0))
        self.number_N[rows] = numbers
        self._row_of_number[numbers] = rows

    def state_dict(self) -> dict[str, NDArray[Any]]:
        used = self.rows_used
        texts = [item.encode() for item in self.ids]
        return {
            "ids": np.frombuffer(b"".join(texts), dtype=np.uint8).copy(),
            "id_lengths": np.array([len(text) for text in texts], dtype=np.int64),
            "live": self.number_N[:used] > 0,
            "born": self.born_N[:used].copy(),
            "seen": self.seen_N[:used].copy(),
            "free": np.array(self._free, dtype=np.int64),
            "evicted": np.array([self.evicted], dtype=np.int64),
        }

    @staticmethod
    def ids_of_state(state: dict[str, NDArray[Any]]) -> list[str]:
        """The live ids of a state, by row: their numbers have to be asked of the store before it is loaded."""
        return [item for item in _ids_by_row(state) if item]

    def load_state_dict(self, state: dict[str, NDArray[Any]], numbers: Sequence[int]) -> None:
        """`numbers`: the store's number of each id of `ids_of_state(state)`."""
        self.__init__(self.max_items)  # type: ignore[misc]
        self.ids = _ids_by_row(state)
        if len(self.ids) > self.max_items:
            raise ValueError(f"model.max_items: at least {len(self.ids)} rows were in use, got {self.max_items}")
        while self.capacity < len(self.ids):
            self._grow()
        used = len(self.ids)
        self.born_N[:used], self.seen_N[:used] = state["born"], state["seen"]
        live = np.flatnonzero(state["live"])
        self.number_N[live] = numbers
        self._grow_numbers(max(numbers, default=0))
        self._row_of_number[self.number_N[live]] = live
        self._row_of_id = {self.ids[row]: row for row in live.tolist()}
        self._free = state["free"].tolist()
        self.evicted = int(state["evicted"][0])

    def _take_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self.rows_used == self.capacity:
            self._grow()
        self.ids.append("")
        return self.rows_used - 1

    def _grow(self) -> None:
        size = min(max(2 * self.capacity, 1), self.max_items)
        for name in ("number_N", "born_N", "seen_N"):
            setattr(self, name, np.resize(getattr(self, name), size))
            getattr(self, name)[self.rows_used :] = 0

    def _grow_numbers(self, highest: int) -> None:
        # Four bytes an item number ever given out: cheaper than a hash map until far past max_items.
        if highest >= len(self._row_of_number):
            more = np.full(max(highest + 1, 2 * len(self._row_of_number)), -1, dtype=np.int32)
            more[: len(self._row_of_number)] = self._row_of_number
            self._row_of_number = more

    def _evict(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        for row in rows.tolist():
            del self._row_of_id[self.ids[row]]
            self.ids[row] = ""
        self._row_of_number[self.number_N[rows]] = -1
        self.number_N[rows] = 0
        self._free.extend(rows[::-1].tolist())
        self.evicted += len(rows)
        return rows


def _ids_by_row(state: dict[str, NDArray[Any]]) -> list[str]:
    """The id in each row, empty where the row waits for recycling."""
    texts = state["ids"].tobytes()
    ends = np.cumsum(state["id_lengths"]).tolist()
    return [texts[start:end].decode() for start, end in zip([0, *ends][:-1], ends, strict=True)]

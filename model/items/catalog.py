"""Item number <-> row of the item tables. Rows are recycled, numbers never are.

A *number* is the item's name in user rings (given by the memory store, the same for every worker; 0: it has none, and
stands in no ring); a *row* is where this line keeps its vector and counts. Capacity grows by doubling. Items that
nobody has touched for `expiry_seconds` lose their rows to newcomers, while more than `min_items` are live; at
`max_items` those not seen for longest do. Who keeps a row across batches keeps the *generation* of that time with it,
so that `current` tells whether the row is still the same item's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.items.number_table import NumberTable
from model.state import array_of_texts, texts_of

_FIRST_CAPACITY = 1024
_EVICTED_SHARE = 16
_CHECKS_A_PERIOD = 16


class Catalog:
    """id_N, live_N, number_N, born_N and seen_N (counts of events of this line) by row; row 0 is real, -1 means none.

    seen_ts_N: where the line's clock stood when the item was seen last. generation_N: how often rows had been recycled
    when this one was recycled last.
    """

    def __init__(self, max_items: int, min_items: int = 0, expiry_seconds: float = 0.0) -> None:
        """`expiry_seconds` 0: no item is ever too old."""
        self.max_items, self.min_items, self.expiry_seconds = max_items, min_items, expiry_seconds
        self._clear()

    def _clear(self) -> None:
        """Become a catalogue without items."""
        self.number_N = np.zeros(min(_FIRST_CAPACITY, self.max_items), dtype=np.uint32)
        self.live_N = np.zeros(len(self.number_N), dtype=np.bool_)
        self.born_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.seen_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.seen_ts_N = np.zeros(len(self.number_N), dtype=np.float64)
        self.generation_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.generation = 0
        self.checked_ts = 0.0
        self._latest_since = 0
        self.ids: list[str] = []
        self.evicted = 0
        self._row_of_id: dict[str, int] = {}
        self._row_of_number = NumberTable()
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
        return np.flatnonzero(self.live_N[: self.rows_used])

    def latest(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Of these rows those that were seen last, in their order: `most` at the most (more only where several were
        seen at once), and half as many at the least. How far back that is changes seldom, and is part of the state."""
        if len(rows) <= most:
            return rows
        seen_M = self.seen_N[rows]
        if not most // 2 <= np.count_nonzero(seen_M >= self._latest_since) <= most:
            wanted = 3 * most // 4
            self._latest_since = int(np.partition(seen_M, -wanted)[-wanted])
        return rows[seen_M >= self._latest_since]

    def find(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """The row of each id, -1 where it has none."""
        find = self._row_of_id.get
        return np.fromiter((find(item, -1) for item in ids), dtype=np.int32, count=len(ids))

    def ids_of_rows(self, rows: NDArray[np.integer]) -> list[str]:
        return [self.ids[row] for row in rows.tolist()]

    def rows_of_numbers(self, numbers: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The row of each item number, -1 for 0 and for items without a row."""
        return self._row_of_number.find(numbers)

    def current(self, rows_MW: NDArray[np.int32], generation_M: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows that were kept since these generations, -1 where another item has the row by now, or none."""
        recycled_MW = self.generation_N[rows_MW] > generation_M.reshape(-1, *[1] * (rows_MW.ndim - 1))
        return np.where(recycled_MW, -1, rows_MW).astype(np.int32)

    def leaving(self, count: int, clock_ts: float) -> NDArray[np.int64]:
        """The rows to `evict` before a batch that may bring `count` new items, those seen longest ago first: as many
        as room is missing for (a sixteenth of all at least), or else those that are too old by now.

        To be asked before a batch is looked at, for as many items as it may bring: what is evicted then depends on
        the past alone, not on the batch.
        """
        if count > self.max_items:
            raise ValueError(f"model.max_items: {self.max_items} are too few for a batch of {count} new items")
        missing = len(self) + count - self.max_items
        if missing > 0:
            return self._longest_ago(self.live_rows(), max(missing, self._share))
        return self._expired(clock_ts, max(count, self._share))

    def evict(self, rows: NDArray[np.int64]) -> None:
        self.generation += 1
        self.generation_N[rows] = self.generation
        for row in rows.tolist():
            del self._row_of_id[self.ids[row]]
            self.ids[row] = ""
        self._row_of_number.drop(self.number_N[rows])
        self.number_N[rows], self.live_N[rows] = 0, False
        self._free.extend(rows[::-1].tolist())
        self.evicted += len(rows)

    def add(self, ids: Sequence[str], numbers: Sequence[int], now: int, clock_ts: float = 0.0) -> NDArray[np.int32]:
        """Give each new id a row. What is `leaving` must have left first."""
        rows = np.fromiter((self._take_row() for _ in ids), dtype=np.int32, count=len(ids))
        for item, row in zip(ids, rows.tolist(), strict=True):
            self.ids[row] = item
            self._row_of_id[item] = row
        self.number_N[rows], self.live_N[rows] = numbers, True
        self._row_of_number.put(self.number_N[rows], rows)
        self.born_N[rows] = self.seen_N[rows] = now
        self.seen_ts_N[rows] = clock_ts
        return rows

    def begin(self, rows: NDArray[np.int32], now: int) -> None:
        """Their first events are looked at."""
        self.born_N[rows] = self.seen_N[rows] = now

    def see(self, rows: NDArray[np.int32], events: int, clock_ts: float) -> None:
        """One event of each after `events` others, in this order."""
        np.maximum.at(self.seen_N, rows, events + 1 + np.arange(len(rows)))
        self.seen_ts_N[rows] = clock_ts

    def renumber(self, rows: NDArray[np.int64], numbers: Sequence[int]) -> None:
        """Other numbers for live rows: for all those of a dictionary that has begun again, for some those of one that
        had forgotten theirs."""
        self._row_of_number.drop(self.number_N[rows])
        self.number_N[rows] = numbers
        self._row_of_number.put(self.number_N[rows], rows)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        used = self.rows_used
        letters, lengths = array_of_texts(self.ids)
        return {
            "ids": letters,
            "id_lengths": lengths,
            "live": self.live_N[:used],
            "born": self.born_N[:used],
            "seen": self.seen_N[:used],
            "seen_ts": self.seen_ts_N[:used],
            "generations": self.generation_N[:used],
            "generation": np.array([self.generation], dtype=np.int64),
            "checked_ts": np.array([self.checked_ts]),
            "latest_since": np.array([self._latest_since], dtype=np.int64),
            "free": np.array(self._free, dtype=np.int64),
            "evicted": np.array([self.evicted], dtype=np.int64),
        }

    @staticmethod
    def ids_of_state(state: dict[str, NDArray[Any]]) -> list[str]:
        """The live ids of a state, by row: their numbers have to be asked of the store before it is loaded."""
        return [item for item in _ids_by_row(state) if item]

    def load_state_dict(self, state: dict[str, NDArray[Any]], numbers: Sequence[int]) -> None:
        """`numbers`: the store's number of each id of `ids_of_state(state)`."""
        self._clear()
        self.ids = _ids_by_row(state)
        if len(self.ids) > self.max_items:
            raise ValueError(f"model.max_items: at least {len(self.ids)} rows were in use, got {self.max_items}")
        while self.capacity < len(self.ids):
            self._grow()
        used = len(self.ids)
        self.born_N[:used], self.seen_N[:used] = state["born"], state["seen"]
        self.seen_ts_N[:used], self.generation_N[:used] = state["seen_ts"], state["generations"]
        self.generation, self.checked_ts = int(state["generation"][0]), float(state["checked_ts"][0])
        self._latest_since = int(state["latest_since"][0])
        live = np.flatnonzero(state["live"])
        self.number_N[live], self.live_N[live] = numbers, True
        self._row_of_number.put(self.number_N[live], live)
        self._row_of_id = {self.ids[row]: row for row in live.tolist()}
        self._free = state["free"].tolist()
        self.evicted = int(state["evicted"][0])

    @property
    def _share(self) -> int:
        return max(1, self.max_items // _EVICTED_SHARE)

    def _longest_ago(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        return rows[np.argsort(self.seen_N[rows], kind="stable")[:count]]

    def _expired(self, clock_ts: float, most: int) -> NDArray[np.int64]:
        """Looked for sixteen times a period, since all rows are looked at. The rest of more than `most` is found
        before the next batch: no batch waits longer than it does at a full catalogue."""
        if not self.expiry_seconds or clock_ts - self.checked_ts < self.expiry_seconds / _CHECKS_A_PERIOD:
            return np.zeros(0, dtype=np.int64)
        live = self.live_rows()
        old = live[self.seen_ts_N[live] < clock_ts - self.expiry_seconds]
        wanted = min(len(old), max(0, len(live) - self.min_items))
        if wanted <= most:
            self.checked_ts = clock_ts
        return self._longest_ago(old, min(wanted, most))

    def _take_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self.rows_used == self.capacity:
            self._grow()
        self.ids.append("")
        return self.rows_used - 1

    def _grow(self) -> None:
        size = min(max(2 * self.capacity, 1), self.max_items)
        for name in ("number_N", "live_N", "born_N", "seen_N", "seen_ts_N", "generation_N"):
            setattr(self, name, np.resize(getattr(self, name), size))
            getattr(self, name)[self.rows_used :] = 0


def _ids_by_row(state: dict[str, NDArray[Any]]) -> list[str]:
    """The id in each row, empty where the row waits for recycling."""
    return texts_of(state["ids"], state["id_lengths"])

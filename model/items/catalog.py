"""The catalogue: item id, item number and row of each live item. Rows are recycled, numbers never are.

The store gives an item its *number*, which names it in user rings and is the same for every worker; 0: it has none and
stands in no ring. The *row* is the place where this line keeps its vector and counts.

Capacity grows by doubling. Items that nobody touched for `expiry_seconds` are evicted while more than `min_items` are
live. At `max_items` those not seen for longest are evicted.

Code that keeps a row across batches keeps the catalogue's *generation* with it: `current` then tells whether the row
still belongs to the same item.

Shape suffixes: N rows of the catalogue, M rows that are asked about, W rows per training example.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.items.number_table import NumberTable
from model.state import array_of_texts, texts_of

_FIRST_CAPACITY = 1024  # rows of an empty catalogue; not tuned
_EVICTED_SHARE = 16  # 1 / 16 of `max_items` is evicted at a time (ADR 0008); not tuned
_CHECKS_A_PERIOD = 16  # searches for expired items per `expiry_seconds`, since each looks at all rows; not tuned


class Catalog:
    """Items by row. Row 0 is a real row; -1 stands for no row.

    ids: item id of each row, empty: the row is free
    number_N: item number, 0: none
    live_N: True for rows of live items
    born_N, seen_N: number of events that the line had learned at the item's first event, and at its last
    seen_ts_N: the line's clock at its last event, in seconds
    born_ts_N: the time of its first event, in seconds; 0: it is not known
    generation_N: generation of the last eviction from this row
    generation: number of evictions so far
    """

    def __init__(self, max_items: int, min_items: int = 0, expiry_seconds: float = 0.0) -> None:
        """Make a catalogue without items. expiry_seconds: 0: items never expire."""
        self.max_items, self.min_items, self.expiry_seconds = max_items, min_items, expiry_seconds
        self._clear()

    def _clear(self) -> None:
        """Become a catalogue without items."""
        self.number_N = np.zeros(min(_FIRST_CAPACITY, self.max_items), dtype=np.uint32)
        self.live_N = np.zeros(len(self.number_N), dtype=np.bool_)
        self.born_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.seen_N = np.zeros(len(self.number_N), dtype=np.int64)
        self.seen_ts_N = np.zeros(len(self.number_N), dtype=np.float64)
        self.born_ts_N = np.zeros(len(self.number_N), dtype=np.float64)
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
        """Return the number of live items."""
        return len(self._row_of_id)

    @property
    def capacity(self) -> int:
        return len(self.number_N)

    @property
    def rows_used(self) -> int:
        """One past the highest row ever used; free rows below it wait for recycling."""
        return len(self.ids)

    def live_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.live_N[: self.rows_used])

    def latest(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Return those of these rows that were seen last, in the same order.

        There are between `most` / 2 and `most` of them, more only if several were seen at the same event. The event
        since which they were seen is moved only when needed, and is part of the state.
        """
        if len(rows) <= most:
            return rows
        seen_M = self.seen_N[rows]
        if not most // 2 <= np.count_nonzero(seen_M >= self._latest_since) <= most:
            wanted = 3 * most // 4  # leaves room for items that are seen from now on; not tuned
            self._latest_since = int(np.partition(seen_M, -wanted)[-wanted])
        return rows[seen_M >= self._latest_since]

    def find(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the row of each id, -1: none."""
        return np.fromiter(map(self._row_of_id.get, ids, repeat(-1)), dtype=np.int32, count=len(ids))

    def ids_of_rows(self, rows: NDArray[np.integer]) -> list[str]:
        return [self.ids[row] for row in rows.tolist()]

    def rows_of_numbers(self, numbers: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the row of each item number, -1 for 0 and for items without a row."""
        return self._row_of_number.find(numbers)

    def current(self, rows_MW: NDArray[np.int32], generation_M: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return rows that were kept since these generations, -1 where the item was evicted since then."""
        recycled_MW = self.generation_N[rows_MW] > generation_M.reshape(-1, *[1] * (rows_MW.ndim - 1))
        return np.where(recycled_MW, -1, rows_MW).astype(np.int32)

    def leaving(self, count: int, clock_ts: float) -> NDArray[np.int64]:
        """Return the rows to `evict` before a batch that may bring `count` new items, those seen longest ago first.

        If there is no room: as many as are missing, at least a sixteenth of `max_items`. Otherwise: expired items.
        Ask before the batch is looked at, with the most new items that it may bring, so that evictions depend on the
        past alone. Raises ValueError for a `count` above `max_items`.

        clock_ts: the line's clock, in seconds
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
        """Give each new id a row. The rows that `leaving` returned must have been evicted.

        numbers: item number of each id, 0: none
        now: number of events that the line has learned
        clock_ts: the line's clock, in seconds
        """
        rows = np.fromiter((self._take_row() for _ in ids), dtype=np.int32, count=len(ids))
        for item, row in zip(ids, rows.tolist(), strict=True):
            self.ids[row] = item
            self._row_of_id[item] = row
        self.number_N[rows], self.live_N[rows] = numbers, True
        self._row_of_number.put(self.number_N[rows], rows)
        self.born_N[rows] = self.seen_N[rows] = now
        self.seen_ts_N[rows], self.born_ts_N[rows] = clock_ts, 0.0
        return rows

    def begin(self, rows: NDArray[np.int32], now: int, ts_M: NDArray[np.float64] | float = 0.0) -> None:
        """Set first and last event of rows to `now`, the number of events that the line has learned, and the time of
        the first one in seconds."""
        self.born_N[rows] = self.seen_N[rows] = now
        self.born_ts_N[rows] = ts_M

    def see(self, rows: NDArray[np.int32], events: int, clock_ts: float) -> None:
        """Note an event of each of these rows, in order, after `events` earlier ones."""
        np.maximum.at(self.seen_N, rows, events + 1 + np.arange(len(rows)))
        self.seen_ts_N[rows] = clock_ts

    def renumber(self, rows: NDArray[np.int64], numbers: Sequence[int]) -> None:
        """Give live rows other numbers, after the dictionary began again or forgot some of its items."""
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
            "born_ts": self.born_ts_N[:used],
            "generations": self.generation_N[:used],
            "generation": np.array([self.generation], dtype=np.int64),
            "checked_ts": np.array([self.checked_ts]),
            "latest_since": np.array([self._latest_since], dtype=np.int64),
            "free": np.array(self._free, dtype=np.int64),
            "evicted": np.array([self.evicted], dtype=np.int64),
        }

    @staticmethod
    def ids_of_state(state: dict[str, NDArray[Any]]) -> list[str]:
        """Return the live ids of a state, by row. Ask the store for their numbers before loading the state."""
        return [item for item in _ids_by_row(state) if item]

    def load_state_dict(self, state: dict[str, NDArray[Any]], numbers: Sequence[int]) -> None:
        """Load a state. Raises ValueError for more rows than `max_items`.

        numbers: the store's number of each id in `ids_of_state(state)`
        """
        self._clear()
        self.ids = _ids_by_row(state)
        if len(self.ids) > self.max_items:
            raise ValueError(f"model.max_items: at least {len(self.ids)} rows were in use, got {self.max_items}")
        while self.capacity < len(self.ids):
            self._grow()
        used = len(self.ids)
        self.born_N[:used], self.seen_N[:used] = state["born"], state["seen"]
        self.seen_ts_N[:used], self.generation_N[:used] = state["seen_ts"], state["generations"]
        self.born_ts_N[:used] = state.get("born_ts", 0.0)  # states of older versions lack it
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
        """Return expired rows, at most `most`, so that no batch waits longer than at a full catalogue.

        If there are more, the next batch looks again; otherwise the next search is a sixteenth of a period away.
        """
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
        for name in ("number_N", "live_N", "born_N", "seen_N", "seen_ts_N", "born_ts_N", "generation_N"):
            setattr(self, name, np.resize(getattr(self, name), size))
            getattr(self, name)[self.rows_used :] = 0


def _ids_by_row(state: dict[str, NDArray[Any]]) -> list[str]:
    """Return the id of each row, empty: the row is free."""
    return texts_of(state["ids"], state["id_lengths"])

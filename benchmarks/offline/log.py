"""A recorded log as arrays. Items are numbered as they appear, so the items known at any time are the first n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_worker.backends.files import FileSource, LogOwner, load_mapping
from stream_worker.core.mapping.config import EventsConfig

IntArray = NDArray[np.int64]
_BATCH = 4_096  # rows read at a time


@dataclass(frozen=True)
class Log:
    """E events in the log's order: `user_E`, `item_E` index the names."""

    user_E: IntArray
    item_E: IntArray
    user_names: list[str]
    item_names: list[str]

    def __len__(self) -> int:
        return len(self.item_E)

    def known_items(self, end: int) -> int:
        """Return the number of items in the first `end` events, whose numbers are those below it."""
        return int(self.item_E[:end].max(initial=-1)) + 1

    def histories(self) -> Histories:
        order_E = np.argsort(self.user_E, kind="stable")
        counts_U = np.bincount(self.user_E, minlength=len(self.user_names))
        start_U = np.cumsum(counts_U) - counts_U
        place_E = np.empty(len(self), dtype=np.int64)
        place_E[order_E] = np.arange(len(self))
        return Histories(self.item_E[order_E], start_U[self.user_E], place_E)


@dataclass(frozen=True)
class Histories:
    """The log sorted by user: event e stands at `place_E[e]`, its user's first event at `first_E[e]`."""

    sorted_E: IntArray
    first_E: IntArray
    place_E: IntArray

    def earlier(self, event: int, known: int, length: int) -> IntArray:
        """Return the last `length` items with a number below `known` of the event's user before the event."""
        place = self.place_E[event]
        # Twice the length is looked at, so that some unknown items do not shorten the history.
        items = self.sorted_E[max(self.first_E[event], place - 2 * length) : place]
        return items[items < known][-length:]

    def scored(self) -> NDArray[np.bool_]:
        """Return a mask of the events after the first tenth of the log whose user has an earlier one."""
        after = np.arange(len(self.place_E)) >= len(self.place_E) // 10
        return after & (self.place_E > self.first_E)


def log_of(users: Sequence[str], items: Sequence[str]) -> Log:
    user_E, user_names = _numbered(users)
    item_E, item_names = _numbered(items)
    return Log(user_E, item_E, user_names, item_names)


def _numbered(texts: Sequence[str]) -> tuple[IntArray, list[str]]:
    numbers: dict[str, int] = {}
    column = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    return column, list(numbers)


def read_log(paths: Sequence[Path], mapping: Path, limit: int | None = None) -> Log:
    """Return the valid events of the first `limit` rows, as `replay` reads them."""
    source = FileSource(list(paths), load_mapping(mapping), limit=limit)
    decoder = source.decoder(EventsConfig())
    source.subscribe(LogOwner())
    users: list[str] = []
    items: list[str] = []
    while not source.exhausted():
        events, _ = decoder.decode(source.poll(_BATCH, 0.0))
        users += events.users
        items += events.items
    return log_of(users, items)

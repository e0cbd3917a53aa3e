"""Users as they stand by a checkpoint and their memory records, for commands that look and touch nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_worker.assembly import make_line, make_store, memory_layout
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.config import Settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import ItemNumbering, MemoryStore, Snapshot
from stream_worker.loop.line import UNFIT, WEIGHTS, Line, unfit
from stream_worker.loop.memories import line_number


class Standing:
    """The line of a checkpoint, with users whose records it is given.

    anew: parts of the checkpoint that do not fit the configuration, with the reason
    """

    def __init__(self, settings: Settings, snapshot: Snapshot) -> None:
        """Load a checkpoint. Raises ConfigurationError if it does not fit the configuration."""
        described = bool(settings.kafka.items_topic) or "items" in snapshot.meta
        name = str(snapshot.meta["line"])
        decided = bool(settings.kafka.decisions_topic) or "decisions" in snapshot.meta.get("items", {})
        self.line: Line = make_line(settings, name, described, decided=decided)
        self._layout = memory_layout(settings)
        self.line.learner.users.keep(self._layout.ids, self._layout.joins)
        try:
            # Numbers of this process: to ask the store for its own could give new items numbers there.
            self.anew = self.line.restore(snapshot, lambda ids: list(range(1, len(ids) + 1)))
        except UNFIT as fault:
            raise ConfigurationError(f"the checkpoint does not fit this configuration: {unfit(fault)}") from fault
        self._others: dict[str, int] = {}  # items without a row, with the number of each
        self._first_other = len(self.line.learner.catalog) + 1
        self._made_by = 0 if WEIGHTS & self.anew.keys() else line_number(name)

    def put(self, keys: Sequence[tuple[int, str]], blobs: Sequence[bytes], store: ItemNumbering) -> NDArray[np.int64]:
        """Put users on the device as a worker would that goes on from the checkpoint; return their slots.

        store: names the items of the records
        """
        learner = self.line.learner
        records = self._layout.decode(blobs)
        self._renumber(records, store)
        slots = learner.users.add(keys)
        learner.users.put(slots, records)
        foreign = slots[records["line"] != self._made_by]
        if len(foreign):
            learner.rebuild(foreign, self._ids)
        return slots

    def _renumber(self, records: NDArray[Any], store: ItemNumbering) -> None:
        """Name the items of rings by the numbers of this process, those without a row, too."""
        catalog = self.line.learner.catalog
        numbers, places = np.unique(records["number"], return_inverse=True)
        ids = store.item_ids(numbers.tolist())
        rows = catalog.find([item or "" for item in ids])
        ours = np.where(rows >= 0, catalog.number_N[rows], 0)
        for place in np.flatnonzero(rows < 0).tolist():
            if (item := ids[place]) is not None:
                ours[place] = self._others.setdefault(item, self._first_other + len(self._others))
        records["number"] = ours[places.reshape(records["number"].shape)]

    def _ids(self, numbers: Sequence[int]) -> list[str | None]:
        """Return the ids of items without a row."""
        named = {number: item for item, number in self._others.items()}
        return [named.get(number) for number in numbers]


def memories_of(settings: Settings, snapshot: Snapshot) -> MemoryStore:
    """Return the store of users' memories: the twin where the checkpoint has them, else Redis.

    Raises ConfigurationError if they are in Redis and none is configured.
    """
    if memories := snapshot.state_below("memories"):
        twin = InMemoryMemoryStore(settings.memory)
        twin.load_state_dict(memories)
        return twin
    if not settings.memory.redis_url:
        raise ConfigurationError(
            "memory.redis_url: not set, and the checkpoint holds no memories: set it as the worker has it"
        )
    return make_store(settings)

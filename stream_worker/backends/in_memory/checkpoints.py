"""Checkpoints in memory: the newest one is kept until the process ends."""

from __future__ import annotations

import orjson

from stream_worker.core.interfaces import Snapshot


class InMemoryCheckpoints:
    """Keeps a copy of the newest snapshot only. `load_newest` returns another copy, whose `meta` went through JSON as
    it does in a file. `bytes` is the size of the newest snapshot's arrays."""

    def __init__(self) -> None:
        self._newest: Snapshot | None = None
        self.bytes = 0

    def save(self, snapshot: Snapshot) -> None:
        self._newest = Snapshot({name: array.copy() for name, array in snapshot.arrays.items()}, snapshot.meta)
        self.bytes = sum(array.nbytes for array in snapshot.arrays.values())

    def load_newest(self) -> Snapshot | None:
        if self._newest is None:
            return None
        meta = orjson.loads(orjson.dumps(self._newest.meta, option=orjson.OPT_SORT_KEYS))
        return Snapshot({name: array.copy() for name, array in self._newest.arrays.items()}, meta)

    def close(self) -> None:
        """Do nothing: no file is open."""

"""The newest checkpoint, as long as the process lives."""

from __future__ import annotations

import orjson

from stream_worker.core.interfaces import Snapshot


class InMemoryCheckpoints:
    """The newest snapshot only; gone with the process. As from files, what is loaded is a copy, its meta JSON types."""

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
        """Nothing to close."""

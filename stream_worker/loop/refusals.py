"""The partitions whose tokens the memory store has refused."""

from __future__ import annotations

from collections.abc import Collection

from stream_worker.core.offsets import Offsets


class Refusals:
    """The refused partitions. Another worker owns them, or has claimed them for a moment; the group tells which."""

    def __init__(self, offsets: Offsets) -> None:
        self.partitions: set[int] = set()
        self._offsets = offsets

    def add(self, partitions: Collection[int]) -> None:
        """Keep those of the partitions that are still owned; they are dropped between two ticks."""
        self.partitions |= {partition for partition in partitions if partition in self._offsets}

    def clear(self) -> None:
        self.partitions = set()

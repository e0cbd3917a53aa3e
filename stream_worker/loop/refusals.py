"""Partitions whose tokens the memory store refused."""

from __future__ import annotations

from collections.abc import Collection

from stream_worker.core.offsets import Offsets


class Refusals:
    """Another worker has claimed these partitions, or did so for a moment: which of the two, the group will say."""

    def __init__(self, offsets: Offsets) -> None:
        self.partitions: set[int] = set()
        self._offsets = offsets

    def add(self, partitions: Collection[int]) -> None:
        """Keep those that are still owned, until they are let go of between two ticks."""
        self.partitions |= {partition for partition in partitions if partition in self._offsets}

    def clear(self) -> None:
        self.partitions = set()

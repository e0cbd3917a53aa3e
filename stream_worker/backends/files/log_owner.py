"""The owner of a recorded log for those who read it without a worker."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_worker.core.offsets import Committed, Kept


class LogOwner:
    """A `PartitionOwner` that reads from the first row on and keeps nothing."""

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        """Return nothing: a log has no memory store."""
        return {}

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        """Start where the source says."""
        return {partition: at.next_offset for partition, at in committed.items()}

    def release(self, partitions: Collection[int]) -> None:
        """Do nothing: a log has no other readers."""

    def drop(self, partitions: Collection[int]) -> None:
        """Do nothing: a log has no other readers."""

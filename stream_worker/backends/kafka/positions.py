"""The partitions that the group has given to one member, and how far each of them is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_worker.backends.kafka.reach import Reach
from stream_worker.core.offsets import Committed


class Positions:
    """The state of a member's partitions. All offsets are next offsets, by partition.

    unclaimed: given by the group; the owner has not taken them over yet.
    answers: Y of unclaimed partitions that the owner takes over later.
    waiting: claimed by the owner; not read yet.
    ends: the end of the topic's partition when it was last asked for; only for partitions that are being read.
    stood_before: how far earlier readers came past Y without meeting a record, as the mark and the store say.
    """

    def __init__(self) -> None:
        self.unclaimed: set[int] = set()
        self.answers: dict[int, Committed] = {}
        self.waiting: set[int] = set()
        self.ends: dict[int, int] = {}
        self.stood_before: dict[int, int] = {}
        self._published: dict[int, int] = {}
        self._reach = Reach()

    @property
    def claimed(self) -> set[int]:
        return set(self._reach.next_offsets)

    @property
    def assigned(self) -> set[int]:
        """Claimed partitions that the consumer reads."""
        return self.claimed - self.waiting

    @property
    def unasked(self) -> set[int]:
        """Unclaimed partitions whose Y is not known."""
        return self.unclaimed - self.answers.keys()

    def claim(self, starts: Mapping[int, int]) -> None:
        """Move partitions from the unclaimed ones to the waiting ones. `starts`: where to read each of them from."""
        self._reach.begin(starts)
        self._published.update({partition: self.answers.pop(partition).next_offset for partition in starts})
        self.waiting |= starts.keys()
        self.unclaimed -= starts.keys()

    def start(self, partition: int, next_offset: int, end: int) -> None:
        """Note that a waiting partition is read from `next_offset`; the topic ends at `end`."""
        self._reach.next_offsets[partition], self.ends[partition] = next_offset, end
        self.waiting.discard(partition)

    def take(self, partition: int, offset: int) -> bool:
        """See `Reach.take`."""
        return self._reach.take(partition, offset)

    def found_end(self, partition: int | None, offset: int | None) -> None:
        """See `Reach.found_end`."""
        self._reach.found_end(partition, offset)

    def next_offset(self, partition: int) -> int:
        return self._reach.next_offsets[partition]

    def needed(self, partition: int) -> int:
        """The first offset that must not be missed: what comes before Y is read for memories only."""
        return max(self._published[partition], self.next_offset(partition))

    def stood_at(self, partition: int) -> int:
        """The offset up to which this reader or an earlier one found no record past Y."""
        return max(self.stood_before.get(partition, 0), self._reach.read_to(partition))

    def stood(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        """See `Reach.stood`."""
        return self._reach.stood(next_offsets)

    def forget(self, partitions: Collection[int]) -> None:
        self.unclaimed.difference_update(partitions)
        self.waiting.difference_update(partitions)
        self._reach.forget(partitions)
        for partition in partitions:
            self.answers.pop(partition, None)
            for offsets in (self._published, self.ends, self.stood_before):
                offsets.pop(partition, None)

"""The partitions that the group has given to one member, and how far each of them is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

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
        self._next: dict[int, int] = {}
        # The offset after the newest record that was taken, and the end of the partition that librdkafka reported.
        self._last: dict[int, int] = {}
        self._read_to: dict[int, int] = {}

    @property
    def claimed(self) -> set[int]:
        return set(self._next)

    @property
    def assigned(self) -> set[int]:
        """Claimed partitions that the consumer reads."""
        return self._next.keys() - self.waiting

    @property
    def unasked(self) -> set[int]:
        """Unclaimed partitions whose Y is not known."""
        return self.unclaimed - self.answers.keys()

    def claim(self, starts: Mapping[int, int]) -> None:
        """Move partitions from the unclaimed ones to the waiting ones. `starts`: where to read each of them from."""
        self._next.update(starts)
        self._last.update(starts)
        self._published.update({partition: self.answers.pop(partition).next_offset for partition in starts})
        self.waiting |= starts.keys()
        self.unclaimed -= starts.keys()

    def start(self, partition: int, next_offset: int, end: int) -> None:
        """Note that a waiting partition is read from `next_offset`; the topic ends at `end`."""
        self._next[partition], self.ends[partition] = next_offset, end
        self.waiting.discard(partition)

    def take(self, partition: int, offset: int) -> bool:
        """Advance past a fetched record. False: the record is not wanted, because the partition is not claimed, or
        because the record comes before the position."""
        if offset < self._next.get(partition, offset + 1):
            return False
        self._next[partition] = self._last[partition] = offset + 1
        return True

    def found_end(self, partition: int | None, offset: int | None) -> None:
        """Note that the partition was read up to its end."""
        if partition is not None and partition in self._next:
            self._read_to[partition] = offset or 0

    def next_offset(self, partition: int) -> int:
        return self._next[partition]

    def needed(self, partition: int) -> int:
        """The first offset that must not be missed: what comes before Y is read for memories only."""
        return max(self._published[partition], self._next[partition])

    def stood_at(self, partition: int) -> int:
        """The offset up to which this reader or an earlier one found no record past Y."""
        return max(self.stood_before.get(partition, 0), self._read_to.get(partition, 0))

    def stood(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        """Raise each next offset to the partition's end, if all records before that end have been taken."""
        return {
            p: max(offset, self._read_to.get(p, 0)) if offset >= self._last.get(p, offset + 1) else offset
            for p, offset in next_offsets.items()
        }

    def forget(self, partitions: Collection[int]) -> None:
        self.unclaimed.difference_update(partitions)
        self.waiting.difference_update(partitions)
        for partition in partitions:
            self.answers.pop(partition, None)
            for offsets in (self._published, self._next, self.ends, self._last, self._read_to, self.stood_before):
                offsets.pop(partition, None)

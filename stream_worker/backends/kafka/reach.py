"""The reach of a reader: the next offset of each partition, and its end where no more records stand before that."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Reach:
    """The next offset of a consumer in each of its partitions, and its end. All offsets are next offsets.

    next_offsets: where each partition is read on.
    """

    def __init__(self) -> None:
        self.next_offsets: dict[int, int] = {}
        # The offset after the newest record that was taken, and the end of the partition that librdkafka reported.
        self._last: dict[int, int] = {}
        self._read_to: dict[int, int] = {}

    def begin(self, starts: Mapping[int, int]) -> None:
        self.next_offsets.update(starts)
        self._last.update(starts)

    def take(self, partition: int, offset: int) -> bool:
        """Advance past a fetched record. False: the record is not wanted, because the partition is not read, or because
        the record comes before the position."""
        if offset < self.next_offsets.get(partition, offset + 1):
            return False
        self.next_offsets[partition] = self._last[partition] = offset + 1
        return True

    def found_end(self, partition: int | None, offset: int | None) -> None:
        """Note that the partition was read up to its end."""
        if partition is not None and partition in self.next_offsets:
            self._read_to[partition] = offset or 0

    def read_to(self, partition: int) -> int:
        """Return the newest end that the partition was read up to; 0 before the first."""
        return self._read_to.get(partition, 0)

    def stood(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        """Raise each next offset to the partition's end, if all records before that end have been taken."""
        return {
            p: max(offset, self.read_to(p)) if offset >= self._last.get(p, offset + 1) else offset
            for p, offset in next_offsets.items()
        }

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            for offsets in (self.next_offsets, self._last, self._read_to):
                offsets.pop(partition, None)

"""The number of events that a line has counted of each partition, so that it can be proved that none is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Counted:
    """Counts of one line, by partition. Of the valid events from `first` to below L, each is counted or in the gap.

    Duplicates and events that only show an item are neither. Where offsets were skipped unread, the gap has one for
    each of them, so it is then at least the number of events.

    first: the offset at which the line began to count.
    events: counted events.
    gap: events that it will never count.
    heard: partitions to whose L the line came by hearing, which says nothing about what was published.

    >>> counted = Counted()
    >>> counted.begin(3, 100)
    >>> counted.add(np.array([3, 3, 3]), np.array([True, True, False]))
    >>> counted.events[3], counted.gap[3]
    (2, 1)
    >>> counted.skip(3, 105, 110)
    >>> counted.gap[3]
    6
    """

    def __init__(self) -> None:
        self.first: dict[int, int] = {}
        self.events: Counter[int] = Counter()
        self.gap: Counter[int] = Counter()
        self.heard: set[int] = set()

    def begin(self, partition: int, offset: int) -> None:
        """Note where the line begins to count a partition; a later call changes nothing."""
        self.first.setdefault(partition, offset)

    def add(self, partition_B: NDArray[np.integer], learn_B: NDArray[np.bool_]) -> None:
        """Count events at or past L. `learn_B`: True for those that are learned; the others are never."""
        self.events.update(partition_B[learn_B].tolist())
        self.gap.update(partition_B[~learn_B].tolist())

    def skip(self, partition: int, learned: int, begins: int) -> None:
        """Note that what stands from L to before `begins` is never counted."""
        if begins > learned:
            self.gap[partition] += begins - learned

    def forget(self, partitions: Collection[int]) -> None:
        """Forget the counts of partitions whose offsets begin again."""
        for partition in partitions:
            self.heard.discard(partition)
            for counts in (self.first, self.events, self.gap):
                counts.pop(partition, None)

    def clear(self) -> None:
        """Forget all counts: their offsets belong to another source."""
        self.forget({*self.first, *self.events, *self.gap, *self.heard})

    def state_dict(self) -> dict[str, Any]:
        """Return the counts in JSON types, by their names in a checkpoint."""
        named = {"first": self.first, "counted": self.events, "gap": self.gap}
        return {name: _named(counts) for name, counts in named.items()} | {"heard": sorted(self.heard)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        first, events, gap = (
            {int(partition): int(count) for partition, count in state[name].items()}
            for name in ("first", "counted", "gap")
        )
        self.first, self.events, self.gap = first, Counter(events), Counter(gap)
        self.heard = {int(partition) for partition in state["heard"]}


def _named(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(partition): count for partition, count in sorted(counts.items())}

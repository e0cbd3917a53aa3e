"""The rule of the four next offsets: what of an event is still to be done, whatever died before.

Every event has three effects, each with its own next offset a partition, and one more in every memory record:

    Y  published   lists and dead letters, kept by Kafka in the transaction that holds them
    L  learned     weights, catalogue, metrics, kept in the line's checkpoint
    n  remembered  one user's state, ring and counters, kept in the memory record itself
    M  floor       every record of the partition holds all events before it

Written in the order Y, L, records, M at a batch boundary, so M and every n <= L <= Y whatever dies.

**Start at M. Remember at or past n, learn at or past max(L, n), publish at or past Y.**
Restart, takeover and a rebuilt memory are all this rule; nothing else in the program skips or repeats anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mark:
    """What goes with a committed Y as its metadata. From it a later owner sees that the memory store has fallen back,
    that users may have moved, and whether Y is one of this topic at all.

    floor, token: M and token as they were in the store.
    partitions: how many the topic had when its group began.
    topic_id, cluster_id: where Y belongs; empty where the broker tells none, and in marks of older versions.
    stood: from Y up to here there was nothing but offsets that hold no record.

    >>> Mark.decode(Mark(12, 3, 8, "t1").encode()) == Mark(12, 3, 8, "t1")
    True
    >>> Mark.decode('{"M":12,"token":3,"partitions":8}') == Mark(12, 3, 8)
    True
    >>> Mark.decode("another program's note") == Mark()
    True
    """

    floor: int | None = None
    token: int = 0
    partitions: int = 0
    topic_id: str = ""
    cluster_id: str = ""
    stood: int = 0

    def encode(self) -> str:
        named = {"M": self.floor, "token": self.token, "partitions": self.partitions}
        more = {"topic": self.topic_id, "cluster": self.cluster_id, "stood": self.stood}
        return orjson.dumps(named | {name: value for name, value in more.items() if value}).decode()

    @staticmethod
    def decode(text: str | None) -> Mark:
        """Nothing is known from a text that is no mark."""
        try:
            found = orjson.loads(text or "")
            ids = str(found.get("topic", "")), str(found.get("cluster", ""))
            return Mark(found["M"], int(found["token"]), int(found["partitions"]), *ids, int(found.get("stood", 0)))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Mark()

    def is_ahead_of(self, floor: int | None) -> bool:
        """Whether a store with this floor M has lost something that it had."""
        return self.floor is not None and (floor is None or floor < self.floor)


@dataclass(frozen=True)
class Committed:
    """Y of a partition, as the broker holds it, its mark under the topic's id of now. `first`: nobody of the group has
    ever read the partition. `partitions`: in how many a user's older record may be."""

    next_offset: int
    mark: Mark = Mark()
    first: bool = False
    partitions: int = 0


@dataclass(frozen=True)
class Kept:
    """What the memory store keeps of a partition.

    floor: M; None where it was never written.
    topic_id: the topic that M belongs to; empty where it is not known.
    stood: from M up to here there was nothing but offsets that hold no record.
    first_partitions, partitions: how few the group began with, and how many there have ever been.
    """

    floor: int | None = None
    topic_id: str = ""
    stood: int = 0
    first_partitions: int = 0
    partitions: int = 0

    def is_of_another(self, topic_id: str) -> bool:
        """Whether what is kept means nothing under this id. An id that is not known differs from none."""
        return bool(self.topic_id and topic_id) and self.topic_id != topic_id


@dataclass(frozen=True)
class Effects:
    """Which effects B events still have, as masks, how many are never learned by this line (`unlearned`), and how many
    are published once more (`again`): n and L are never past Y, so that an event before either has been published."""

    remember_B: NDArray[np.bool_]
    learn_B: NDArray[np.bool_]
    publish_B: NDArray[np.bool_]
    unlearned: int
    again: int = 0


@dataclass
class PartitionOffsets:
    """The next offsets of one owned partition. `processed` is the next one to be taken through the loop."""

    published: int
    learned: int
    floor: int
    processed: int


class Offsets:
    """The next offsets of every partition that this worker owns.

    >>> offsets = Offsets()
    >>> offsets.claim(0, published=20, learned=15, floor=10)
    10
    >>> effects = offsets.effects(np.array([0, 0, 0]), np.array([11, 16, 20]), np.array([12, 12, 12]))
    >>> effects.remember_B.tolist(), effects.learn_B.tolist(), effects.publish_B.tolist()
    ([False, True, True], [False, True, True], [False, False, True])
    """

    def __init__(self) -> None:
        self._partitions: dict[int, PartitionOffsets] = {}

    def claim(self, partition: int, published: int, learned: int, floor: int) -> int:
        """Take a partition over; returns where to start reading."""
        self._partitions[partition] = PartitionOffsets(published, learned, floor, floor)
        return floor

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)

    def owned(self) -> list[int]:
        return sorted(self._partitions)

    def __contains__(self, partition: int) -> bool:
        return partition in self._partitions

    def effects(
        self, partition_B: NDArray[np.integer], offset_B: NDArray[np.integer], remembered_B: NDArray[np.integer]
    ) -> Effects:
        """What is still to be done for events of owned partitions; `remembered_B` is n of each event's user."""
        published_B = self._column(partition_B, "published")
        learned_B = self._column(partition_B, "learned")
        remember_B, publish_B = offset_B >= remembered_B, offset_B >= published_B
        learn_B = remember_B & (offset_B >= learned_B)
        return Effects(
            remember_B=remember_B,
            learn_B=learn_B,
            publish_B=publish_B,
            unlearned=int(np.sum((learned_B > 0) & (offset_B >= learned_B) & ~remember_B)),
            again=int(np.sum(publish_B & (offset_B < np.maximum(remembered_B, learned_B)))),
        )

    def publishes(self, partition: int, offset: int) -> bool:
        """Whether a record at `offset` (a dead letter, say) is still to be published."""
        return offset >= self._partitions[partition].published

    def process(self, next_offsets: Mapping[int, int]) -> None:
        """The loop has taken everything before these through all effects in memory."""
        for partition, offset in next_offsets.items():
            self._partitions[partition].processed = offset

    def publish(self, next_offsets: Mapping[int, int]) -> None:
        """Y: a transaction that ends at these offsets was committed. Y never goes back."""
        for partition, offset in next_offsets.items():
            if partition in self._partitions:
                own = self._partitions[partition]
                own.published = max(own.published, offset)

    def set_floor(self, partition: int, floor: int) -> None:
        """M: every record of the partition holds all events before `floor`."""
        if partition in self._partitions:
            own = self._partitions[partition]
            own.floor = max(own.floor, floor)

    def processed(self) -> dict[int, int]:
        return {p: own.processed for p, own in self._partitions.items()}

    def floors(self) -> dict[int, int]:
        return {p: own.floor for p, own in self._partitions.items()}

    def due(self) -> dict[int, int]:
        """Where Y should go: the processed offsets that the broker does not have yet."""
        return {p: own.processed for p, own in self._partitions.items() if own.processed > own.published}

    def _column(self, partition_B: NDArray[np.integer], name: str) -> NDArray[np.int64]:
        values = np.zeros(1 + max(self._partitions, default=0), dtype=np.int64)
        for partition, own in self._partitions.items():
            values[partition] = getattr(own, name)
        column: NDArray[np.int64] = values[partition_B]
        return column

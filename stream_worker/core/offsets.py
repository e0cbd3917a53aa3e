"""The rule of the four next offsets: it decides what is still to be done for an event, whatever has died before.

Every event has three effects. Each effect has a next offset, per partition or per memory record:

    Y  published   lists and dead letters, kept by Kafka in the transaction that holds them
    L  learned     weights, catalogue, metrics, kept in the line's checkpoint
    n  remembered  one user's state, ring and counters, kept in the memory record itself
    M  floor       every record of the partition holds all events before it

Written in the order Y, L, records, M at a batch boundary, so M and every n <= L <= Y whatever dies.

Partitions that other workers own are *heard*: their events are remembered and learned by the same rule, never
published. There L follows nothing that this worker publishes, so at a claim it may be past Y.

**Start at M. Remember at or past n, learn at or past max(L, n), publish at or past Y.**
Restart, takeover and a rebuilt memory all follow this rule; nothing else in the program skips or repeats an event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import orjson
from numpy.typing import NDArray

_NEVER = int(np.iinfo(np.int64).max)  # Y of heard partitions, as far as this worker is concerned
_NOTHING_HEARD: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True)
class Mark:
    """The metadata of a committed Y.

    A later owner of the partition sees from it whether the memory store has lost what it had, whether users may have
    moved between partitions, and whether Y belongs to this topic at all.

    floor, token: M and token as they were in the store.
    partitions: how many the topic had when its group began.
    topic_id, cluster_id: those that Y belongs to; empty where the broker tells none, and in marks of older versions.
    stood: the offset up to which, from Y on, no offset holds a record.

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
        """Return the mark in a text; an empty mark for a text that is none."""
        try:
            found = orjson.loads(text or "")
            ids = str(found.get("topic", "")), str(found.get("cluster", ""))
            return Mark(found["M"], int(found["token"]), int(found["partitions"]), *ids, int(found.get("stood", 0)))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Mark()

    def is_ahead_of(self, floor: int | None) -> bool:
        """Return True if a store with this floor M has lost something that it had."""
        return self.floor is not None and (floor is None or floor < self.floor)


@dataclass(frozen=True)
class Committed:
    """Y of a partition, as the broker holds it.

    mark: its metadata, with the topic's id of now.
    first: True if no worker of the group has ever read the partition.
    partitions: the number of partitions in which a user's older record may be.
    """

    next_offset: int
    mark: Mark = Mark()
    first: bool = False
    partitions: int = 0


@dataclass(frozen=True)
class Kept:
    """The entry of a partition in the memory store.

    floor: M; None if it was never written.
    topic_id: the topic that M belongs to; empty if it is not known.
    stood: the offset up to which, from M on, no offset holds a record.
    first_partitions: how many partitions the group began with; 0 if not known.
    partitions: the most that there have ever been; 0 if not known.
    """

    floor: int | None = None
    topic_id: str = ""
    stood: int = 0
    first_partitions: int = 0
    partitions: int = 0

    def is_of_another(self, topic_id: str) -> bool:
        """Return True if the entry belongs to another topic than the one with this id. Unknown ids (empty) never
        differ."""
        return bool(self.topic_id and topic_id) and self.topic_id != topic_id


@dataclass(frozen=True)
class Effects:
    """The effects that B events still have, as masks.

    past_B: True for events at or past L: each is learned, or will never be.
    unlearned: how many of owned partitions this line will never learn: they are remembered already, but it lacks them.
    again: how many are published once more. n never passes Y, nor does L where the partition was owned, so an event
        before either was published already.
    """

    remember_B: NDArray[np.bool_]
    learn_B: NDArray[np.bool_]
    publish_B: NDArray[np.bool_]
    past_B: NDArray[np.bool_]
    unlearned: int
    again: int = 0

    def only(self, acts_B: NDArray[np.bool_]) -> Effects:
        """Return the effects with those events that are not in `acts_B` published alone."""
        return replace(
            self, remember_B=self.remember_B & acts_B, learn_B=self.learn_B & acts_B, past_B=self.past_B & acts_B
        )

    def at(self, places: NDArray[np.int64]) -> Effects:
        """Return the effects of the events at these places, with the counts of all."""
        return replace(
            self,
            remember_B=self.remember_B[places],
            learn_B=self.learn_B[places],
            publish_B=self.publish_B[places],
            past_B=self.past_B[places],
        )


@dataclass
class PartitionOffsets:
    """The next offsets of one owned partition.

    processed: the next one that the loop will process.
    listed: L where the partition was owned until then; 0 where it was heard, which says nothing of lists.
    """

    published: int
    learned: int
    floor: int
    processed: int
    listed: int = 0


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

    def claim(self, partition: int, published: int, learned: int, floor: int, *, heard: bool = False) -> int:
        """Take a partition over, given its Y, L and M; return the offset to start reading at (M).

        heard: True if this line came to L by hearing: then L may be past Y.
        """
        listed = 0 if heard else learned
        self._partitions[partition] = PartitionOffsets(published, learned, floor, floor, listed)
        return floor

    def forget(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)

    def owned(self) -> list[int]:
        return sorted(self._partitions)

    def __contains__(self, partition: int) -> bool:
        return partition in self._partitions

    def effects(
        self,
        partition_B: NDArray[np.integer],
        offset_B: NDArray[np.integer],
        remembered_B: NDArray[np.integer],
        heard: Mapping[int, int] = _NOTHING_HEARD,
    ) -> Effects:
        """Return what is still to be done for events of owned partitions, and of heard ones, which are never published.

        remembered_B: n of each event's user.
        heard: L of each heard partition.
        """
        published_B = self._column(partition_B, "published", dict.fromkeys(heard, _NEVER))
        learned_B = self._column(partition_B, "learned", heard)
        listed_B = self._column(partition_B, "listed", heard)
        remember_B, publish_B = offset_B >= remembered_B, offset_B >= published_B
        past_B = offset_B >= learned_B
        missed_B = past_B & ~remember_B & (learned_B > 0) & (published_B < _NEVER)
        return Effects(
            remember_B=remember_B,
            learn_B=remember_B & past_B,
            publish_B=publish_B,
            past_B=past_B,
            unlearned=int(np.sum(missed_B)),
            again=int(np.sum(publish_B & (offset_B < np.maximum(remembered_B, listed_B)))),
        )

    def publishes(self, partition: int, offset: int) -> bool:
        """Return True if the outcome of the record at `offset` (a dead letter, say) is still to be published."""
        return offset >= self._partitions[partition].published

    def process(self, next_offsets: Mapping[int, int]) -> None:
        """Note that all events before these offsets have had all their effects in memory."""
        for partition, offset in next_offsets.items():
            self._partitions[partition].processed = offset

    def publish(self, next_offsets: Mapping[int, int]) -> None:
        """Raise Y to these offsets, after the transaction that ends there was committed. Y never goes back."""
        for partition, offset in next_offsets.items():
            if partition in self._partitions:
                own = self._partitions[partition]
                own.published = max(own.published, offset)

    def set_floor(self, partition: int, floor: int) -> None:
        """Raise M: every record of the partition holds all events before `floor`. M never goes back."""
        if partition in self._partitions:
            own = self._partitions[partition]
            own.floor = max(own.floor, floor)

    def processed(self) -> dict[int, int]:
        return {p: own.processed for p, own in self._partitions.items()}

    def floors(self) -> dict[int, int]:
        return {p: own.floor for p, own in self._partitions.items()}

    def due(self) -> dict[int, int]:
        """Return the processed offsets that are past Y: the next transaction has to raise Y to them."""
        return {p: own.processed for p, own in self._partitions.items() if own.processed > own.published}

    def _column(
        self, partition_B: NDArray[np.integer], name: str, heard: Mapping[int, int] = _NOTHING_HEARD
    ) -> NDArray[np.int64]:
        values = np.zeros(1 + max((*self._partitions, *heard), default=0), dtype=np.int64)
        for partition, offset in heard.items():
            values[partition] = offset
        for partition, own in self._partitions.items():
            values[partition] = getattr(own, name)
        column: NDArray[np.int64] = values[partition_B]
        return column

"""The offsets at which a group begins in partitions without a Y, or whose Y belongs to another topic.

Y is missing for one of three reasons: no worker of the group has read the partition, the topic was deleted and made
again, or the committed offsets expired while the group was away. What the memory store keeps tells which.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.core.source_id import SourceId

FIRST, MADE_AGAIN, EXPIRED = "first start", "topic made again", "committed offsets expired"
_NOTHING = Kept()


@dataclass(frozen=True)
class Beginning:
    """The Y to begin with, and the reason."""

    next_offset: int
    reason: str

    @property
    def first(self) -> bool:
        return self.reason == FIRST


def begin(kept: Kept, topic_id: str, start: str, low: int, high: int, added: bool) -> Beginning:
    """Return the Y to begin with in a partition that has none.

    `kept`: what the memory store keeps of the partition.
    `topic_id`: the topic's id of now; empty where the broker tells none.
    `start`: the configured start, "earliest" or "latest".
    `low`, `high`: the first offset that the topic holds, and the next one to be written.
    `added`: True if the partition was added after the group began; it is then read from its first record.

    >>> begin(Kept(floor=1000, topic_id="a"), "b", "latest", 0, 3000, added=False)
    Beginning(next_offset=0, reason='topic made again')
    >>> begin(Kept(floor=1000, topic_id="a"), "a", "latest", 0, 3000, added=False)
    Beginning(next_offset=1000, reason='committed offsets expired')
    >>> begin(Kept(), "a", "latest", 0, 3000, added=False)
    Beginning(next_offset=3000, reason='first start')
    """
    if kept.is_of_another(topic_id):
        return Beginning(low, MADE_AGAIN)
    if kept.floor is not None:
        return Beginning(kept.floor, EXPIRED)
    return Beginning(low if start == "earliest" or added else high, FIRST)


def of_this_topic(committed: Mapping[int, Committed], source: SourceId) -> dict[int, Committed]:
    """Return each Y that is an offset of this topic, its mark with the topic's and cluster's ids of now.

    A Y marked with another topic id of this cluster was left by an earlier topic of the same name, and is left out. A Y
    marked with another cluster was brought here by a mirror, which translates offsets but copies their marks; it stays,
    without the M in its mark, which belongs to the other cluster's topic.
    """
    return {
        partition: replace(at, mark=_marked(at.mark, source))
        for partition, at in committed.items()
        if not _is_of_another(at.mark, source) or at.mark.cluster_id not in ("", source.cluster_id)
    }


def _is_of_another(mark: Mark, source: SourceId) -> bool:
    return bool(mark.topic_id and source.topic_id) and mark.topic_id != source.topic_id


def _marked(mark: Mark, source: SourceId) -> Mark:
    if _is_of_another(mark, source):
        mark = Mark(token=mark.token, partitions=mark.partitions)
    return replace(
        mark,
        topic_id=source.topic_id or mark.topic_id,
        cluster_id=source.cluster_id or mark.cluster_id,
    )


def first_partitions(committed: Collection[Committed], kept: Mapping[int, Kept], now: int) -> int:
    """Return how many partitions the topic had when the group began.

    The smallest number in the marks of Y and in what the memory store keeps counts, else the number of partitions that
    have an M, else the number of `now`.
    """
    counts = [at.mark.partitions for at in committed if at.mark.partitions]
    counts += [entry.first_partitions for entry in kept.values() if entry.first_partitions]
    with_floor = sum(entry.floor is not None for entry in kept.values())
    return min(counts, default=with_floor or now)


def most_partitions(kept: Mapping[int, Kept], now: int) -> int:
    """Return the most partitions that the topic has ever had: a user's record may be in any of them."""
    return max([now, *(entry.partitions for entry in kept.values())])

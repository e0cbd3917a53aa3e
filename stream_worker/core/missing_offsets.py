"""Where a group begins in partitions for which the broker has no Y, or one that is not of this topic.

Missing is Y for three reasons: nobody of the group has read the partition, the topic was deleted and made again, or the
offsets expired while the group was away. What the memory store keeps tells which.
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
    """The Y to begin with, and why."""

    next_offset: int
    reason: str

    @property
    def first(self) -> bool:
        return self.reason == FIRST


def begin(kept: Kept, topic_id: str, start: str, low: int, high: int, added: bool) -> Beginning:
    """Y of a partition that has none, given that the topic holds `low` to `high`. `added`: after the group began.

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
    """The Y that are offsets of this topic, each marked with its ids of now.

    A Y that is marked with another topic of this cluster was left by a topic of the same name. One that is marked with
    another cluster's was brought here by a mirror, which translates offsets and copies their marks: M and the rest of
    such a mark are the other topic's.
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
    """How many partitions there were when the group began: by the marks of Y, else by what is kept, else by those that
    have an M, else as now."""
    counts = [at.mark.partitions for at in committed if at.mark.partitions]
    counts += [entry.first_partitions for entry in kept.values() if entry.first_partitions]
    with_floor = sum(entry.floor is not None for entry in kept.values())
    return min(counts, default=with_floor or now)


def most_partitions(kept: Mapping[int, Kept], now: int) -> int:
    """In how many partitions a user's record may be."""
    return max([now, *(entry.partitions for entry in kept.values())])

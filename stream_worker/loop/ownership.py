"""Takes partitions over inside `poll`, and gives them up there or wherever the loop waits and serves the source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from stream_worker.core.errors import MemoriesLost
from stream_worker.core.interfaces import Claim
from stream_worker.core.offsets import Committed, Kept, Mark, Offsets
from stream_worker.core.status import Takeovers
from stream_worker.logs import get_logger
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.item_numbers import ItemNumbers
from stream_worker.loop.items import Items
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.line import Line
from stream_worker.loop.memories import Memories
from stream_worker.loop.outside import Outside
from stream_worker.loop.persistence import Persistence
from stream_worker.loop.publisher import Publisher
from stream_worker.loop.refusals import Refusals

_log = get_logger(__name__)


class Ownership:
    """The `PartitionOwner` that a source calls from inside `poll` and `serve`, on the loop's thread.

    rebuild_records: records before Y from which memories are rebuilt if the store has no M of a partition.
    """

    def __init__(
        self,
        outside: Outside,
        line: Line,
        memories: Memories,
        numbers: ItemNumbers,
        items: Items,
        offsets: Offsets,
        refusals: Refusals,
        hearing: Hearing,
        publisher: Publisher,
        persistence: Persistence,
        leaving: Leaving,
        takeovers: Takeovers,
        rebuild_records: int,
    ) -> None:
        self._source, self._store, self._clock = outside.source, outside.store, outside.clock
        self._line, self._memories, self._numbers, self._offsets = line, memories, numbers, offsets
        self._items, self._hearing = items, hearing
        self._refusals, self._publisher, self._persistence = refusals, publisher, persistence
        self._leaving, self._takeovers = leaving, takeovers
        self._rebuild_records = rebuild_records
        self._topic_ids: dict[int, str] = {}
        self._cluster_id = ""
        self._first_partitions = 0

    # -- the source's calls ------------------------------------------------------------------------------------

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        """See `PartitionOwner.kept`. An entry without a topic id is taken as of the topic that the line learned of."""
        before, kept = self._line.learned_of.topic_id, self._store.kept(partitions)
        return {p: entry if entry.topic_id else replace(entry, topic_id=before) for p, entry in kept.items()}

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        """Take new tokens, then start at M; see `PartitionOwner.claim`.

        A partition that is heard is claimed once it was heard up to Y, so that every event is counted. One whose
        memories turn out to be ahead of L is heard first, too; no earlier owner can write more, since it is fenced off.
        """
        committed = {p: at for p, at in committed.items() if self._hearing.has_reached(p, at.next_offset)}
        if not committed:
            return {}
        if self._numbers.foreign:
            self._numbers.renumber()
        self._line.learn_of(self._source.identity())
        if not self._line.offsets and any(at.next_offset > 0 and not at.first for at in committed.values()):
            _log.warning("begins without a checkpoint, with nothing learned, though the group has published before")
        claims = self._memories.claim(committed)
        if ahead := {p for p, claim in claims.items() if self._hearing.lacks(p, claim)}:
            self._memories.drop(ahead)
            committed = {p: at for p, at in committed.items() if p not in ahead}
        if not committed:
            return {}
        self._hearing.leave(committed)
        starts = {partition: self._start(partition, at, claims[partition]) for partition, at in committed.items()}
        self._items.owe()
        _log.info("partitions claimed", start={str(p): start for p, start in starts.items()})
        return starts

    def release(self, partitions: Collection[int]) -> None:
        """Write all that is pending, then forget the partitions; see `PartitionOwner.release`."""
        try:
            if not self._offsets.due():
                self._persistence.write_all(self._clock.monotonic() + self._leaving.seconds / 2)
        finally:
            self.drop(partitions)

    def drop(self, partitions: Collection[int]) -> None:
        """See `PartitionOwner.drop`."""
        gone = set(partitions)
        self._persistence.drop(gone)
        self._memories.drop(gone)
        self._offsets.forget(gone)
        self._publisher.drop(gone)
        _log.info("partitions given up", partitions=sorted(gone))

    # -- the loop's calls --------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Drop the partitions whose tokens were refused; the source claims those again that are still this worker's."""
        self._let_go(self._refusals.partitions)

    def start_over(self, fault: MemoriesLost) -> None:
        """Drop all partitions and claim them again, since the store was wiped or put back to an earlier state.

        Its records may be older than those on the device, and it may give item numbers again that are in use here.
        """
        _log.error("memories lost, claiming again", reason=str(fault))
        self._persistence.abandon()
        self._store.begin_again()
        self._numbers.begin_again()
        self._memories.ancestors = {}
        self._hearing.begin_again()
        self._let_go(self._offsets.owned())

    def marks(self, due: Mapping[int, int]) -> dict[int, Mark]:
        """Return the mark of each Y: what the next owner has to find in a durable store, and the topic's ids."""
        floors, tokens, stood = self._offsets.floors(), self._memories.tokens, self._source.stood(due)
        return {
            partition: Mark(
                floor=floors[partition] if self._store.durable else None,
                token=tokens[partition] if self._store.durable else 0,
                partitions=self._first_partitions,
                topic_id=self._topic_ids[partition],
                cluster_id=self._cluster_id,
                stood=stood[partition],
            )
            for partition in due
        }

    # -- steps of a claim --------------------------------------------------------------------------------------

    def _start(self, partition: int, at: Committed, claim: Claim) -> int:
        floor = self._floor(partition, at, claim)
        learned, counted = self._line.offsets.get(partition, 0), self._line.counted
        if partition in self._line.offsets:
            # The line's checkpoint is older than the store's M: the events between them will not be read again.
            self._takeovers.unlearned += max(0, floor - learned)
            counted.skip(partition, learned, floor)
            self._line.offsets[partition] = max(learned, floor)
        else:
            counted.forget([partition])  # of an earlier claim that led to no L
        counted.begin(partition, floor)
        heard = partition in counted.heard
        start = self._offsets.claim(partition, published=at.next_offset, learned=learned, floor=floor, heard=heard)
        self._first_partitions = max(self._first_partitions, at.mark.partitions)
        self._cluster_id = at.mark.cluster_id
        self._topic_ids[partition] = at.mark.topic_id
        return start

    def _floor(self, partition: int, at: Committed, claim: Claim) -> int:
        """Return M of a claimed partition; where the store has none, write the first one.

        The first M is `rebuild_records` before Y, so that memories are rebuilt from there. It is Y itself at a first
        start, and for a topic that was made again, since users then have their older records.
        """
        if claim.before:
            self._say_made_again(partition, at, claim.before)
        elif at.mark.is_ahead_of(claim.floor):
            self._takeovers.memories_lost += 1
            _log.error("memories have fallen back", partition=partition, expected=at.mark.floor, found=claim.floor)
        if claim.floor is not None:
            return claim.floor
        made_again = claim.before or (claim.generation > 0 and at.mark.floor is None)
        floor = at.next_offset if at.first or made_again else max(0, at.next_offset - self._rebuild_records)
        self._memories.begin(partition, floor)
        return floor

    def _say_made_again(self, partition: int, at: Committed, before: str) -> None:
        _log.error(
            "memories are of another topic: users start from them, with offsets at 0",
            partition=partition,
            topic_id=at.mark.topic_id,
            before=before,
            begins_at=at.next_offset,
        )
        self._line.forget_partition(partition)

    def _let_go(self, partitions: Collection[int]) -> None:
        if partitions:
            self.drop(partitions)
            self._source.reclaim(partitions)
            self._refusals.clear()

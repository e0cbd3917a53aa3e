"""Decides when L, memory records and M are written, and takes over the result of each write.

None of them may pass Y, so nothing is written while a batch is unpublished. `Checkpointer` does the writing, in order.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from stream_worker.core.effort import Effort
from stream_worker.core.errors import MemoriesLost
from stream_worker.core.offsets import Offsets
from stream_worker.core.source_id import SourceId
from stream_worker.loop.checkpointer import Checkpointer, Written, save_memories
from stream_worker.loop.items import Items
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.line import Line
from stream_worker.loop.memories import Memories
from stream_worker.loop.outside import Outside
from stream_worker.loop.refusals import Refusals
from stream_worker.loop.reporting import Reporter
from stream_worker.loop.waiting import RETRY_SECONDS, Waiting


class Persistence:
    """Writes in the background, one write at a time.

    interval_seconds: time between the beginnings of two writes.

    _written_offsets: L in the last write that began; empty if it has failed.
    _written_items: the state of what was told of items in that write.
    _write_began: the epoch second at which it began.
    _stood: how far the reader had come then, by partition, past M where no offset holds a record.
    """

    def __init__(
        self,
        outside: Outside,
        line: Line,
        memories: Memories,
        items: Items,
        offsets: Offsets,
        refusals: Refusals,
        effort: Effort,
        leaving: Leaving,
        waiting: Waiting,
        reporter: Reporter,
        interval_seconds: float,
    ) -> None:
        self._outside, self._store, self._clock = outside, outside.store, outside.clock
        self._line, self._memories, self._items, self._offsets = line, memories, items, offsets
        self._effort = effort
        self._refusals, self._leaving, self._waiting = refusals, leaving, waiting
        self._reporter, self._status = reporter, reporter.status
        self.checkpointer = Checkpointer(
            outside.checkpoints, outside.store, outside.clock, interval_seconds, outside.reached
        )
        self._written_offsets: dict[int, int] = {}
        self._written_items: dict[str, Any] = {}
        self._write_began = math.nan
        self._stood: dict[int, int] = {}

    def run(self) -> None:
        """Begin a write when one is due, and wait while too many records are pending. Called between two ticks."""
        if self._offsets.due():
            return  # the last batch is unpublished since the worker leaves: nothing may be written past Y
        self.settle(self.checkpointer.finished())
        if self.checkpointer.due():
            self._write()
        while self._memories.full() and not self._leaving.requested:
            self._catch_up()

    def write_all(self, deadline: float) -> None:
        """Write everything now, until the deadline (a monotonic second); the next owner redoes what is missing."""
        while self.checkpointer.busy() and self._clock.monotonic() < deadline:
            self.settle(self.checkpointer.finished(0.05))
        if not self.checkpointer.busy() and self._write():
            self.settle(self.checkpointer.finished(max(0.0, deadline - self._clock.monotonic())))

    def observe(self) -> None:
        """Bring up to now since when changes are in no checkpoint."""
        self._status.checkpoints.unwritten_since = self._unwritten_since()

    def drop(self, partitions: Collection[int]) -> None:
        """Hurry the running write, and forget what it says of partitions that this worker no longer owns."""
        self.checkpointer.hurry()
        for partition in partitions:
            self._stood.pop(partition, None)

    def abandon(self) -> None:
        """Wait for the running write and take over only its checkpoint: its tokens and item numbers end here."""
        while self.checkpointer.busy():
            self._settle_checkpoint(self.checkpointer.finished(0.1))

    def close(self) -> None:
        self.checkpointer.close()

    def settle(self, written: Written | None) -> None:
        """Take over the result of a write. Raises MemoriesLost if the store has lost what was written to it."""
        if written is None:
            return
        self._settle_records(written)
        self._settle_checkpoint(written)
        if written.lost:
            raise MemoriesLost(written.failed)

    # -- what is to be written ---------------------------------------------------------------------------------

    def _unwritten(self) -> bool:
        """Return True if anything has changed since the last write began, or if that write was not complete."""
        moved = self._line.offsets != self._written_offsets or self._offsets.floors() != self._offsets.processed()
        moved = moved or self._items.state_dict() != self._written_items
        learns = bool(self._offsets.owned()) or bool(self._status.hearing.lag)
        return learns and (moved or self._memories.pending() > 0)

    def _unwritten_since(self) -> float:
        if not (self.checkpointer.busy() or self._unwritten()):
            return math.nan
        since = self._status.checkpoints.unwritten_since
        return self._clock.now() if math.isnan(since) else since

    def _stands_further(self) -> bool:
        """Return True if the reader has passed offsets without a record since the last write.

        If this was not written, the next owner could not tell whether retention has removed records from this gap.
        """
        processed = self._offsets.processed()
        stood = self._outside.source.stood(processed)
        return any(at > max(processed[p], self._stood.get(p, 0)) for p, at in stood.items())

    # -- writing -----------------------------------------------------------------------------------------------

    def _write(self) -> bool:
        """Begin a write if there is anything to write; return True if there was."""
        if self._unwritten():
            self._begin_write()
        elif self._stands_further():
            self._write_standing()
        else:
            return False
        return True

    def _catch_up(self) -> None:
        """Wait a moment for pending records to be written; membership and health are kept alive meanwhile."""
        if not self.checkpointer.busy():
            self._begin_write()
        written = self.checkpointer.finished(0.1)
        self.settle(written)
        if written is not None and written.failed:
            self._status.waiting = f"too many memories wait for the store: {written.failed}"
            self._waiting.pause(RETRY_SECONDS)
        self._outside.source.serve()
        self._reporter.ticked()

    def _write_standing(self) -> None:
        """Write only M and `stood`, since nothing was learned; the twin's need a whole checkpoint."""
        if not self._store.durable:
            return self._begin_write()
        floors = self._stand()
        self.checkpointer.start(None, {}, self._memories.tokens, floors, self._stood)

    def _begin_write(self) -> None:
        self._written_offsets, self._written_items = dict(self._line.offsets), self._items.state_dict()
        floors = self._stand()
        owed = self._memories.take_owed()
        if not self._store.durable:
            written = Written(tokens=dict(self._memories.tokens))
            save_memories(self._store, owed, self._memories.tokens, floors, self._stood, written)
            self._settle_records(written)
        with self._reporter.stage("copy"):
            snapshot = self._line.snapshot(self._identity(), self._outside.sink.state_dict(), self._store.state_dict())
            more = {"effort": self._effort.state_dict(), **self._items.state_dict()}
            snapshot = replace(snapshot, meta={**snapshot.meta, **more})
        self.checkpointer.start(snapshot, owed, self._memories.tokens, floors, self._stood)

    def _stand(self) -> dict[int, int]:
        """Note when a write begins and how far the reader came; return the processed offsets: M after the write."""
        self._write_began = self._clock.now()
        floors = self._offsets.processed()
        self._stood = dict(self._outside.source.stood(floors))
        return floors

    def _identity(self) -> SourceId:
        """Return the source as it is known now, with the ids from the checkpoint that this line goes on from."""
        ours, before = self._outside.source.identity(), self._line.learned_of
        return ours.completed(before) if ours.is_same(before) else ours

    # -- what was written --------------------------------------------------------------------------------------

    def _settle_checkpoint(self, written: Written | None) -> None:
        if written is None:
            return
        counts = self._status.checkpoints
        if written.checkpoint_ts is not None:
            counts.written += 1
            counts.seconds, counts.bytes = written.seconds, self._outside.checkpoints.bytes
            counts.last_ts = written.checkpoint_ts
        if written.failed:
            self._stood = {}
            counts.failures += 1
            if written.checkpoint_ts is None:
                self._written_offsets, self._written_items = {}, {}
        else:
            counts.unwritten_since = self._write_began

    def _settle_records(self, written: Written) -> None:
        for partition, records in written.records.items():
            self._memories.written(partition, records)
        for partition, floor in written.floors.items():
            self._offsets.set_floor(partition, floor)
        self._status.memory.stale_writes += len(written.stale)
        # Only refusals of present tokens count: a partition may have been claimed again since the write began.
        self._refusals.add([p for p in written.stale if written.tokens.get(p) == self._memories.tokens.get(p)])

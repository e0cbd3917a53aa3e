"""The loop: consume, remember, predict, score, learn, recommend, commit.

One `run_once` is one tick. Everything that happens to a partition (claim, release, drop) happens between two ticks,
when no transaction is open.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from stream_worker.core.codec import Decoder
from stream_worker.core.drift_answers import ROLLBACK
from stream_worker.core.effort import Effort, EffortConfig
from stream_worker.core.errors import (
    ConfigurationError,
    MemoriesLost,
    RestartNeeded,
    StaleToken,
    TransactionAborted,
    Unavailable,
)
from stream_worker.core.events import DeadLetter, Events, Outputs, Record
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import CheckpointStore, Claim, Clock, MemoryStore, Sink, Snapshot, Source
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.core.offsets import Committed, Kept, Mark, Offsets
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import DRAINING, NoObserver, Note, Observer, Standing, Status
from stream_worker.loop.checkpointer import Checkpointer, Written, save_memories
from stream_worker.loop.item_numbers import ItemNumbers
from stream_worker.loop.line import UNFIT, WEIGHTS, Line, unfit
from stream_worker.loop.memories import Memories

_log = structlog.get_logger(__name__)
_MOST_ABORTS = 30
_RETRY_SECONDS = 0.5
# After the second abort in a row, and at most.
_ABORT_SECONDS, _MOST_ABORT_SECONDS = 0.05, 2.0
_SILENT_SECONDS = 15.0
_REPORT_EVERY_TICKS = 16


@dataclass(frozen=True)
class WorkerConfig:
    """`slot` is this worker's stable name: transactional id, static membership, checkpoint folder. `threads`: so many
    make lists at the same time."""

    slot: str = "0"
    device: str = "auto"
    threads: int = 2
    batch_size: int = 384
    poll_seconds: float = 0.05
    shutdown_seconds: float = 25.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.slot):
            raise ValueError(f"worker.slot: must be of letters, digits, '_', '-' and '.', got {self.slot!r}")
        if not 1 <= self.threads <= 64:
            raise ValueError(f"worker.threads: from 1 to 64, got {self.threads}")
        if not 1 <= self.batch_size <= 100_000:
            raise ValueError(f"worker.batch_size: from 1 to 100000, got {self.batch_size}")
        if not 0 < self.poll_seconds <= 10:
            raise ValueError(f"worker.poll_seconds: above 0, at most 10, got {self.poll_seconds}")
        # A group takes a member for dead that does not poll for 5 minutes.
        if not 0 < self.shutdown_seconds <= 120:
            raise ValueError(f"worker.shutdown_seconds: above 0, at most 120, got {self.shutdown_seconds}")


class Worker:
    """A partition owner that runs the loop until it is stopped or its source is exhausted."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        source: Source,
        sink: Sink,
        store: MemoryStore,
        checkpoints: CheckpointStore,
        line: Line,
        decoder: Decoder,
        clock: Clock,
        checkpoint_seconds: float = 5.0,
        max_pending: int = 50_000,
        rebuild_records: int = 1_000_000,
        effort: Effort | None = None,
        predictions: bool = False,
        observer: Observer | None = None,
        pause: Callable[[float], None] = time.sleep,
        reached: Reached = no_fault,
    ) -> None:
        self.config = config
        self.status = Status()
        self.line = line
        self._source, self._sink, self._store = source, sink, store
        self._checkpoints, self._decoder, self._clock = checkpoints, decoder, clock
        self._rebuild_records = rebuild_records
        self._effort = effort or Effort(EffortConfig(), follows=False)
        self._predictions = predictions
        self._pause = pause
        self.observer: Observer = observer or NoObserver()
        self._learner = line.learner
        self._learner.stage = self._stage
        self._learner.ids_of_numbers = store.item_ids
        self._numbers = ItemNumbers(store, self._learner.catalog, clock)
        layout = MemoryFormat(self._learner.config.ring_size, self._learner.config.dim)
        self._memories = Memories(store, self._learner.users, self._learner.rebuild, layout, max_pending, self.status)
        self._checkpointer = Checkpointer(checkpoints, store, clock, checkpoint_seconds, reached)
        self._learning = ThreadPoolExecutor(1, thread_name_prefix="learning")
        self._offsets = Offsets()
        self._outbox = Outputs()
        self._is_target = np.array([kind.target for kind in decoder.config.event_types], dtype=np.bool_)
        self._stop = False
        self._ticks = 0
        self._steps_before = self._evicted_before = 0
        self._skipped_before: dict[str, int] = {}
        self._written_offsets: dict[int, int] = {}
        self._write_began = math.nan
        self._stood: dict[int, int] = {}
        self._topic_ids: dict[int, str] = {}
        self._cluster_id = ""
        self._learned_of = SourceId("")
        self._leave_by = math.inf
        self._silent_until = -math.inf
        self._stale: set[int] = set()
        self._first_partitions = 0
        # The largest batch there can be: all its users and its new items have to fit.
        rows = min(self._learner.users.max_users, self._learner.config.max_items)
        self._most_events = min(config.batch_size * self._effort.most, max(config.batch_size, rows // 2))

    # -- life --------------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Finish the batch and leave within `shutdown_seconds`; safe from signal handlers and other threads."""
        self._leave_by = self._clock.monotonic() + self.config.shutdown_seconds
        self._stop = True

    @property
    def stopping(self) -> bool:
        return self._stop

    def start(
        self, snapshot: Snapshot | None = None, *, own: bool = True, ancestors: Mapping[str, bytes] | None = None
    ) -> None:
        """Begin from a snapshot and join the source. Not `own`: it is another line's, and this one is a child of it.
        `ancestors`: memory records a user, to start unknown users from (see `Memories`)."""
        if snapshot is not None:
            self._restore(snapshot, own)
        else:
            self._effort.begin_without_a_past()
        self._steps_before, self._evicted_before = self._learner.steps, self._learner.catalog.evicted
        self._skipped_before = {part: guard.skipped for part, guard in self._learner.guards.items()}
        self._memories.ancestors = ancestors or {}
        self._memories.set_line(self.line.name)
        self._source.subscribe(self)

    def _restore(self, snapshot: Snapshot, own: bool) -> None:
        """Offsets, memories and the sink's state mean something only for the source they were made from."""
        theirs, ours = SourceId.of_json(snapshot.meta["source"]), self._source.identity()
        same_source, same_name = theirs.is_same(ours), replace(theirs, topic_id="").is_same(ours)
        self._learned_of = theirs if same_name else SourceId("")
        name = snapshot.meta["line"] if own and same_name else self.line.name
        if own and same_name:  # of a topic that was made again, users go on from their older records
            self._take_memories(snapshot.state_below("memories"))
        if own and same_source:
            self._sink.load_state_dict(snapshot.meta["sink"])
        try:
            anew = self.line.restore(snapshot, self._numbers.of)
        except UNFIT as fault:
            raise ConfigurationError(f"the checkpoint does not fit this configuration: {unfit(fault)}") from fault
        self.line.name = name
        self._effort.load_state_dict(snapshot.meta.get("effort", {}) if same_source else {})
        if anew:
            self._say_what_begins_anew(anew)
        if not same_source:
            self.line.forget_offsets()
        _log.info("checkpoint loaded", line=name, events=self._learner.events, same_source=same_source)

    def _take_memories(self, memories: Mapping[str, NDArray[Any]]) -> None:
        """Of a checkpoint that was written with the other kind of store, none: it can't tell how far they are."""
        if self._store.durable == bool(memories):
            _log.warning(
                "memories are read again from the topic, as far as memory.rebuild_records and its retention reach",
                reason="they are in the checkpoint's files, not in Redis" if memories else "they were kept in Redis",
            )
        if memories:
            self._store.load_state_dict(memories)

    def _say_what_begins_anew(self, anew: Mapping[str, str]) -> None:
        """Other weights are another line, so that (h, c) of users are made anew from their rings."""
        _log.warning("parts of the checkpoint do not fit, and begin anew; all others are kept", parts=dict(anew))
        if WEIGHTS & anew.keys():
            self.line.name = f"{self.line.name}-{self._learner.events}"

    def run(self) -> None:
        """Run until stopped or exhausted, then leave in good order."""
        try:
            while not self._stop and not self._source.exhausted():
                self.run_once()
            self.finish()
        finally:
            self._learning.shutdown()
            self._checkpointer.close()
            self._checkpoints.close()

    def finish(self) -> None:
        """Commit, write L, records and M, within one deadline, and leave the source."""
        self.status.standing = DRAINING
        self.observer.ticked(self.status)
        self._leave_by = min(self._leave_by, self._clock.monotonic() + self.config.shutdown_seconds)
        self._commit()
        if self._offsets.due():
            _log.error("left without publishing the last batch; the next start does it again")
        else:
            self._write_at_last()
        self._source.close()
        self._sink.close()
        self._observe()

    def _write_at_last(self) -> None:
        try:
            self._write_all(self._leave_by)
        except MemoriesLost as fault:
            _log.error("left without writing memories; the next start reads them again", reason=str(fault))

    def run_once(self) -> None:
        """One tick:

        1. poll a bounded batch
        2. decode it into columns; what is no event goes to the dead letters
        3. recall the users' memories to the device
        4. predict, remember, count and score; learn, but for the last mini-batch
        5. recommend, one list a touched user
        6. commit lists, dead letters and Y in one transaction, while the weights make the step that no list had to
           wait for
        7. when due, write L, records and M in the background
        """
        self.status.stage_seconds = {}
        self._learner.thinning = self._effort.thinning
        began = self._clock.monotonic()
        records: list[Record] = []
        try:
            self._numbers.keep()
            with self._stage("poll"):
                records = self._poll()  # 1
            if records:
                self._process(records)  # 2 to 6
            self._persist()  # 7
        except MemoriesLost as fault:
            self._start_over(fault)
        self._let_go(self._stale)
        self._observe()
        self._follow_the_lag(len(records), self._clock.monotonic() - began)

    def _follow_the_lag(self, records: int, seconds: float) -> None:
        waited, effort = self.status.stage_seconds["poll"], self._effort
        lag, owned = sum(self.status.lag.values()), self._offsets.owned()
        known = bool(owned) and self.status.lag.keys() >= set(owned)
        before = effort.catch_up_left
        if effort.ticked(lag, records, self.config.batch_size, waited, seconds - waited, known):
            _log.info("effort", one_in=effort.thinning, lag=lag)
        if before and not effort.catch_up_left:
            _log.info("the backlog found at the first start is done", events=self._learner.events, lag=lag)

    def _poll(self) -> list[Record]:
        """Also lets rebalances through. A claim that failed is made again by the next poll."""
        try:
            batch_size = min(self.config.batch_size * self._effort.thinning, self._most_events)
            records = self._source.poll(batch_size, self.config.poll_seconds)
            self.status.waiting = self._source.trouble()
            return records
        except Unavailable as fault:
            if not self._stop:
                self._wait_for(fault)
        except StaleToken as fault:
            _log.warning("claim refused", reason=str(fault))
            self._refused([fault.partition])
        return []

    def _process(self, records: Sequence[Record]) -> None:
        mismatches = self._decoder.key_mismatches
        while True:
            self._decoder.key_mismatches = mismatches
            try:
                with self._stage("decode"):
                    events, dead_letters = self._decode(records)  # 2
                with self._stage("recall"):
                    recalled = self._recall(events) if len(events) else None  # 3
                self.status.waiting = ""
                break
            # Nothing of this batch has had an effect yet: it is begun again, for what is still owned then.
            except StaleToken as fault:
                _log.warning("memories refused", reason=str(fault))
                self._refused([fault.partition])
                self._let_go(self._stale)
            except Unavailable as fault:
                if self._stop:
                    return
                self._wait_for(fault)
        if recalled is not None:
            batch, publish_B = recalled
            self.line.recovery.before(batch, events.partition_B)
            if batch.learn_B.any():
                outcome = self._learn(batch, events.partition_B)  # 4
                self._collect_predictions(events, outcome, np.flatnonzero(publish_B))
            else:
                self._learner.remember(batch)
            self._collect_lists(events, batch, np.flatnonzero(publish_B))  # 5
        self._outbox.dead_letters += [
            d for d in dead_letters if self._offsets.publishes(d.record.partition, d.record.offset)
        ]
        self._advance(records)
        self._commit_and_step()  # 6
        self._count(records, events, dead_letters)

    def _commit_and_step(self) -> None:
        """The one waits for brokers, the other for nobody. Whatever becomes of the commit, the step is over."""
        step = self._learning.submit(self._learner.step)
        try:
            with self._stage("commit"):
                self._commit()
        finally:
            wait([step])
        self.status.losses |= step.result()

    def _wait_for(self, fault: Unavailable) -> None:
        """Keep the membership and the health check alive while something outside does not answer."""
        if self._clock.monotonic() >= self._silent_until:
            self._silent_until = self._clock.monotonic() + _SILENT_SECONDS
            _log.warning("waiting", reason=str(fault))
        self._rest(str(fault), _RETRY_SECONDS)
        self._source.serve()

    def _rest(self, reason: str, seconds: float) -> None:
        self.status.waiting = reason
        self._pause(seconds)
        self.observer.ticked(self.status)

    # -- ownership ---------------------------------------------------------------------------------------------

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        """See `PartitionOwner.kept`. A store that knows no topic is as old as what was learned."""
        before, kept = self._learned_of.topic_id, self._store.kept(partitions)
        return {p: entry if entry.topic_id else replace(entry, topic_id=before) for p, entry in kept.items()}

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        """See `PartitionOwner.claim`: fence off, then start at M."""
        if self._numbers.foreign:
            self._numbers.renumber()
        self._learn_of(self._source.identity())
        claims = self._memories.claim(committed)
        starts = {}
        for partition, at in committed.items():
            floor = self._floor(partition, at, claims[partition])
            learned = self.line.offsets.get(partition, 0)
            # An older checkpoint had to be used: what is below the floor will not be read again.
            self.status.unlearned += max(0, floor - learned) if learned else 0
            starts[partition] = self._offsets.claim(partition, published=at.next_offset, learned=learned, floor=floor)
            self._first_partitions = max(self._first_partitions, at.mark.partitions)
            self._cluster_id = at.mark.cluster_id
            self._topic_ids[partition] = at.mark.topic_id
        _log.info("partitions claimed", start={str(p): start for p, start in starts.items()})
        return starts

    def _learn_of(self, source: SourceId) -> None:
        """L of another topic means nothing here."""
        if not self._learned_of.is_same(source):
            _log.error(
                "the topic was deleted and made again: its offsets begin again, users start from what is remembered",
                topic=source.name,
                topic_id=source.topic_id,
                before=self._learned_of.topic_id,
            )
            self.line.forget_offsets()
            self._learned_of = source
        self._learned_of = source.completed(self._learned_of)

    def _floor(self, partition: int, at: Committed, claim: Claim) -> int:
        """M as it is, or, where the store has none, as far back as memories are to be rebuilt from; under another
        topic's id nothing has to be: users have their older records."""
        if claim.before:
            self._say_made_again(partition, at, claim.before)
        elif at.mark.is_ahead_of(claim.floor):
            self.status.memories_lost += 1
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
        self.line.offsets.pop(partition, None)

    def release(self, partitions: Collection[int]) -> None:
        """See `PartitionOwner.release`: write what is owed while the partitions are still ours, then forget them."""
        try:
            if not self._offsets.due():
                self._write_all(self._clock.monotonic() + self.config.shutdown_seconds / 2)
        finally:
            self.drop(partitions)

    def drop(self, partitions: Collection[int]) -> None:
        """See `PartitionOwner.drop`."""
        self._checkpointer.hurry()
        gone = set(partitions)
        self._memories.drop(gone)
        self._offsets.forget(gone)
        outbox = self._outbox
        outbox.recommendations = [r for r in outbox.recommendations if r.partition not in gone]
        outbox.dead_letters = [d for d in outbox.dead_letters if d.record.partition not in gone]
        for partition in gone:
            self._stood.pop(partition, None)
        _log.info("partitions given up", partitions=sorted(gone))

    def _refused(self, partitions: Collection[int]) -> None:
        """Another worker has claimed these, or did so for a moment: which of the two, the group will say."""
        self._stale |= {partition for partition in partitions if partition in self._offsets}

    def _let_go(self, partitions: Collection[int]) -> None:
        """Drop partitions, to claim them again as far as they are still this worker's."""
        if partitions:
            self.drop(partitions)
            self._source.reclaim(partitions)
            self._stale = set()

    def _start_over(self, fault: MemoriesLost) -> None:
        """The store may be older than what is on the device, and give item numbers again that are in use here."""
        _log.error("memories lost, claiming again", reason=str(fault))
        while self._checkpointer.busy():  # with tokens and numbers that end here
            self._settle_checkpoint(self._checkpointer.finished(0.1))
        self._store.begin_again()
        self._numbers.begin_again()
        self._memories.ancestors = {}
        self._let_go(self._offsets.owned())

    # -- one tick, step by step --------------------------------------------------------------------------------

    def _decode(self, records: Sequence[Record]) -> tuple[Events, list[DeadLetter]]:
        return self._decoder.decode([record for record in records if record.partition in self._offsets])

    def _recall(self, events: Events) -> tuple[Batch, NDArray[np.bool_]]:
        """The batch with its users on the device, and which of its events are still to be published."""
        keys = list(zip(events.partition_B.tolist(), events.users, strict=True))
        slot_B = self._memories.recall(keys, self._source.moved_from())
        row_B, new_B = self.line.admit(events.items, self._most_events, self._numbers.of)
        effects = self._offsets.effects(events.partition_B, events.offset_B, self._learner.users.next_offset_S[slot_B])
        self.status.unlearned += effects.unlearned
        self.status.listed_again += effects.again
        self.status.overlap += int(np.sum(effects.learn_B & ~effects.publish_B))
        batch = Batch(
            slot_B=slot_B,
            row_B=row_B,
            number_B=self._learner.catalog.number_N[row_B],
            category_B=events.category_B,
            type_B=events.type_B.astype(np.uint8),
            ts_B=events.ts_B,
            next_offset_B=events.offset_B + 1,
            target_B=self._is_target[events.type_B],
            remember_B=effects.remember_B,
            learn_B=effects.learn_B,
            new_B=new_B,
        )
        self.status.events_not_remembered += int(np.sum(batch.remember_B & (batch.number_B == 0)))
        return batch, effects.publish_B

    def _learn(self, batch: Batch, partition_B: NDArray[np.integer]) -> Outcome:
        outcome = self._learner.learn(batch)
        with self._stage("score"):
            alarms = self.line.measure(batch, outcome)
        for alarm in alarms:
            self.status.drift_alarms[alarm.stream] += 1
            self._note("alarm", f"{alarm.stream}: hit rate {alarm.before:.3f} to {alarm.after:.3f}")
            _log.warning("drift", stream=alarm.stream, before=alarm.before, after=alarm.after, at=alarm.at)
        for given in self.line.recover(alarms, batch, outcome, partition_B):
            self.status.drift_answers[given.name] += 1
            self._note("rollback" if given.name == ROLLBACK else "answer", given.text)
            _log.warning("drift answered", answer=given.name, text=given.text, events=self._learner.events)
        self.status.losses |= outcome.losses
        return outcome

    def _collect_predictions(self, events: Events, outcome: Outcome, published: NDArray[np.int64]) -> None:
        if self._predictions:
            self._outbox.predictions += self.line.predictions(events, outcome, published)

    def _collect_lists(self, events: Events, batch: Batch, published: NDArray[np.int64]) -> None:
        if len(published):
            with self._stage("recommend"):
                self._outbox.recommendations += self.line.recommend(events, batch.slot_B, published)

    def _advance(self, records: Sequence[Record]) -> None:
        ends = {record.partition: record.offset + 1 for record in records if record.partition in self._offsets}
        for partition, end in ends.items():
            self.line.offsets[partition] = max(end, self.line.offsets.get(partition, 0))
        self._offsets.process(ends)

    def _commit(self) -> None:
        """Publish the outbox and Y. After an abort, let rebalances through and send what is still owned again."""
        aborts = 0
        while due := self._offsets.due():
            try:
                self._sink.commit(self._outbox, due, self._source.membership(), self._marks(due))
            except TransactionAborted as fault:
                aborts += 1
                if aborts == _MOST_ABORTS:
                    raise RestartNeeded(
                        f"a transaction was aborted {aborts} times in a row, at last: {fault}"
                    ) from fault
                self.status.transactions_aborted += 1
                _log.warning("transaction aborted, sending again", reason=str(fault))
                if aborts > 1:
                    self._rest(str(fault), min(_ABORT_SECONDS * 2 ** (aborts - 2), _MOST_ABORT_SECONDS))
                self._source.serve()
            except Unavailable as fault:
                if self._clock.monotonic() >= self._leave_by:
                    return
                self._wait_for(fault)
            else:
                self.status.waiting = ""
                self._offsets.publish(due)
                self.status.transactions_committed += 1
                self.status.lists += len(self._outbox.recommendations)
        self._outbox = Outputs()

    def _marks(self, due: Mapping[int, int]) -> dict[int, Mark]:
        """What the next owner is to find in the store, where it is durable, and what it is to know of the topic."""
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

    # -- persistence -------------------------------------------------------------------------------------------

    def _persist(self) -> None:
        if self._offsets.due():
            return  # left unpublished on the way out: nothing may be written past Y
        self._settle(self._checkpointer.finished())
        if self._checkpointer.due():
            if self._unwritten():
                self._begin_write()
            elif self._stands_further():
                self._write_standing()
        while self._memories.full() and not self._stop:
            # Too much is owed: consumption pauses, membership and health do not.
            if not self._checkpointer.busy():
                self._begin_write()
            written = self._checkpointer.finished(0.1)
            self._settle(written)
            if written is not None and written.failed:
                self.status.waiting = f"too many memories wait for the store: {written.failed}"
                self._pause(_RETRY_SECONDS)
            self._source.serve()
            self.observer.ticked(self.status)

    def _unwritten(self) -> bool:
        """Whether anything changed since the last write began, or that one has not done all it had to."""
        moved = self.line.offsets != self._written_offsets or self._offsets.floors() != self._offsets.processed()
        return bool(self._offsets.owned()) and (moved or self._memories.pending() > 0)

    def _stands_further(self) -> bool:
        """Whether only offsets without a record came: without a word about them, the next owner could not tell whether
        retention has removed something else."""
        processed = self._offsets.processed()
        return any(at > max(processed[p], self._stood.get(p, 0)) for p, at in self._source.stood(processed).items())

    def _write_standing(self) -> None:
        """Nothing was learned: a durable store takes M and standing alone, the twin's are in the checkpoint."""
        if not self._store.durable:
            return self._begin_write()
        self._write_began = self._clock.now()
        floors = self._offsets.processed()
        self._stood = dict(self._source.stood(floors))
        self._checkpointer.start(None, {}, self._memories.tokens, floors, self._stood)

    def _begin_write(self) -> None:
        self._written_offsets = dict(self.line.offsets)
        self._write_began = self._clock.now()
        owed = self._memories.take_owed()
        floors = self._offsets.processed()
        self._stood = dict(self._source.stood(floors))
        if not self._store.durable:
            written = Written(tokens=dict(self._memories.tokens))
            save_memories(self._store, owed, self._memories.tokens, floors, self._stood, written)
            self._settle_records(written)
        with self._stage("copy"):
            snapshot = self.line.snapshot(self._identity(), self._sink.state_dict(), self._store.state_dict())
            snapshot = replace(snapshot, meta={**snapshot.meta, "effort": self._effort.state_dict()})
        self._checkpointer.start(snapshot, owed, self._memories.tokens, floors, self._stood)

    def _identity(self) -> SourceId:
        """The source as it is known now, or was when the checkpoint was written that this line goes on from."""
        ours = self._source.identity()
        return ours.completed(self._learned_of) if ours.is_same(self._learned_of) else ours

    def _write_all(self, deadline: float) -> None:
        """Write everything now; what the deadline cuts off is redone by whoever comes next."""
        while self._checkpointer.busy() and self._clock.monotonic() < deadline:
            self._settle(self._checkpointer.finished(0.05))
        if self._checkpointer.busy():
            return
        if self._unwritten():
            self._begin_write()
        elif self._stands_further():
            self._write_standing()
        else:
            return
        self._settle(self._checkpointer.finished(max(0.0, deadline - self._clock.monotonic())))

    def _settle(self, written: Written | None) -> None:
        if written is None:
            return
        self._settle_records(written)
        self._settle_checkpoint(written)
        if written.lost:
            raise MemoriesLost(written.failed)

    def _settle_checkpoint(self, written: Written | None) -> None:
        if written is None:
            return
        if written.checkpoint_ts is not None:
            self.status.checkpoints += 1
            self.status.checkpoint_seconds = written.seconds
            self.status.checkpoint_bytes = self._checkpoints.bytes
            self.status.last_checkpoint_ts = written.checkpoint_ts
        if written.failed:
            self._stood = {}
            self.status.checkpoint_failures += 1
            if written.checkpoint_ts is None:
                self._written_offsets = {}
        else:
            self.status.unwritten_since = self._write_began

    def _settle_records(self, written: Written) -> None:
        for partition, records in written.records.items():
            self._memories.written(partition, records)
        for partition, floor in written.floors.items():
            self._offsets.set_floor(partition, floor)
        self.status.stale_writes += len(written.stale)
        # By a token that is still ours; a partition may have been claimed again since the write began.
        self._refused([p for p in written.stale if written.tokens.get(p) == self._memories.tokens.get(p)])

    # -- telling -----------------------------------------------------------------------------------------------

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return self.status.stage(name, self._clock.monotonic)

    def _note(self, kind: str, text: str) -> None:
        """For reports; see `Note`."""
        self.status.notes.append(Note(self.line.monitor.events, kind, text))

    def _count(self, records: Sequence[Record], events: Events, dead_letters: Sequence[DeadLetter]) -> None:
        status, now = self.status, self._clock.now()
        status.records += len(records)
        status.events += len(events)
        status.batch_events = len(events)
        status.dead_letters.update(letter.error for letter in dead_letters)
        for letter in dead_letters:
            status.set_aside.add(letter.error, letter.reason, letter.record.place)
        for part, reason, place in self._decoder.dropped:
            if status.fields_dropped.add(part, reason, place):
                _log.warning("an optional field of an event is left out", reason=reason, place=place)
        status.key_mismatches = self._decoder.key_mismatches
        status.latencies.extend(now - record.timestamp_ms / 1000 for record in records)
        if len(events):
            status.last_event_ts = float(events.ts_B[-1])

    def _standing(self) -> Standing:
        if math.isfinite(self._leave_by):
            return DRAINING
        owned = len(self._offsets.owned())
        return Standing(True, f"owns {owned} of the partitions") if owned else self._source.standing()

    def _unwritten_since(self) -> float:
        if not (self._checkpointer.busy() or self._unwritten()):
            return math.nan
        since = self.status.unwritten_since
        return self._clock.now() if math.isnan(since) else since

    def _observe(self) -> None:
        status, learner = self.status, self._learner
        status.standing, status.unwritten_since = self._standing(), self._unwritten_since()
        status.lag = self._source.lag(self._offsets.processed())
        status.item_ids_used = self._store.item_ids_used()
        status.items, status.items_evicted = len(learner.catalog), learner.catalog.evicted - self._evicted_before
        status.users_on_device, status.rows_pending = len(learner.users), self._memories.pending()
        status.lists_shortened = self._sink.shortened
        status.learning_steps = learner.steps - self._steps_before
        status.learning_rate = learner.config.encoder_learning_rate * learner.rate_factor
        status.effort = 1 / learner.thinning
        status.learning_rate_factor, status.users_rebuilt = learner.rate_factor, self.line.recovery.rebuilt
        for part, guard in learner.guards.items():
            status.steps_skipped[part] = guard.skipped - self._skipped_before.get(part, 0)
        status.referees = {part: (referee.fast, referee.slow) for part, referee in learner.referees.items()}
        if self._ticks % _REPORT_EVERY_TICKS == 0:
            status.quality = self.line.monitor.report()
        self._ticks += 1
        self.observer.ticked(status)

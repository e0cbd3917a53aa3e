"""The loop of a worker: consume, remember, predict, score, learn, recommend, commit.

Each `run_once` is one tick. Partitions are claimed only inside `poll`, between two ticks; they may also be released or
dropped while a tick waits for a service. No transaction is open then.
"""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from model.pace import Pace
from stream_worker.core.decoder import Decoder
from stream_worker.core.effort import Effort
from stream_worker.core.errors import MemoriesLost, StaleToken, Unavailable
from stream_worker.core.events import Events, Record
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.core.offsets import Offsets
from stream_worker.core.status import DRAINING, Observer, Status
from stream_worker.logs import get_logger
from stream_worker.loop.decoding import Decoding
from stream_worker.loop.duplicates import kept_of
from stream_worker.loop.entrance import Entrance
from stream_worker.loop.hearing import Hearing, InOrder
from stream_worker.loop.item_numbers import ItemNumbers
from stream_worker.loop.items import Items
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.limits import Limits
from stream_worker.loop.line import Line
from stream_worker.loop.logins import Logins
from stream_worker.loop.memories import Memories
from stream_worker.loop.outside import Outside
from stream_worker.loop.ownership import Ownership
from stream_worker.loop.pacing import Pacing
from stream_worker.loop.persistence import Persistence
from stream_worker.loop.pieces import Piece, cut, next_offsets
from stream_worker.loop.publisher import Publisher
from stream_worker.loop.recalling import Recalled, Recalling
from stream_worker.loop.refusals import Refusals
from stream_worker.loop.reporting import Reporter
from stream_worker.loop.restoring import Restoring
from stream_worker.loop.shared_lists import SharedLists
from stream_worker.loop.time_order import in_time_order
from stream_worker.loop.waiting import Waiting
from stream_worker.loop.weights import WeightsOfOthers
from stream_worker.loop.worker_config import WorkerConfig

_log = get_logger(__name__)
T = TypeVar("T")
# Events, in batches, after which records of several are left for a commit of their own: a poll is bounded by records,
# and each may hold hundreds. Bounds memory, and the age of a list. As many as the thinning of effort makes (not tuned).
_BATCHES_DECODED = 16


class Worker:
    """A worker: runs the loop until it is stopped or its source is exhausted.

    config: `[worker]` of the configuration.
    outside: everything that the worker talks to.
    line: the weights, catalogue and metrics that it works on.
    decoder: decodes records to events.
    limits: bounds from other sections of the configuration.
    effort: the thinning, which follows the lag.
    predictions: True to publish the list that was made before each examined event, before the rules and after them.
    observer: told how the worker stands after every tick.
    item_decoder: decodes what is told of items; None for contract 1's field names.
    in_order: puts heard and own records of a tick into one order.
    """

    def __init__(
        self,
        config: WorkerConfig,
        outside: Outside,
        line: Line,
        decoder: Decoder,
        limits: Limits,
        effort: Effort,
        *,
        predictions: bool = False,
        observer: Observer | None = None,
        item_decoder: ItemDecoder | None = None,
        in_order: InOrder = in_time_order,
    ) -> None:
        self.config, self.line, self._predictions = config, line, predictions
        self.status = status = Status()
        self._outside, self._source, self._clock = outside, outside.source, outside.clock
        self._learner = learner = line.learner
        self._pace = Pace(heard_one_in=effort.heard_one_in)
        self._learning = ThreadPoolExecutor(1, thread_name_prefix="learning")
        ids, joins = kept_of(decoder.config)
        learner.users.keep(ids, joins)
        layout = MemoryFormat(learner.config.ring_size, learner.config.dim, ids, joins, sets=1)
        self._offsets = offsets = Offsets()
        self._leaving = leaving = Leaving(self._clock, config.shutdown_seconds)
        self._numbers = numbers = ItemNumbers(outside.store, learner.catalog, self._clock)
        rebuild = partial(learner.rebuild, ids_of_numbers=outside.store.item_ids)
        self._memories = memories = Memories(
            outside.store, learner.users, rebuild, layout, limits.max_pending, status.memory
        )
        logins = Logins(memories, learner.users, rebuild, offsets, status.memory)
        self._reporter = reporter = Reporter(status, outside, line, offsets, leaving, observer)
        self._weights = WeightsOfOthers(outside, line, status.sharing, list(decoder.config.named))
        self._hearing = hearing = Hearing(outside, line, numbers, offsets, status.hearing, limits.hearing, in_order)
        self._decoding = Decoding(decoder, hearing, offsets, _BATCHES_DECODED * config.batch_size)
        self._pacing = Pacing(effort, config.batch_size, line, hearing, offsets, status)
        heard_logins = Logins(hearing.users, learner.users, rebuild, offsets, status.memory)
        self._waiting = waiting = Waiting(outside, reporter)
        self._refusals = refusals = Refusals(offsets)
        self._publisher = Publisher(outside, offsets, leaving, waiting, status)
        names = ChainMap(line.categories, decoder.categories)
        self._shared = SharedLists(line, outside.source, offsets, limits.shared, names)
        self._items = items = Items(
            outside, item_decoder or ItemDecoder(ItemsConfig()), line, waiting, leaving, reporter
        )
        self._persistence = Persistence(
            outside, line, memories, items, offsets, refusals, effort, leaving, waiting, reporter,
            limits.checkpoint_seconds,
        )  # fmt: skip
        self._ownership = Ownership(
            outside, line, memories, numbers, items, offsets, refusals, hearing, self._publisher, self._persistence,
            leaving, status.takeovers, limits.rebuild_records,
        )  # fmt: skip
        self._entrance = Entrance(outside, hearing, self._ownership)
        self._between_ticks: tuple[Callable[[], None], ...] = (
            self._persistence.run, hearing.keep, self._entrance.keep, self._weights.hear,
        )  # fmt: skip
        # The largest piece of a batch, in events: its users have to fit on the device, its new items into the tables.
        rows = min(learner.users.max_users, learner.users.max_heard or sys.maxsize, learner.config.max_items)
        # What is only heard costs little an event, but a piece of it as much as any.
        times = effort.most if outside.heard is None else max(effort.most, _BATCHES_DECODED)
        self._most_events = min(config.batch_size * times, max(config.batch_size, rows // 2))
        decoder.hold_to(rows // 2)
        if decoder.config.sources("each"):
            self._most_events = max(self._most_events, min(decoder.config.most_each, rows // 2))
        self._recalling = Recalling(
            line, outside.source, memories, logins, heard_logins, hearing, offsets, status, reporter,
            decoder.config.event_types, self._most_events, numbers.of,
        )  # fmt: skip

    # -- life --------------------------------------------------------------------------------------------------

    @property
    def observer(self) -> Observer:
        return self._reporter.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._reporter.observer = observer

    def request_stop(self) -> None:
        """Finish the batch and leave within `shutdown_seconds`; safe from signal handlers and other threads."""
        self._leaving.request()

    @property
    def stopping(self) -> bool:
        return self._leaving.requested

    def start(
        self, snapshot: Snapshot | None = None, *, own: bool = True, ancestors: Mapping[str, bytes] | None = None
    ) -> None:
        """Load a snapshot, then subscribe to the source, or hear first what the others have read.

        snapshot: the checkpoint to go on from; None to start from nothing.
        own: True if this line goes on with the snapshot's name; otherwise it is a new line that starts from it.
        ancestors: user -> memory record from which an unknown user starts (see `Memories`).
        """
        if snapshot is not None:
            Restoring(self._outside, self.line, self._numbers, self._pacing.effort).restore(snapshot, own)
            self._items.begin(snapshot.meta)
        else:
            self._pacing.effort.begin_without_a_past()
            self._items.begin({})
        self._reporter.begin()
        self._memories.ancestors = ancestors or {}
        self._memories.set_line(self.line.name)
        self._weights.begin()
        self._entrance.begin()

    def run(self) -> None:
        """Run until stopped or exhausted, then leave in good order."""
        try:
            while not self.stopping and not self._source.exhausted():
                self.run_once()
            self.finish()
        finally:
            self.close()

    def close(self) -> None:
        """End the threads of this worker; nothing more is written."""
        self._learning.shutdown()
        self._persistence.close()
        self._outside.checkpoints.close()

    def finish(self) -> None:
        """Commit, write L, records and M, all before one deadline, and leave the source."""
        self.status.standing = DRAINING
        self._reporter.ticked()
        self._leaving.begin()
        self._commit()
        if self._offsets.due():
            _log.error("left without publishing the last batch; the next start does it again")
        else:
            self._write_at_last()
        self._source.close()
        self._items.close()
        self._weights.close()
        self._hearing.close()
        self._outside.sink.close()
        self._observe()

    def _write_at_last(self) -> None:
        try:
            self._persistence.write_all(self._leaving.by)
        except MemoriesLost as fault:
            _log.error("left without writing memories; the next start reads them again", reason=str(fault))

    def run_once(self) -> None:
        """Run one tick:

        1. poll a bounded batch, with what is heard of other workers' partitions, and take in what was told of items
        2. decode it into columns; a record that is no event becomes a dead letter, where it is owned
        3. recall the users' memories to the device
        4. predict, remember, count and score; learn all mini-batches but the last one
        5. make one list per user with an owned event; 3 to 5 piece by piece, where records hold more events than fit
           at once
        6. commit lists, dead letters and Y in one transaction, while the weights make the last step, so that no list
           has to wait for it; 2 to 6 again and again, where records hold very many events
        7. do the jobs between ticks, in order: when due, write L, records and M in the background; begin to hear what
           is not owned; join the group
        """
        self.status.stage_seconds = {}
        self._pace = self._pacing.now(self._pace)
        began = self._clock.monotonic()
        records: list[Record] = []
        try:
            self._numbers.keep()
            with self._reporter.stage("poll"):
                records = self._poll()  # 1
            with self._reporter.stage("items"):
                records = records if self._items.take(busy=bool(records)) else []
            if records:
                self._process(records)  # 2 to 6
            for job in self._between_ticks:
                job()  # 7
        except MemoriesLost as fault:
            self._ownership.start_over(fault)
        self._ownership.let_go()
        self._observe()
        self._pacing.follow(len(records), self._clock.monotonic() - began)

    def _poll(self) -> list[Record]:
        """Poll a batch of what is owned, and take to it what is heard, since a claim ends that."""
        self.status.waiting = ""
        own = self._poll_own() if self._entrance.passed else []
        self.status.waiting = self.status.waiting or self._hearing.trouble()
        wait_seconds = 0.0 if self._entrance.passed else self.config.poll_seconds
        behind, most = self._pacing.behind(), self._pacing.most_heard()
        return self._hearing.joined(own, behind=behind, most=most, wait_seconds=wait_seconds)

    def _poll_own(self) -> list[Record]:
        """Poll a batch, which also lets rebalances through. The next poll tries a failed claim again."""
        try:
            batch_size = min(self._pacing.most_owned(), self._most_events)
            records = self._source.poll(batch_size, 0.0 if self._hearing.more else self.config.poll_seconds)
            self.status.waiting = self._source.trouble()
            return records
        except Unavailable as fault:
            if not self.stopping:
                self._waiting.wait_for(fault)
        except StaleToken as fault:
            _log.warning("claim refused", reason=str(fault))
            self._refusals.add([fault.partition])
        return []

    def _process(self, records: Sequence[Record]) -> None:
        """Work on what was polled; where its records hold very many events, there are several commits."""
        rest = records
        while rest:
            self._decoding.begin()
            decoded = self._answered(partial(self._decode, rest))
            if decoded is None:
                return
            whole, rest = decoded
            if done := self._work_in_pieces(whole):
                self._commit_and_step()  # 6
                self._reporter.count(done, self._decoding.decoder)
            if self.stopping:
                return

    def _work_in_pieces(self, whole: Piece) -> list[Piece]:
        """Work on pieces that fit into the tables of a tick; return those that were done before a stop."""
        done: list[Piece] = []
        for piece in cut(whole, self._most_events):
            recalled = self._answered(partial(self._recalled, piece))
            if recalled is None:
                break
            self._work_on(*recalled)
            done.append(recalled[0])
        return done

    def _answered(self, attempt: Callable[[], T]) -> T | None:
        """Return what an attempt returns, once services answer; None if the worker is stopped before that.

        No event of the attempt has an effect, so it begins again with the partitions that are still owned.
        """
        while True:
            try:
                result = attempt()
            except StaleToken as fault:
                _log.warning("memories refused", reason=str(fault))
                self._refusals.add([fault.partition])
                self._ownership.let_go()
            except Unavailable as fault:
                if self.stopping:
                    return None
                self._waiting.wait_for(fault)
            else:
                self.status.waiting = ""
                return result

    def _decode(self, records: Sequence[Record]) -> tuple[Piece, Sequence[Record]]:
        with self._reporter.stage("decode"):
            return self._decoding.decode(records)  # 2

    def _recalled(self, piece: Piece) -> tuple[Piece, Recalled | None]:
        """Return what of a piece is still owned or heard, and its events with their users on the device, if any."""
        piece = piece.of({*self._offsets.owned(), *self._hearing.learned()})
        with self._reporter.stage("recall"):
            return piece, self._recalling.recall(piece)  # 3

    def _work_on(self, piece: Piece, recalled: Recalled | None) -> None:
        """Let the events of a piece take effect, and put its outputs into the outbox."""
        if recalled is not None:
            batch, fresh = recalled.batch, recalled.fresh
            self._pace = self._pacing.pace()
            self.line.recovery.before(batch, fresh.events.partition_B, self._outside.store.item_ids)
            if batch.learn_B.any():
                outcome = self._learn(batch, fresh.events.partition_B)  # 4
                self._collect_predictions(fresh.events, outcome, np.flatnonzero(fresh.effects.publish_B))
            elif len(batch):
                self._learner.remember(batch, self._pace, self._reporter.stage)
            self.line.counted.add(*recalled.past())
            self._collect_lists(piece.events, recalled.slot_B, np.flatnonzero(recalled.publish_B))  # 5
        self._publisher.outbox.dead_letters += [
            d for d in piece.dead_letters if self._offsets.publishes(d.record.partition, d.record.offset)
        ]
        self._advance(piece.records)

    def _commit_and_step(self) -> None:
        """Commit while another thread makes the last step of the weights; the step has ended when this returns.

        The commit mostly waits for the brokers, so the two hardly slow each other down.
        """
        step = self._learning.submit(self._learner.step, self._pace, stage=self._reporter.stage)
        try:
            with self._reporter.stage("commit"):
                self._commit()
        finally:
            wait([step])
        self.status.learning.losses |= step.result()

    # -- one tick, step by step --------------------------------------------------------------------------------

    def _learn(self, batch: Batch, partition_B: NDArray[np.integer]) -> Outcome:
        outcome = self._learner.learn(batch, self._pace, self._reporter.stage)
        self._shared.see(batch.row_B[batch.learn_B])
        self._hearing.count(batch, outcome, self._pace)
        with self._reporter.stage("score"):
            alarms = self.line.measure(batch, outcome)
        self._reporter.alarms(alarms)
        self._reporter.answers(self.line.recover(alarms, batch, outcome, partition_B))
        self.status.learning.losses |= outcome.losses
        return outcome

    def _collect_predictions(self, events: Events, outcome: Outcome, published: NDArray[np.int64]) -> None:
        if self._predictions:
            self._publisher.outbox.predictions += self.line.predictions(events, outcome, published)
            self._publisher.outbox.after_rules += self.line.after_rules(events, outcome, published)

    def _collect_lists(self, events: Events, slot_B: NDArray[np.int64], published: NDArray[np.int64]) -> None:
        if len(published):
            with self._reporter.stage("recommend"):
                lists = self.line.recommend(events, slot_B, published, self._pace)
                self._publisher.outbox.recommendations += lists
            with self._reporter.stage("shared"):
                self._shared.collect(self._publisher.outbox, events, published)

    def _advance(self, records: Sequence[Record]) -> None:
        ends = next_offsets(records)
        self.line.advance(ends, self._offsets.owned())
        self._offsets.process({partition: end for partition, end in ends.items() if partition in self._offsets})

    def _commit(self) -> None:
        self._publisher.publish(self._ownership.marks)

    def _observe(self) -> None:
        self._persistence.observe()
        self._memories.observe()
        self._hearing.observe()
        self._reporter.observe(self._pace)

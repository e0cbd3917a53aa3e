"""Counts of what a worker does, and how it stands: brings its `Status` up to now, and tells its observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from model.pace import Pace
from stream_worker.core.decoder import Decoder, DroppedField
from stream_worker.core.drift import Alarm
from stream_worker.core.drift_answers import ROLLBACK
from stream_worker.core.events import DeadLetter, Events
from stream_worker.core.item_rules import ItemRules
from stream_worker.core.offsets import Offsets
from stream_worker.core.status import (
    DRAINING,
    DecisionReading,
    ItemReading,
    NoObserver,
    Note,
    Observer,
    Standing,
    Status,
)
from stream_worker.logs import get_logger
from stream_worker.loop.leaving import Leaving
from stream_worker.loop.line import Line
from stream_worker.loop.outside import Outside
from stream_worker.loop.pieces import Piece
from stream_worker.loop.recovery import Given

_REPORT_EVERY_TICKS = 16
_log = get_logger(__name__)


class Reporter:
    """The writer of the `Status` of one worker; shows it to `observer`."""

    def __init__(
        self,
        status: Status,
        outside: Outside,
        line: Line,
        offsets: Offsets,
        leaving: Leaving,
        observer: Observer | None = None,
    ) -> None:
        self.status = status
        self.observer: Observer = observer or NoObserver()
        self._outside = outside
        self._line, self._learner = line, line.learner
        self._offsets, self._leaving = offsets, leaving
        self._ticks = 0
        self._steps_before = self._evicted_before = 0
        self._skipped_before: dict[str, int] = {}

    def begin(self) -> None:
        """Count steps, evictions and skips from now on; those of the checkpoint were another process's."""
        self._steps_before, self._evicted_before = self._learner.steps, self._learner.catalog.evicted
        self._skipped_before = {part: guard.skipped for part, guard in self._learner.guards.items()}

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Add the time of a block to this tick's `name`."""
        return self.status.stage(name, self._outside.clock.monotonic)

    def note(self, kind: str, text: str) -> None:
        """Keep a `Note` for reports."""
        self.status.notes.append(Note(self._line.monitor.events, kind, text))

    def count(self, done: Sequence[Piece], decoder: Decoder) -> None:
        """Count what was owned of a finished batch, piece by piece, and what its decoder set aside or left out."""
        counts, now = self.status.consuming, self._outside.clock.now()
        dead_letters = [letter for piece in done for letter in piece.dead_letters]
        done = [piece.of(self._offsets.owned()) for piece in done]
        records = [record for piece in done for record in piece.records]
        counts.records += len(records)
        counts.batch_events = sum(len(piece.events) for piece in done)
        counts.events += counts.batch_events
        counts.dead_letters.update(letter.error for letter in dead_letters)
        for letter in dead_letters:
            counts.set_aside.add(letter.error, letter.reason, letter.record.place)
        for part, reason, place in decoder.dropped:
            if counts.fields_dropped.add(part, reason, place):
                _log.warning("an optional field of an event is left out", reason=reason, place=place)
        counts.key_mismatches, counts.ignored = decoder.key_mismatches, Counter(decoder.ignored)
        counts.latencies.extend(now - record.timestamp_ms / 1000 for record in records)
        for piece in done:
            if len(piece.events):
                counts.last_event_ts = float(piece.events.ts_B[-1])

    def duplicates(self, events: Events, repeated_B: NDArray[np.bool_]) -> None:
        """Count the published events that came before, and log the first one.

        repeated_B: True for these.
        """
        counts, repeated = self.status.consuming, np.flatnonzero(repeated_B)
        if len(repeated) and not counts.duplicates:
            first = int(repeated[0])
            _log.warning(
                "an event came before, with the same id: it counts in a list, and is neither remembered nor learned",
                user=events.users[first],
                item=events.items[first],
                place=f"partition {events.partition_B[first]}, offset {events.offset_B[first]}",
            )
        counts.duplicates += len(repeated)

    def count_told(self, reading: ItemReading, records: int, changes: int, unreadable: Sequence[DeadLetter]) -> None:
        """Count a batch of what was told of items or decided on them; the first fault of each kind is logged."""
        reading.records += records
        reading.changes += changes
        for letter in unreadable:
            if reading.unreadable.add(letter.error, letter.reason, letter.record.place):
                what = "a decision" if isinstance(reading, DecisionReading) else "what is told of an item"
                _log.warning(f"{what} can't be read", reason=letter.reason, place=letter.record.place)

    def count_dropped(self, dropped: Sequence[DroppedField]) -> None:
        """Count optional parts of items that could not be read; the first one of each kind is logged."""
        for part, reason, place in dropped:
            if self.status.items.fields_dropped.add(part, reason, place):
                _log.warning("an optional part of an item is left out", reason=reason, place=place)

    def count_rules(self, rules: ItemRules) -> None:
        """Count the expressions that failed on items of a batch; the first failure of each is logged."""
        failed = self.status.items.rules_failed
        for key, count in rules.failures.items():
            if key not in failed:
                _log.warning("an expression fails on an item", key=key, reason=rules.reasons[key])
            failed[key] += count

    def alarms(self, alarms: Iterable[Alarm]) -> None:
        """Count drift alarms, and keep a note and a log line of each."""
        for alarm in alarms:
            self.status.drift.alarms[alarm.stream] += 1
            self.note("alarm", f"{alarm.stream}: hit rate {alarm.before:.3f} to {alarm.after:.3f}")
            _log.warning("drift", stream=alarm.stream, before=alarm.before, after=alarm.after, at=alarm.at)

    def answers(self, answers: Iterable[Given]) -> None:
        """Count answers to drift, and keep a note and a log line of each."""
        for given in answers:
            self.status.drift.answers[given.name] += 1
            self.note("rollback" if given.name == ROLLBACK else "answer", given.text)
            _log.warning("drift answered", answer=given.name, text=given.text, events=self._learner.events)

    def standing(self) -> Standing:
        """Return the place of the worker in its group, as it is now."""
        if self._leaving.begun():
            return DRAINING
        owned = len(self._offsets.owned())
        if owned:
            return Standing(True, f"owns {owned} of the partitions")
        return self._outside.source.standing()

    def observe(self, pace: Pace) -> None:
        """Bring what changes between batches up to now, and tell the observer.

        pace: the pace of the last tick.
        """
        status, catalog, outside = self.status, self._learner.catalog, self._outside
        status.standing = self.standing()
        status.consuming.lag = outside.source.lag(self._offsets.processed())
        if not status.hearing.on:
            status.hearing.unheard = len({*outside.source.partitions()} - {*self._offsets.owned()})
        status.catalogue.items, status.catalogue.evicted = len(catalog), catalog.evicted - self._evicted_before
        status.catalogue.ids_used = outside.store.item_ids_used()
        self._observe_learning(pace)
        if self._ticks % _REPORT_EVERY_TICKS == 0:
            status.quality = self._line.monitor.report()
        self._ticks += 1
        self.ticked()

    def _observe_learning(self, pace: Pace) -> None:
        learning, learner = self.status.learning, self._learner
        learning.steps = learner.steps - self._steps_before
        learning.rate, learning.rate_factor = learner.config.encoder_learning_rate * pace.rate_factor, pace.rate_factor
        learning.effort = 1 / pace.thinning
        learning.users_rebuilt = self._line.recovery.rebuilt
        for part, guard in learner.guards.items():
            learning.steps_skipped[part] = guard.skipped - self._skipped_before.get(part, 0)
        learning.referees = {part: (referee.fast, referee.slow) for part, referee in learner.referees.items()}

    def ticked(self) -> None:
        """Tell the observer."""
        self.observer.ticked(self.status)

"""Replays one log by several lines in lockstep: each owns the users of its part, and hears the others.

It shows what a group of so many workers would predict. The same log and settings give the same predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from model.weights.exchange import Exchange
from stream_worker.assembly import make_line, make_monitor, simulated_worker
from stream_worker.backends.files import FileItems, FileSource, LogOwner
from stream_worker.backends.in_memory.shared_log import Collected, SharedLog
from stream_worker.config import Settings
from stream_worker.core.decoder import Decoder
from stream_worker.core.drift import Alarm
from stream_worker.core.effort import Effort
from stream_worker.core.events import DeadLetter, Outputs
from stream_worker.core.interfaces import Sink
from stream_worker.core.monitor import Monitor
from stream_worker.core.status import Observer, Status
from stream_worker.loop.line import Line
from stream_worker.loop.worker import Worker


@dataclass(frozen=True)
class Lines:
    """The lines of a replay.

    count: how many there are.
    late: events of the log after which a line hears one of another line's; 0: all are heard in the log's order.
    heard: one in so many heard events is examined; 0: all are counted only.
    weights: each line's weights are brought to the mean with the others' before each of its steps.
    """

    count: int
    late: int = 0
    heard: int = 0
    weights: bool = False


class _KeepingMonitor(Monitor):
    """A monitor that keeps what it was updated with until it is taken."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__(monitor.config, monitor.type_names, monitor.proposer_names)
        self.kept: list[tuple[Any, ...]] = []

    def update(self, *scores: Any) -> list[Alarm]:
        self.kept.append(scores)
        return super().update(*scores)


@dataclass
class _MeasuredLine(Line):
    """A line that keeps its scores until they are taken, with the offsets of their events."""

    offsets_kept: list[NDArray[np.int64]] = field(default_factory=list)

    def measure(self, batch: Batch, outcome: Outcome) -> list[Alarm]:
        self.offsets_kept.append(batch.next_offset_B[outcome.scored(batch)])
        return super().measure(batch, outcome)


class SeveralLines:
    """The workers of a replay with several lines.

    monitor: measures the predictions of all lines, in the log's order.
    sink: takes the outputs of all lines, in the log's order.
    decoder: decodes the whole log once more, in order, for those who watch it.
    items: returns what tells of items, anew for each line.
    """

    def __init__(
        self,
        settings: Settings,
        lines: Lines,
        source: FileSource,
        sink: Sink,
        decoder: Decoder | None = None,
        *,
        predictions: bool = False,
        items: Sequence[FileItems] = (),
    ) -> None:
        self._settings, self._lines, self._source, self._sink = settings, lines, source, sink
        self._decoder = decoder
        self._log = SharedLog(source.name, lines.count, lines.late)
        self._sinks = [Collected() for _ in range(lines.count)]
        self.monitor = make_monitor(settings)
        self.workers = [
            self._worker(number, predictions, items[number] if items else None) for number in range(lines.count)
        ]
        for worker in self.workers[1:]:
            worker.status.consuming = self.workers[0].status.consuming
        if lines.weights:
            exchange = Exchange()
            for worker in self.workers:
                exchange.join(worker.line.name, worker.line.learner)

    def _worker(self, number: int, predictions: bool, items: FileItems | None) -> Worker:
        settings = self._settings
        name = f"replay-{settings.model.seed}-{number}"
        line = _MeasuredLine(**vars(make_line(settings, name, described=items is not None, hears=True)))
        line.monitor = _KeepingMonitor(line.monitor)
        return simulated_worker(
            settings,
            self._log.parts[number],
            self._sinks[number],
            line,
            decoder=self._source.decoder(settings.events),
            effort=Effort(settings.effort, follows=False, heard_one_in=self._lines.heard),
            predictions=predictions,
            items=items,
            heard=self._log.heard[number],
            in_order=partial(self._log.in_order, number),
        )

    @property
    def status(self) -> Status:
        """The status of the first line, with the counts of what all of them have consumed."""
        return self.workers[0].status

    @property
    def alarms(self) -> int:
        return sum(sum(worker.status.drift.alarms.values()) for worker in self.workers)

    def run(self, observer: Observer, stopping: Callable[[], bool] = lambda: False) -> None:
        """Run until the log is at its end, or `stopping` returns True."""
        self._source.subscribe(LogOwner())
        try:
            for _ in range(2):  # every line hears all parts, then claims its own; no record has come yet
                self._tick()
            while not stopping() and not self._source.exhausted():
                records = self._source.poll(self._settings.worker.batch_size, self._settings.worker.poll_seconds)
                if self._decoder is not None:
                    self._decoder.decode(records)
                self._log.append(records)
                self._tick()
                observer.ticked(self.status)
            self.status.quality = self.monitor.report()
        finally:
            for worker in self.workers:
                worker.close()
            self._sink.close()

    def _tick(self) -> None:
        """Let every line do a tick, one after the other, and put their outputs and scores in the log's order."""
        for worker in self.workers:
            worker.run_once()
        self._publish()
        self._measure()

    def _publish(self) -> None:
        outputs = [sink.take() for sink in self._sinks]
        lists = [replace(made, partition=0) for one in outputs for made in one.recommendations]
        letters = [_of_log(letter) for one in outputs for letter in one.dead_letters]
        predictions = [made for one in outputs for made in one.predictions]
        whole = Outputs(
            sorted(lists, key=lambda made: made.next_offset),
            sorted(letters, key=lambda letter: letter.record.offset),
            sorted(predictions, key=lambda made: made.offset),
        )
        self._sink.commit(whole, {0: self._log.end}, None)

    def _measure(self) -> None:
        offsets: list[NDArray[np.int64]] = []
        kept: list[tuple[Any, ...]] = []
        for worker in self.workers:
            line, monitor = worker.line, worker.line.monitor
            assert isinstance(line, _MeasuredLine)
            assert isinstance(monitor, _KeepingMonitor)
            offsets += line.offsets_kept
            kept += monitor.kept
            line.offsets_kept, monitor.kept = [], []
        if kept:
            order = np.argsort(np.concatenate(offsets), kind="stable")
            *columns, baselines = zip(*kept, strict=True)
            ranks = {name: np.concatenate([one[name] for one in baselines])[order] for name in baselines[0]}
            whole: tuple[Any, ...] = (*(np.concatenate(parts)[order] for parts in columns), ranks)
            self.monitor.update(*whole)


def _of_log(letter: DeadLetter) -> DeadLetter:
    return replace(letter, record=replace(letter.record, partition=0))

"""A replay from the first row that keeps the scores of every event, for a comparison with another replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch, Outcome
from stream_worker.assembly import documents_of, make_line, simulated_worker
from stream_worker.backends.files import FileItems, FileSink, FileSource
from stream_worker.backends.files.mapping import Mapping
from stream_worker.config import Settings
from stream_worker.core.drift import Alarm
from stream_worker.core.events import Events
from stream_worker.core.history import History
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.paired import Scores
from stream_worker.log_findings import findings, refuse_a_log_without_events
from stream_worker.loop.line import Line
from stream_worker.loop.worker import Worker
from stream_worker.progress import ReplayProgress
from stream_worker.signals import stopped_by_signals


@dataclass
class ScoredLine(Line):
    """A line that keeps the scores of every event: about 40 bytes per event."""

    scores: list[Scores] = field(default_factory=lambda: [Scores.none()])
    users: dict[str, int] = field(default_factory=dict)

    def measure(self, batch: Batch, outcome: Outcome) -> list[Alarm]:
        scored = outcome.scored(batch)
        scored = scored[~outcome.first_B[scored]]
        self.scores.append(
            Scores(
                offset_E=batch.next_offset_B[scored] - 1,
                user_E=self._numbers(batch.slot_B[scored]),
                rank_E=outcome.rank_B[scored],
                log_probability_E=outcome.log_probability_B[scored],
                type_E=batch.type_B[scored],
                repeat_E=outcome.repeat_B[scored],
                age_E=outcome.age_B[scored],
            )
        )
        return super().measure(batch, outcome)

    def _numbers(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        users = [user for _, user in self.learner.users.keys_of(slots)]
        return np.array([self.users.setdefault(user, len(self.users)) for user in users], dtype=np.int64)


@dataclass(frozen=True)
class ScoredRun:
    """The replay of one configuration.

    `whole`: False if it was stopped before the last row.
    `findings`: lines about dead letters and faults of the log.
    """

    scores: Scores
    history: History
    log: str
    events_per_second: float
    whole: bool
    findings: Sequence[str] = ()


def worker_without_outputs(
    settings: Settings,
    source: FileSource,
    line: Line,
    watch: Callable[[Events], None] | None = None,
    items: FileItems | None = None,
) -> Worker:
    """Build a worker for a replay that writes nothing but scores. `watch`: called with all events."""
    decoder = source.decoder(settings.events, watch, documents_of(settings))
    return simulated_worker(settings, source, FileSink(topic=source.name), line, decoder=decoder, items=items)


def scored_replay(
    settings: Settings,
    log: Sequence[Path],
    mapping: Mapping | None,
    limit: int | None,
    name: str,
    items: Sequence[Path] = (),
) -> ScoredRun:
    """Replay a log through the same loop as `replay`, without outputs.

    `log`: the files, in order.
    `mapping`: None for what `record` wrote.
    `limit`: the most rows; None: all.
    `name`: the line's name, which begins each line of progress.
    `items`: files of what items are.
    """
    told = FileItems(items, settings.items) if items else None
    source = FileSource(list(log), mapping, limit=limit, reach=told.reach if told else None)
    line = ScoredLine(**vars(make_line(settings, name, described=told is not None)))
    watch = LogWatch(mapped=mapping is not None)
    worker = worker_without_outputs(settings, source, line, watch.add, told)
    worker.start()
    history = History(line.monitor)
    worker.observer = ReplayProgress(source, history, name)
    start = time.monotonic()
    with worker.observer, stopped_by_signals(worker.request_stop):
        worker.run()
    if not worker.stopping:
        refuse_a_log_without_events(worker.status, source)
    seconds = max(time.monotonic() - start, 1e-9)
    history.finish(worker.status)
    scores = Scores.joined(line.scores)
    rate, found = worker.status.consuming.events / seconds, list(findings(worker.status, watch))
    return ScoredRun(scores, history, source.name, rate, not worker.stopping, found)

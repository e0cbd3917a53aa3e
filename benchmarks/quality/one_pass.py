"""One pass over a log by the same loop as `replay`, which keeps rank and age of every event."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import DEPTH
from benchmarks.quality.streams import write_log
from model.batch import Batch, Outcome
from model.learner import Learner
from stream_worker.assembly import make_line
from stream_worker.backends.files import FileSource, load_mapping
from stream_worker.config import Settings
from stream_worker.core.drift import Alarm
from stream_worker.core.status import NoObserver, Status
from stream_worker.loop.line import Baseline, Line
from stream_worker.loop.worker import Worker
from stream_worker.scored_replay import worker_without_outputs

_WARM_UP = 2_000  # first events, which are not timed: much is compiled in them
# Stages of a tick, without those that read the log and write outputs.
STAGES = ("decode", "recall", "remember", "predict", "learn", "score", "recommend")
CANONICAL = Path(__file__).resolve().parents[2] / "examples" / "canonical.toml"


@dataclass(frozen=True)
class Pass:
    """Figures of E events in order.

    rank_E: rank of the event's item in the list, 0: not among the first 20
    popular_rank_E: the same by recent popularity
    log_probability_E: of the event's item, in nats
    scored_E: False for users' first events
    age_E: events since the item's first one, -1: this is it
    length_E: items of the list
    listed_E: place of the item in the list after the rules, 0: not there, -1: that list was not made
    alarms: with the number of the event
    worker: after the last event
    seconds: by stage, without the first `_WARM_UP` events
    """

    rank_E: NDArray[np.int64]
    popular_rank_E: NDArray[np.int64]
    log_probability_E: NDArray[np.float64]
    scored_E: NDArray[np.bool_]
    age_E: NDArray[np.int64]
    length_E: NDArray[np.int64]
    listed_E: NDArray[np.int64]
    alarms: tuple[tuple[int, Alarm], ...]
    worker: Worker
    seconds: Counter[str]

    @property
    def microseconds(self) -> dict[str, float]:
        """Microseconds per event, by stage."""
        events = max(1, len(self.rank_E) - _WARM_UP)
        return {stage: 1e6 * self.seconds[stage] / events for stage in STAGES}

    @property
    def cost(self) -> float:
        """Microseconds per event, of all stages."""
        return sum(self.microseconds.values())

    def hit_rate(self, start: int, end: int) -> float:
        """Return the hit rate of the scored events from `start` to `end`."""
        return float((self.rank_E > 0)[start:end][self.scored_E[start:end]].mean())


class _Heard:
    """A baseline whose last ranks can be read."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self.ranks = np.zeros(0, dtype=np.int32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._baseline, name)

    def rank_then_learn(self, *columns: Any) -> NDArray[np.int32]:
        self.ranks = self._baseline.rank_then_learn(*columns)
        return self.ranks


@dataclass
class _Witness(Line):
    """A line that keeps the columns that it measures."""

    seen: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    alarms: list[tuple[int, Alarm]] = field(default_factory=list)

    def measure(self, batch: Batch, outcome: Outcome) -> list[Alarm]:
        alarms = super().measure(batch, outcome)
        popularity = self.baselines["recent_popularity"]
        assert isinstance(popularity, _Heard)
        scored = ~outcome.first_B & batch.target_B & outcome.examined_B
        length_B = (outcome.list_BK >= 0).sum(axis=1)
        columns = outcome.rank_B, popularity.ranks, outcome.log_probability_B, scored, outcome.age_B, length_B
        self.seen.append((*columns, outcome.listed_B))
        self.alarms += [(self.learner.events, alarm) for alarm in alarms]
        return alarms

    @classmethod
    def of(cls, line: Line) -> _Witness:
        witness = cls(**vars(line))
        witness.baselines = {name: _Heard(baseline) for name, baseline in line.baselines.items()}
        return witness

    def columns(self) -> Iterator[NDArray[Any]]:
        for parts in zip(*self.seen, strict=True):
            yield np.concatenate(parts)


class Stopwatch(NoObserver):
    """An observer that adds up the seconds of stages, once `after` events are done, by when most is compiled."""

    def __init__(self, after: int = 0) -> None:
        self.seconds: Counter[str] = Counter()
        self._after = after

    def ticked(self, status: Status) -> None:
        if status.consuming.events > self._after:
            self.seconds.update(status.stage_seconds)


class Running:
    """A pass on one thread that goes on when told to, so that passes can take turns.

    `change`: applied to the learner before its first event.
    `described`: see `make_line`.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        mapping: Path = CANONICAL,
        limit: int | None = None,
        change: Callable[[Learner], None] = lambda learner: None,
        described: bool = False,
    ) -> None:
        settings = replace(settings, worker=replace(settings.worker, threads=1))
        self._line = _Witness.of(make_line(settings, "quality", described))
        change(self._line.learner)
        self._source = FileSource([log], load_mapping(mapping), limit=limit)
        self._worker = worker_without_outputs(settings, self._source, self._line)
        self._worker.start()
        self._source.published = 0
        self._worker.observer = self._stopwatch = Stopwatch(after=_WARM_UP)

    def until(self, event: int) -> float:
        """Go on until `event` events are done, or a few more.

        Return the events a second, by the time of all stages; nan if no event was timed, as during the warm-up.
        """
        seconds, before = self._seconds(), self._worker.status.consuming.events
        while self._worker.status.consuming.events < event and not self._source.exhausted():
            self._worker.run_once()
        done, spent = self._worker.status.consuming.events - before, self._seconds() - seconds
        return done / spent if done and spent else math.nan

    def _seconds(self) -> float:
        return sum(self._stopwatch.seconds[stage] for stage in STAGES)

    def finish(self) -> Pass:
        """Process the rest of the log. Return the figures of the whole pass."""
        self._worker.run()
        rank_E, popular_E, log_probability_E, scored_E, age_E, length_E, listed_E = self._line.columns()
        return Pass(
            rank_E=np.where(rank_E <= DEPTH, rank_E, 0),
            popular_rank_E=np.where(popular_E <= DEPTH, popular_E, 0),
            log_probability_E=log_probability_E,
            scored_E=scored_E,
            age_E=age_E,
            length_E=length_E,
            listed_E=listed_E,
            alarms=tuple(self._line.alarms),
            worker=self._worker,
            seconds=self._stopwatch.seconds,
        )


def one_pass(
    settings: Settings,
    log: Path,
    mapping: Path = CANONICAL,
    limit: int | None = None,
    change: Callable[[Learner], None] = lambda learner: None,
    described: bool = False,
) -> Pass:
    """Replay `log` without writing anything. `change`: applied to the learner before its first event."""
    return Running(settings, log, mapping, limit, change, described).finish()


def simulated_pass(settings: Settings, events: list[tuple[int, int]]) -> Pass:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "simulated.csv"
        write_log(log, events)
        return one_pass(settings, log)

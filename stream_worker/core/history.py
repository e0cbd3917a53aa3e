"""The history of a run's figures: a bounded number of points of every series, evenly spaced however long the run is.

It uses no clock, so the same events leave the same history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.monitor import AGES, Monitor
from stream_worker.core.status import Note, Status

_FIRST_STEP = 100  # events of the monitor between two points at first; the step doubles (not tuned)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the history: the values of the series by name, after `at` events of the monitor."""

    at: int
    values: Mapping[str, float]


@dataclass
class History:
    """Points that are at least `step` events apart. Past `most` points `step` doubles, and about half of them go.

    Names of series: `<track of the monitor>/<metric>` (rolling), `proposer/<name>` (rolling share), `loss/<name>` (mean
    over the ticks since the previous point), `learning_rate`. `began`: the monitor's events when the run began.
    """

    monitor: Monitor
    most: int = 500
    step: int = _FIRST_STEP
    points: list[Point] = field(default_factory=list)
    notes: Sequence[Note] = ()
    began: int = field(init=False)
    _seen: int = field(init=False)
    _losses: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self._seen = self.monitor.events

    def ticked(self, status: Status) -> None:
        """Read the monitor after a tick, and add a point when one is due."""
        self.notes = status.notes
        if self.monitor.events == self._seen:
            return  # nothing came
        self._seen = self.monitor.events
        for name, loss in status.learning.losses.items():
            self._losses.setdefault(name, []).append(loss)
        if self._seen // self.step > self._last // self.step:
            self._take(status)
            while len(self.points) > self.most:
                self._thin_out()

    def finish(self, status: Status) -> None:
        """Add a last point where the run ended, due or not."""
        self.notes = status.notes
        if self.monitor.events > self._last:
            self._take(status)

    def series(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the events and the values of all points that have this series."""
        having = [(point.at, point.values[name]) for point in self.points if name in point.values]
        at, values = zip(*having, strict=True) if having else ((), ())
        return np.array(at, dtype=np.int64), np.array(values, dtype=np.float64)

    def names(self) -> list[str]:
        """Return the names of all series with at least one point, in the order in which they appeared."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    @property
    def _last(self) -> int:
        return self.points[-1].at if self.points else self.began

    def _take(self, status: Status) -> None:
        losses = {f"loss/{name}": fmean(losses) for name, losses in self._losses.items()}
        values = {**_rolling(self.monitor), **losses, "learning_rate": status.learning.rate}
        self.points.append(Point(self.monitor.events, values))
        self._losses = {}

    def _thin_out(self) -> None:
        """Double the step and keep only the points that this step would have taken from the beginning."""
        self.step *= 2
        kept: list[Point] = []
        for point in self.points:
            if point.at // self.step > (kept[-1].at if kept else self.began) // self.step:
                kept.append(point)
        self.points = kept


def _rolling(monitor: Monitor) -> dict[str, float]:
    """Return the rolling values of all tracks that have scored an event; a track without one would show 0."""
    tracks = {name: track.rolling for name, track in monitor.tracks.items() if track.events and name != AGES[-1]}
    values = {f"{name}/{metric}": value.get() for name, track in tracks.items() for metric, value in track.items()}
    if "all" in tracks:
        values |= {f"proposer/{name}": share for name, share in monitor.proposers.report()["rolling"].items()}
    return values

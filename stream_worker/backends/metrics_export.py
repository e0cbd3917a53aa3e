"""Shows a worker's status in its Prometheus metrics and its health, after every tick."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from stream_worker.backends.metric import Labels, Metric, Values
from stream_worker.backends.metric_definitions import WorkerMetrics, definitions
from stream_worker.backends.metrics import Health
from stream_worker.core.interfaces import Clock
from stream_worker.core.status import Status


class MetricsObserver:
    """Brings every metric up to a tick's status, each in the way that its definition and its kind ask for."""

    def __init__(self, metrics: WorkerMetrics, health: Health) -> None:
        self._health = health
        self._followers: list[_Shown | _Age] = []
        for definition in definitions():
            metric = metrics.created[definition.attribute]
            if definition.read:
                self._followers.append(_KINDS[definition.kind](definition, metric))
            if definition.since:
                self._followers.append(_Age(metric, definition.since, definition.never, metrics.clock))
            if definition.ask:
                metric.set_function(partial(definition.ask, health))

    def ticked(self, status: Status) -> None:
        self._health.tick()
        self._health.stands(status.standing)
        self._health.waits(status.waiting)
        for follower in self._followers:
            follower.ticked(status)


class _Shown:
    """A metric that is read from each status, or only when the value of its `once_per` has changed."""

    def __init__(self, definition: Metric[Any], metric: Any) -> None:
        self._definition, self._metric = definition, metric
        self._once_per = definition.once_per or (lambda status: object())
        self._seen = self._once_per(Status())

    def ticked(self, status: Status) -> None:
        seen = self._once_per(status)
        if seen != self._seen:
            self._seen = seen
            self._show(self._definition.series(status))

    def _show(self, series: dict[Labels, Values]) -> None:
        raise NotImplementedError

    def _of(self, labels: Labels) -> Any:
        return self._metric.labels(*labels) if labels else self._metric


class _Counted(_Shown):
    """A counter. It grows by the difference to the last reading, and never falls."""

    def __init__(self, definition: Metric[Any], metric: Any) -> None:
        super().__init__(definition, metric)
        self._counted: dict[Labels, Any] = {}

    def _show(self, series: dict[Labels, Values]) -> None:
        for labels, value in series.items():
            self._of(labels).inc(max(0.0, value - self._counted.get(labels, 0)))
        self._counted |= series


class _Gauged(_Shown):
    """A gauge. A series that is no longer read disappears: two workers must not both show the lag of a partition."""

    def __init__(self, definition: Metric[Any], metric: Any) -> None:
        super().__init__(definition, metric)
        self._labelled: set[Labels] = set()

    def _show(self, series: dict[Labels, Values]) -> None:
        for labels in self._labelled - series.keys():
            self._metric.remove(*labels)
        for labels, value in series.items():
            self._of(labels).set(value)
        self._labelled = {labels for labels in series if labels}


class _Observed(_Shown):
    """A histogram. It observes each value that is read."""

    def _show(self, series: dict[Labels, Values]) -> None:
        for labels, values in series.items():
            for value in [values] if isinstance(values, float | int) else values:
                self._of(labels).observe(value)


class _Age:
    """An age, computed when metrics are asked for: one that the loop sets would stand still when the loop hangs."""

    def __init__(self, gauge: Gauge, since: Callable[[Status], float], never: float, clock: Clock) -> None:
        self._read_since, self._never, self._clock = since, never, clock
        self._since = math.nan
        gauge.set_function(self._seconds)

    def ticked(self, status: Status) -> None:
        self._since = self._read_since(status)

    def _seconds(self) -> float:
        """Return the age, never a negative one: events may carry times of up to a day ahead."""
        since = self._since
        return self._never if math.isnan(since) else max(0.0, self._clock.now() - since)


_KINDS: dict[type, type[_Shown]] = {Counter: _Counted, Gauge: _Gauged, Histogram: _Observed}

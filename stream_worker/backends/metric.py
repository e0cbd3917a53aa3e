"""The definition of one metric: its name, kind, unit and meaning, and how its value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_worker.backends.health import Health
from stream_worker.core.status import Status

PREFIX = "stream_worker_"

Labels = tuple[str, ...]
# One value; a histogram may observe several at once.
Values = float | Sequence[float]
# Without labels a value, or None if there is none yet; with labels the value of each series, by its label values.
Reading = Values | Mapping[str, float] | Mapping[Labels, float] | None

M = TypeVar("M", bound=Counter | Gauge | Histogram)


class Created(Protocol):
    """The owner of metrics that were created from their definitions, by attribute."""

    created: dict[str, Any]


class Metric(Generic[M]):
    """The definition of a metric and, read from a `WorkerMetrics`, the worker's own one.

    labels: the names of its labels.
    known: all values of the only label, so that their series stand at 0 from the start (a rate over a series that
        appears with its first increment misses that increment).

    Its value comes from one of these:
    read: a function of the `Status` after a tick. A counter's reading is the count since the start of the process, a
        histogram's the values to observe. A gauge's series disappears when the reading no longer has it. None changes
        nothing.
    since: a function of the `Status` that returns the epoch second from which the gauge counts an age; NaN: the age is
        `never`.
    ask: a function of the worker's `Health`, called each time that the metrics are asked for.

    once_per: a function of the `Status`; `read` is called only after a tick that changed its value. None: after each.
    """

    def __init__(
        self,
        kind: type[M],
        unit: str,
        meaning: str,
        *,
        labels: tuple[str, ...] = (),
        known: tuple[str, ...] = (),
        buckets: tuple[float, ...] = (),
        read: Callable[[Status], Reading] | None = None,
        once_per: Callable[[Status], object] | None = None,
        since: Callable[[Status], float] | None = None,
        never: float = float("nan"),
        ask: Callable[[Health], float] | None = None,
    ) -> None:
        self.kind: type[M] = kind
        self.unit, self.meaning = unit, meaning
        self.labels, self.known, self.buckets = labels, known, buckets
        self.read, self.once_per = read, once_per
        self.since, self.never = since, never
        self.ask = ask

    def __set_name__(self, owner: type[Created], attribute: str) -> None:
        self.attribute = attribute

    @property
    def name(self) -> str:
        """The name that a query uses (of a histogram without `_bucket`, `_sum` and `_count`)."""
        return PREFIX + self.attribute + ("_total" if self.kind is Counter else "")

    def create(self, registry: CollectorRegistry) -> M:
        """Create the metric in a registry, with the series of its `known` label values."""
        options: dict[str, Any] = {"buckets": self.buckets} if self.buckets else {}
        metric: M = self.kind(PREFIX + self.attribute, self.meaning, self.labels, registry=registry, **options)
        for value in self.known:
            metric.labels(value)
        return metric

    def series(self, status: Status) -> dict[Labels, Values]:
        """Read the value of each series, by its label values; `()` stands for the only one without labels."""
        reading = self.read(status) if self.read else None
        if isinstance(reading, Mapping):
            return {(key,) if isinstance(key, str) else key: value for key, value in reading.items()}
        return {} if reading is None else {(): reading}

    @overload
    def __get__(self, owner: None, kind: type[Created]) -> Metric[M]: ...

    @overload
    def __get__(self, owner: Created, kind: type[Created]) -> M: ...

    def __get__(self, owner: Created | None, kind: type[Created]) -> Metric[M] | M:
        if owner is None:
            return self
        created: M = owner.created[self.attribute]
        return created

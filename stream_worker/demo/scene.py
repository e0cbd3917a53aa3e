"""The scene of a running demo: its threads report to the scene, and a view asks the scene for pictures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock

import numpy as np

from stream_worker.core.events import Recommendation
from stream_worker.core.quality import HIT_RATE, WORKER
from stream_worker.core.status import Status
from stream_worker.demo.shop import Action

# None of these is tuned.
_RATE_SECONDS = 3.0  # the time over which the rate of events is taken
_RECENT_LISTS = 1_000  # lists whose latencies the panel shows
_MOST_LATENCIES = 200_000  # latencies kept for the summary; bounds the memory
_ACTIONS = 8  # the customer's actions that are shown


@dataclass(frozen=True, slots=True)
class Done:
    """An action of the followed customer. `listed`: True if its item was on the newest list that was read before."""

    type: str
    item: str
    listed: bool


@dataclass(frozen=True, slots=True)
class Noticed:
    """A drift alarm that came `seconds` after the opening. `stream`: the event types that have had alarms."""

    seconds: float
    stream: str


@dataclass(frozen=True)
class Picture:
    """The demo at one moment.

    Times are in seconds after the opening. A latency is the time in seconds from an event until a read_committed
    consumer has read the list that covers it. `history`: the hit rate of each second.
    """

    phase: str
    seconds: float
    events: int
    events_a_second: float
    lag: int
    lists: int
    lists_read: int
    latency_p50: float
    latency_p99: float
    items: int
    hit_rates: Mapping[str, float]
    history: tuple[float, ...]
    losses: Mapping[str, float]
    noticed: tuple[Noticed, ...]
    changed_seconds: float | None
    customer: str
    taste: str
    actions: tuple[Done, ...]
    list: tuple[tuple[str, float], ...]


class Scene:
    """The scene, safe for several threads.

    `customer`: the one who is followed.
    `open`: set once the worker owns its partitions.

    Seconds count from the call of `begin`.
    """

    def __init__(self, customer: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.customer = customer
        self.open = Event()
        self._monotonic = monotonic
        self._lock = Lock()
        self._phase = ""
        self._began: float | None = None
        self._taste = ""
        self._changed: float | None = None
        self._actions: deque[Done] = deque(maxlen=_ACTIONS)
        self._list: tuple[tuple[str, float], ...] = ()
        self._lists_read = 0
        self._latencies: deque[float] = deque(maxlen=_MOST_LATENCIES)
        self._events: deque[tuple[float, int]] = deque()
        self._lag = self._lists = self._items = 0
        self._hit_rates: dict[str, float] = {}
        self._history: list[float] = []
        self._losses: dict[str, float] = {}
        self._alarms = 0
        self._noticed: list[Noticed] = []

    # -- told by whoever runs the demo -------------------------------------------------------------------------

    def say(self, phase: str) -> None:
        """Note the phase of the demo, words for a person."""
        self._phase = phase

    def begin(self) -> None:
        """Note that the shop opens now."""
        self._began = self._monotonic()

    # -- told by the shop --------------------------------------------------------------------------------------

    def acted(self, action: Action) -> None:
        """Note a customer's action."""
        if action.user == self.customer:
            with self._lock:
                listed = any(item == action.item for item, _ in self._list)
                self._actions.append(Done(action.type, action.item, listed))

    def liked(self, taste: str) -> None:
        """Note the present taste of the followed customer."""
        self._taste = taste

    def changed(self) -> None:
        """Note that half of the customers change their taste now."""
        self._changed = self._seconds()

    # -- told by the reader of the lists -----------------------------------------------------------------------

    def listed(self, recommendation: Recommendation, latency_seconds: float) -> None:
        """Note a list that was read, and the time from its last event until then."""
        with self._lock:
            self._lists_read += 1
            self._latencies.append(latency_seconds)
            if recommendation.user == self.customer:
                self._list = tuple(zip(recommendation.items, recommendation.scores, strict=True))

    # -- told by the worker: an Observer -----------------------------------------------------------------------

    def ticked(self, status: Status) -> None:
        """Note the worker's figures after a tick."""
        if status.standing.ready:
            self.open.set()
        with self._lock:
            now = self._monotonic()
            self._events.append((now, status.consuming.events))
            while now - self._events[0][0] > _RATE_SECONDS:
                self._events.popleft()
            self._lag, self._lists = sum(status.consuming.lag.values()), status.publishing.lists
            self._items = status.catalogue.items
            self._losses = dict(status.learning.losses)
            self._hit_rates = status.quality.rolling(HIT_RATE)
            self._remember()
            self._hear(status)

    def _remember(self) -> None:
        """Note the hit rate once for each second."""
        while self._hit_rates and len(self._history) <= int(self._seconds()):
            self._history.append(self._hit_rates[WORKER])

    def _hear(self, status: Status) -> None:
        alarms = sum(status.drift.alarms.values())
        if alarms > self._alarms:
            self._noticed.append(Noticed(self._seconds(), ", ".join(sorted(status.drift.alarms))))
            self._alarms = alarms

    # -- asked by the panel ------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """Return the demo at this moment."""
        with self._lock:
            p50, p99 = _percentiles(list(self._latencies)[-_RECENT_LISTS:])
            return Picture(
                phase=self._phase,
                seconds=self._seconds(),
                events=self._events[-1][1] if self._events else 0,
                events_a_second=self._events_a_second(),
                lag=self._lag,
                lists=self._lists,
                lists_read=self._lists_read,
                latency_p50=p50,
                latency_p99=p99,
                items=self._items,
                hit_rates=self._hit_rates,
                history=tuple(self._history),
                losses=self._losses,
                noticed=tuple(self._noticed),
                changed_seconds=self._changed,
                customer=self.customer,
                taste=self._taste,
                actions=tuple(self._actions),
                list=self._list,
            )

    def latencies(self) -> tuple[float, float]:
        """Return median and 99th percentile of the latencies of all lists so far, in seconds; 0 without a list."""
        with self._lock:
            return _percentiles(list(self._latencies))

    def _seconds(self) -> float:
        return 0.0 if self._began is None else self._monotonic() - self._began

    def _events_a_second(self) -> float:
        if len(self._events) < 2:
            return 0.0
        (first, before), (last, after) = self._events[0], self._events[-1]
        return (after - before) / max(last - first, 1e-9)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    if not seconds:
        return 0.0, 0.0
    p50, p99 = np.percentile(seconds, [50, 99])
    return float(p50), float(p99)

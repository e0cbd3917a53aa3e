"""What a worker has done and how it stands, as plain numbers: read by the metrics, the panel and the summaries."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from stream_worker.core.fault_counts import FaultCounts
from stream_worker.core.quality import Quality

_LATENCIES_KEPT = 5_000
_NOTES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be seen on a time axis: what `kind` it is of (alarm, answer, rollback), after `at` events of the
    monitor, and for a person to read: `text`."""

    at: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a worker has its place, be it without work, and a sentence about it."""

    ready: bool
    words: str


STARTING = Standing(False, "starting")
DRAINING = Standing(False, "draining: it finishes its batch and leaves")


@dataclass
class Status:
    """Counts since the start of this process, and the state after the last tick.

    `waiting`: what it waits for from outside, and why; empty: nothing. `unwritten_since`: the epoch seconds from which
    on something is in no checkpoint (NaN: all is).

    `overlap`: events that were learned here after they had been published: before an unclean end, another line or a
    lost checkpoint had learned them. `unlearned`: events that were remembered before; this line never learns them.
    `listed_again`: events that were listed though memories or weights had them: the committed offsets had expired.
    `set_aside` are the dead letters with reasons and places, `fields_dropped` the optional fields that can't be read.
    `events_not_remembered`: those of items that there was no number for.
    """

    records: int = 0
    events: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    set_aside: FaultCounts = field(default_factory=FaultCounts)
    fields_dropped: FaultCounts = field(default_factory=FaultCounts)
    key_mismatches: int = 0
    lists: int = 0
    lists_shortened: int = 0
    transactions_committed: int = 0
    transactions_aborted: int = 0
    unlearned: int = 0
    overlap: int = 0
    listed_again: int = 0
    stale_writes: int = 0
    memories_lost: int = 0
    recall_misses: int = 0
    unreadable_records: int = 0
    users_spilled: int = 0
    checkpoints: int = 0
    checkpoint_failures: int = 0

    standing: Standing = STARTING
    waiting: str = ""
    unwritten_since: float = float("nan")
    batch_events: int = 0
    last_event_ts: float = float("nan")
    last_checkpoint_ts: float = float("nan")
    checkpoint_bytes: int = 0
    checkpoint_seconds: float = 0.0
    lag: Mapping[int, int] = field(default_factory=dict)
    items: int = 0
    items_evicted: int = 0
    item_ids_used: float = 0.0
    events_not_remembered: int = 0
    users_on_device: int = 0
    rows_pending: int = 0
    effort: float = 1.0
    learning_steps: int = 0
    learning_rate: float = 0.0
    learning_rate_factor: float = 1.0
    users_rebuilt: int = 0
    steps_skipped: Counter[str] = field(default_factory=Counter)
    referees: dict[str, tuple[float, float]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    drift_alarms: Counter[str] = field(default_factory=Counter)
    drift_answers: Counter[str] = field(default_factory=Counter)
    quality: Quality = field(default_factory=Quality)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_NOTES_KEPT))

    @contextmanager
    def stage(self, name: str, monotonic: Callable[[], float]) -> Iterator[None]:
        """Add the time of the block to this tick's `name`."""
        start = monotonic()
        try:
            yield
        finally:
            self.stage_seconds[name] = self.stage_seconds.get(name, 0.0) + monotonic() - start


class Observer(Protocol):
    """Told after every tick, and while the loop waits; must be quick."""

    def ticked(self, status: Status) -> None: ...


class NoObserver:
    """Tells nobody."""

    def ticked(self, status: Status) -> None:
        """Nothing to do."""

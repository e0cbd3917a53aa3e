"""The status of a worker: what it has done and how it stands, for the metrics, the panel and the summaries."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from stream_worker.core.fault_counts import FaultCounts
from stream_worker.core.quality import Quality

# What an alias leads to: the other id's memory is joined, has nothing new since it was, or is not known.
JOINED, NOTHING_NEW, UNKNOWN = ALIAS_OUTCOMES = ("joined", "nothing_new", "unknown")
_LATENCIES_KEPT = 5_000
_NOTES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Note:
    """An event to be marked on a time axis.

    at: events of the monitor before it.
    kind: alarm, answer or rollback.
    text: a sentence for a person.
    """

    at: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The place of a worker in its group.

    ready: it has its place, even if there is no work for it.
    words: a sentence about it.
    """

    ready: bool
    words: str


STARTING = Standing(False, "starting")
DRAINING = Standing(False, "draining: it finishes its batch and leaves")


@dataclass(slots=True)
class Consuming:
    """Counts of what was read, and of the newest batch; filled by the loop's `Reporter`.

    batch_events: events of the newest batch.
    last_event_ts: the epoch second of the last event; NaN before the first.
    dead_letters: dead letters by class of the fault; `set_aside` has their reasons and places, too.
    fields_dropped: optional fields that can't be read.
    ignored: what is no event by configuration, by the value of its type.
    duplicates: published events that came before, by their ids.
    lag: records still to read, by owned partition.
    latencies: seconds from the broker's timestamp of a record to its list's commit, of the newest records.
    """

    records: int = 0
    events: int = 0
    batch_events: int = 0
    last_event_ts: float = float("nan")
    dead_letters: Counter[str] = field(default_factory=Counter)
    set_aside: FaultCounts = field(default_factory=FaultCounts)
    fields_dropped: FaultCounts = field(default_factory=FaultCounts)
    ignored: Counter[str] = field(default_factory=Counter)
    key_mismatches: int = 0
    duplicates: int = 0
    lag: Mapping[int, int] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))


@dataclass(slots=True)
class Publishing:
    """Counts of transactions and their lists; filled by the `Publisher`. similar, popular: shared lists."""

    lists: int = 0
    similar: int = 0
    popular: int = 0
    lists_shortened: int = 0
    transactions_committed: int = 0
    transactions_aborted: int = 0


@dataclass(slots=True)
class Takeovers:
    """Counts of what unclean ends and losses cost; filled by the `Ownership` of partitions, and by each batch.

    unlearned: events that memories had before; this line never learns them.
    overlap: events that were learned here after they had been published: before an unclean end, another line or a
        lost checkpoint had learned them.
    listed_again: events that were listed though memories or weights had them: the committed offsets had expired.
    memories_lost: partitions whose memories the store has lost.
    """

    unlearned: int = 0
    overlap: int = 0
    listed_again: int = 0
    memories_lost: int = 0


@dataclass(slots=True)
class Memory:
    """Counts of user memories; filled by `Memories`, by each batch and by each write.

    recall_misses: users of a batch that were not on the device.
    unreadable_records: records of the store that could not be read.
    stale_writes: writes that the store refused because of a newer token.
    rows_pending: memories that the store does not hold yet.
    events_not_remembered: events of items that no number was left for.
    aliases: published aliases by what they led to.
    """

    recall_misses: int = 0
    unreadable_records: int = 0
    users_spilled: int = 0
    users_on_device: int = 0
    rows_pending: int = 0
    stale_writes: int = 0
    events_not_remembered: int = 0
    aliases: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Catalogue:
    """State of the items; filled by the `Reporter`.

    evicted: items that have left since the start of the process.
    ids_used: share of the store's item numbers that is taken, from 0 to 1.
    """

    items: int = 0
    evicted: int = 0
    ids_used: float = 0.0


@dataclass(slots=True)
class ItemReading:
    """Counts of what was told of items beside the events; filled by the `Reporter`.

    records, changes: records that were read, and the changes of items in them.
    lag: records still to read, at most.
    unreadable: records, or elements of one, that can't be read.
    fields_dropped: optional parts that can't be read; their items stay.
    rules_failed: evaluations of expressions that failed on an item, by key of the configuration.
    """

    records: int = 0
    changes: int = 0
    lag: int = 0
    unreadable: FaultCounts = field(default_factory=FaultCounts)
    fields_dropped: FaultCounts = field(default_factory=FaultCounts)
    rules_failed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class DecisionReading(ItemReading):
    """Counts of the decisions on items; filled by the `Reporter`.

    in_force: items by the decision that is in force on them.
    """

    in_force: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Learning:
    """State of the model's training; filled by the `Reporter`, the losses by each batch.

    steps: optimizer steps since the start of the process.
    steps_skipped: guarded steps that were not taken since then, by part of the model.
    rate: the encoder's learning rate now; drift has multiplied it by `rate_factor`.
    effort: share of the events that are learned from.
    losses: loss of the last step, by part of the model (NaN: it was skipped).
    referees: loss of the weights and of their slow copy on fresh examples, by part of the model.
    users_rebuilt: user states made anew from their rings.
    """

    steps: int = 0
    steps_skipped: Counter[str] = field(default_factory=Counter)
    rate: float = 0.0
    rate_factor: float = 1.0
    effort: float = 1.0
    losses: dict[str, float] = field(default_factory=dict)
    referees: dict[str, tuple[float, float]] = field(default_factory=dict)
    users_rebuilt: int = 0


@dataclass(slots=True)
class Hearing:
    """Counts of what is learned from partitions that other workers own, and how far behind that is.

    on: partitions of others are heard, if there are any.
    lag: records still to hear, by heard partition.
    unheard: partitions that are neither owned nor heard.
    one_in: one in so many heard events is examined; 0: none, all are counted only.
    counted_owned, counted_heard: events that were counted, of owned partitions and of heard ones.
    examined_heard: heard events that were predicted and learned from, too.
    gap: events of a partition that this line never counts: the log had lost them, or a claim did not wait for them.
    users: memories of heard users on the device.
    """

    on: bool = False
    lag: Mapping[int, int] = field(default_factory=dict)
    unheard: int = 0
    one_in: int = 1
    counted_owned: int = 0
    counted_heard: int = 0
    examined_heard: int = 0
    gap: Counter[int] = field(default_factory=Counter)
    users: int = 0


@dataclass(slots=True)
class WeightsSharing:
    """Counts of the weights that lines give to each other and take.

    given, taken: how often this line wrote its own, and how often it took the mean with others'.
    lines: other lines in the newest mean.
    oldest_ts: the epoch second at which the oldest part of the newest mean was given; NaN: none was taken yet.
    refused: others' weights that were not taken, by reason.
    """

    given: int = 0
    taken: int = 0
    lines: int = 0
    oldest_ts: float = float("nan")
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Drift:
    """Counts of drift alarms by stream of events, and of the answers to them; filled by the `Reporter`."""

    alarms: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Checkpoints:
    """Counts of checkpoints, and the newest one; filled by `Persistence`.

    bytes, seconds, last_ts: size of the newest, time that it took, and the epoch second when it was complete.
    unwritten_since: the epoch second from which on something is in no checkpoint; NaN: all is in one.
    """

    written: int = 0
    failures: int = 0
    bytes: int = 0
    seconds: float = 0.0
    last_ts: float = float("nan")
    unwritten_since: float = float("nan")


@dataclass
class Status:
    """Counts since the start of this process, and the state after the last tick, in sections by owner.

    slot: the worker's slot, as it was given or taken; empty before.
    waiting: what the worker waits for from outside, and why; empty: it does not.
    quality: the monitor's newest report; one every few ticks.
    stage_seconds: time of each stage of this tick.
    """

    standing: Standing = STARTING
    slot: str = ""
    waiting: str = ""
    consuming: Consuming = field(default_factory=Consuming)
    publishing: Publishing = field(default_factory=Publishing)
    takeovers: Takeovers = field(default_factory=Takeovers)
    memory: Memory = field(default_factory=Memory)
    catalogue: Catalogue = field(default_factory=Catalogue)
    items: ItemReading = field(default_factory=ItemReading)
    decisions: DecisionReading = field(default_factory=DecisionReading)
    learning: Learning = field(default_factory=Learning)
    hearing: Hearing = field(default_factory=Hearing)
    sharing: WeightsSharing = field(default_factory=WeightsSharing)
    drift: Drift = field(default_factory=Drift)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    quality: Quality = field(default_factory=Quality)
    stage_seconds: dict[str, float] = field(default_factory=dict)
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
    """An object that is told after every tick, and while the loop waits; it must be quick."""

    def ticked(self, status: Status) -> None: ...


class NoObserver:
    """An observer that does nothing."""

    def ticked(self, status: Status) -> None:
        """Do nothing."""

"""Every metric of the worker, once: name, kind, unit, meaning.

A metric's Prometheus name is made from its attribute: `mrr` is `stream_worker_mrr`; a counter's ends in `_total`.
docs/metrics.md is `table()`; a test holds it, the dashboard and the alerts to what is defined here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from stream_worker.core.drift_answers import ANSWERS, ROLLBACK
from stream_worker.core.interfaces import Clock

PREFIX = "stream_worker_"
STAGES = ("poll", "decode", "recall", "predict", "remember", "score", "learn", "recommend", "commit", "copy")

_FAST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATENCY_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_CHECKPOINT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_BATCH_EVENTS = (1.0, 10.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
_BY_RANKER = ("ranker", "type", "novelty")

M = TypeVar("M", bound=Counter | Gauge | Histogram)


class Metric(Generic[M]):
    """The definition of a metric and, read from a `WorkerMetrics`, the worker's own one.

    `labels` are its label names; `known` are all values of the only label, so that their series stand at 0 from the
    start (a rate over a series that appears with its first increment misses that increment).
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
    ) -> None:
        self.kind: type[M] = kind
        self.unit, self.meaning = unit, meaning
        self.labels, self.known, self.buckets = labels, known, buckets

    def __set_name__(self, owner: type[WorkerMetrics], attribute: str) -> None:
        self.attribute = attribute

    @property
    def name(self) -> str:
        """The name that a query uses (of a histogram without `_bucket`, `_sum` and `_count`)."""
        return PREFIX + self.attribute + ("_total" if self.kind is Counter else "")

    def create(self, registry: CollectorRegistry) -> M:
        options: dict[str, Any] = {"buckets": self.buckets} if self.buckets else {}
        metric: M = self.kind(PREFIX + self.attribute, self.meaning, self.labels, registry=registry, **options)
        for value in self.known:
            metric.labels(value)
        return metric

    @overload
    def __get__(self, owner: None, kind: type[WorkerMetrics]) -> Metric[M]: ...

    @overload
    def __get__(self, owner: WorkerMetrics, kind: type[WorkerMetrics]) -> M: ...

    def __get__(self, owner: WorkerMetrics | None, kind: type[WorkerMetrics]) -> Metric[M] | M:
        if owner is None:
            return self
        created: M = owner.created[self.attribute]
        return created


class WorkerMetrics:
    """The metrics of one worker, in a registry of its own.

    Quality is labelled by `ranker` (worker, or the baselines recent_popularity and co_visitation), `type` (an event
    type, or all) and `novelty` (repeat: the user has met the item before; new; or all).
    `last_event_ts`, `last_checkpoint_ts` and `unwritten_ts` are epoch seconds (NaN: none). Their ages are computed when
    they are read: a gauge that the loop sets would stand still when the loop does.
    """

    records_polled = Metric(Counter, "records", "Records taken from the source.")
    events_processed = Metric(Counter, "events", "Valid events taken through the loop.")
    dead_letters = Metric(Counter, "records", "Records set aside, by class of the fault.", labels=("error",))
    event_fields_dropped = Metric(
        Counter,
        "fields",
        "Optional fields that could not be read; their events stay.",
        labels=("field",),
        known=("value", "category", "request_id"),
    )
    key_mismatches = Metric(Counter, "events", "Events whose record key is not their user id.")
    lists_published = Metric(Counter, "lists", "Recommendations in committed transactions.")
    lists_shortened = Metric(
        Counter, "lists", "Recommendations that lost items or request ids: their topic takes no larger records."
    )
    transactions_committed = Metric(Counter, "transactions", "Transactions that were committed.")
    transactions_aborted = Metric(Counter, "transactions", "Transactions that were aborted and sent again.")
    batch_events = Metric(Histogram, "events", "Valid events in one tick.", buckets=_BATCH_EVENTS)
    tick_seconds = Metric(
        Histogram, "seconds", "Time of one tick, by stage.", labels=("stage",), known=STAGES, buckets=_FAST_SECONDS
    )
    publish_latency_seconds = Metric(
        Histogram, "seconds", "From the broker's timestamp of an event to its list's commit.", buckets=_LATENCY_SECONDS
    )

    partition_lag = Metric(
        Gauge, "records", "Committed records of an owned partition still to read.", labels=("partition",)
    )
    partitions_owned = Metric(Gauge, "partitions", "Partitions that this worker owns now.")
    ready = Metric(Gauge, "boolean", "1: it owns partitions or stands by; 0: it has no place, or waits for a minute.")
    waiting_seconds = Metric(
        Gauge, "seconds", "How long it has waited for something outside; 0: it does not. /readyz says for what."
    )
    last_event_age_seconds = Metric(Gauge, "seconds", "Age of the last processed event; NaN before the first.")

    hit_rate_10 = Metric(Gauge, "ratio", "Rolling share of events found in the 10 best.", labels=_BY_RANKER)
    hit_rate_20 = Metric(Gauge, "ratio", "Rolling share of events found in the 20 best.", labels=_BY_RANKER)
    mrr = Metric(Gauge, "ratio", "Rolling mean reciprocal rank, 0 below the list's end.", labels=_BY_RANKER)
    ndcg = Metric(Gauge, "ratio", "Rolling normalised discounted cumulative gain.", labels=_BY_RANKER)
    log_loss = Metric(Gauge, "nats", "Rolling mean of -log of the probability of what came.", labels=_BY_RANKER)
    drift_alarms = Metric(Counter, "alarms", "Drops of the hit rate, by stream of events.", labels=("detector",))

    drift_answers = Metric(
        Counter, "answers", "What was done about drift, by answer.", labels=("answer",), known=(*ANSWERS, ROLLBACK)
    )
    users_rebuilt = Metric(Counter, "users", "User states that were made anew from the ring, after drift or collapse.")
    steps_skipped = Metric(
        Counter, "steps", "Steps not taken: no number, or exploding.", labels=("part",), known=("encoder", "ranker")
    )
    referee_loss = Metric(
        Gauge, "nats", "Mean loss on fresh examples, of weights and of their slow copy.", labels=("part", "weights")
    )
    learning_rate_factor = Metric(Gauge, "ratio", "What drift multiplies learning rates by now; 1 at other times.")

    encoder_loss = Metric(Gauge, "nats", "The encoder's loss in its last learning step.")
    ranker_loss = Metric(Gauge, "nats", "The ranker's loss in its last learning step.")
    learning_steps = Metric(Counter, "steps", "Optimizer steps taken.")
    effort = Metric(Gauge, "ratio", "Share of the events that are predicted and learned from; less while behind.")
    learning_rate = Metric(Gauge, "ratio", "The optimizer's current learning rate.")

    items_live = Metric(Gauge, "items", "Items in the catalogue.")
    items_evicted = Metric(Counter, "items", "Items dropped from the catalogue, unseen for long or to make room.")
    item_ids_used = Metric(Gauge, "ratio", "Share of memory.max_item_ids (without Redis twin_items) that is taken.")
    events_not_remembered = Metric(
        Counter, "events", "Events that count and get lists, but enter no ring: their item's id found no room."
    )
    users_on_device = Metric(Gauge, "users", "User memories on the device.")
    users_spilled = Metric(Counter, "users", "User memories moved from the device to the store.")
    rows_pending = Metric(Gauge, "rows", "User memories that the store does not hold yet.")
    recall_misses = Metric(Counter, "users", "Users of a batch that had to be fetched from the store.")
    unreadable_records = Metric(
        Counter, "records", "Memory records in the store that can't be read; their users were taken for new ones."
    )
    memories_lost = Metric(
        Counter, "partitions", "Partitions whose memories the store was found to have lost; they are read again."
    )
    stale_writes_refused = Metric(Counter, "writes", "Writes that the store refused because of a newer token.")
    events_gap = Metric(Counter, "events", "Events that the line will never learn, after an unclean takeover.")
    events_overlap = Metric(Counter, "events", "Events that the line learned twice, after an unclean takeover.")
    events_listed_again = Metric(
        Counter,
        "events",
        "Events listed again after the group's committed offsets expired, as far as memories and weights tell.",
    )

    checkpoint_seconds = Metric(
        Histogram,
        "seconds",
        "Time to write a checkpoint and the memories, without the pauses between them.",
        buckets=_CHECKPOINT_SECONDS,
    )
    checkpoint_bytes = Metric(Gauge, "bytes", "Size of the newest checkpoint.")
    checkpoint_failures = Metric(Counter, "checkpoints", "Checkpoints that could not be written.")
    checkpoint_age_seconds = Metric(Gauge, "seconds", "Age of the newest checkpoint; NaN before the first.")
    unwritten_seconds = Metric(Gauge, "seconds", "How long something has waited for its checkpoint; 0: all is written.")
    start_time_seconds = Metric(Gauge, "seconds", "When this worker started, in epoch seconds.")

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.created: dict[str, Any] = {metric.attribute: metric.create(self.registry) for metric in definitions()}
        ProcessCollector(registry=self.registry)
        self._clock = clock
        self.last_event_ts = self.last_checkpoint_ts = self.unwritten_ts = math.nan
        self.last_event_age_seconds.set_function(lambda: self._age(self.last_event_ts))
        self.checkpoint_age_seconds.set_function(lambda: self._age(self.last_checkpoint_ts))
        self.unwritten_seconds.set_function(
            lambda: 0.0 if math.isnan(self.unwritten_ts) else self._age(self.unwritten_ts)
        )
        self.start_time_seconds.set(clock.now())
        self._lags: set[int] = set()

    def set_lag(self, lags: Mapping[int, int]) -> None:
        """The lag of every owned partition; partitions that are not in it any more disappear."""
        for partition in self._lags - lags.keys():
            self.partition_lag.remove(str(partition))
        for partition, lag in lags.items():
            self.partition_lag.labels(str(partition)).set(lag)
        self._lags = set(lags)

    def _age(self, ts: float) -> float:
        age = self._clock.now() - ts
        return 0.0 if age < 0 else age


def definitions() -> Iterator[Metric[Any]]:
    return (value for value in vars(WorkerMetrics).values() if isinstance(value, Metric))


def table(metrics: Iterable[Metric[Any]] | None = None) -> str:
    """The definitions as a Markdown table."""
    lines = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for m in definitions() if metrics is None else metrics:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        lines.append(f"| `{m.name}` | {m.kind.__name__.lower()} | {m.unit} | {labels} | {m.meaning} |")
    return "\n".join(lines) + "\n"

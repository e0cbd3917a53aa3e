"""The metrics of the worker, each defined once: name, kind, unit, meaning, and how it is read from the status.

A metric's Prometheus name is made from its attribute: `mrr` is `stream_worker_mrr`; a counter's ends in `_total`.
docs/metrics.md is `table()`; a test holds it, the dashboard and the alerts to what is defined here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from stream_worker.backends.health import Health
from stream_worker.backends.metric import Metric
from stream_worker.backends.metric_readings import (
    by_partition,
    last_loss,
    one_in,
    referee_losses,
    rolling_metric,
    three_latencies,
)
from stream_worker.core.drift_answers import ANSWERS, ROLLBACK
from stream_worker.core.interfaces import Clock
from stream_worker.core.status import ALIAS_OUTCOMES

STAGES = (
    "poll", "items", "decode", "recall", "predict", "remember", "score", "learn", "recommend", "shared", "commit",
    "copy",
)  # fmt: skip

_FAST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATENCY_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_CHECKPOINT_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_BATCH_EVENTS = (1.0, 10.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


def _rolling(unit: str, meaning: str, name: str) -> Metric[Gauge]:
    """Define the gauge of the monitor's rolling metric `name`, set once per report."""
    return Metric(
        Gauge,
        unit,
        meaning,
        labels=("ranker", "type", "novelty"),
        read=lambda s: rolling_metric(s, name),
        once_per=lambda s: s.quality,
    )


class WorkerMetrics:
    """The metrics of one worker, in a registry of its own.

    Quality is labelled by `ranker` (worker, or one of the baselines), `type` (an event type, or all) and `novelty`
    (repeat: the user has met the item before; new; new_known: new, but not the item's very first event; not_last: not
    the user's last item; or all).
    """

    records_polled = Metric(Counter, "records", "Records taken from the source.", read=lambda s: s.consuming.records)
    events_processed = Metric(
        Counter,
        "events",
        "Valid events taken through the loop, also those that are read again for memories.",
        read=lambda s: s.consuming.events,
    )
    dead_letters = Metric(
        Counter,
        "records",
        "Records set aside, by class of the fault.",
        labels=("error",),
        read=lambda s: s.consuming.dead_letters,
    )
    event_fields_dropped = Metric(
        Counter,
        "fields",
        "Optional fields that could not be read; their events stay.",
        labels=("field",),
        known=("value", "category", "request_id"),
        read=lambda s: s.consuming.fields_dropped.by_name(),
    )
    duplicate_events = Metric(
        Counter,
        "events",
        "Events that came before, by their ids: they count in lists, and are neither remembered nor learned.",
        read=lambda s: s.consuming.duplicates,
    )
    aliases = Metric(
        Counter,
        "records",
        "Records that named another id of their user, by what became of that id's memory.",
        labels=("outcome",),
        known=ALIAS_OUTCOMES,
        read=lambda s: s.memory.aliases,
    )
    ignored_events = Metric(
        Counter,
        "events",
        "What is no event by configuration, by the value of its type (`ignore` in [events.types], [events] keep).",
        labels=("type",),
        read=lambda s: s.consuming.ignored,
    )
    key_mismatches = Metric(
        Counter, "events", "Events whose record key is not their user id.", read=lambda s: s.consuming.key_mismatches
    )
    lists_published = Metric(
        Counter, "lists", "Recommendations in committed transactions.", read=lambda s: s.publishing.lists
    )
    shared_lists_published = Metric(
        Counter,
        "lists",
        "Shared lists in committed transactions: of what goes with an item, and of what is popular.",
        labels=("kind",),
        known=("similar", "popular"),
        read=lambda s: {"similar": s.publishing.similar, "popular": s.publishing.popular},
    )
    lists_shortened = Metric(
        Counter,
        "lists",
        "Lists that lost items or request ids: their topic takes no larger records.",
        read=lambda s: s.publishing.lists_shortened,
    )
    transactions_committed = Metric(
        Counter, "transactions", "Transactions that were committed.", read=lambda s: s.publishing.transactions_committed
    )
    transactions_aborted = Metric(
        Counter,
        "transactions",
        "Transactions that were aborted and sent again.",
        read=lambda s: s.publishing.transactions_aborted,
    )
    batch_events = Metric(
        Histogram,
        "events",
        "Valid events in one tick.",
        buckets=_BATCH_EVENTS,
        read=lambda s: s.consuming.batch_events,
        once_per=lambda s: s.consuming.events,
    )
    tick_seconds = Metric(
        Histogram,
        "seconds",
        "Time of one tick, by stage.",
        labels=("stage",),
        known=STAGES,
        buckets=_FAST_SECONDS,
        read=lambda s: s.stage_seconds,
        once_per=lambda s: s.consuming.events,
    )
    publish_latency_seconds = Metric(
        Histogram,
        "seconds",
        "From the broker's timestamp of an event to its list's commit.",
        buckets=_LATENCY_SECONDS,
        read=three_latencies,
        once_per=lambda s: s.consuming.events,
    )

    partition_lag = Metric(
        Gauge,
        "records",
        "Committed records of an owned partition still to read.",
        labels=("partition",),
        read=lambda s: {str(partition): lag for partition, lag in s.consuming.lag.items()},
    )
    partitions_owned = Metric(
        Gauge, "partitions", "Partitions that this worker owns now.", read=lambda s: len(s.consuming.lag)
    )
    slot = Metric(
        Gauge,
        "boolean",
        "1: the worker has this slot.",
        labels=("slot",),
        read=lambda s: {s.slot: 1.0} if s.slot else None,
    )
    ready = Metric(
        Gauge,
        "boolean",
        "1: it owns partitions or stands by; 0: it has no place, or waits for a minute.",
        ask=lambda health: float(health.is_ready()[0]),
    )
    waiting_seconds = Metric(
        Gauge,
        "seconds",
        "How long it has waited for something outside; 0: it does not. /readyz says for what.",
        ask=Health.waiting_seconds,
    )
    last_event_age_seconds = Metric(
        Gauge,
        "seconds",
        "Age of the last processed event; NaN before the first.",
        since=lambda s: s.consuming.last_event_ts,
    )

    hit_rate_10 = _rolling("ratio", "Rolling share of events found in the 10 best.", "hit_rate@10")
    hit_rate_20 = _rolling("ratio", "Rolling share of events found in the 20 best.", "hit_rate@20")
    mrr = _rolling("ratio", "Rolling mean reciprocal rank, 0 below the list's end.", "mrr@20")
    ndcg = _rolling("ratio", "Rolling normalised discounted cumulative gain.", "ndcg@20")
    log_loss = _rolling("nats", "Rolling mean of -log of the probability of what came.", "log_loss")
    drift_alarms = Metric(
        Counter,
        "alarms",
        "Drops of the hit rate, by stream of events.",
        labels=("detector",),
        read=lambda s: s.drift.alarms,
    )

    drift_answers = Metric(
        Counter,
        "answers",
        "What was done about drift, by answer.",
        labels=("answer",),
        known=(*ANSWERS, ROLLBACK),
        read=lambda s: s.drift.answers,
    )
    users_rebuilt = Metric(
        Counter,
        "users",
        "User states that were made anew from the ring, after drift or collapse.",
        read=lambda s: s.learning.users_rebuilt,
    )
    steps_skipped = Metric(
        Counter,
        "steps",
        "Steps not taken: no number, or exploding.",
        labels=("part",),
        known=("encoder", "ranker"),
        read=lambda s: s.learning.steps_skipped,
    )
    referee_loss = Metric(
        Gauge,
        "nats",
        "Mean loss on fresh examples, of weights and of their slow copy.",
        labels=("part", "weights"),
        read=referee_losses,
    )
    learning_rate_factor = Metric(
        Gauge,
        "ratio",
        "What drift multiplies learning rates by now; 1 at other times.",
        read=lambda s: s.learning.rate_factor,
    )

    encoder_loss = Metric(
        Gauge, "nats", "The encoder's loss in its last learning step.", read=lambda s: last_loss(s, "encoder")
    )
    ranker_loss = Metric(
        Gauge, "nats", "The ranker's loss in its last learning step.", read=lambda s: last_loss(s, "ranker")
    )
    learning_steps = Metric(Counter, "steps", "Optimizer steps taken.", read=lambda s: s.learning.steps)
    effort = Metric(
        Gauge,
        "ratio",
        "Share of the events that are predicted and learned from; less while behind.",
        read=lambda s: s.learning.effort,
    )
    learning_rate = Metric(Gauge, "ratio", "The optimizer's current learning rate.", read=lambda s: s.learning.rate)

    items_live = Metric(Gauge, "items", "Items in the catalogue.", read=lambda s: s.catalogue.items)
    items_evicted = Metric(
        Counter,
        "items",
        "Items dropped from the catalogue, unseen for long or to make room.",
        read=lambda s: s.catalogue.evicted,
    )
    item_ids_used = Metric(
        Gauge,
        "ratio",
        "Share of memory.max_item_ids (without Redis twin_items) that is taken.",
        read=lambda s: s.catalogue.ids_used,
    )
    events_not_remembered = Metric(
        Counter,
        "events",
        "Events that count and get lists, but enter no ring: their item's id found no room.",
        read=lambda s: s.memory.events_not_remembered,
    )
    item_records_read = Metric(Counter, "records", "Records read from the items topic.", read=lambda s: s.items.records)
    item_records_unreadable = Metric(
        Counter,
        "records",
        "Records of the items topic, or elements of one, that can't be read, by class of the fault.",
        labels=("error",),
        read=lambda s: s.items.unreadable.by_name(),
    )
    item_fields_dropped = Metric(
        Counter,
        "fields",
        "Optional parts of items that could not be read; the items stay.",
        labels=("field",),
        read=lambda s: s.items.fields_dropped.by_name(),
    )
    item_rules_failed = Metric(
        Counter,
        "items",
        "Items on which an expression of the lists' rules failed, say by a field that they lack, by its key.",
        labels=("rule",),
        read=lambda s: s.items.rules_failed,
    )
    item_lag = Metric(
        Gauge, "records", "Records of the items topic still to read, at most.", read=lambda s: s.items.lag
    )
    decision_records_read = Metric(
        Counter, "records", "Records read from the decisions topic.", read=lambda s: s.decisions.records
    )
    decision_records_unreadable = Metric(
        Counter,
        "records",
        "Records of the decisions topic that are no decision and were skipped, by class of the fault.",
        labels=("error",),
        read=lambda s: s.decisions.unreadable.by_name(),
    )
    decision_lag = Metric(
        Gauge, "records", "Records of the decisions topic still to read, at most.", read=lambda s: s.decisions.lag
    )
    items_decided = Metric(
        Gauge,
        "items",
        "Items by the decision in force on them; lists leave out those of block and hold.",
        labels=("decision",),
        read=lambda s: s.decisions.in_force,
    )
    users_on_device = Metric(Gauge, "users", "User memories on the device.", read=lambda s: s.memory.users_on_device)
    users_spilled = Metric(
        Counter, "users", "User memories moved from the device to the store.", read=lambda s: s.memory.users_spilled
    )
    rows_pending = Metric(
        Gauge, "rows", "User memories that the store does not hold yet.", read=lambda s: s.memory.rows_pending
    )
    recall_misses = Metric(
        Counter,
        "users",
        "Users of a batch that had to be fetched from the store.",
        read=lambda s: s.memory.recall_misses,
    )
    unreadable_records = Metric(
        Counter,
        "records",
        "Memory records in the store that can't be read; their users were taken for new ones.",
        read=lambda s: s.memory.unreadable_records,
    )
    memories_lost = Metric(
        Counter,
        "partitions",
        "Partitions whose memories the store was found to have lost; they are read again.",
        read=lambda s: s.takeovers.memories_lost,
    )
    stale_writes_refused = Metric(
        Counter,
        "writes",
        "Writes that the store refused because of a newer token.",
        read=lambda s: s.memory.stale_writes,
    )
    events_gap = Metric(
        Counter,
        "events",
        "Events that the line will never learn, after an unclean takeover.",
        read=lambda s: s.takeovers.unlearned,
    )
    events_overlap = Metric(
        Counter,
        "events",
        "Events that the line learned twice, after an unclean takeover.",
        read=lambda s: s.takeovers.overlap,
    )
    events_listed_again = Metric(
        Counter,
        "events",
        "Events listed again after the group's committed offsets expired, as far as memories and weights tell.",
        read=lambda s: s.takeovers.listed_again,
    )

    hearing = Metric(
        Gauge,
        "boolean",
        "1: it learns from partitions that other workers own, too; 0: from its own alone.",
        read=lambda s: float(s.hearing.on),
    )
    heard_lag = Metric(
        Gauge,
        "records",
        "Records of a heard partition still to hear.",
        labels=("partition",),
        read=lambda s: by_partition(s.hearing.lag),
    )
    partitions_unheard = Metric(
        Gauge, "partitions", "Partitions that it neither owns nor hears.", read=lambda s: s.hearing.unheard
    )
    heard_examined_share = Metric(
        Gauge,
        "ratio",
        "Share of the heard events that are predicted and learned from; 0: all are counted only.",
        read=lambda s: one_in(s.hearing.one_in),
    )
    events_counted = Metric(
        Counter,
        "events",
        "Events that were counted: of owned partitions, and of heard ones.",
        labels=("of",),
        known=("owned", "heard"),
        read=lambda s: {"owned": s.hearing.counted_owned, "heard": s.hearing.counted_heard},
    )
    heard_events_examined = Metric(
        Counter, "events", "Heard events that were predicted and learned from.", read=lambda s: s.hearing.examined_heard
    )
    heard_gap = Metric(
        Gauge,
        "events",
        "Events of a partition that its line never counts: the log had lost them, or a claim did not wait for them.",
        labels=("partition",),
        read=lambda s: by_partition(dict.fromkeys(s.hearing.lag, 0) | s.hearing.gap),
    )
    users_heard = Metric(Gauge, "users", "Memories of heard users on the device.", read=lambda s: s.hearing.users)
    weights_given = Metric(
        Counter, "gifts", "How often it wrote its weights for other lines.", read=lambda s: s.sharing.given
    )
    weights_taken = Metric(
        Counter, "gifts", "How often it took the mean of its weights and others'.", read=lambda s: s.sharing.taken
    )
    weights_refused = Metric(
        Counter,
        "gifts",
        "Weights of other lines that it did not take, by reason.",
        labels=("reason",),
        read=lambda s: s.sharing.refused,
    )
    weights_lines = Metric(Gauge, "lines", "Other lines in the newest mean of weights.", read=lambda s: s.sharing.lines)
    weights_age_seconds = Metric(
        Gauge,
        "seconds",
        "Age of the oldest weights in the newest mean; NaN before the first.",
        since=lambda s: s.sharing.oldest_ts,
    )

    checkpoint_seconds = Metric(
        Histogram,
        "seconds",
        "Time to write a checkpoint and the memories, without the pauses between them.",
        buckets=_CHECKPOINT_SECONDS,
        read=lambda s: s.checkpoints.seconds,
        once_per=lambda s: s.checkpoints.written,
    )
    checkpoint_bytes = Metric(Gauge, "bytes", "Size of the newest checkpoint.", read=lambda s: s.checkpoints.bytes)
    checkpoint_failures = Metric(
        Counter, "checkpoints", "Checkpoints that could not be written.", read=lambda s: s.checkpoints.failures
    )
    checkpoint_age_seconds = Metric(
        Gauge,
        "seconds",
        "Age of the newest checkpoint; NaN before the first.",
        since=lambda s: s.checkpoints.last_ts,
    )
    unwritten_seconds = Metric(
        Gauge,
        "seconds",
        "How long something has waited for its checkpoint; 0: all is written.",
        since=lambda s: s.checkpoints.unwritten_since,
        never=0.0,
    )
    start_time_seconds = Metric(Gauge, "seconds", "When this worker started, in epoch seconds.")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.created: dict[str, Any] = {metric.attribute: metric.create(self.registry) for metric in definitions()}
        ProcessCollector(registry=self.registry)
        self.start_time_seconds.set(clock.now())


def definitions() -> Iterator[Metric[Any]]:
    """Go through all metrics, in the order of the documented table."""
    return (value for value in vars(WorkerMetrics).values() if isinstance(value, Metric))


def table(metrics: Iterable[Metric[Any]] | None = None) -> str:
    """Write the definitions as a Markdown table."""
    lines = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for m in definitions() if metrics is None else metrics:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        lines.append(f"| `{m.name}` | {m.kind.__name__.lower()} | {m.unit} | {labels} | {m.meaning} |")
    return "\n".join(lines) + "\n"

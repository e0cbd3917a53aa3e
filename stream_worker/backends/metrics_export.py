"""From a worker's status to its Prometheus metrics and health, after every tick."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter

from stream_worker.backends.metric_definitions import WorkerMetrics
from stream_worker.backends.metrics import Health
from stream_worker.core.status import Status

_COUNTERS = {
    "records_polled": "records",
    "events_processed": "events",
    "key_mismatches": "key_mismatches",
    "lists_published": "lists",
    "lists_shortened": "lists_shortened",
    "transactions_committed": "transactions_committed",
    "transactions_aborted": "transactions_aborted",
    "learning_steps": "learning_steps",
    "items_evicted": "items_evicted",
    "events_not_remembered": "events_not_remembered",
    "users_spilled": "users_spilled",
    "users_rebuilt": "users_rebuilt",
    "recall_misses": "recall_misses",
    "unreadable_records": "unreadable_records",
    "memories_lost": "memories_lost",
    "stale_writes_refused": "stale_writes",
    "events_gap": "unlearned",
    "events_overlap": "overlap",
    "events_listed_again": "listed_again",
    "checkpoint_failures": "checkpoint_failures",
}
_QUALITY = {
    "hit_rate_10": "hit_rate@10",
    "hit_rate_20": "hit_rate@20",
    "mrr": "mrr@20",
    "ndcg": "ndcg@20",
    "log_loss": "log_loss",
}


class MetricsObserver:
    """Counts go up by what came since the last tick; gauges are set; a tick without events only ticks."""

    def __init__(self, metrics: WorkerMetrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._counted: dict[str, float] = {}
        self._quality: Mapping[str, Any] = {}
        metrics.ready.set_function(lambda: float(health.is_ready()[0]))
        metrics.waiting_seconds.set_function(health.waiting_seconds)

    def ticked(self, status: Status) -> None:
        self._health.tick()
        self._health.stands(status.standing)
        self._health.waits(status.waiting)
        metrics = self._metrics
        new_events = status.events - self._counted.get("events_processed", 0)
        for metric, name in _COUNTERS.items():
            self._count(metric, getattr(metrics, metric), getattr(status, name))
        for error, count in status.dead_letters.items():
            self._count(f"dead_letters {error}", metrics.dead_letters.labels(error), count)
        for part, count in status.fields_dropped.by_name().items():
            self._count(f"event_fields_dropped {part}", metrics.event_fields_dropped.labels(part), count)
        for detector, count in status.drift_alarms.items():
            self._count(f"drift_alarms {detector}", metrics.drift_alarms.labels(detector), count)
        for answer, count in status.drift_answers.items():
            self._count(f"drift_answers {answer}", metrics.drift_answers.labels(answer), count)
        for part, count in status.steps_skipped.items():
            self._count(f"steps_skipped {part}", metrics.steps_skipped.labels(part), count)
        self._gauges(status)
        if new_events:
            self._tick(status)
        if status.quality is not self._quality:
            self._quality = status.quality
            self._set_quality(status.quality)

    def _count(self, key: str, counter: Counter, value: float) -> None:
        counter.inc(max(0.0, value - self._counted.get(key, 0)))
        self._counted[key] = value

    def _gauges(self, status: Status) -> None:
        metrics = self._metrics
        metrics.set_lag(status.lag)
        metrics.partitions_owned.set(len(status.lag))
        metrics.items_live.set(status.items)
        metrics.item_ids_used.set(status.item_ids_used)
        metrics.users_on_device.set(status.users_on_device)
        metrics.rows_pending.set(status.rows_pending)
        metrics.effort.set(status.effort)
        metrics.learning_rate.set(status.learning_rate)
        metrics.learning_rate_factor.set(status.learning_rate_factor)
        for part, (fast, slow) in status.referees.items():
            metrics.referee_loss.labels(part, "fast").set(fast)
            metrics.referee_loss.labels(part, "slow").set(slow)
        metrics.last_event_ts, metrics.unwritten_ts = status.last_event_ts, status.unwritten_since
        if status.checkpoints > self._counted.get("checkpoints", 0):
            self._counted["checkpoints"] = status.checkpoints
            metrics.checkpoint_seconds.observe(status.checkpoint_seconds)
            metrics.last_checkpoint_ts = status.last_checkpoint_ts
            metrics.checkpoint_bytes.set(status.checkpoint_bytes)

    def _tick(self, status: Status) -> None:
        metrics = self._metrics
        metrics.batch_events.observe(status.batch_events)
        for stage, seconds in status.stage_seconds.items():
            metrics.tick_seconds.labels(stage).observe(seconds)
        # Three of the tick's latencies, not all of them: the first, the middle one and the last.
        if tick := list(status.latencies)[-status.batch_events :]:
            for place in {0, len(tick) // 2, len(tick) - 1}:
                metrics.publish_latency_seconds.observe(tick[place])
        for name, gauge in (("encoder", metrics.encoder_loss), ("ranker", metrics.ranker_loss)):
            if not math.isnan(loss := status.losses.get(name, math.nan)):
                gauge.set(loss)

    def _set_quality(self, report: Mapping[str, Any]) -> None:
        self._set_group(("worker", "all", "all"), report)
        for name, group in report.get("by_type", {}).items():
            self._set_group(("worker", name, "all"), group)
        for name, group in report.get("by_repeat", {}).items():
            self._set_group(("worker", "all", name), group)
        for name, group in report.get("baselines", {}).items():
            self._set_group((name, "all", "all"), group)

    def _set_group(self, labels: tuple[str, str, str], group: Mapping[str, Any]) -> None:
        rolling = group.get("rolling", {})
        if rolling.get("events"):
            for metric, name in _QUALITY.items():
                if name in rolling:
                    getattr(self._metrics, metric).labels(*labels).set(rolling[name])

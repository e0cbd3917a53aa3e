"""Readings of metrics that have to be computed from the worker's status."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from stream_worker.backends.metric import Labels
from stream_worker.core.monitor import AFTER_RULES, NOT_LAST, REPEATS
from stream_worker.core.quality import WORKER, GroupQuality, Quality
from stream_worker.core.status import Status


def rolling_metric(status: Status, name: str) -> dict[Labels, float]:
    """Read a rolling metric by (ranker, type, novelty). Groups without scored events have none: 0 would mislead."""
    rolling = {labels: group.rolling for labels, group in _groups(status.quality)}
    return {
        labels: figures.metrics[name]
        for labels, figures in rolling.items()
        if figures.events and name in figures.metrics
    }


def _groups(quality: Quality) -> Iterator[tuple[Labels, GroupQuality]]:
    yield (WORKER, "all", "all"), quality.all
    for name, group in quality.by_type.items():
        yield (WORKER, name, "all"), group
    for name, group in quality.by_repeat.items():
        yield (WORKER, "all", name), group
    yield (WORKER, "all", NOT_LAST), quality.not_last
    for name, group in quality.not_last_by_type.items():
        yield (WORKER, name, NOT_LAST), group
    for name, group in quality.after_rules.items():
        yield (AFTER_RULES, "all", name), group
    for name, group in quality.baselines.items():
        yield (name, "all", "all"), group
    for part in (*REPEATS, NOT_LAST):
        for name, group in quality.baselines_by_part.get(part, {}).items():
            yield (name, "all", part), group


def three_latencies(status: Status) -> list[float]:
    """Read the first, the middle and the last latency of the newest batch; all of them would cost too much."""
    counts = status.consuming
    batch = list(counts.latencies)[-counts.batch_events :]
    return [batch[place] for place in {0, len(batch) // 2, len(batch) - 1}] if batch else []


def by_partition(counts: Mapping[int, int]) -> dict[str, float]:
    """Read a count by partition."""
    return {str(partition): count for partition, count in counts.items()}


def one_in(count: int) -> float:
    """Read one in so many as a share; 0 stands for none."""
    return 1 / count if count else 0.0


def last_loss(status: Status, part: str) -> float | None:
    """Read the loss of a part of the model in its last learning step; None if there was none."""
    loss = status.learning.losses.get(part, math.nan)
    return None if math.isnan(loss) else loss


def referee_losses(status: Status) -> dict[Labels, float]:
    """Read the losses on fresh examples by (part, weights)."""
    pairs = status.learning.referees.items()
    return {(part, weights): loss for part, pair in pairs for weights, loss in zip(("fast", "slow"), pair, strict=True)}

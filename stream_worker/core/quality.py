"""The quality of the lists as the monitor reports it: metrics of the worker, of its groups and of the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WORKER = "worker"
# The metric that people are shown where there is room for only one.
HIT_RATE = "hit_rate@20"


@dataclass(frozen=True, slots=True)
class Figures:
    """Metrics of scored events.

    events: how many they are.
    metrics: value by name (`hit_rate@20`); 0.0 where there are no events.
    """

    events: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """Figures of one group of events: of its last ones (`monitor.window`), and of all."""

    rolling: Figures = Figures()
    total: Figures = Figures()


@dataclass(frozen=True, slots=True)
class Quality:
    """A report of the monitor.

    events: events counted so far, scored or not.
    all: quality on all scored events.
    by_type, by_repeat, by_age: quality on the groups, by their names.
    not_last, not_last_by_type: quality on the events whose item is not the user's last one, in all and by event type.
    after_rules: quality of the lists after the rules, which are made before one examined event in eight, by group.
    baselines: quality of the baselines on all scored events, by their names.
    baselines_by_part: the same on some of the groups, by group and baseline.
    """

    events: int = 0
    all: GroupQuality = GroupQuality()
    by_type: Mapping[str, GroupQuality] = field(default_factory=dict)
    by_repeat: Mapping[str, GroupQuality] = field(default_factory=dict)
    by_age: Mapping[str, GroupQuality] = field(default_factory=dict)
    not_last: GroupQuality = GroupQuality()
    not_last_by_type: Mapping[str, GroupQuality] = field(default_factory=dict)
    after_rules: Mapping[str, GroupQuality] = field(default_factory=dict)
    baselines: Mapping[str, GroupQuality] = field(default_factory=dict)
    baselines_by_part: Mapping[str, Mapping[str, GroupQuality]] = field(default_factory=dict)

    def rolling(self, metric: str) -> dict[str, float]:
        """Return a rolling metric of the worker and of the baselines, by ranker.

        Empty before the first scored event, and where the metric is not measured: `monitor.hit_rate_k` says which are.
        """
        rankers = {WORKER: self.all, **self.baselines} if self.all.rolling.events else {}
        values = {name: quality.rolling.metrics for name, quality in rankers.items()}
        return {name: metrics[metric] for name, metrics in values.items() if metric in metrics}

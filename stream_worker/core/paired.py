"""A comparison of two runs on the same events that tells a difference from luck.

Events of one user resemble each other, so only users count as independent. The difference is that of the means over
events; its interval and its p-value come from a bootstrap that draws users, each with all their events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stream_worker.core.ranking_metrics import MRR, NDCG, WORST_LOSS, HitRate, RankingMetric

_RESAMPLES = 2_000  # bootstrap samples; the smallest p that they can show is about 0.001 (not tuned)
_LEAST_USERS = 10  # users below which no interval is told (not tuned)
_DRAWN_AT_ONCE = 2_000_000  # users drawn at a time, over all samples; 16 MB per array of float64


@dataclass(frozen=True)
class Scores:
    """The E scored events of one run, in the order of the log.

    offset_E: offsets in the log.
    user_E: numbers of the users.
    rank_E: ranks of the items that came, from 1, among candidates and items that fill up; 0: in neither.
    log_probability_E: log-probabilities of these items, in nats.
    type_E: numbers of the event types.
    repeat_E: True if the user had the item before.
    age_E: events of the stream since the item's first one; -1: the item is new.
    """

    offset_E: NDArray[np.int64]
    user_E: NDArray[np.int64]
    rank_E: NDArray[np.int64]
    log_probability_E: NDArray[np.float64]
    type_E: NDArray[np.uint8]
    repeat_E: NDArray[np.bool_]
    age_E: NDArray[np.int64]

    @staticmethod
    def none() -> Scores:
        """Return the scores of a run that has scored nothing yet."""
        places, flags = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        return Scores(places, places, places, np.zeros(0), places.astype(np.uint8), flags, places)

    @staticmethod
    def joined(parts: Sequence[Scores]) -> Scores:
        """Return the scores of the parts of a run as one; there is at least one part."""
        return Scores(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def at(self, places: NDArray[np.integer] | NDArray[np.bool_]) -> Scores:
        """Return the scores at these places, or of the events that a mask selects."""
        return Scores(**{name: column[places] for name, column in vars(self).items()})

    def values(self, hit_rate_k: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        """Return what each event adds to each metric, by the monitor's names. For `log_loss` less is better."""
        k = max(hit_rate_k)
        metrics: list[RankingMetric] = [*(HitRate(k) for k in hit_rate_k), MRR(k), NDCG(k)]
        values = {metric.name: _gains(metric, self.rank_E) for metric in metrics}
        return {**values, "log_loss": np.clip(-self.log_probability_E, 0.0, WORST_LOSS)}


@dataclass(frozen=True)
class Difference:
    """The difference of two runs in one metric.

    a, b: the means over the events.
    low, high: the 95 % confidence interval of `b` - `a`; NaN with too few users.
    p: the probability that chance alone makes a difference as large; NaN with too few users.
    """

    events: int
    users: int
    a: float
    b: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Row:
    """One metric of a group of events. `spread`: standard deviation of each side over its seeds, NaN for one seed."""

    group: str
    metric: str
    found: Difference
    spread: tuple[float, float]


def compared(
    a: Sequence[Scores], b: Sequence[Scores], hit_rate_k: Sequence[int], type_names: Sequence[str], cold_events: int
) -> Iterator[Row]:
    """Yield every metric on all events, then hit rate and MRR on groups of them.

    `a`, `b`: the runs of each side, one per seed; an event counts with its mean over the seeds.
    `hit_rate_k`: the lengths of list at which the hit rate is taken; the other metrics use the largest.
    `type_names`: the event types, in the order of their numbers.
    `cold_events`: events of the stream for which an item is cold.

    The events are those that all runs have scored; the first run says to which groups each belongs.
    """
    runs = in_common([*a, *b])
    values = [run.values(hit_rate_k) for run in runs]
    sides = values[: len(a)], values[len(a) :]
    everything = {"all": np.ones(len(runs[0].offset_E), dtype=np.bool_)}
    k = max(hit_rate_k)
    for group, member_E in {**everything, **groups(runs[0], type_names, cold_events)}.items():
        for metric in values[0] if group == "all" else (f"hit_rate@{k}", f"mrr@{k}"):
            a_SE, b_SE = (np.stack([seed[metric][member_E] for seed in side]) for side in sides)
            found = difference(a_SE.mean(axis=0), b_SE.mean(axis=0), runs[0].user_E[member_E])
            yield Row(group, metric, found, (_spread(a_SE), _spread(b_SE)))


def _spread(values_SE: NDArray[np.float64]) -> float:
    return float(values_SE.mean(axis=1).std(ddof=1)) if len(values_SE) > 1 else nan


def in_common(runs: Sequence[Scores]) -> list[Scores]:
    """Return the runs, each reduced to the events that all of them have scored."""
    offsets = reduce(np.intersect1d, [run.offset_E for run in runs])
    return [run.at(np.isin(run.offset_E, offsets)) for run in runs]


def difference(
    a_E: NDArray[np.float64], b_E: NDArray[np.float64], user_E: NDArray[np.int64], seed: int = 0
) -> Difference:
    """Return the difference of one metric's values `a_E` and `b_E` on the same events (at least one).

    The estimate is sum_u d_u / sum_u n_u over users u, with d_u the summed difference of the user's n_u events; the
    interval is the bootstrap's 2.5 to 97.5 percentiles, p = 2 min(P(<= 0), P(>= 0)) in it (Davison and Hinkley 1997).
    """
    _, user = np.unique(user_E, return_inverse=True)
    count_U = np.bincount(user).astype(np.float64)
    gained_U = np.bincount(user, weights=b_E - a_E).astype(np.float64)
    low, high, p = (nan, nan, nan) if len(count_U) < _LEAST_USERS else _bootstrapped(gained_U, count_U, seed)
    return Difference(len(a_E), len(count_U), float(a_E.mean()), float(b_E.mean()), low, high, p)


def groups(scores: Scores, type_names: Sequence[str], cold_events: int) -> Mapping[str, NDArray[np.bool_]]:
    """Return the groups of the events that are not empty, as masks by the monitor's names."""
    age_E = scores.age_E
    named = {f"type.{name}": scores.type_E == number for number, name in enumerate(type_names)}
    named = named if sum(member_E.any() for member_E in named.values()) > 1 else {}
    named |= {"repeat": scores.repeat_E, "new": ~scores.repeat_E, "new_known": ~scores.repeat_E & (age_E >= 0)}
    named |= {"warm": age_E >= cold_events, "cold": (age_E >= 0) & (age_E < cold_events)}
    return {name: member_E for name, member_E in named.items() if member_E.any()}


def _gains(metric: RankingMetric, rank_E: NDArray[np.int64]) -> NDArray[np.float64]:
    by_rank = np.array([0.0, *(metric.gain(rank) for rank in range(1, metric.k + 1))])
    return by_rank[np.where(rank_E <= metric.k, rank_E, 0)]


def _bootstrapped(gained_U: NDArray[np.float64], count_U: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Return low, high and p (see `difference`). `gained_U`: summed differences per user; `count_U`: their events."""
    drawn = stats.bootstrap(
        (gained_U, count_U),
        lambda gained, count, axis: gained.sum(axis=axis) / count.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _DRAWN_AT_ONCE // len(count_U)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    differences = drawn.bootstrap_distribution
    tail = 1 + min((differences <= 0).sum(), (differences >= 0).sum())
    interval = drawn.confidence_interval
    return float(interval.low), float(interval.high), min(1.0, 2 * float(tail) / (1 + _RESAMPLES))

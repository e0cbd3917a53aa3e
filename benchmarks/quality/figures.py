"""Figures of the defaults on a recorded log: `table` holds them against the bars, benchmarks/results keeps them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.new_items import Young, young_of
from benchmarks.quality.one_pass import Pass
from benchmarks.quality.scored import BARS, LIMITS, Log, hit_rate, reciprocal_rank

_TENTHS_TO_SETTLE = 2  # first tenths, in which a new model is not held against the baselines


@dataclass(frozen=True)
class Rate:
    """HR@20 or MRR@20 over all seeds, beside that of the baseline with the best hit rate.

    bar: the least that the mean has to reach; None: as much as the baseline.
    """

    mean: float
    least: float
    most: float
    baseline: float
    bar: float | None = None

    @property
    def good(self) -> bool:
        return self.mean >= (self.bar or self.baseline)


@dataclass(frozen=True)
class Tenth:
    """HR@20 of the worst seed in a tenth of the log, and of whichever baseline is best there."""

    tenth: int
    hit_rate: float
    baseline: float


@dataclass(frozen=True)
class Part:
    """HR@20 of a part of the scored events, mean of all seeds, and of the baseline that is best there."""

    name: str
    events: int
    hit_rate: float
    baseline: str
    baseline_hit_rate: float


@dataclass(frozen=True)
class LogFigures:
    """`microseconds`: of an event, by stage and in all, of the seed whose pass cost the median."""

    log: str
    events: int
    seeds: int
    baseline: str
    hit_rate: Rate
    mrr: Rate
    tenths: list[Tenth]
    parts: list[Part]
    young: Young
    microseconds: dict[str, float]


def figures_of(log: Log, passes: Sequence[Pass]) -> LogFigures:
    """Return the figures of one log; there is a pass per seed."""
    scored = log.scored()
    best = max(log.baselines, key=lambda name: hit_rate(log.baselines[name][scored]))
    bars = BARS.get(log.name, (None, None)) if log.limit == LIMITS.get(log.name) else (None, None)
    ranks = [one.rank_E[scored] for one in passes]
    median = sorted(passes, key=lambda one: one.cost)[len(passes) // 2]
    return LogFigures(
        log=log.name,
        events=len(passes[0].rank_E),
        seeds=len(passes),
        baseline=best,
        hit_rate=_rate(hit_rate, ranks, log.baselines[best][scored], bars[0]),
        mrr=_rate(reciprocal_rank, ranks, log.baselines[best][scored], bars[1]),
        tenths=list(_tenths(log, passes)),
        parts=list(_parts(log, passes)),
        young=young_of(passes[0]),
        microseconds={"all": median.cost, **median.microseconds},
    )


def _rate(
    measure: Callable[[NDArray[np.int64]], float],
    ranks: Sequence[NDArray[np.int64]],
    baseline_E: NDArray[np.int64],
    bar: float | None,
) -> Rate:
    seeds = [measure(rank_E) for rank_E in ranks]
    return Rate(statistics.mean(seeds), min(seeds), max(seeds), measure(baseline_E), bar)


def _parts(log: Log, passes: Sequence[Pass]) -> Iterator[Part]:
    """Yield the parts that have scored events."""
    scored = log.scored()
    for name, is_member_E in log.parts.items():
        members = scored[is_member_E[scored]]
        if len(members):
            rates = {baseline: hit_rate(rank_E[members]) for baseline, rank_E in log.baselines.items()}
            best = max(rates, key=rates.__getitem__)
            mean = statistics.mean(hit_rate(one.rank_E[members]) for one in passes)
            yield Part(name, len(members), mean, best, rates[best])


def _tenths(log: Log, passes: Sequence[Pass]) -> Iterator[Tenth]:
    """Yield the tenths after those in which a model that has just begun settles."""
    for number, tenth in enumerate(log.tenths(), start=2):
        if number > _TENTHS_TO_SETTLE:
            worst = min(hit_rate(one.rank_E[tenth]) for one in passes)
            yield Tenth(number, worst, max(hit_rate(rank_E[tenth]) for rank_E in log.baselines.values()))

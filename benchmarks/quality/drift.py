"""Abrupt changes: the time until the hit rate is back, with the answers to drift and without them.

Also false alarms: how often a stream that does not change raises one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.one_pass import Pass, simulated_pass
from benchmarks.quality.rows import Row
from benchmarks.quality.streams import (
    Simulation,
    StreamConfig,
    renew_tastes,
    retire,
    swap_tastes,
    swap_tastes_and_retire,
)
from stream_worker.config import Settings

ABRUPT = "half of the users exchange tastes, and the 100 items seen most retire"
CHANGES: dict[str, Callable[[Simulation], None]] = {
    ABRUPT: swap_tastes_and_retire(100),
    "half of the users exchange tastes": swap_tastes,
    "half of the users take up new tastes": renew_tastes,
    "the 100 items seen most retire": retire(100),
}
_BEFORE, _AFTER = 5_000, 5_000  # scored events before and after the change that figures are taken from
_WARM = 12_000  # events before the change
_ROLLING, _SHARE = 1_000, 0.9  # the hit rate is back when that of so many events is this share of its old level
_STREAM = StreamConfig(events=_WARM + 6_000, tastes=10, follows=0.6, returns=0.1)
_MOST_FALSE_ALARMS = 1  # the bar, for a stream without changes


@dataclass(frozen=True)
class Return:
    """`level`: hit rate of the 5,000 scored events before the change; `back`: scored events after it until the last
    1,000 of them have 90 % of that (at least 1,000); `loss_E`: -log P of each of the 5,000 after it."""

    level: float
    back: float
    hit_rate: float
    loss_E: NDArray[np.float64]
    alarm_after: int | None
    answers: int

    @property
    def loss(self) -> float:
        return float(self.loss_E.mean())


def return_of(one: Pass, change_at: int) -> Return:
    before, after = (np.flatnonzero(one.scored_E[part]) for part in (slice(change_at), slice(change_at, None)))
    after = after[:_AFTER] + change_at
    level = float((one.rank_E[before[-_BEFORE:]] > 0).mean())
    hit_A = one.rank_E[after] > 0
    reached = np.flatnonzero(np.convolve(hit_A, np.full(_ROLLING, 1 / _ROLLING), "valid") >= _SHARE * level)
    alarms = [at - change_at for at, _ in one.alarms if at > change_at]
    return Return(
        level=level,
        back=float(_ROLLING + reached[0]) if len(reached) else float("inf"),
        hit_rate=float(hit_A.mean()),
        loss_E=-one.log_probability_E[after],
        alarm_after=min(alarms, default=None),
        answers=sum(one.worker.status.drift.answers.values()),
    )


def abrupt(change: Callable[[Simulation], None], seed: int, settings: Settings) -> tuple[Return, Return]:
    """Return the figures with answers and without. Without an alarm nothing is answered, and both are one pass."""
    events = Simulation(replace(_STREAM, seed=seed), {_WARM: change}).events()
    answered = return_of(simulated_pass(settings, events), _WARM)
    if not answered.answers:
        return answered, answered
    silent = replace(settings, drift=replace(settings.drift, answers=(), rollback=False))
    return answered, return_of(simulated_pass(silent, events), _WARM)


def abrupt_rows(seeds: Sequence[int], settings: Settings) -> Iterator[Row]:
    for name, change in CHANGES.items():
        pairs = [abrupt(change, seed, settings) for seed in seeds]
        yield _back_row(name, [answered for answered, _ in pairs])
        yield _faster_row(name, pairs)


def _back_row(name: str, returns: Sequence[Return]) -> Row:
    level, now = (statistics.mean(values) for values in zip(*((r.level, r.hit_rate) for r in returns), strict=True))
    backs = [r.back for r in returns]
    alarms = ", ".join("none" if r.alarm_after is None else f"{r.alarm_after:,}" for r in returns)
    measured = f"HR {level:.3f} to {now:.3f}; back after {_numbers(backs)} events; alarm after {alarms}"
    return Row(f"{name}: back to 90 %", measured, f"within {_AFTER:,}", max(backs) <= _AFTER)


def _faster_row(name: str, pairs: Sequence[tuple[Return, Return]]) -> Row:
    """Compare each seed's pass with answers to that without, which are the same until the alarm.

    The bar holds for `ABRUPT` only: the other changes leave little to gain.
    """
    if not any(answered.answers for answered, _ in pairs):
        return Row(f"{name}: answers against none", "no alarm was raised, so nothing was answered")
    backs, hits, losses = (
        [getattr(answered, what) - getattr(without, what) for answered, without in pairs]
        for what in ("back", "hit_rate", "loss")
    )
    measured = (
        f"back sooner by {-statistics.mean(backs):,.0f} events ({_numbers([-back for back in backs])}), "
        f"HR {statistics.mean(hits):+.4f}, loss {statistics.mean(losses):+.4f} nats"
    )
    bar = "sooner" if name == ABRUPT else ""
    return Row(f"{name}: answers against none", measured, bar, not bar or statistics.mean(backs) < 0)


def stationary_row(events: int, settings: Settings, seed: int = 0) -> Row:
    one = simulated_pass(settings, Simulation(replace(_STREAM, events=events, seed=seed)).events())
    # A stream of one type is watched twice, as `all` and as its type: one alarm.
    alarms = {at for at, _ in one.alarms}
    name = f"a stream that does not change, {events:,} events"
    bar = f"at most {_MOST_FALSE_ALARMS} false alarm"
    return Row(name, f"{len(alarms)} alarms", bar, len(alarms) <= _MOST_FALSE_ALARMS)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in values)

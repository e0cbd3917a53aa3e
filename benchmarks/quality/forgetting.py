"""Taste A, then B, then A again: the share of its old level that the second A starts with, with replay and without.

There are few users, since the memory of the weights is measured: each user's ring is full of B at first, and no model
could keep what is lost by that (with 1,000 users more than half of the hits in 1,000 events).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.quality.one_pass import Pass, simulated_pass
from benchmarks.quality.rows import Row
from benchmarks.quality.streams import Simulation, StreamConfig, all_take_tastes
from stream_worker.config import Settings

_FIRST, _SECOND, _AGAIN = 8_000, 6_000, 2_000  # events of A, of B, and of A again
_TASTES = 4  # of A, and as many of B; those between them share items with both, and nobody has them
_LEVEL_EVENTS, _START_EVENTS = 2_000, 1_000  # last events of the first A, and first ones of the second
_LEAST = 0.8  # the bar: hit rate at the start of the second A, as a share of the level of the first
_STREAM = StreamConfig(events=_FIRST + _SECOND + _AGAIN, users=100, tastes=10, follows=0.6, returns=0.1)


@dataclass(frozen=True)
class Memory:
    """Hit rates: of the last 2,000 events of the first A, of the first 1,000 of the second."""

    before: float
    again: float

    @property
    def kept(self) -> float:
        return self.again / self.before


def memory_of(one: Pass) -> Memory:
    second = _FIRST + _SECOND
    return Memory(one.hit_rate(_FIRST - _LEVEL_EVENTS, _FIRST), one.hit_rate(second, second + _START_EVENTS))


def there_and_back(seed: int, settings: Settings) -> Memory:
    a, b = all_take_tastes(0, _TASTES), all_take_tastes(_TASTES + 1, _TASTES)
    world = Simulation(replace(_STREAM, seed=seed), {0: a, _FIRST: b, _FIRST + _SECOND: a})
    return memory_of(simulated_pass(settings, world.events()))


def forgetting_rows(seeds: Sequence[int], settings: Settings) -> Iterator[Row]:
    without = replace(settings, model=replace(settings.model, replayed=0.0))
    kept = [there_and_back(seed, settings) for seed in seeds]
    lost = [there_and_back(seed, without) for seed in seeds]
    share = statistics.mean(memory.kept for memory in kept)
    yield Row("A, B, A again: of its level, with replay", _told(kept), f"at least {_LEAST:.0%}", share >= _LEAST)
    yield Row("A, B, A again: of its level, without replay", _told(lost))


def _told(memories: Sequence[Memory]) -> str:
    before, again, share = (statistics.mean(getattr(m, n) for m in memories) for n in ("before", "again", "kept"))
    return f"{share:.1%} (HR {before:.3f}, then {again:.3f})"

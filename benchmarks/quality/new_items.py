"""Items younger than 100 events, which should be hit at least as often as by recent popularity on the same events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.one_pass import CANONICAL, Pass, one_pass, simulated_pass
from benchmarks.quality.rows import Row
from benchmarks.quality.streams import Simulation, StreamConfig
from stream_worker.config import Settings

_YOUNG = 100  # events since an item's first, as in `monitor.cold_events`
_STREAM = StreamConfig(events=20_000, tastes=10, follows=0.6, returns=0.1, new_item_every=20)


@dataclass(frozen=True)
class Young:
    """HR@20 on `events` events of young items, and recent popularity's."""

    events: int
    hit_rate: float
    popularity: float


def simulated_row(settings: Settings, seed: int = 0) -> Row:
    return young_row("new items, simulated", young_of(simulated_pass(settings, Simulation(_STREAM).events())))


def recorded_row(settings: Settings, log: Path, mapping: Path = CANONICAL, limit: int | None = None) -> Row:
    return young_row(f"new items, {log.stem}", young_of(one_pass(settings, log, mapping, limit)))


def young_of(one: Pass) -> Young:
    """Return the figures after the first tenth, as everywhere; an item's very first event can't be predicted."""
    young = one.scored_E & (one.age_E >= 0) & (one.age_E < _YOUNG)
    young[: len(young) // 10] = False
    ours, popular = (
        float((rank[young] > 0).mean()) if young.any() else 0.0 for rank in (one.rank_E, one.popular_rank_E)
    )
    return Young(int(young.sum()), ours, popular)


def young_row(name: str, young: Young) -> Row:
    measured = f"HR {young.hit_rate:.3f}, recent popularity {young.popularity:.3f}, of {young.events:,} events"
    return Row(name, measured, "at least recent popularity", young.hit_rate >= young.popularity)

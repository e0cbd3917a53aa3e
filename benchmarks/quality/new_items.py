"""Items younger than 100 events: found at least as often as by recent popularity on the same events."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.one_pass import CANONICAL, Pass, one_pass, simulated_pass
from benchmarks.quality.rows import Row
from benchmarks.quality.streams import Simulation, StreamConfig
from stream_worker.config import Settings

_YOUNG = 100
_STREAM = StreamConfig(events=20_000, tastes=10, follows=0.6, returns=0.1, new_item_every=20)


def simulated_row(settings: Settings, seed: int = 0) -> Row:
    return young_row("new items, simulated", simulated_pass(settings, Simulation(_STREAM).events()))


def recorded_row(settings: Settings, log: Path, mapping: Path = CANONICAL, limit: int | None = None) -> Row:
    return young_row(f"new items, {log.stem}", one_pass(settings, log, mapping, limit))


def young_row(name: str, one: Pass) -> Row:
    """After the first tenth, as everything is scored. An item's very first event nobody could have predicted."""
    young = one.scored_E & (one.age_E >= 0) & (one.age_E < _YOUNG)
    young[: len(young) // 10] = False
    ours, popular = (
        float((rank[young] > 0).mean()) if young.any() else 0.0 for rank in (one.rank_E, one.popular_rank_E)
    )
    measured = f"HR {ours:.3f}, recent popularity {popular:.3f}, of {int(young.sum()):,} events"
    return Row(name, measured, "at least recent popularity", ours >= popular)

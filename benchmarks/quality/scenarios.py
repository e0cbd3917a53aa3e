"""Drift, forgetting, new items and small catalogues on simulated streams, and new items on recorded logs, with bars.

python -m benchmarks.quality.scenarios [LOG...] [--mapping M] [--limit N] [--seeds 0,1,2] [--short] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.quality.drift import abrupt_rows, stationary_row
from benchmarks.quality.forgetting import forgetting_rows
from benchmarks.quality.new_items import recorded_row, simulated_row
from benchmarks.quality.one_pass import CANONICAL
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.quality.small_catalogues import ITEMS, small_figures, small_row
from benchmarks.record import machine, only_errors, write
from stream_worker.config import Settings

_STATIONARY_EVENTS = 100_000  # of the stream without changes, in which false alarms are counted


def scenarios(
    settings: Settings | None = None,
    logs: Sequence[Path] = (),
    mapping: Path = CANONICAL,
    limit: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    stationary_events: int = _STATIONARY_EVENTS,
    catalogues: Sequence[int] = ITEMS,
) -> Iterator[Row]:
    """Yield each row as soon as it is measured."""
    settings = settings or Settings()
    yield from abrupt_rows(seeds, settings)
    yield from forgetting_rows(seeds, settings)
    yield simulated_row(settings)
    yield from map(small_row, small_figures(settings, catalogues))
    for log in logs:
        yield recorded_row(settings, log, mapping, limit)
    yield stationary_row(stationary_events, settings)


@click.command()
@click.argument("logs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", default=CANONICAL, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows of each log.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--short", is_flag=True, help="One seed, 20,000 events that do not change, and one small catalogue.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the rows there, too.")
def main(
    logs: tuple[Path, ...], mapping: Path, limit: int | None, seeds: str, short: bool, json_path: Path | None
) -> None:
    """Print the table; exit code 1 below a bar."""
    only_errors()
    sizes: dict[str, Any] = {"seeds": [int(seed) for seed in seeds.split(",")]}
    if short:
        sizes = {"seeds": [0], "stationary_events": 20_000, "catalogues": [20]}
    rows = said(scenarios(None, logs, mapping, limit, **sizes))
    if json_path is not None:
        write(json_path, {**machine(), "rows": [asdict(row) for row in rows]})
    exit_with(rows)


if __name__ == "__main__":
    main()

"""The quality of the defaults on recorded logs, beside the baselines and against the bars.

python -m benchmarks.quality.table LOG... [--limit NAME=N] [--seeds 0,1,2] [--ablations N] [--json FILE]

A LOG is a CSV in time order with the columns user, item, ts, type; what it is called decides which bar holds for it.
With --mapping examples/categories.toml it has a column category, too.
Scored: events whose user has an earlier event, after the first tenth; whole catalogue, repeats allowed, 20 items.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality.ablations import PARTS, settings_without
from benchmarks.quality.baselines import DEPTH, baseline_ranks
from benchmarks.quality.new_items import young_row
from benchmarks.quality.one_pass import CANONICAL, Pass, one_pass
from benchmarks.quality.rows import Row, printed
from benchmarks.record import only_errors
from stream_worker.config import Settings

# What the best study of these logs reached: HR@20, MRR@20; and of how many events (None: all).
BARS = {"yoochoose": (0.70, 0.395), "ml100k": (0.33, 0.089), "uci": (0.25, 0.076), "globo": (0.775, 0.365)}
LIMITS = {"uci": 200_000, "globo": 200_000}
_MOST_MICROSECONDS = 500.0
_FREE_OF_COST_BAR = ("uci",)
_TENTHS_TO_SETTLE = 2


@dataclass(frozen=True)
class Log:
    """The first `limit` rows of a file. `baselines`: name -> rank of the item of each event (-1: not scored)."""

    name: str
    path: Path
    limit: int | None
    baselines: dict[str, NDArray[np.int64]]

    @staticmethod
    def read(path: Path, limit: int | None) -> Log:
        with path.open(newline="") as file:
            rows = [(row["user"], row["item"]) for row in islice(csv.DictReader(file), limit)]
        return Log(path.stem, path, limit, baseline_ranks(*zip(*rows, strict=True)))

    def tenths(self) -> list[NDArray[np.int64]]:
        """The scored events of each tenth but the first."""
        known_E = next(iter(self.baselines.values())) >= 0
        ends = [len(known_E) * tenth // 10 for tenth in range(1, 11)]
        return [start + np.flatnonzero(known_E[start:end]) for start, end in pairwise(ends)]

    def scored(self) -> NDArray[np.int64]:
        return np.concatenate(self.tenths())


def hit_rate(rank_E: NDArray[np.int64]) -> float:
    return float(((rank_E > 0) & (rank_E <= DEPTH)).mean())


def standard_error(share: float, count: int) -> float:
    """Of a share of so many events."""
    return float(np.sqrt(share * (1 - share) / max(1, count)))


def reciprocal_rank(rank_E: NDArray[np.int64]) -> float:
    hit_E = (rank_E > 0) & (rank_E <= DEPTH)
    return float(np.where(hit_E, 1 / np.maximum(rank_E, 1), 0.0).mean())


def quality_rows(log: Log, passes: Sequence[Pass]) -> Iterator[Row]:
    """Of one log, a pass a seed."""
    scored = log.scored()
    best = max(log.baselines, key=lambda name: hit_rate(log.baselines[name][scored]))
    least = BARS.get(log.name, (0.0, 0.0)) if log.limit == LIMITS.get(log.name) else (0.0, 0.0)
    for metric, of, bar in zip(("HR@20", "MRR@20"), (hit_rate, reciprocal_rank), least, strict=True):
        seeds = [of(one.rank_E[scored]) for one in passes]
        baseline = of(log.baselines[best][scored])
        yield Row(
            f"{log.name}, {metric}",
            f"{_mean_and_spread(seeds)}; best baseline ({best}) {baseline:.4f}",
            f"at least {bar or baseline:.3f}",
            statistics.mean(seeds) >= (bar or baseline),
        )
    yield _tenths_row(log, passes)
    yield young_row(f"{log.name}, items younger than 100 events", passes[0])
    yield _cost_row(log, passes)


def _mean_and_spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f}, {len(values)} seeds)"


def _tenths_row(log: Log, passes: Sequence[Pass]) -> Row:
    """Against whichever baseline is best in that tenth."""
    tenths = log.tenths()[_TENTHS_TO_SETTLE - 1 :]
    ours = [min(hit_rate(one.rank_E[tenth]) for one in passes) for tenth in tenths]
    baselines = [max(hit_rate(rank_E[tenth]) for rank_E in log.baselines.values()) for tenth in tenths]
    pairs = " ".join(f"{mine:.3f}/{baseline:.3f}" for mine, baseline in zip(ours, baselines, strict=True))
    good = all(mine >= baseline for mine, baseline in zip(ours, baselines, strict=True))
    return Row(f"{log.name}, HR@20 by tenths (worst seed / best baseline)", pairs, "never below", good)


def _cost_row(log: Log, passes: Sequence[Pass]) -> Row:
    """The median seed, on one thread."""
    one = sorted(passes, key=lambda one: one.cost)[len(passes) // 2]
    stages = ", ".join(f"{stage} {microseconds:.0f}" for stage, microseconds in one.microseconds.items())
    bar = "" if log.name in _FREE_OF_COST_BAR else f"at most {_MOST_MICROSECONDS:.0f}"
    measured = f"{one.cost:.0f} microseconds an event: {stages}"
    return Row(f"{log.name}, cost", measured, bar, not bar or one.cost <= _MOST_MICROSECONDS)


def ablation_rows(log: Log, settings: Settings, mapping: Path = CANONICAL) -> Iterator[Row]:
    scored = log.scored()
    whole: tuple[float, float] | None = None
    for part, change in PARTS.items():
        one = one_pass(settings_without(part, settings), log.path, mapping, log.limit, change)
        values = hit_rate(one.rank_E[scored]), reciprocal_rank(one.rank_E[scored])
        whole = whole or values
        lost = " / ".join(f"{mine - all_:+.4f}" for mine, all_ in zip(values, whole, strict=True))
        measured = f"{values[0]:.4f} / {values[1]:.4f} ({lost}), {one.cost:.0f} microseconds"
        yield Row(f"{log.name} ({len(one.rank_E):,} events) without {part}", measured)


def rows_of(path: Path, mapping: Path, limit: int | None, seeds: Sequence[int], ablations: int | None) -> Iterator[Row]:
    settings = Settings()
    if ablations is not None:
        yield from ablation_rows(Log.read(path, ablations), settings, mapping)
        return
    log = Log.read(path, limit)
    passes = [
        one_pass(replace(settings, model=replace(settings.model, seed=seed)), path, mapping, limit) for seed in seeds
    ]
    yield from quality_rows(log, passes)


def _limits(context: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, int]:
    try:
        return LIMITS | {name: int(rows) for name, _, rows in (text.partition("=") for text in given)}
    except ValueError as fault:
        raise click.BadParameter("NAME=ROWS, for instance globo=200000") from fault


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", "limits", multiple=True, callback=_limits, help="NAME=ROWS: only the first rows of this log.")
@click.option("--mapping", default=CANONICAL, type=click.Path(exists=True, path_type=Path), help="How logs are read.")
@click.option("--seeds", default="0,1,2", show_default=True, help="A pass for each.")
@click.option("--ablations", type=click.IntRange(min=1), help="Instead: leave out each part, on the first N rows.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="The rows also as JSON.")
def main(
    logs: tuple[Path, ...],
    limits: dict[str, int],
    mapping: Path,
    seeds: str,
    ablations: int | None,
    json_path: Path | None,
) -> None:
    """Print the table; exit code 1 below a bar."""
    only_errors()
    torch.set_num_threads(1)
    rows = []
    for log in logs:
        for row in rows_of(log, mapping, limits.get(log.stem), [int(seed) for seed in seeds.split(",")], ablations):
            rows.append(row)
            print(f"{row.scenario}: {row.measured}", file=sys.stderr, flush=True)
    print(printed(rows))
    if json_path is not None:
        of = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
        json_path.write_text(json.dumps({**of, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2) + "\n")
    sys.exit(not all(row.good for row in rows))


if __name__ == "__main__":
    main()

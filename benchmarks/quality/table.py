"""The quality of the defaults on recorded logs, beside the baselines and against the bars.

python -m benchmarks.quality.table LOG... [--limit NAME=N] [--seeds 0,1,2] [--ablations N] [--json FILE]

A LOG is a CSV in time order with the columns user, item, ts, type; its name decides which bar holds for it.
With --mapping examples/categories.toml it has a column category, too.
Scored: events whose user has an earlier event, after the first tenth; whole catalogue, repeats allowed, 20 items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.quality.ablations import PARTS, settings_without
from benchmarks.quality.figures import LogFigures, figures_of
from benchmarks.quality.new_items import young_row
from benchmarks.quality.one_pass import CANONICAL, one_pass
from benchmarks.quality.rows import Row, exit_with, said
from benchmarks.quality.scored import LIMITS, Log, hit_rate, reciprocal_rank
from benchmarks.record import machine, only_errors, write
from stream_worker.config import Settings

_MOST_MICROSECONDS = 500.0  # the bar: cost of an event, of the median seed
_FREE_OF_COST_BAR = ("uci",)


def quality_rows(found: LogFigures) -> Iterator[Row]:
    for metric, rate in (("HR@20", found.hit_rate), ("MRR@20", found.mrr)):
        yield Row(
            f"{found.log}, {metric}",
            f"{rate.mean:.4f} ({rate.least:.4f} to {rate.most:.4f}, {found.seeds} seeds); "
            f"best baseline ({found.baseline}) {rate.baseline:.4f}",
            f"at least {rate.bar or rate.baseline:.3f}",
            rate.good,
        )
    for part in found.parts:
        measured = f"{part.hit_rate:.4f} of {part.events:,} events; best baseline ({part.baseline}) "
        yield Row(f"{found.log}, {part.name}, HR@20", measured + f"{part.baseline_hit_rate:.4f}")
    yield _tenths_row(found)
    yield young_row(f"{found.log}, items younger than 100 events", found.young)
    yield _cost_row(found)


def _tenths_row(found: LogFigures) -> Row:
    pairs = " ".join(f"{tenth.hit_rate:.3f}/{tenth.baseline:.3f}" for tenth in found.tenths)
    good = all(tenth.hit_rate >= tenth.baseline for tenth in found.tenths)
    return Row(f"{found.log}, HR@20 by tenths (worst seed / best baseline)", pairs, "never below", good)


def _cost_row(found: LogFigures) -> Row:
    """Return the cost of the median seed, on one thread."""
    stages = ", ".join(f"{stage} {cost:.0f}" for stage, cost in found.microseconds.items() if stage != "all")
    bar = "" if found.log in _FREE_OF_COST_BAR else f"at most {_MOST_MICROSECONDS:.0f}"
    cost = found.microseconds["all"]
    measured = f"{cost:.0f} microseconds an event: {stages}"
    return Row(f"{found.log}, cost", measured, bar, not bar or cost <= _MOST_MICROSECONDS)


@dataclass(frozen=True)
class Ablation:
    """HR@20, MRR@20 and cost on the first events of a log without a part; "nothing": the whole model."""

    log: str
    events: int
    part: str
    hit_rate: float
    mrr: float
    microseconds: float


def ablations(log: Log, settings: Settings, mapping: Path = CANONICAL) -> Iterator[Ablation]:
    scored = log.scored()
    for part, change in PARTS.items():
        one = one_pass(settings_without(part, settings), log.path, mapping, log.limit, change)
        rates = hit_rate(one.rank_E[scored]), reciprocal_rank(one.rank_E[scored])
        yield Ablation(log.name, len(one.rank_E), part, *rates, one.cost)


def ablation_row(found: Ablation, whole: Ablation) -> Row:
    lost = f"{found.hit_rate - whole.hit_rate:+.4f} / {found.mrr - whole.mrr:+.4f}"
    measured = f"{found.hit_rate:.4f} / {found.mrr:.4f} ({lost}), {found.microseconds:.0f} microseconds"
    return Row(f"{found.log} ({found.events:,} events) without {found.part}", measured)


def _on_log(path: Path, mapping: Path, limit: int | None, seeds: Sequence[int]) -> LogFigures:
    settings, log = Settings(), Log.read(path, limit)
    every = (replace(settings, model=replace(settings.model, seed=seed)) for seed in seeds)
    return figures_of(log, [one_pass(each, path, mapping, limit) for each in every])


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
@click.option(
    "--ablations", "ablations_of", type=click.IntRange(min=1), help="Instead: leave out each part, on the first N rows."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(
    logs: tuple[Path, ...],
    limits: dict[str, int],
    mapping: Path,
    seeds: str,
    ablations_of: int | None,
    json_path: Path | None,
) -> None:
    """Print the table; exit code 1 below a bar."""
    only_errors()
    torch.set_num_threads(1)
    rows: list[Row] = []
    figures: list[Any] = []
    for log in logs:
        if ablations_of is None:
            figures.append(_on_log(log, mapping, limits.get(log.stem), [int(seed) for seed in seeds.split(",")]))
            rows += said(quality_rows(figures[-1]))
            continue
        whole = len(figures)
        for found in ablations(Log.read(log, ablations_of), Settings(), mapping):
            figures.append(found)
            rows += said([ablation_row(found, figures[whole])])
    if json_path is not None:
        kind = "logs" if ablations_of is None else "ablations"
        write(json_path, {**machine(), kind: [asdict(each) for each in figures]})
    exit_with(rows)


if __name__ == "__main__":
    main()

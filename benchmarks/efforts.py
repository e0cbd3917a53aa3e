"""The curve of hit rate against events a second, from full effort to the least.

    python -m benchmarks.efforts LOG... [--limit NAME=N] [--seed N]

A LOG is a CSV in time order with the columns user, item, ts, type. Each is replayed once per effort. At thinning n
about one in n of its events is predicted, and these are scored (the standard error of the hit rate is printed).
Writes benchmarks/results/efforts.json and the picture docs/efforts.svg.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
from matplotlib.figure import Figure

from benchmarks.quality.one_pass import one_pass
from benchmarks.quality.scored import LIMITS, hit_rate, reciprocal_rank, standard_error
from benchmarks.record import machine, only_errors, save
from benchmarks.throughput import THINNINGS, thinned
from stream_worker.config import Settings

_PICTURE = Path(__file__).resolve().parent.parent / "docs" / "efforts.svg"


@dataclass(frozen=True)
class Point:
    """One pass over a log at one effort. `thinning`: see docs/words.md; `error`: standard error of the hit rate."""

    log: str
    thinning: int
    events_per_second: float
    hit_rate: float
    error: float
    mrr: float


def point(log: Path, thinning: int, limit: int | None, seed: int) -> Point:
    """Replay a log and score it as `quality.table` does: without the first tenth and each user's first event."""
    settings = Settings()
    settings = thinned(replace(settings, model=replace(settings.model, seed=seed)), thinning)
    one = one_pass(settings, log, limit=limit)
    scored = one.scored_E.copy()
    scored[: len(scored) // 10] = False
    rank = one.rank_E[scored]
    share = hit_rate(rank)
    return Point(
        log=log.stem,
        thinning=thinning,
        events_per_second=1e6 / one.cost,
        hit_rate=share,
        error=standard_error(share, len(rank)),
        mrr=reciprocal_rank(rank),
    )


def picture(points: list[Point]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for log in dict.fromkeys(p.log for p in points):
        own = [p for p in points if p.log == log]
        best = max(p.hit_rate for p in own)
        axes.errorbar(
            [p.events_per_second for p in own],
            [p.hit_rate / best for p in own],
            yerr=[2 * p.error / best for p in own],
            marker="o",
            capsize=3,
            label=f"{log}: {best:.3f}",
        )
        for p in own:
            axes.annotate(
                f"1/{p.thinning}", (p.events_per_second, p.hit_rate / best), (4, 6), textcoords="offset points"
            )
    axes.set_xscale("log")
    axes.set_xlabel("events a second, one thread")
    axes.set_ylabel("HR@20, of the best")
    axes.legend(title="HR@20 at full effort")
    axes.grid(alpha=0.3)
    return figure


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", "limits", multiple=True, help="NAME=N: of this log only the first N rows.")
@click.option("--seed", default=0, show_default=True)
def main(logs: tuple[Path, ...], limits: tuple[str, ...], seed: int) -> None:
    """Print the curve of each log, and write JSON and a picture."""
    only_errors()
    most = LIMITS | {name: int(count) for name, count in (limit.split("=") for limit in limits)}
    print("| log | learned from | events/s | HR@20 | MRR@20 |\n|---|---|---|---|---|")
    points = []
    for log in logs:
        for thinning in THINNINGS:
            p = point(log, thinning, most.get(log.stem), seed)
            points.append(p)
            print(
                f"| {p.log} | 1 in {thinning} | {p.events_per_second:,.0f} | {p.hit_rate:.4f} ± {p.error:.4f} | "
                f"{p.mrr:.4f} |",
                flush=True,
            )
    save("efforts", {**machine(), "seed": seed, "points": [asdict(p) for p in points]})
    picture(points).savefig(_PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()

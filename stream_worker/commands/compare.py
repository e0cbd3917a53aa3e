"""`stream-worker compare`: replays one log with two configurations, and tests their difference on the same events."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stream_worker.commands.options import differing, mapping_of, settings_from
from stream_worker.commands.outputs import refuse_overwriting
from stream_worker.config import Settings
from stream_worker.core.amounts import amount
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.paired import Row, compared, in_common
from stream_worker.exit_codes import ExitCode
from stream_worker.scored_replay import ScoredRun, scored_replay
from stream_worker.warm_up import warm_up

_ONE_SEED = (
    "Each side is one trained line. p tells if other users would have shown the same difference, not if other seeds "
    "would: for that, run with --seeds 0,1,2."
)
_COLUMNS = ("events", "metric", "A", "B", "B - A", "95 % interval", "p")


def command(
    a: Path,
    b: Path,
    log: tuple[Path, ...],
    mapping_path: Path | None,
    items: tuple[Path, ...],
    limit: int | None,
    seeds: tuple[int, ...] | None,
    reports: tuple[Path, ...],
) -> int:
    refuse_overwriting([a, b, *log, mapping_path, *items], reports)
    both, mapping = (settings_from(a), settings_from(b)), mapping_of(log, mapping_path)
    for settings in both:
        warm_up(settings)  # so that the first run's speed does not include compiling
    runs: tuple[list[ScoredRun], list[ScoredRun]] = [], []
    for seed in seeds or (None,):
        for name, settings, done in zip("AB", both, runs, strict=True):
            done.append(scored_replay(_seeded(settings, seed), log, mapping, limit, name, items))
            if not done[-1].whole:
                print("stopped: nothing to compare", file=sys.stderr)
                return ExitCode.INTERRUPTED
    _say(a, b, both, runs, reports)
    return ExitCode.DONE


def _seeded(settings: Settings, seed: int | None) -> Settings:
    return settings if seed is None else replace(settings, model=replace(settings.model, seed=seed))


def _say(
    a: Path,
    b: Path,
    both: tuple[Settings, Settings],
    runs: tuple[list[ScoredRun], list[ScoredRun]],
    reports: Sequence[Path],
) -> None:
    scores_a, scores_b = ([run.scores for run in side] for side in runs)
    common = in_common([*scores_a, *scores_b])[0]
    if not len(common.offset_E):
        raise ConfigurationError("no event was scored by both configurations")
    monitor = runs[0][0].history.monitor
    rows = list(compared(scores_a, scores_b, monitor.config.hit_rate_k, monitor.type_names, monitor.config.cold_events))
    users, log = rows[0].found.users, runs[0][0].log.removeprefix("file:")
    only = max(len(scores.offset_E) for scores in (*scores_a, *scores_b)) - len(common.offset_E)
    if only > len(common.offset_E):
        print(f"compare: most events ({only:,}) were scored by one side only and are left out", file=sys.stderr)
    facts = [("log", log), ("scored by both", f"{amount(len(common.offset_E), 'event')} of {amount(users, 'user')}")]
    facts += [("by one only, left out", f"{only:,}")] if only else []
    facts += [(f"{name}, {path.name}", _speed(side)) for name, path, side in zip("AB", (a, b), runs, strict=True)]
    changed = differing(*both)
    _print(facts, rows, changed)
    for line in dict.fromkeys(line for run in (runs[0][0], runs[1][0]) for line in run.findings):
        print(line)
    if reports:
        _write(reports, facts, rows, changed, runs)


def _speed(runs: Sequence[ScoredRun]) -> str:
    return f"{fmean(run.events_per_second for run in runs):,.0f} events/s"


def _print(facts: Sequence[tuple[str, str]], rows: Sequence[Row], changed: Sequence[Sequence[str]]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    for name, value in facts:
        console.print(f"{name}: {value}", highlight=False)
    _table(console, "Keys that differ", ("key", "A", "B"), changed or [("none", "", "")])
    _table(console, "Scored before each event was learned, on the same events", _COLUMNS, list(map(_cells, rows)))
    if all(math.isnan(spread) for spread in rows[0].spread):
        console.print(_ONE_SEED, highlight=False)


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in ("key", "events", "metric") else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cells(row: Row) -> list[str]:
    found = row.found
    sides = [
        f"{value:.4f}" + ("" if math.isnan(spread) else f" ±{spread:.4f}")
        for value, spread in zip((found.a, found.b), row.spread, strict=True)
    ]
    few = math.isnan(found.p)
    interval = "too few users" if few else f"{found.low:+.4f} to {found.high:+.4f}"
    group = f"{row.group.removeprefix('type.')} ({found.events:,})"
    return [group, row.metric, *sides, f"{found.b - found.a:+.4f}", interval, "-" if few else f"{found.p:.3f}"]


def _write(
    paths: Sequence[Path],
    facts: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    changed: Sequence[Sequence[str]],
    runs: tuple[list[ScoredRun], list[ScoredRun]],
) -> None:
    from stream_worker.report import charts, page

    tables = [
        page.Table("Scored before each event was learned, on the same events", _COLUMNS, list(map(_cells, rows))),
        page.Table("Keys that differ", ("key", "A", "B"), changed or [("none", "", "")]),
    ]
    first_a, first_b = runs[0][0], runs[1][0]
    shown = charts.charts_of_both(first_a.history, first_b.history, _gains(first_a, first_b))
    page.write(page.Report("Comparison", facts, tables, shown), paths)
    print(f"report: {', '.join(map(str, paths))}")


def _gains(a: ScoredRun, b: ScoredRun) -> list[tuple[str, NDArray[np.float64]]]:
    """Return title and B - A at every event that both have scored, for hit rate and MRR."""
    k = a.history.monitor.config.depth
    ours, theirs = (run.values([k]) for run in in_common([a.scores, b.scores]))
    return [(title, theirs[name] - ours[name]) for title, name in (("Hits", f"hit_rate@{k}"), ("1 / rank", f"mrr@{k}"))]

"""Events a second of the whole loop, at every effort, against the simplest loop (see `everybody`).

    python -m benchmarks.throughput [LOG --mapping M] [--warm N] [--events N] [--single N] [--rounds R]

All loops start from the same learned state and read the same rows, in turns in one process: the machine may be shared
and noisy, so only the ratios count. Without a LOG, a synthetic one of 10,000 items is made. The hit rates
of the efforts are in `benchmarks.efforts`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.everybody import one_at_a_time, use_dense_adam
from benchmarks.record import machine, save
from stream_worker.assembly import make_line, simulated_worker
from stream_worker.backends.files import FileSink, FileSource, Mapping, load_mapping
from stream_worker.backends.in_memory import InMemoryCheckpoints
from stream_worker.config import Settings, load_settings
from stream_worker.core.interfaces import Snapshot
from stream_worker.loop.worker import Worker

_ROOT = Path(__file__).resolve().parent.parent
THINNINGS = (1, 2, 4, 8, 16)
# Bars: events a second at full effort, and while catching up, as multiples of the simplest loop.
_LEAST_FULL, _LEAST_CATCHING_UP = 30.0, 150.0


def synthetic_log(path: Path, rows: int, items: int = 10_000, users: int = 5_000, seed: int = 0) -> None:
    """Write a CSV of user,item,ts,type: each item once, then Zipf-like ones, half of them after the user's last."""
    rng = np.random.default_rng(seed)
    popular = rng.zipf(1.2, size=rows) % items
    popular[:items] = rng.permutation(items)[:rows]
    successors = rng.integers(0, items, size=(items, 3))
    last = np.zeros(users, dtype=np.int64)
    with path.open("w") as file:
        file.write("user,item,ts,type\n")
        for row, user in enumerate(rng.integers(0, users, size=rows).tolist()):
            follow = row >= items and rng.random() < 0.5
            item = int(successors[last[user], rng.integers(3)] if follow else popular[row])
            last[user] = item
            file.write(f"u{user},i{item},{1_700_000_000 + row},view\n")


def thinned(settings: Settings, thinning: int) -> Settings:
    """Return settings for a fixed thinning, which may be above `effort.most_thinning`."""
    most = max(thinning, settings.effort.most_thinning)
    return replace(settings, effort=replace(settings.effort, thinning=thinning, most_thinning=most))


class Run:
    """A worker on rows from `start` on, from a learned state or from nothing."""

    def __init__(
        self, settings: Settings, paths: list[Path], mapping: Mapping, start: int, state: Snapshot | None
    ) -> None:
        self.source = FileSource(paths, mapping, start=start)
        self.checkpoints = InMemoryCheckpoints()
        line = make_line(settings, "bench")
        self.worker: Worker = simulated_worker(settings, self.source, FileSink(), line, checkpoints=self.checkpoints)
        self.worker.start(state)
        self.source.published = start
        self.seconds: list[float] = []

    def take(self, events: int) -> None:
        """Time the next `events` events; the first poll, which opens the file, is not timed."""
        if self.worker.status.consuming.records == 0:
            self.worker.run_once()
        before = self.worker.status.consuming.events
        began = time.perf_counter()
        while self.worker.status.consuming.events - before < events and not self.source.exhausted():
            self.worker.run_once()
        self.seconds.append((time.perf_counter() - began) / max(1, self.worker.status.consuming.events - before))

    @property
    def rate(self) -> float:
        return 1 / statistics.median(self.seconds)


@click.command()
@click.argument("log", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", "mapping_path", type=click.Path(exists=True, path_type=Path))
@click.option("--warm", default=20_480, show_default=True, help="Events learned before anything is timed.")
@click.option("--events", default=12_288, show_default=True, help="Events of each timed stretch of the whole loop.")
@click.option("--single", default=128, show_default=True, help="Events of each timed stretch, one at a time.")
@click.option("--rounds", default=5, show_default=True)
def main(log: tuple[Path, ...], mapping_path: Path | None, warm: int, events: int, single: int, rounds: int) -> None:
    """Print rates and ratios, and write them to benchmarks/results/throughput.json. End with 1 below a bar."""
    settings = load_settings(None, {})
    with tempfile.TemporaryDirectory() as folder:
        paths = list(log)
        if not paths:
            paths = [Path(folder) / "synthetic.csv"]
            synthetic_log(paths[0], warm + (rounds + 3) * events)
        mapping = load_mapping(mapping_path or _ROOT / "examples" / "canonical.toml")
        state = warm_state(settings, paths, mapping, warm)
        everybody = Run(one_at_a_time(settings), paths, mapping, warm, state)
        use_dense_adam(everybody.worker.line.learner)
        runs = {t: Run(thinned(settings, t), paths, mapping, warm, state) for t in THINNINGS}
        for round_ in range(rounds + 1):
            for run in runs.values():
                run.take(events if round_ else 1)
            everybody.take(single if round_ else 8)
    for run in (everybody, *runs.values()):
        del run.seconds[0]  # the first round is for what is allocated and compiled once
    raise SystemExit(_report(settings, everybody, runs))


def warm_state(settings: Settings, paths: list[Path], mapping: Mapping, events: int) -> Snapshot:
    run = Run(settings, paths, mapping, 0, None)
    run.take(events)
    run.worker.finish()
    state = run.checkpoints.load_newest()
    assert state is not None
    return state


def _report(settings: Settings, everybody: Run, runs: dict[int, Run]) -> int:
    rows: list[dict[str, Any]] = [
        {"loop": "one event at a time, dense Adam", "events_per_second": round(everybody.rate, 1), "ratio": 1.0}
    ]
    for thinning, run in runs.items():
        ratios = [single / batch for batch, single in zip(run.seconds, everybody.seconds, strict=True)]
        rows.append(
            {
                "loop": "all learned from" if thinning == 1 else f"one in {thinning} learned from",
                "events_per_second": round(run.rate),
                "ratio": round(statistics.median(ratios), 1),
                "ratio_min": round(min(ratios), 1),
                "ratio_max": round(max(ratios), 1),
            }
        )
    full, catching_up = rows[1]["ratio"], rows[-1]["ratio"]
    result = {
        **machine(),
        "items": everybody.worker.status.catalogue.items,
        "batch_size": settings.worker.batch_size,
        "threads_for_lists": settings.worker.threads,
        "loops": rows,
    }
    for name, value in result.items():
        if name != "loops":
            print(f"{name:12} {value}")
    print("| loop | events/s | ratio | min to max |\n|---|---|---|---|")
    for row in rows:
        spread = f"{row['ratio_min']} to {row['ratio_max']}" if "ratio_min" in row else ""
        print(f"| {row['loop']} | {row['events_per_second']:,} | {row['ratio']} | {spread} |")
    save("throughput", result)
    missed = [
        f"{what}: {ratio} times, {least:g} must be seen"
        for what, ratio, least in (
            ("the whole of the quality", full, _LEAST_FULL),
            ("catching up", catching_up, _LEAST_CATCHING_UP),
        )
        if ratio < least
    ]
    print("\n".join(missed) or "all ratios as they must be")
    return bool(missed)


if __name__ == "__main__":
    main()

"""Events a second of the whole loop, against the same model and loop run one event at a time.

    python -m benchmarks.throughput [LOG --mapping M] [--events N] [--rounds R]

Both start from the same learned state, on the same rows, in one process and one run, interleaved: the machine may be
shared and noisy, so what counts is the ratio. Without a LOG, a synthetic one of 10,000 items is made.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from stream_worker.assembly import make_line, make_worker
from stream_worker.backends.files import FileSink, FileSource, Mapping, load_mapping
from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore
from stream_worker.config import Settings, load_settings
from stream_worker.core.interfaces import Snapshot
from stream_worker.worker import Worker

_ROOT = Path(__file__).resolve().parent.parent


def synthetic_log(path: Path, rows: int, items: int = 10_000, users: int = 5_000, seed: int = 0) -> None:
    """A CSV of user,item,ts,type: Zipf-like items, each followed by one of a few successors half of the time."""
    rng = np.random.default_rng(seed)
    popular = rng.zipf(1.2, size=rows) % items
    successors = rng.integers(0, items, size=(items, 3))
    last = np.zeros(users, dtype=np.int64)
    with path.open("w") as file:
        file.write("user,item,ts,type\n")
        for row, user in enumerate(rng.integers(0, users, size=rows).tolist()):
            follow = rng.random() < 0.5
            item = int(successors[last[user], rng.integers(3)] if follow else popular[row])
            last[user] = item
            file.write(f"u{user},i{item},{1_700_000_000 + row},view\n")


class _Run:
    """A worker on rows from `start` on, from a learned state or from nothing."""

    def __init__(
        self, settings: Settings, paths: list[Path], mapping: Mapping, start: int, state: Snapshot | None
    ) -> None:
        self.source = FileSource(paths, mapping, start=start)
        self.checkpoints = InMemoryCheckpoints()
        self.worker: Worker = make_worker(
            settings,
            source=self.source,
            sink=FileSink(),
            store=InMemoryMemoryStore(settings.memory),
            checkpoints=self.checkpoints,
            line=make_line(settings, "bench"),
            events=settings.events.canonical(),
            checkpoint_seconds=math.inf,
        )
        self.worker.start(state)
        self.source.published = start

    def take(self, events: int) -> float:
        """Seconds for the next `events` events; the first poll, which opens the file, is not timed."""
        if self.worker.status.records == 0:
            self.worker.run_once()
        before = self.worker.status.events
        began = time.perf_counter()
        while self.worker.status.events - before < events and not self.source.exhausted():
            self.worker.run_once()
        return (time.perf_counter() - began) / max(1, self.worker.status.events - before)


@click.command()
@click.argument("log", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", "mapping_path", type=click.Path(exists=True, path_type=Path))
@click.option("--warm", default=20_480, show_default=True, help="Events learned before anything is timed.")
@click.option("--events", default=4_096, show_default=True, help="Events of each timed stretch of the whole loop.")
@click.option("--single", default=128, show_default=True, help="Events of each timed stretch, one at a time.")
@click.option("--rounds", default=5, show_default=True)
def main(log: tuple[Path, ...], mapping_path: Path | None, warm: int, events: int, single: int, rounds: int) -> None:
    """Print both rates and their ratio, and leave them in benchmarks/results/throughput.json."""
    settings = load_settings(None, {})
    with tempfile.TemporaryDirectory() as folder:
        paths = list(log)
        if not paths:
            paths = [Path(folder) / "synthetic.csv"]
            synthetic_log(paths[0], warm + (rounds + 2) * events)
        mapping = load_mapping(mapping_path or _ROOT / "examples" / "canonical.toml")
        state = _warm_state(settings, paths, mapping, warm)
        one = replace(settings, worker=replace(settings.worker, batch_size=1))
        batched, singly = _Run(settings, paths, mapping, warm, state), _Run(one, paths, mapping, warm, state)
        batched.take(settings.worker.batch_size)
        singly.take(8)
        pairs = [(batched.take(events), singly.take(single)) for _ in range(rounds)]
    _report(settings, batched.worker, pairs)


def _warm_state(settings: Settings, paths: list[Path], mapping: Mapping, events: int) -> Snapshot:
    run = _Run(settings, paths, mapping, 0, None)
    run.take(events)
    run.worker.finish()
    state = run.checkpoints.load_newest()
    assert state is not None
    return state


def _report(settings: Settings, worker: Worker, pairs: list[tuple[float, float]]) -> None:
    ratios = [single / batch for batch, single in pairs]
    result: dict[str, Any] = {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, python {platform.python_version()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "items": worker.status.items,
        "batch_size": settings.worker.batch_size,
        "loop_events_per_second": round(1 / statistics.median(batch for batch, _ in pairs)),
        "single_events_per_second": round(1 / statistics.median(single for _, single in pairs)),
        "ratio_median": round(statistics.median(ratios), 1),
        "ratio_min": round(min(ratios), 1),
        "ratio_max": round(max(ratios), 1),
    }
    for name, value in result.items():
        print(f"{name:26} {value}")
    out = _ROOT / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    (out / "throughput.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

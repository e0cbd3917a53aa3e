"""The share of the loop's time that decoding and matrix products need: how close it is to the limit of the machine.

    python -m benchmarks.limit [--warm N] [--events N] [--rounds R]

The necessary work of an event is its decoding, as measured, and the floating-point operations of all matrix products
(counted by torch, forward and backward), at the rate at which one thread multiplies large square matrices on this
machine. The rest goes into counting (which has no matrix products), element-wise operations and Python, and is printed
by stage. One thread, a synthetic log (see `throughput`), at full effort and far behind.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode, addmm_flop, register_flop_formula

from benchmarks.quality.one_pass import CANONICAL, STAGES, Stopwatch
from benchmarks.record import machine, save
from benchmarks.throughput import Run, synthetic_log, thinned, warm_state
from stream_worker.assembly import quiet_torch
from stream_worker.backends.files import load_mapping
from stream_worker.config import Settings

_SQUARE = 1_024  # rows and columns of the matrices whose product is timed
_LEAST_SHARE = 0.6  # the bar: share of the loop's time that is necessary work

# Torch does not count products that are added in place.
register_flop_formula(torch.ops.aten.addmm_, get_raw=True)(addmm_flop)


def gemm_rate(rounds: int = 20) -> float:
    """Return the highest rate of `rounds` products of square float32 matrices on one thread, in operations a second."""
    one, other = torch.randn(_SQUARE, _SQUARE), torch.randn(_SQUARE, _SQUARE)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - began)
    return 2 * _SQUARE**3 / min(seconds)


def _operations(run: Run, events: int) -> float:
    """Return the floating-point operations per event of the next `events`.

    Torch counts the calling thread only, and steps may run in another, so these are counted there.
    """
    learner, before, beside = run.worker.line.learner, run.worker.status.consuming.events, 0
    step = learner.step

    def counted(*given: Any, **named: Any) -> dict[str, float]:
        nonlocal beside
        if threading.current_thread() is threading.main_thread():
            return step(*given, **named)
        with FlopCounterMode(display=False) as counter:
            losses = step(*given, **named)
        beside += counter.get_total_flops()
        return losses

    learner.step = counted  # type: ignore[method-assign]
    with FlopCounterMode(display=False) as counter:
        run.take(events)
    learner.step = step  # type: ignore[method-assign]
    total: int = beside + counter.get_total_flops()
    return total / (run.worker.status.consuming.events - before)


def of_effort(settings: Settings, log: Path, warm: int, events: int, rounds: int) -> dict[str, float]:
    """Return microseconds per event: of all stages, of each, and the least that decoding and matrix products need."""
    mapping = load_mapping(CANONICAL)
    run = Run(settings, [log], mapping, warm, warm_state(settings, [log], mapping, warm))
    run.take(events)
    operations = _operations(run, events)
    times: list[dict[str, float]] = []
    for _ in range(rounds):
        stages = Stopwatch()
        run.worker.observer = stages
        before = run.worker.status.consuming.events
        run.take(events)
        count = run.worker.status.consuming.events - before
        times.append({stage: 1e6 * stages.seconds[stage] / count for stage in STAGES} | {"rate": gemm_rate()})
    middle = {name: statistics.median(t[name] for t in times) for name in times[0]}
    products = 1e6 * operations / middle.pop("rate")
    total = sum(middle.values())
    return middle | {"all": total, "products": products, "share": (middle["decode"] + products) / total}


@click.command()
@click.option("--warm", default=20_480, show_default=True, help="Events learned before anything is counted.")
@click.option("--events", default=12_288, show_default=True, help="Events of each stretch.")
@click.option("--rounds", default=3, show_default=True)
def main(warm: int, events: int, rounds: int) -> None:
    """Print the shares, and write them to benchmarks/results/limit.json. End with 1 below the bar."""
    quiet_torch()
    settings = Settings()
    settings = replace(settings, worker=replace(settings.worker, threads=1))
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "synthetic.csv"
        synthetic_log(log, warm + (rounds + 6) * events)
        for thinning in (1, settings.effort.most_thinning):
            rows[f"1 in {thinning}"] = of_effort(thinned(settings, thinning), log, warm, events, rounds)
    rate = gemm_rate()
    print(f"one thread multiplies at {rate / 1e9:.0f} billion operations a second\n")
    names = [*STAGES, "all", "products"]
    print("| learned from | " + " | ".join(names) + " | share of the limit |\n|" + "---|" * (len(names) + 2))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[n]:.0f}" for n in names) + f" | {row['share']:.0%} |")
    save("limit", {**machine(), "gemm_operations_per_second": round(rate), "microseconds_an_event": rows})
    missed = [name for name, row in rows.items() if row["share"] < _LEAST_SHARE]
    print("\n".join(f"{name}: below {_LEAST_SHARE:.0%}" for name in missed) or "as it must be")
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()

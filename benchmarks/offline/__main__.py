"""GRU4Rec or SASRec on a recorded log, retrained at each tenth of it, scored on the same events as the worker.

python -m benchmarks.offline LOG --model gru4rec|sasrec [--limit N] [--predictions FILE] [--json FILE]
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson
import torch

from benchmarks.offline.evaluate import Lists, Score, StoppingConfig, Tenth, in_all, retrained_at_tenths
from benchmarks.offline.log import Log, read_log
from benchmarks.offline.models import CANONICAL, MODELS, Model
from benchmarks.record import write


@click.command()
@click.argument("log", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", type=click.Path(exists=True, path_type=Path), default=CANONICAL)
@click.option("--model", "name", type=click.Choice(sorted(MODELS)), required=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option("--seed", default=0, show_default=True)
@click.option("--predictions", type=click.Path(path_type=Path), help="One line an event: the list made before it.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(
    log: tuple[Path, ...],
    mapping: Path,
    name: str,
    limit: int | None,
    seed: int,
    predictions: Path | None,
    json_path: Path | None,
) -> None:
    """Train from scratch at each tenth of LOG on all before it, and print how good the lists in it were."""
    torch.set_num_threads(1)
    model, stopping = MODELS[name].with_seed(seed), StoppingConfig()
    events = read_log(log, mapping, limit)
    began = time.process_time()
    tenths, lists = retrained_at_tenths(events, model.make, model.training, stopping, observe=_progress)
    seconds = time.process_time() - began
    _print(tenths, seconds)
    if predictions is not None:
        _write(predictions, events, lists)
    if json_path is not None:
        figures = _figures(name, model, stopping, tenths, seconds)
        write(json_path, {"log": log[0].stem, "events": len(events), **figures})


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _print(tenths: Sequence[Tenth], seconds: float) -> None:
    print(f"{'tenth':>5s} {'events':>8s} {'HR@20':>7s} {'MRR@20':>7s} {'items':>7s} {'epochs':>6s} {'seconds':>8s}")
    for tenth in tenths:
        score = tenth.score
        line = f"{tenth.number:5d} {score.events:8d} {score.hit_rate:7.4f} {score.mrr:7.4f} {tenth.items:7d}"
        print(f"{line} {tenth.epochs:6d} {tenth.seconds:8.1f}")
    score = in_all(tenths)
    print(f"{'all':>5s} {score.events:8d} {score.hit_rate:7.4f} {score.mrr:7.4f} {'':14s} {seconds:8.1f}")


def _write(path: Path, log: Log, lists: Lists) -> None:
    """Write lists as `replay --predictions` does. Events that are not scored have empty ones."""
    with path.open("wb") as file:
        for user, item, ranked in zip(log.user_E.tolist(), log.item_E.tolist(), lists.tolist(), strict=True):
            names = [log.item_names[row] for row in ranked if row >= 0]
            line = {"user": log.user_names[user], "item": log.item_names[item], "ranked": names}
            file.write(orjson.dumps(line) + b"\n")


def _figures(
    name: str, model: Model, stopping: StoppingConfig, tenths: Sequence[Tenth], seconds: float
) -> dict[str, object]:
    rows = [
        {"tenth": t.number, **_rates(t.score), "items": t.items, "epochs": t.epochs, "seconds": round(t.seconds, 1)}
        for t in tenths
    ]
    return {
        "model": name,
        "settings": asdict(model) | {"stopping": asdict(stopping)},
        "machine": f"{platform.system()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread",
        "tenths": rows,
        "all": _rates(in_all(tenths)) | {"seconds": round(seconds, 1)},
    }


def _rates(score: Score) -> dict[str, float]:
    return {"events": score.events, "hit_rate": round(score.hit_rate, 4), "mrr": round(score.mrr, 4)}


if __name__ == "__main__":
    main()

"""The two models against figures that others published on MovieLens-100K, leave-one-out.

    python -m benchmarks.offline.published LOG --model gru4rec|sasrec [--json FILE]

The protocol of the published run (RecBole's): users and items with at least five ratings; each user's last item is the
test, the one before it the validation; all items are ranked, including seen ones; training stops when NDCG@10 of the
validation has not improved for ten epochs. The best epoch of the validation is tested.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.offline.evaluate import top_lists
from benchmarks.offline.log import IntArray, Log, log_of, read_log
from benchmarks.offline.models import CANONICAL, MODELS, Model
from benchmarks.offline.training import SequenceModel, Trainer
from benchmarks.record import write

_PATIENCE, _LEAST = 10, 5  # epochs, and ratings of a user or an item: RecBole's
_ROWS = 512  # sequences ranked at a time
# Others' figures on this protocol, HR@10, HR@20 and NDCG@10 of the test: docs/offline-models.md names the source.
PUBLISHED = {"gru4rec": (0.1304, 0.2259, 0.0650), "sasrec": (0.1198, 0.2185, 0.0594)}


def core(log: Log, least: int = _LEAST) -> Log:
    """Drop users and items with fewer than `least` events until none is left (the k-core)."""
    keep_E = np.ones(len(log), dtype=bool)
    while True:
        enough = [np.bincount(column[keep_E], minlength=len(log))[column] >= least for column in _columns(log)]
        if (kept_E := keep_E & enough[0] & enough[1]).sum() == keep_E.sum():
            break
        keep_E = kept_E
    kept = np.flatnonzero(keep_E)
    return log_of([log.user_names[u] for u in log.user_E[kept]], [log.item_names[i] for i in log.item_E[kept]])


def _columns(log: Log) -> tuple[IntArray, IntArray]:
    return log.user_E, log.item_E


def leave_one_out(log: Log) -> tuple[Log, list[IntArray]]:
    """Return the log without each user's last two events, and each user's whole sequence. Items keep their numbers."""
    order_E = np.argsort(log.user_E, kind="stable")
    sequences = np.split(log.item_E[order_E], np.cumsum(np.bincount(log.user_E))[:-1])
    left = np.bincount(log.user_E)[log.user_E] - log.histories().place_E + log.histories().first_E
    train = np.flatnonzero(left > 2)
    return Log(log.user_E[train], log.item_E[train], log.user_names, log.item_names), sequences


def measures(model: SequenceModel, sequences: list[IntArray], last: int, window: int) -> tuple[float, float, float]:
    """Return HR@10, HR@20 and NDCG@10 of the item at place `last` from each sequence's end, given those before it."""
    targets = np.array([sequence[-last] for sequence in sequences])
    known = model.items.num_embeddings - 1
    histories = [items[items < known][-window:] for items in (sequence[:-last] for sequence in sequences)]
    parts = [top_lists(model, histories[at : at + _ROWS]) for at in range(0, len(histories), _ROWS)]
    rows, places = np.nonzero(np.concatenate(parts) == targets[:, None])
    ten = places[places < 10]
    return len(ten) / len(targets), len(rows) / len(targets), float((1 / np.log2(ten + 2)).sum()) / len(targets)


def run(log: Log, model: Model, epochs: int) -> tuple[float, float, float]:
    """Print the validation of each epoch. Return the measures of the test at the best one."""
    train, sequences = leave_one_out(core(log))
    trainer = Trainer(model.make, train, len(train), model.training)
    best, best_epoch, state = -1.0, 0, {}
    for epoch in range(1, epochs + 1):
        loss = trainer.epoch()
        valid = measures(trainer.model, sequences, 2, model.training.window)
        print(f"epoch {epoch}: loss {loss:.3f}, validation HR@10 {valid[0]:.4f} NDCG@10 {valid[2]:.4f}", flush=True)
        if valid[2] > best:
            best, best_epoch, state = valid[2], epoch, copy.deepcopy(trainer.model.state_dict())
        elif epoch - best_epoch >= _PATIENCE:
            break
    trainer.model.load_state_dict(state)
    return measures(trainer.model, sequences, 1, model.training.window)


@click.command()
@click.argument("log", type=click.Path(exists=True, path_type=Path))
@click.option("--mapping", type=click.Path(exists=True, path_type=Path), default=CANONICAL)
@click.option("--model", "name", type=click.Choice(sorted(MODELS)), required=True)
@click.option("--epochs", default=200, show_default=True, help="At most.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(log: Path, mapping: Path, name: str, epochs: int, seed: int, json_path: Path | None) -> None:
    """Train on MovieLens-100K without each user's last two items, and print the figures beside the published ones."""
    torch.set_num_threads(1)
    model = MODELS[name].with_seed(seed)
    ours = run(read_log([log], mapping), model, epochs)
    labels = ("HR@10", "HR@20", "NDCG@10")
    published = PUBLISHED.get(name, (None,) * len(labels))
    print(f"{name:10s} {'ours':>8s} {'published':>10s}")
    for label, our, their in zip(labels, ours, published, strict=True):
        print(f"{label:10s} {our:8.4f} {their if their is None else format(their, '10.4f')}")
    if json_path is not None:
        figures = {"ours": dict(zip(labels, ours, strict=True)), "published": dict(zip(labels, published, strict=True))}
        write(json_path, {"model": name, "settings": asdict(model), **figures})


if __name__ == "__main__":
    main()

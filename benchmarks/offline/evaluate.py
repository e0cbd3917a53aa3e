"""Scores of an offline model on the worker's events: retrained from scratch at each tenth of the log, frozen within it.

The scored events are those after the first tenth whose user has an earlier one. Lists have 20 of all items of the
training part, repeats allowed, and are made from the user's whole history up to the event. Early stopping on the last
tenth of the training part finds the number of epochs; then a fresh model is trained on all of it for as many. The
number is found anew whenever the training part has doubled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.offline.log import Histories, IntArray, Log
from benchmarks.offline.training import ModelMaker, SequenceModel, Trainer, TrainingConfig

DEPTH = 20  # items of a list, as in the worker's defaults
_ROWS = 512  # histories ranked at a time


@dataclass(frozen=True)
class StoppingConfig:
    """Early stopping.

    epochs: the most
    patience: epochs without a better sum of hit rate and MRR, after which training stops
    sample: events that these are measured on
    """

    epochs: int = 40
    patience: int = 3
    sample: int = 2_000


@dataclass(frozen=True)
class Score:
    events: int = 0
    hits: int = 0
    reciprocal: float = 0.0

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, self.events)

    @property
    def mrr(self) -> float:
        return self.reciprocal / max(1, self.events)

    def __add__(self, other: Score) -> Score:
        return Score(self.events + other.events, self.hits + other.hits, self.reciprocal + other.reciprocal)


@dataclass(frozen=True)
class Tenth:
    """The figures of one model, trained on everything before this tenth of the log."""

    number: int
    score: Score
    epochs: int
    items: int
    seconds: float  # of the processor, early stopping included


Lists = NDArray[np.int64]
Observer = Callable[[str], None]


def retrained_at_tenths(
    log: Log, make: ModelMaker, config: TrainingConfig, stopping: StoppingConfig, observe: Observer = print
) -> tuple[list[Tenth], Lists]:
    """Return scores by tenth, and lists of item numbers [E, 20], -1: not scored, or no item left."""
    histories, scored_E = log.histories(), log.histories().scored()
    lists = np.full((len(log), DEPTH), -1, dtype=np.int64)
    tenths: list[Tenth] = []
    epochs = 1
    for number in range(1, 10):
        begin, end = (len(log) * n // 10 for n in (number, number + 1))
        began = time.process_time()
        if number & (number - 1) == 0:
            epochs = best_epochs(log, begin, make, config, stopping, observe)
        trainer = Trainer(make, log, begin, config)
        for _ in range(epochs):
            trainer.epoch()
        seconds = time.process_time() - began
        events = begin + np.flatnonzero(scored_E[begin:end])
        lists[events] = ranked(trainer.model, log, histories, events, begin, config.window)
        score = score_of(lists[events], log.item_E[events])
        tenths.append(Tenth(number + 1, score, epochs, trainer.items, seconds))
        observe(f"tenth {number + 1}: HR {score.hit_rate:.4f} MRR {score.mrr:.4f}, {epochs} epochs, {seconds:.0f} s")
    return tenths, lists


def best_epochs(
    log: Log, end: int, make: ModelMaker, config: TrainingConfig, stopping: StoppingConfig, observe: Observer = print
) -> int:
    """Return the number of epochs on the first nine tenths of `end` events that predicts the last tenth best."""
    cut = end * 9 // 10
    histories = log.histories()
    earlier = histories.place_E[cut:end] > histories.first_E[cut:end]
    events = cut + np.flatnonzero(earlier)
    if len(events) > stopping.sample:
        events = events[np.linspace(0, len(events) - 1, stopping.sample).astype(np.int64)]
    trainer = Trainer(make, log, cut, config)
    best, best_sum = 1, -1.0
    for epoch in range(1, stopping.epochs + 1):
        loss = trainer.epoch()
        score = score_of(ranked(trainer.model, log, histories, events, cut, config.window), log.item_E[events])
        observe(f"  held out, epoch {epoch}: loss {loss:.3f} HR {score.hit_rate:.4f} MRR {score.mrr:.4f}")
        if (total := score.hit_rate + score.mrr) > best_sum:
            best, best_sum = epoch, total
        elif epoch - best >= stopping.patience:
            break
    return best


def ranked(model: SequenceModel, log: Log, histories: Histories, events: IntArray, trained: int, window: int) -> Lists:
    """Return item numbers [len(events), 20], best first.

    A history without an item of the training part gets the most frequent items of its last tenth.
    """
    known = log.known_items(trained)
    inputs = [histories.earlier(event, known, window) for event in events.tolist()]
    lists = np.tile(_frequent(log.item_E[trained * 9 // 10 : trained]), (len(events), 1))
    lengths = np.array([len(items) for items in inputs])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        lists[rows] = top_lists(model, [inputs[row] for row in rows.tolist()])
    return lists


def _frequent(items: IntArray) -> IntArray:
    names, counts = np.unique(items, return_counts=True)
    top = names[np.argsort(-counts, kind="stable")][:DEPTH]
    return np.pad(top, (0, DEPTH - len(top)), constant_values=-1)


@torch.inference_mode()
def top_lists(model: SequenceModel, histories: Sequence[IntArray]) -> Lists:
    """Return the 20 best items after each history of at least one item."""
    model.train(False)
    lengths_B = torch.tensor([len(items) for items in histories])
    inputs_BT = torch.zeros((len(histories), int(lengths_B.max())), dtype=torch.long)
    for row, items in enumerate(histories):
        inputs_BT[row, : len(items)] = torch.from_numpy(items) + 1
    states_BD = model(inputs_BT)[torch.arange(len(histories)), lengths_B - 1]
    scores_BN = states_BD @ model.items.weight[1:].T + model.bias[1:]
    top = scores_BN.topk(min(DEPTH, scores_BN.shape[1]), dim=1).indices.numpy()
    return np.pad(top, ((0, 0), (0, DEPTH - top.shape[1])), constant_values=-1)


def score_of(lists: Lists, items: IntArray) -> Score:
    hit, place = np.nonzero(lists == items[:, None])
    return Score(len(items), len(hit), float((1.0 / (place + 1)).sum()))


def in_all(tenths: Sequence[Tenth]) -> Score:
    return sum((tenth.score for tenth in tenths), Score())

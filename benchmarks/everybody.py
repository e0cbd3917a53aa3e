"""The differences between our loop and the simplest one: one event at a time, dense Adam on the whole item table."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from model.items.item_table import ItemTable
from model.learner import Learner
from model.optimizers.row_adam import Rows
from stream_worker.config import Settings


def one_at_a_time(settings: Settings) -> Settings:
    """Return settings for batches of one event, with a step of the weights after each."""
    return replace(
        settings,
        worker=replace(settings.worker, batch_size=1),
        model=replace(settings.model, mini_batch=1),
    )


def use_dense_adam(learner: Learner) -> None:
    """Make each step update all rows, by `torch.optim.Adam` with its defaults except for the learning rate."""
    learner.items.step = _DenseAdam(learner.items)  # type: ignore[method-assign]


class _DenseAdam:
    def __init__(self, items: ItemTable) -> None:
        self._items, self._table = items, torch.zeros(0)

    @torch.no_grad()
    def __call__(self, at: Rows, grad: Tensor, learning_rate: float, followed: bool = True) -> None:
        items = self._items
        if self._table is not items.table_ND1:  # it has grown
            self._table = items.table_ND1
            self._optimizer = torch.optim.Adam([self._table], lr=learning_rate)
        self._table.grad = torch.zeros_like(self._table)
        self._table.grad[at] = grad
        self._optimizer.step()
        items.all_vectors[:] = F.normalize(items.all_vectors, dim=-1)

"""The loop that everybody writes, as far as it differs: one event at a time, Adam on the whole table of items."""

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
    """A batch of one, and a step of the weights after each."""
    return replace(
        settings,
        worker=replace(settings.worker, batch_size=1),
        model=replace(settings.model, mini_batch=1),
    )


def use_dense_adam(learner: Learner) -> None:
    """`torch.optim.Adam` with its defaults, but for the learning rate, over all rows at every step."""
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

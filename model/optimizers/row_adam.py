"""Adam for rows of a growing table: work in proportion to the rows touched, never to the table."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.state import Arrays, array_of

_STATE = ("m", "v", "steps")

# Unique rows of a table; as a slice where they are consecutive, so that nothing is gathered and put back.
Rows: TypeAlias = "slice | Tensor"


class RowAdam:
    """Lazy Adam (Kingma and Ba, 2015), with a step count a row for the bias correction.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  row -= lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, rows: int, width: int, device: torch.device, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.betas = betas
        self.m = torch.zeros(rows, width, device=device)
        self.v = torch.zeros(rows, width, device=device)
        self.steps = torch.zeros(rows, device=device)

    def step(self, table: Tensor, rows: Rows, grad: Tensor, learning_rate: float) -> None:
        """Update `table[rows]` in place by `grad` [len(rows), width]."""
        b1, b2 = self.betas
        steps = self.steps[rows].add_(1)
        m = self.m[rows].lerp_(grad, 1 - b1)
        v = self.v[rows].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        if isinstance(rows, Tensor):  # those were copies
            self.steps[rows], self.m[rows], self.v[rows] = steps, m, v
        # Both corrections as one number a row: they are taken out of what is done to every element.
        root = (1 - b2**steps).sqrt_()
        rate = learning_rate * root / (1 - b1**steps)
        table[rows] -= (m / v.sqrt().add_(1e-8 * root[:, None])).mul_(rate[:, None])

    def reset(self, rows: Rows) -> None:
        for state in (self.m, self.v, self.steps):
            state[rows] = 0

    def grow(self, rows: int) -> None:
        self.m, self.v, self.steps = (grown(t, rows) for t in (self.m, self.v, self.steps))

    def state_dict(self, used: int | None = None) -> Arrays:
        """Of the first `used` rows."""
        return {name: array_of(getattr(self, name)[:used]) for name in _STATE}

    def load_state_dict(self, state: Arrays) -> None:
        """Of as many rows as it has."""
        for name in _STATE:
            getattr(self, name)[: len(state[name])] = torch.from_numpy(state[name].copy())


def as_rows(rows: NDArray[np.int64], device: torch.device) -> Rows:
    """Of unique numbers of rows."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(rows).to(device)


def grown(table: Tensor, rows: int) -> Tensor:
    """The same table with zero rows added up to `rows`."""
    return torch.cat([table, table.new_zeros(rows - table.shape[0], *table.shape[1:])])

"""Adam for rows of a growing table; a step costs in proportion to the rows that it touches, not to the table.

Default betas and epsilon (1e-8) are those of the paper (Kingma and Ba, 2015).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.state import Arrays, array_of

_STATE = ("m", "v", "steps")

# Unique rows of a table; consecutive ones are a slice, so that they need no gathering and scattering.
Rows: TypeAlias = "slice | Tensor"


class RowAdam:
    """Lazy Adam (Kingma and Ba, 2015), with a step count per row for the bias correction.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  row -= lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, rows: int, width: int, device: torch.device, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.betas = betas
        self.m = torch.zeros(rows, width, device=device)
        self.v = torch.zeros(rows, width, device=device)
        self.steps = torch.zeros(rows, device=device)

    def step(self, table: Tensor, rows: Rows, grad: Tensor, learning_rate: float) -> None:
        """Update `table[rows]` in place; `grad`: gradient of the loss [len(rows), width]."""
        b1, b2 = self.betas
        steps = self.steps[rows].add_(1)
        m = self.m[rows].lerp_(grad, 1 - b1)
        v = self.v[rows].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        if isinstance(rows, Tensor):  # indexing by a tensor made copies
            self.steps[rows], self.m[rows], self.v[rows] = steps, m, v
        # Both bias corrections are one number per row, so they are kept out of the work per element.
        root = (1 - b2**steps).sqrt_()
        rate = learning_rate * root / (1 - b1**steps)
        table[rows] -= (m / v.sqrt().add_(1e-8 * root[:, None])).mul_(rate[:, None])

    def reset(self, rows: Rows) -> None:
        for state in (self.m, self.v, self.steps):
            state[rows] = 0

    def grow(self, rows: int) -> None:
        self.m, self.v, self.steps = (grown(t, rows) for t in (self.m, self.v, self.steps))

    def state_dict(self, used: int | None = None) -> Arrays:
        """Return the state of the first `used` rows."""
        return {name: array_of(getattr(self, name)[:used]) for name in _STATE}

    def load_state_dict(self, state: Arrays) -> None:
        """Load a state into the first rows, as many as it has."""
        for name in _STATE:
            getattr(self, name)[: len(state[name])] = torch.from_numpy(state[name].copy())


def as_rows(rows: NDArray[np.int64], device: torch.device) -> Rows:
    """Return unique row numbers as `Rows`."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(rows).to(device)


def grown(table: Tensor, rows: int) -> Tensor:
    """Return the table with rows of zeros added, up to `rows`."""
    return torch.cat([table, table.new_zeros(rows - table.shape[0], *table.shape[1:])])

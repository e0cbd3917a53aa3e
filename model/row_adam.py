"""Adam for rows of a growing table: work in proportion to the rows touched, never to the table."""

from __future__ import annotations

import torch
from torch import Tensor


class RowAdam:
    """Lazy Adam (Kingma and Ba, 2015), with a step count a row for the bias correction.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  row -= lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, rows: int, width: int, device: torch.device, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.betas = betas
        self.m = torch.zeros(rows, width, device=device)
        self.v = torch.zeros(rows, width, device=device)
        self.steps = torch.zeros(rows, device=device)

    def step(self, table: Tensor, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """Update `table[rows]` (unique rows) in place by `grad` [len(rows), width]."""
        b1, b2 = self.betas
        steps = self.steps[rows] + 1
        m = self.m[rows].lerp_(grad, 1 - b1)
        v = self.v[rows].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        self.steps[rows], self.m[rows], self.v[rows] = steps, m, v
        corrected = (v / (1 - b2**steps)[:, None]).sqrt_().add_(1e-8)
        table[rows] -= learning_rate * m / (1 - b1**steps)[:, None] / corrected

    def reset(self, rows: Tensor) -> None:
        for state in (self.m, self.v, self.steps):
            state[rows] = 0

    def grow(self, rows: int) -> None:
        self.m, self.v, self.steps = (grown(t, rows) for t in (self.m, self.v, self.steps))


def grown(table: Tensor, rows: int) -> Tensor:
    """The same table with zero rows added up to `rows`."""
    return torch.cat([table, table.new_zeros(rows - table.shape[0], *table.shape[1:])])

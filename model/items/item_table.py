"""Item vectors and biases by catalogue row, with their optimizer and slow copy.

Shape suffixes: N rows of the catalogue, D size of a vector, D1: D + 1, M or R rows that are asked about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.optimizers.row_adam import RowAdam, Rows, grown
from model.optimizers.slow_copy import SlowRows
from model.state import array_of, joined, state_below


class ItemTable:
    """`table_ND1`: a unit vector [D] and, in the last column, a bias per row; zeros where there is no item."""

    def __init__(self, rows: int, dim: int, device: torch.device) -> None:
        self.device = device
        self._clear(rows, dim)

    def _clear(self, rows: int, dim: int) -> None:
        """Become a table without items."""
        self.table_ND1 = torch.zeros(rows, dim + 1, device=self.device)
        self.adam = RowAdam(rows, dim + 1, self.device)
        self.slow = SlowRows(rows, dim + 1, self.device)

    @property
    def rows(self) -> int:
        return self.table_ND1.shape[0]

    @property
    def all_vectors(self) -> Tensor:
        return self.table_ND1[:, :-1]

    def vectors(self, rows: NDArray[np.int32]) -> Tensor:
        """Return the vectors of rows of any shape, with D as the last dimension; -1 gets the vector of row 0."""
        return self.all_vectors[torch.from_numpy(np.maximum(rows, 0)).long().to(self.device)]

    def unit_vectors(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the vectors of rows of any shape on the host, as `vectors` does."""
        return np.ascontiguousarray(array_of(self.vectors(rows)))

    def grow(self, rows: int) -> None:
        self.table_ND1 = grown(self.table_ND1, rows)
        self.adam.grow(rows)
        self.slow.grow(rows)

    def forget(self, rows: NDArray[np.int64]) -> None:
        at = torch.from_numpy(rows).to(self.device)
        self.table_ND1[at] = 0
        self.adam.reset(at)

    def start(self, rows: NDArray[np.int32], vectors: Tensor) -> None:
        at = torch.from_numpy(rows).long().to(self.device)
        self.all_vectors[at] = vectors.to(self.device)
        self.slow.start(self.table_ND1, at)

    def half(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return vectors and biases of rows [M, D + 1] in half precision, for `restore`."""
        return array_of(self.table_ND1[torch.from_numpy(rows).to(self.device)].half())

    def restore(self, rows: NDArray[np.int32], half_MD1: NDArray[np.float16]) -> None:
        """Put vectors and biases that `half` returned into these rows."""
        table = torch.from_numpy(half_MD1).float()
        table[:, :-1] = F.normalize(table[:, :-1], dim=-1)
        at = torch.from_numpy(rows).long().to(self.device)
        self.table_ND1[at] = table.to(self.device)
        self.slow.start(self.table_ND1, at)

    def averages(self, at: Rows) -> Tensor:
        """Return the slow copy of these rows, with vectors of unit length."""
        averages_RD1 = self.slow.averages(self.table_ND1, at)
        averages_RD1[:, :-1] = F.normalize(averages_RD1[:, :-1], dim=-1)
        return averages_RD1

    @torch.no_grad()
    def step(self, at: Rows, grad: Tensor, learning_rate: float, followed: bool = True) -> None:
        """Take an Adam step on rows and bring their vectors back to unit length.

        at: R rows
        grad: gradient of the loss [R, D + 1]
        followed: whether the slow copy follows this step
        """
        rows = self.table_ND1[at]
        slow = self.slow.averages(self.table_ND1, at)
        self.adam.step(self.table_ND1, at, _along_sphere(rows, grad), learning_rate)
        self.table_ND1[at, :-1] = F.normalize(self.table_ND1[at, :-1], dim=-1)
        if followed:
            self.slow.follow(self.table_ND1, at, slow)
        else:
            self.slow.wait(at, slow)

    def roll_back(self) -> None:
        """Replace the table by its slow copy and reset the optimizer."""
        self.table_ND1 = self.slow.fallback(self.table_ND1)
        self.table_ND1[:, :-1] = F.normalize(self.table_ND1[:, :-1], dim=-1)
        self.adam.reset(slice(None))
        self.slow.start(self.table_ND1, slice(None))

    def state_dict(self, used: int) -> dict[str, NDArray[Any]]:
        """Return the state of the first `used` rows."""
        parts = {"adam": self.adam.state_dict(used), "slow": self.slow.state_dict(used)}
        return joined(parts) | {"table": array_of(self.table_ND1[:used])}

    def load_state_dict(self, state: dict[str, NDArray[Any]], rows: int) -> None:
        """Load a state into a table of `rows`. Raises ValueError for vectors of another size."""
        used, dim = len(state["table"]), self.table_ND1.shape[1] - 1
        if (had := state["table"].shape[1] - 1) != dim:
            raise ValueError(f"model.dim: the state has {had}, the configuration {dim}")
        self._clear(rows, dim)
        self.table_ND1[:used] = torch.from_numpy(state["table"].copy()).to(self.device)
        self.adam.load_state_dict(state_below(state, "adam"))
        self.slow.load_state_dict(state_below(state, "slow"))


def with_one(queries_XD: Tensor) -> Tensor:
    """Return queries [X, D + 1] with a 1 at the end: their products with rows of the table include the bias."""
    return F.pad(queries_XD, (0, 1), value=1.0)


def _along_sphere(rows_RD1: Tensor, grad_RD1: Tensor) -> Tensor:
    """Return the gradient without its part along the vectors, as if the loss normalised them."""
    along_R1 = (rows_RD1[:, :-1] * grad_RD1[:, :-1]).sum(dim=1, keepdim=True)
    across_RD1 = torch.addcmul(grad_RD1, rows_RD1, along_R1, value=-1)
    across_RD1[:, -1] = grad_RD1[:, -1]
    return across_RD1

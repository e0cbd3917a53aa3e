"""Keeps an average of the weights to compare them with, to fall back to and, in the ranker, to score lists by.

slow += (1 - decay) * (fast - slow) at every step whose loss is a usual one: while something is wrong, the copy waits.

Shape suffixes: N rows of a table, D1 its columns.
"""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.optimizers.flat_weights import FlatWeights
from model.optimizers.row_adam import Rows, grown
from model.state import array_of, joined, load_module, module_state, state_below

DECAY = 0.98  # per step, an average over some 50 steps; measured: docs/experiments/drift.md
REFEREE_EVERY = 16  # steps between two checks by the referee; not tuned
_YOUNG_STEPS = 9  # step s follows by at least 9 / (s + 9), so that the first weights are soon forgotten; not tuned
_MEAN_OF_CHECKS = 0.1  # weight of a new check in the referee's running means, some 10 checks; not tuned

M = TypeVar("M", bound=nn.Module)


class SlowModule(Generic[M]):
    """`module` is the exponential average of `fast`, over a shorter span in the first steps.

    Buffers are statistics of the data; they are copied, not averaged.
    """

    def __init__(self, fast: M, weights: FlatWeights, decay: float = DECAY) -> None:
        """Begin with a copy of `fast`.

        weights: the weights of `fast`
        decay: of the average, per step
        """
        self.steps = 0
        self._decay = decay
        self.module = copy.deepcopy(fast).requires_grad_(False).eval()
        self._fast_weights, self._weights = weights, FlatWeights(self.module)
        self._buffers = list(zip(self.module.buffers(), fast.buffers(), strict=True))

    @property
    def vector(self) -> Tensor:
        """The averages end to end; writing to it changes them."""
        return self._weights.vector

    @torch.no_grad()
    def follow(self) -> None:
        self.steps += 1
        share = 1 - min(self._decay, self.steps / (self.steps + _YOUNG_STEPS))
        self._weights.vector.lerp_(self._fast_weights.vector, share)
        for ours, theirs in self._buffers:
            ours.copy_(theirs)

    @torch.no_grad()
    def restore(self) -> None:
        """Overwrite the weights of `fast` by the slow ones, and its buffers, which may not be finite either."""
        self._fast_weights.vector.copy_(self._weights.vector)
        for ours, theirs in self._buffers:
            theirs.copy_(ours)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return joined({"module": module_state(self.module)}) | {"steps": np.array([self.steps], np.int64)}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        load_module(self.module, state_below(state, "module"))
        self.steps = int(state["steps"][0])


class SlowRows:
    """Averages of the rows of a table, exact, at a cost in proportion to the rows that a step touches.

    A row that is not touched for k steps stands still, so its average after them has a closed form:
    slow_k = row + decay^k * (slow_0 - row). It is computed when the row is touched or read next.

    values_ND1: averages as of step `step_N` of each row
    steps: number of steps followed
    """

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        self.steps = 0
        self.values_ND1 = torch.zeros(rows, width, device=device)
        self.step_N = torch.zeros(rows, device=device)

    def averages(self, table_ND1: Tensor, rows: Rows) -> Tensor:
        """Return the present averages of `rows`."""
        faded = DECAY ** (self.steps - self.step_N[rows])
        return torch.lerp(table_ND1[rows], self.values_ND1[rows], faded[:, None])

    def follow(self, table_ND1: Tensor, rows: Rows, before: Tensor) -> None:
        """Follow a step that changed `rows` of the table. before: their averages before that step."""
        self.steps += 1
        self.wait(rows, before.lerp(table_ND1[rows], 1 - DECAY))

    def wait(self, rows: Rows, before: Tensor) -> None:
        """Keep the averages `before` of `rows` after a step that is not followed."""
        self.values_ND1[rows] = before
        self.step_N[rows] = float(self.steps)

    def start(self, table_ND1: Tensor, rows: Rows) -> None:
        """Begin the averages of `rows` with their present values."""
        self.values_ND1[rows] = table_ND1[rows]
        self.step_N[rows] = float(self.steps)

    def grow(self, rows: int) -> None:
        self.values_ND1, self.step_N = grown(self.values_ND1, rows), grown(self.step_N, rows)

    def fallback(self, table_ND1: Tensor) -> Tensor:
        """Return the averages of all rows; what is not finite in them is the last stored average, or 0."""
        averages = self.averages(table_ND1, torch.arange(len(table_ND1), device=table_ND1.device))
        return torch.where(torch.isfinite(averages), averages, self.values_ND1).nan_to_num(0.0, 0.0, 0.0)

    def state_dict(self, used: int) -> dict[str, NDArray[Any]]:
        values = {"values": array_of(self.values_ND1[:used]), "step": array_of(self.step_N[:used])}
        return {**values, "steps": np.array([self.steps], np.int64)}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        used = len(state["step"])
        self.values_ND1[:used] = torch.from_numpy(state["values"].copy()).to(self.values_ND1.device)
        self.step_N[:used] = torch.from_numpy(state["step"].copy()).to(self.step_N.device)
        self.steps = int(state["steps"][0])


class Referee:
    """Compares fast and slow weights by running means of their losses on fresh examples that neither has learned.

    every: steps between two checks
    fast, slow: the means, in nats
    checks: number of checks
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.fast = self.slow = 0.0
        self.checks = 0
        self._asked = 0

    def due(self) -> bool:
        """Count a step. True if it is to be checked."""
        self._asked += 1
        return self._asked % self.every == 0

    def note(self, fast: float, slow: float) -> None:
        self.checks += 1
        weight = max(_MEAN_OF_CHECKS, 1 / self.checks)
        self.fast += weight * (fast - self.fast)
        self.slow += weight * (slow - self.slow)

    @property
    def gain(self) -> float:
        """Nats by which the slow weights are better.

        It is inf if the loss of the fast weights is not finite, and -inf if only that of the slow ones is not.
        """
        if not np.isfinite(self.fast):
            return float("inf")
        return self.fast - self.slow if np.isfinite(self.slow) else -float("inf")

    def forget(self) -> None:
        self.fast = self.slow = 0.0
        self.checks = 0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"counts": np.array([self.checks, self._asked], np.int64), "losses": np.array([self.fast, self.slow])}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.checks, self._asked = state["counts"].tolist()
        self.fast, self.slow = state["losses"].tolist()

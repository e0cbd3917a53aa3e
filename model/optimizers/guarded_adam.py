"""Adam steps on a module, with a guard that refuses broken steps and a slow copy that is referee and fallback.

A step whose loss or gradient is not finite, or explodes, is not taken; see `step_guard`.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.optimizers.flat_weights import FlatWeights
from model.optimizers.row_adam import RowAdam
from model.optimizers.slow_copy import REFEREE_EVERY, Referee, SlowModule
from model.optimizers.step_guard import StepGuard
from model.state import load_parts, state_of_parts

_MOST_GRADIENT = 5.0  # norm to which a longer gradient of the module is clipped; not tuned

M = TypeVar("M", bound=nn.Module)


class Step(NamedTuple):
    """Outcome of a step.

    loss: its loss
    taken: False if the guard refused it
    usual: True if it was taken and its loss was a usual one; only then the slow copies follow
    """

    loss: float
    taken: bool
    usual: bool


class GuardedAdam(Generic[M]):
    """Adam (Kingma and Ba, 2015) on all weights of a module, with its gradient clipped to norm `_MOST_GRADIENT`."""

    def __init__(self, module: M, learning_rate: float, decay: float) -> None:
        self._weights = FlatWeights(module)
        self.learning_rate = learning_rate
        # All weights form one row.
        self.adam = RowAdam(1, len(self._weights.vector), self._weights.vector.device)
        self.guard, self.referee = StepGuard(), Referee(REFEREE_EVERY)
        self.slow = SlowModule(module, self._weights, decay)

    @property
    def vector(self) -> Tensor:
        """The weights of the module end to end; writing to it changes them."""
        return self._weights.vector

    def step(self, loss: Tensor, factor: float, beside: Tensor | None = None) -> Step:
        """Take a step down `loss`, unless the guard refuses it.

        loss: a scalar with a graph
        factor: factor on the learning rate
        beside: a tensor outside of the module that learns from the same loss; the guard looks at its gradient, too
        """
        gradient = self._weights.gradient.zero_()
        loss.backward()
        norm = gradient.norm()
        gradient.mul_((_MOST_GRADIENT / (norm + 1e-6)).clamp(max=1.0))
        if beside is not None and beside.grad is not None:
            norm = norm + beside.grad.norm()
        value, size = torch.stack([loss.detach(), norm]).tolist()
        taken = self.guard.admits(value, size)
        usual = taken and self.guard.is_usual(value)
        if taken:
            self.adam.step(self._weights.vector[None], slice(None), gradient[None], self.learning_rate * factor)
        if usual:
            self.slow.follow()
        return Step(value, taken, usual)

    def roll_back(self) -> None:
        """Replace the weights by their slow copy, and reset optimizer, guard and referee."""
        self.slow.restore()
        self.adam.reset(slice(None))
        self.guard.begin_again()
        self.referee.forget()

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return state_of_parts(self._parts())

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        load_parts(self._parts(), state)

    def _parts(self) -> dict[str, Any]:
        return {"adam": self.adam, "guard": self.guard, "slow": self.slow, "referee": self.referee}

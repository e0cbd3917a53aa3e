"""A guard that refuses learning steps whose loss or gradient is not finite, or far above its running mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WEIGHT = 0.01  # weight of a new step in the running means, some 100 steps; not tuned
_FIRST_STEPS = 100  # steps in which nothing explodes and every loss is usual, since the means are young; not tuned


class StepGuard:
    """A step *explodes* if its loss or its gradient's norm is above `most` times (its running mean + 1).

    It is *usual* if its loss is at most `unusual` nats above the mean. The defaults of both are not tuned.

    taken, skipped: steps taken since the guard began, and steps refused in all
    in_a_row: steps refused since the last one that was taken
    """

    def __init__(self, most: float = 20.0, unusual: float = 1.0) -> None:
        self.most, self.unusual = most, unusual
        self.taken = self.skipped = self.in_a_row = 0
        self.loss = self.norm = 0.0

    def admits(self, loss: float, norm: float) -> bool:
        """True if a step with this loss (nats) and norm of the gradient may be taken. Counts it either way."""
        if not (math.isfinite(loss) and math.isfinite(norm)) or self._explodes(loss, norm):
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.in_a_row = 0
        self.taken += 1
        weight = max(_WEIGHT, 1 / self.taken)
        self.loss += weight * (loss - self.loss)
        self.norm += weight * (norm - self.norm)
        return True

    def is_usual(self, loss: float) -> bool:
        return self.taken < _FIRST_STEPS or loss <= self.loss + self.unusual

    def _explodes(self, loss: float, norm: float) -> bool:
        """True if loss or norm is far above its mean; never true in the first steps."""
        known = self.taken >= _FIRST_STEPS
        return known and (loss > self.most * (self.loss + 1) or norm > self.most * (self.norm + 1))

    def begin_again(self) -> None:
        """Forget the running means, after a rollback."""
        self.taken = self.in_a_row = 0
        self.loss = self.norm = 0.0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "counts": np.array([self.taken, self.skipped, self.in_a_row], np.int64),
            "means": np.array([self.loss, self.norm]),
        }

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.taken, self.skipped, self.in_a_row = state["counts"].tolist()
        self.loss, self.norm = state["means"].tolist()

"""A drift detector that raises an alarm when the hit rate drops, and whose state can be saved.

River's ADWIN keeps its state in compiled code that only pickle could save. That state follows from the values it was
fed since its last reset, so these values are saved instead and fed again on restoring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm: the hit rate of `stream` fell from `before` to `after`, noticed at its scored event number `at`."""

    stream: str
    at: int
    before: float
    after: float


class DropDetector:
    """ADWIN (Bifet and Gavaldà 2007) on means of blocks of hits; a rise resets it without an alarm.

    Consecutive hits often belong to one user and resemble each other. ADWIN takes its bound from the variance of its
    input, and the variance of block means includes this resemblance. The bound's second term is made for values from 0
    to 1 and would hide changes of means, which vary less; means times sqrt(block) vary as single independent hits do
    (docs/experiments/drift.md).

    `stream`: the name of the watched events, for alarms.
    `delta`: ADWIN's confidence.
    `block`: hits per mean.
    `memory`: the most means that are kept. When they are full, the detector starts again on the newer half; it can't
    see changes that are slower than that.
    """

    def __init__(self, stream: str, delta: float, block: int, memory: int) -> None:
        self.stream = stream
        self.delta = delta
        self.block = block
        self.memory = memory
        self._spread = math.sqrt(block)
        self._blocks = 0
        self._kept: list[float] = []
        self._open: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._restart([])

    def update_many(self, hits_B: NDArray[np.bool_]) -> list[Alarm]:
        """Take hits in order; return the alarms that they raise."""
        waiting = np.concatenate([self._open, hits_B])
        full = len(waiting) // self.block
        self._open = waiting[full * self.block :]
        means = waiting[: full * self.block].reshape(full, self.block).mean(axis=1)
        return [alarm for mean in means.tolist() if (alarm := self._feed(mean))]

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "kept": np.array(self._kept, dtype=np.float64),
            "open": self._open.copy(),
            "blocks": np.array([self._blocks], dtype=np.int64),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._blocks = int(state["blocks"][0])
        self._open = np.array(state["open"], dtype=np.bool_)
        self._restart(state["kept"].tolist())

    def _feed(self, mean: float) -> Alarm | None:
        self._blocks += 1
        if not self._changes(mean):
            if len(self._kept) >= self.memory:
                self._restart(self._kept[-(self.memory // 2) :])
            return None
        before, after = _sides_of_change(np.array(self._kept))
        self._kept = []
        return Alarm(self.stream, self._blocks * self.block, before, after) if after < before else None

    def _changes(self, mean: float) -> bool:
        self._kept.append(mean)
        self._detector.update(mean * self._spread)
        return bool(self._detector.drift_detected)

    def _restart(self, means: Iterable[float]) -> None:
        # clock=1 checks at every value: each is the mean of a whole block.
        self._detector = ADWIN(delta=self.delta, clock=1)
        self._kept = []
        for mean in means:
            if self._changes(mean):
                self._kept = []  # ADWIN drops its own window at the value after a change


def _sides_of_change(means: NDArray[np.float64]) -> tuple[float, float]:
    """Return the means before and after the most likely single change (least squares).

    The part that ADWIN drops tells little: it drops the oldest values first and stops as soon as the rest passes its
    test, and that rest often still holds values from before the change.
    """
    left = np.arange(1, len(means))
    right = len(means) - left
    sums = np.cumsum(means)
    before, after = sums[:-1] / left, (sums[-1] - sums[:-1]) / right
    best = int(np.argmax(left * right * (before - after) ** 2))
    return float(before[best]), float(after[best])

"""Weights that a line gives to the other lines of its group, and the mean with theirs that it takes.

The mean is of encoder, ranker, the statistics of the ranker's features, the item rows by id, and of the slow copies of
all these. Adam's moments stay each line's own. Each line weighs as much as its say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.learner import Learner
from model.state import Arrays, array_of
from model.weights.gift import MOST_SAY, Gift, same_shapes
from model.weights.shared_items import SharedItems

_SLOW = ("encoder.slow", "ranker.slow")
_MEANS, _VARIANCES, _BATCHES = "features.mean", "features.var", "features.batches"


class SharedWeights:
    """The weights that one line gives and takes. `begin` where the line begins or falls back: then it has least say."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._items = SharedItems(learner.items, learner.catalog)
        self._began = learner.steps

    def begin(self) -> None:
        """Give this line the least say, so that the weights of lines that go on hold."""
        self._began = self._learner.steps

    @property
    def say(self) -> int:
        return max(1, min(MOST_SAY, 1 + self._learner.steps - self._began))

    def give(self) -> Gift | None:
        """Return a copy of the weights with the item rows that changed since the last gift; None if they are not all
        finite, so that nobody may take them."""
        rows, ids = self._items.give()
        gift = Gift(self._of_modules() | rows, ids, self.say)
        return gift if gift.is_finite() else None

    def refusal(self, gift: Gift) -> str:
        """Return why a gift can't be taken; empty if it can."""
        if not (same_shapes(self._of_modules() | self._items.none(), gift.columns) and gift.has_a_row_for_each_id()):
            return "shape"
        # A variance below 0 makes features that are not numbers.
        return "" if gift.is_finite() and not (gift.columns[_VARIANCES] < 0).any() else "not_finite"

    @torch.no_grad()
    def take(self, gifts: Sequence[Gift]) -> None:
        """Take the mean of the own weights and of gifts without a refusal."""
        if not gifts:
            return
        says = np.array([self.say, *(gift.say for gift in gifts)], np.float64)
        for name, vector in self._vectors().items():
            parts = [array_of(vector), *(gift.columns[name] for gift in gifts)]
            vector.copy_(torch.from_numpy(_mean(parts, says)))
        self._take_statistics([self._statistics(), *(gift.columns for gift in gifts)], says)
        self._items.take(self.say, gifts)

    def _of_modules(self) -> Arrays:
        """Return copies of everything but item rows. Slow copies are in half precision: their rounding is averaged
        away, while that of the weights would be as large as some of Adam's steps."""
        vectors = {name: array_of(vector) for name, vector in self._vectors().items()}
        kinds = {name: np.float16 if name in _SLOW else np.float32 for name in vectors | self._statistics()}
        return {name: column.astype(kinds[name]) for name, column in (vectors | self._statistics()).items()}

    def _vectors(self) -> dict[str, Tensor]:
        """Return the weights of the modules and their slow copies, each as one vector that can be written to."""
        encoder, ranker = self._learner.encoder_trainer.optimizer, self._learner.ranker_trainer.optimizer
        fast = {"encoder": encoder.vector, "ranker": ranker.vector}
        return fast | {"encoder.slow": encoder.slow.vector, "ranker.slow": ranker.slow.vector}

    def _statistics(self) -> Arrays:
        ranker = self._learner.ranker
        tensors = {_MEANS: ranker.mean_F, _VARIANCES: ranker.var_F, _BATCHES: ranker.batches.reshape(1)}
        return {name: array_of(tensor) for name, tensor in tensors.items()}

    def _take_statistics(self, of_lines: Sequence[Arrays], says: NDArray[np.float64]) -> None:
        """Take mean and total variance: within the lines, and between them. A young line's next batch weighs as little
        as the oldest one's, since what it has now is theirs."""
        means, variances, batches = ([one[name] for one in of_lines] for name in (_MEANS, _VARIANCES, _BATCHES))
        mean_F = _mean(means, says)
        var_F = _mean([var + (own - mean_F) ** 2 for own, var in zip(means, variances, strict=True)], says)
        slow = self._learner.ranker_trainer.optimizer.slow.module
        for ranker in (self._learner.ranker, slow):
            ranker.mean_F.copy_(torch.from_numpy(mean_F))
            ranker.var_F.copy_(torch.from_numpy(var_F))
            ranker.batches.fill_(float(np.max(batches)))


def _mean(parts: Sequence[NDArray[np.floating]], says: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the mean of arrays of one shape, each weighed by its say, with sums in double precision."""
    mean: NDArray[np.float64] = np.tensordot(says / says.sum(), np.stack(parts).astype(np.float64), axes=1)
    return mean.astype(np.float32)

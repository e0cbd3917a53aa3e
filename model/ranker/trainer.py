"""Training of the ranker: Adam steps on the choices of a mini-batch, mixed with recent ones.

A slow copy of the weights (Polyak and Juditsky, 1992) makes the lists; a referee compares it with the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.optimizers.guarded_adam import GuardedAdam
from model.ranker.ranker import Choices, Ranker, RecentChoices, choices
from model.state import joined, load_parts, state_below, state_of_parts

_DECAY = 0.99  # of the slow copy, per step; measured: docs/experiments/ranker.md
# One event in four updates the running statistics of the features; not tuned.
_OBSERVED_EVERY = 4
# The learning rate begins at 1 + 3 = 4 times the configured one; the excess halves every 5,000 events.
# Not tuned.
_FIRST_EXCESS, _EXCESS_HALF_LIFE = 3.0, 5_000


class RankerTrainer:
    """Trains the ranker on events whose target is among their candidates: the target, its `hard` strongest rivals and
    `drawn` of the others. Each mini-batch is used in `steps` steps, each time with `replayed` recent examples."""

    def __init__(
        self,
        ranker: Ranker,
        recent: RecentChoices,
        rng: np.random.Generator,
        *,
        learning_rate: float,
        steps: int,
        hard: int,
        drawn: int,
        replayed: int,
    ) -> None:
        self.recent = recent
        self.fresh: Choices | None = None
        self.optimizer = GuardedAdam(ranker, learning_rate, _DECAY)
        self._ranker, self._rng = ranker, rng
        self._steps, self._hard, self._drawn, self._replayed = steps, hard, drawn, replayed

    def scores(self, features_BCF: Tensor, present_BC: Tensor) -> Tensor:
        """Return the scores [B, C] of candidates by the slow copy of the weights."""
        scores_BC: Tensor = self.optimizer.slow.module(features_BCF, present_BC)
        return scores_BC

    def collect(
        self,
        candidates_BC: Tensor,
        features_BCF: Tensor,
        scores_BC: Tensor,
        target_B: Tensor,
        scored_M: Tensor,
        step: int,
    ) -> None:
        """Keep training examples of scored events for `learn`.

        candidates_BC, features_BCF, scores_BC: candidates of B events, on the device
        target_B: row of each event's item
        scored_M: the events to use
        step: number of steps so far; it shifts the sample of rivals
        """
        candidates_MC = candidates_BC[scored_M]
        is_target_MC, present_MC = candidates_MC == target_B[scored_M, None], candidates_MC >= 0
        usable = is_target_MC.any(dim=1) & (present_MC.sum(dim=1) > 1)
        if not bool(usable.any()):
            return
        of_M, present_MC = scored_M[usable], present_MC[usable]
        self._ranker.observe(features_BCF[of_M[::_OBSERVED_EVERY]], present_MC[::_OBSERVED_EVERY])
        target_at_M = is_target_MC[usable].int().argmax(dim=1)
        scores_MC = scores_BC[of_M]
        fresh = choices(features_BCF, of_M, present_MC, scores_MC, target_at_M, self._hard, self._drawn, step)
        self.fresh = fresh if self.fresh is None else self.fresh.joined(fresh)

    def learn(self, events: int, rate_factor: float) -> float | None:
        """Take `steps` steps on the collected examples. Returns the last step's loss, None without examples.

        events: number of events that the line has learned
        rate_factor: factor on the learning rate
        """
        fresh, self.fresh = self.fresh, None
        if fresh is None:
            return None
        if self.optimizer.referee.due():
            self._ask_the_referee(fresh)
        factor = (1 + _FIRST_EXCESS * 0.5 ** (events / _EXCESS_HALF_LIFE)) * rate_factor
        losses = [self._step(fresh, factor) for _ in range(self._steps)]
        if not self.optimizer.guard.in_a_row:
            self.recent.add(fresh)
        return losses[-1]

    def _step(self, fresh: Choices, factor: float) -> float:
        older = self.recent.sample(self._replayed, self._rng, fresh.log_weight_S)
        loss = (fresh if older is None else fresh.joined(older)).loss(self._ranker)
        return self.optimizer.step(loss, factor).loss

    @torch.no_grad()
    def _ask_the_referee(self, fresh: Choices) -> None:
        losses = torch.stack([fresh.loss(ranker) for ranker in (self._ranker, self.optimizer.slow.module)])
        self.optimizer.referee.note(*losses.tolist())

    def roll_back(self) -> None:
        """Replace the weights by their slow copy and reset the optimizer."""
        self.optimizer.roll_back()

    def state_dict(self) -> dict[str, NDArray[Any]]:
        fresh = {} if self.fresh is None else joined({"fresh": self.fresh.state_dict()})
        return state_of_parts(self._parts()) | fresh

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        self.load_optimizer(state)
        self.load_examples(state)

    def load_optimizer(self, state: dict[str, NDArray[Any]]) -> None:
        load_parts({"optimizer": self.optimizer}, state)

    def load_examples(self, state: dict[str, NDArray[Any]]) -> None:
        """Load examples. Raises ValueError for another number of examples, or examples of another shape."""
        load_parts({"recent": self.recent}, state)
        fresh = state_below(state, "fresh")
        self.fresh = Choices.from_state(fresh, self.recent.device) if fresh else None

    def _parts(self) -> dict[str, Any]:
        return {"recent": self.recent, "optimizer": self.optimizer}

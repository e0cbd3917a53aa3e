"""How the ranker learns: Adam steps on the choices of this mini-batch, mixed with recent ones.

Lists are made by a slow copy of the weights (Polyak and Juditsky, 1992), which is also referee now and then. A step
that is no number, or explodes, is not taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.ranker import Choices, Ranker, RecentChoices, choices
from model.slow_copy import REFEREE_EVERY, Referee, SlowModule
from model.state import adam_state, joined, load_adam, part
from model.step_guard import StepGuard

_DECAY = 0.99
# At the very start the rate is four times as high; half of the excess is gone every so many events.
_FIRST_EXCESS, _EXCESS_HALF_LIFE = 3.0, 5_000


class RankerTrainer:
    """Choices of an event whose target is among its candidates: the target, its `hard` strongest rivals and `drawn` of
    the others. Each mini-batch `steps` times, every time beside `replayed` of the recent ones."""

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
        self.adam = torch.optim.Adam(ranker.parameters(), lr=learning_rate, fused=True)
        self.rate_factor = 1.0
        self.guard, self.slow, self.referee = StepGuard(), SlowModule(ranker, _DECAY), Referee(REFEREE_EVERY)
        self._ranker, self._rng, self._learning_rate = ranker, rng, learning_rate
        self._steps, self._hard, self._drawn, self._replayed = steps, hard, drawn, replayed

    def scores(self, features_BCF: Tensor, present_BC: Tensor) -> Tensor:
        """By the slow weights."""
        scores_BC: Tensor = self.slow.module(features_BCF, present_BC)
        return scores_BC

    def learn(
        self, candidates_MC: Tensor, features_MCF: Tensor, scores_MC: Tensor, target_M: Tensor, step: int, events: int
    ) -> float | None:
        """Returns the last step's loss, None where there was nothing to learn. `step`: the mini-batch's number;
        `events`: how many the line has learned."""
        is_target_MC, present_MC = candidates_MC == target_M[:, None], candidates_MC >= 0
        usable = is_target_MC.any(dim=1) & (present_MC.sum(dim=1) > 1)
        if not bool(usable.any()):
            return None
        features_MCF, present_MC = features_MCF[usable], present_MC[usable]
        self._ranker.observe(features_MCF, present_MC)
        target_at_M = is_target_MC[usable].int().argmax(dim=1)
        fresh = choices(features_MCF, present_MC, scores_MC[usable], target_at_M, self._hard, self._drawn, step)
        if self.referee.due():
            self._ask_the_referee(fresh)
        rate = self._learning_rate * (1 + _FIRST_EXCESS * 0.5 ** (events / _EXCESS_HALF_LIFE)) * self.rate_factor
        losses = [self._step(fresh, rate) for _ in range(self._steps)]
        if not self.guard.in_a_row:
            self.recent.add(fresh)
        return losses[-1]

    def _step(self, fresh: Choices, rate: float) -> float:
        older = self.recent.sample(self._replayed, self._rng, fresh.log_weight_S)
        loss = (fresh if older is None else fresh.joined(older)).loss(self._ranker)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.get_total_norm([p.grad for p in self._ranker.parameters() if p.grad is not None])
        value, size = torch.stack([loss.detach(), norm]).tolist()
        if self.guard.admits(value, size):
            for group in self.adam.param_groups:
                group["lr"] = rate
            self.adam.step()
            if self.guard.is_usual(value):
                self.slow.follow()
        return float(value)

    @torch.no_grad()
    def _ask_the_referee(self, fresh: Choices) -> None:
        losses = torch.stack([fresh.loss(ranker) for ranker in (self._ranker, self.slow.module)])
        self.referee.note(*losses.tolist())

    def roll_back(self) -> None:
        """The slow copy from now on, with an optimizer that knows nothing."""
        self.slow.restore()
        self.adam.state.clear()
        self.guard.begin_again()
        self.referee.forget()

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return joined(
            {name: owner.state_dict() for name, owner in self._parts().items()} | {"adam": adam_state(self.adam)}
        )

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        for name, owner in self._parts().items():
            owner.load_state_dict(part(state, name))
        load_adam(self.adam, part(state, "adam"))

    def _parts(self) -> dict[str, Any]:
        return {"recent": self.recent, "guard": self.guard, "slow": self.slow, "referee": self.referee}

"""The ranker: scores candidates by counting features and encoder scores. Also its training examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.state import array_of

_MOST_DEVIATIONS = 8.0  # features are clamped to 8 standard deviations from their mean; not tuned
# Candidates scored at a time, so that hidden layers stay in the processor's cache; measured:
# docs/experiments/cheaper-learning.md.
_BLOCK = 2_048


class Ranker(nn.Module):
    """A linear part beside a small MLP, on features normalised by the statistics of earlier batches.

    Features [B, C, F] -> scores [B, C]; the scores of absent candidates are -inf.
    """

    mean_F: Tensor
    var_F: Tensor
    batches: Tensor

    def __init__(self, features: int, hidden: int = 64, more: int = 0) -> None:
        """Make a ranker of `features` + `more` features; the last ones begin with weights of 0, so without effect."""
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1, bias=False)
        # A young ranker scores about by the sum of the features. Guessed signs brought nothing:
        # docs/experiments/young-lines.md.
        nn.init.zeros_(self.linear.bias)
        nn.init.constant_(self.linear.weight, 0.1)
        nn.init.normal_(self.head.weight, std=0.02)
        for layer in (self.linear, self.first) if more else ():
            layer.weight = nn.Parameter(F.pad(layer.weight.detach(), (0, more)))
        self.register_buffer("mean_F", torch.zeros(features + more))
        self.register_buffer("var_F", torch.ones(features + more))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features_BCF: Tensor, present_BC: Tensor) -> Tensor:
        x_XF = features_BCF.reshape(-1, features_BCF.shape[-1])
        # Normalising is linear: it is folded into the first weights once, and only clamping is left per candidate.
        scale_F = torch.rsqrt(self.var_F + 1e-4)
        least_F, most_F = self.mean_F - _MOST_DEVIATIONS / scale_F, self.mean_F + _MOST_DEVIATIONS / scale_F
        weight_HF, weight_F = self.first.weight * scale_F, self.linear.weight[0] * scale_F
        bias_H, bias = self.first.bias - weight_HF @ self.mean_F, self.linear.bias - weight_F @ self.mean_F
        scores = []
        for block_XF in torch.split(x_XF, _BLOCK):
            within_XF = block_XF.clamp(least_F, most_F)
            # `addmm` would write the bias first and read it again; adding it afterwards is faster.
            hidden_XH = F.relu_(torch.mm(within_XF, weight_HF.T).add_(bias_H))
            hidden_XH = F.relu_(torch.mm(hidden_XH, self.second.weight.T).add_(self.second.bias))
            # Products with one column of weights are several times as fast as with a matrix of one column.
            scores.append(torch.mv(within_XF, weight_F) + torch.mv(hidden_XH, self.head.weight[0]) + bias)
        return torch.cat(scores).view(present_BC.shape).masked_fill(~present_BC, -torch.inf)

    def linear_slopes(self) -> Tensor:
        """Return the slopes [F] of the linear part by each feature."""
        return (self.linear.weight[0] * torch.rsqrt(self.var_F + 1e-4)).detach()

    @torch.no_grad()
    def slopes(self, x_XF: Tensor) -> Tensor:
        """Return the slopes [X, F] of the score by each feature; 0 where a feature is clamped."""
        scale_F = torch.rsqrt(self.var_F + 1e-4)
        z_XF = (x_XF - self.mean_F) * scale_F
        first_XH = F.linear(z_XF.clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS), self.first.weight, self.first.bias)
        second_XH = F.linear(first_XH.relu(), self.second.weight, self.second.bias)
        by_second_XH = self.head.weight * (second_XH > 0)
        by_first_XH = (by_second_XH @ self.second.weight) * (first_XH > 0)
        by_z_XF = by_first_XH @ self.first.weight + self.linear.weight
        return by_z_XF * scale_F * (z_XF.abs() < _MOST_DEVIATIONS)

    @torch.no_grad()
    def observe(self, features_BCF: Tensor, present_BC: Tensor) -> None:
        """Update the running mean and variance of the features; each batch weighs at least 1 %. A batch in which a
        feature is not finite leaves that feature's statistics as they are."""
        real = present_BC.unsqueeze(-1)
        count = real.sum().clamp(min=1)
        mean = (features_BCF * real).sum(dim=(0, 1)) / count
        var = (((features_BCF - mean) ** 2) * real).sum(dim=(0, 1)) / count
        self.batches += 1
        weight = (1.0 / self.batches).clamp(min=0.01)
        known = torch.isfinite(mean + var)
        mean, var = torch.where(known, mean, self.mean_F), torch.where(known, var, self.var_F)
        self.var_F.lerp_(var + (mean - self.mean_F) ** 2 * (1 - weight), weight)
        self.mean_F.lerp_(mean, weight)


@dataclass(frozen=True)
class Choices:
    """M training examples of S candidates each, the target first.

    features_MSF: features
    present_MS: False where an event had fewer candidates
    log_weight_S: log of the number of candidates that each one stands for
    """

    features_MSF: Tensor
    present_MS: Tensor
    log_weight_S: Tensor

    def __len__(self) -> int:
        return len(self.features_MSF)

    def joined(self, other: Choices) -> Choices:
        return Choices(
            torch.cat([self.features_MSF, other.features_MSF]),
            torch.cat([self.present_MS, other.present_MS]),
            self.log_weight_S,
        )

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {name: array_of(getattr(self, name)) for name in ("features_MSF", "present_MS", "log_weight_S")}

    @staticmethod
    def from_state(state: dict[str, NDArray[Any]], device: torch.device) -> Choices:
        return Choices(**{name: torch.from_numpy(array.copy()).to(device) for name, array in state.items()})

    def loss(self, ranker: Ranker) -> Tensor:
        """Return the softmax cross-entropy over all candidates; the drawn ones estimate those left out."""
        scores_MS = ranker(self.features_MSF, self.present_MS) + self.log_weight_S
        return F.cross_entropy(scores_MS, torch.zeros(len(self), dtype=torch.long, device=scores_MS.device))


def choices(
    features_BCF: Tensor,
    of_M: Tensor,
    present_MC: Tensor,
    scores_MC: Tensor,
    target_at_M: Tensor,
    hard: int,
    drawn: int,
    shift: int,
) -> Choices:
    """Return a training example per event: the target, its `hard` strongest rivals, and `drawn` of the rest.

    features_BCF: features of all events
    of_M: the events to use
    present_MC, scores_MC: which candidates there are, and their scores
    target_at_M: place of the target among the candidates
    shift: where the systematic sample begins

    The rest is drawn by systematic sampling: every n-th by score, from place `shift` modulo n; each weighs n.
    """
    first = scores_MC.scatter(1, target_at_M[:, None], torch.inf)
    order_MC = first.argsort(dim=1, descending=True, stable=True)
    rest = max(0, order_MC.shape[1] - 1 - hard)
    step = max(1, rest // drawn)
    sampled = 1 + hard + shift % step + step * torch.arange(min(drawn, rest // step))
    columns = torch.cat([torch.arange(min(1 + hard, order_MC.shape[1])), sampled]).to(scores_MC.device)
    at_MS = order_MC[:, columns]
    log_weight_S = torch.where(columns > hard, float(np.log(step)), 0.0)
    return Choices(features_BCF[of_M[:, None], at_MS], present_MC.gather(1, at_MS), log_weight_S)


class RecentChoices:
    """The last `capacity` training examples, in half precision, to be replayed beside fresh ones."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.seen = 0
        self.device = device
        self._features_MSF = torch.zeros(0, 0, 0, dtype=torch.float16, device=device)
        self._present_MS = torch.zeros(0, 0, dtype=torch.bool, device=device)

    def add(self, new: Choices) -> None:
        """Add examples over the oldest ones. Examples of another shape replace all."""
        shape = new.features_MSF.shape[1:]
        if not self.seen or self._features_MSF.shape[1:] != shape:
            self.seen = 0
            self._features_MSF = torch.zeros(self.capacity, *shape, dtype=torch.float16, device=self.device)
            self._present_MS = torch.zeros(self.capacity, shape[0], dtype=torch.bool, device=self.device)
        newest = min(len(new), self.capacity)
        at = torch.arange(self.seen + len(new) - newest, self.seen + len(new), device=self.device) % self.capacity
        self._features_MSF[at] = new.features_MSF[-newest:].half()
        self._present_MS[at] = new.present_MS[-newest:]
        self.seen += len(new)

    def sample(self, count: int, rng: np.random.Generator, log_weight_S: Tensor) -> Choices | None:
        """Draw `count` examples with replacement; None while there are none with as many candidates."""
        if not self.seen or self._features_MSF.shape[1] != len(log_weight_S):
            return None
        at = torch.from_numpy(rng.integers(0, min(self.seen, self.capacity), count)).to(self.device)
        return Choices(self._features_MSF[at].float(), self._present_MS[at], log_weight_S)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {
            "features": array_of(self._features_MSF),
            "present": array_of(self._present_MS),
            "seen": np.array([self.seen], np.int64),
        }

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Load a state. Raises ValueError for another number of examples."""
        self.seen = int(state["seen"][0])
        if self.seen and len(state["features"]) != self.capacity:
            raise ValueError(
                f"model.ranker_examples: the state has {len(state['features'])}, the configuration {self.capacity}"
            )
        self._features_MSF = torch.from_numpy(state["features"].copy()).to(self.device)
        self._present_MS = torch.from_numpy(state["present"].copy()).to(self.device)

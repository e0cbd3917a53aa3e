"""The ranker: orders the candidates by their counting features and encoder score."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ranker(nn.Module):
    """A linear part beside a small MLP, on features normalised by the statistics of earlier batches.

    Features [B, C, F] -> scores [B, C]; the scores of absent candidates (row -1) are -inf.
    """

    mean_F: Tensor
    var_F: Tensor
    batches: Tensor

    def __init__(self, features: int, hidden: int = 32) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.linear.bias)
        nn.init.constant_(self.linear.weight, 0.1)
        nn.init.normal_(self.head.weight, std=0.02)
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("var_F", torch.ones(features))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features_BCF: Tensor, candidates_BC: Tensor) -> Tensor:
        x = ((features_BCF - self.mean_F) * torch.rsqrt(self.var_F + 1e-4)).clamp(-8, 8)
        scores_BC: Tensor = (self.linear(x) + self.head(self.mlp(x))).squeeze(-1)
        return scores_BC.masked_fill(candidates_BC < 0, -torch.inf)

    @torch.no_grad()
    def observe(self, features_BCF: Tensor, candidates_BC: Tensor) -> None:
        """Move the running statistics towards these features; each batch weighs at least 1 %."""
        real = (candidates_BC >= 0).unsqueeze(-1)
        count = real.sum().clamp(min=1)
        mean = (features_BCF * real).sum(dim=(0, 1)) / count
        var = (((features_BCF - mean) ** 2) * real).sum(dim=(0, 1)) / count
        self.batches += 1
        weight = (1.0 / self.batches).clamp(min=0.01)
        self.var_F.lerp_(var + (mean - self.mean_F) ** 2 * (1 - weight), weight)
        self.mean_F.lerp_(mean, weight)

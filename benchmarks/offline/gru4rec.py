"""GRU4Rec: a GRU reads the session, and its state is compared with every item vector.

Hidasi et al. 2016 (Session-based recommendations with recurrent neural networks) and Hidasi & Karatzoglou 2018
(Recurrent neural networks with top-k gains), with the choices of the authors' own PyTorch code: 100 units, one vector
an item for input and output (constrained embedding), an item bias, cross-entropy, Adagrad.
Unlike there, whole windows are unrolled: full back-propagation is stronger than theirs by one step.

Shapes: B windows, T places, D units, N items; row 0 is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gru4RecConfig:
    units: int = 100
    dropout_input: float = 0.5
    dropout_hidden: float = 0.4
    learning_rate: float = 0.05


class Gru4Rec(nn.Module):
    def __init__(self, items: int, config: Gru4RecConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items + 1, config.units, padding_idx=0)
        self.bias = nn.Parameter(torch.zeros(items + 1))
        self.gru = nn.GRU(config.units, config.units, batch_first=True)
        self.input_dropout = nn.Dropout(config.dropout_input)
        self.hidden_dropout = nn.Dropout(config.dropout_hidden)
        self._initialise()

    def _initialise(self) -> None:
        for name, weight in self.gru.named_parameters():
            nn.init.zeros_(weight) if "bias" in name else nn.init.xavier_uniform_(weight)
        bound = (6 / sum(self.items.weight.shape)) ** 0.5
        with torch.no_grad():
            self.items.weight[1:].uniform_(-bound, bound)

    def forward(self, items_BT: Tensor) -> Tensor:
        """Return the state at each place [B, T, D], which is compared with the items that may come next."""
        states_BTD, _ = self.gru(self.input_dropout(self.items(items_BT)))
        dropped_BTD: Tensor = self.hidden_dropout(states_BTD)
        return dropped_BTD

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(self.parameters(), lr=self.config.learning_rate, eps=1e-6)

"""SASRec: blocks of causal self-attention over the last items, with learned positions.

Kang & McAuley 2018 (Self-attentive sequential recommendation): shared item vectors, two blocks, one head, point-wise
feed-forward of the same width, x + dropout(g(norm(x))), Adam. Positions count from the window's first item.

Shapes: B windows, T places, D width, N items; row 0 is padding, which stands behind and so is never attended to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class SasRecConfig:
    width: int = 64
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.4
    learning_rate: float = 3e-3
    positions: int = 50


class Attention(nn.Module):
    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        query, key, value = (
            self.query_key_value(x_BTD).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(B, T, D))
        return output


class Block(nn.Module):
    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(config)
        self.forward_layer = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(width, width)
        )
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.attention_norm(x_BTD)))
        forward_BTD: Tensor = self.dropout(self.forward_layer(self.forward_norm(x_BTD)))
        return x_BTD + forward_BTD


class SasRec(nn.Module):
    bias: Tensor

    def __init__(self, items: int, config: SasRecConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items + 1, config.width, padding_idx=0)
        self.positions = nn.Embedding(config.positions, config.width)
        self.register_buffer("bias", torch.zeros(items + 1))  # the paper has none
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, items_BT: Tensor) -> Tensor:
        """Return the state at each place [B, T, D], which is compared with the items that may come next."""
        x_BTD = self.items(items_BT) * self.config.width**0.5 + self.positions.weight[: items_BT.shape[1]]
        states_BTD: Tensor = self.norm(self.blocks(self.dropout(x_BTD)))
        return states_BTD

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.config.learning_rate, betas=(0.9, 0.98))

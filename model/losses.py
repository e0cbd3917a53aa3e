"""One function a loss; formula and paper in its docstring. M examples, S scored rows (all live ones, or a sample)."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax_cross_entropy(own_M: Tensor, others_MS: Tensor, is_own_MS: Tensor, log_q_S: Tensor | None = None) -> Tensor:
    """-own + log(exp(own) + sum over others of exp(other - log q)), each example [M].

    `log_q_S` None: every row is among the others, and this is the full softmax. Otherwise it is the log-probability
    that the row is in the sample, which keeps the sum's expectation right (Bengio and Senecal, 2008).
    """
    if log_q_S is not None:
        others_MS = others_MS - log_q_S
    others_M = others_MS.masked_fill(is_own_MS, -torch.inf).logsumexp(dim=1)
    return torch.logaddexp(own_M, others_M) - own_M


def log_inclusion(probability_N: Tensor, draws: int) -> Tensor:
    """log(1 - (1 - p)^draws): the log-probability that a row is in a sample of `draws` with replacement."""
    never = torch.log1p(-probability_N.double().clamp(1e-12, 1 - 1e-9)) * draws
    return torch.log(-torch.expm1(never)).float()

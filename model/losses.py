"""One function a loss; formula and paper in its docstring. M examples, S scored rows (all live ones, or a sample)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# own_M, others_MS, is_own_MS, log_q_S -> loss of each example [M]
Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

_BPR_REGULARISATION = 0.01


def softmax_cross_entropy(own_M: Tensor, others_MS: Tensor, is_own_MS: Tensor, log_q_S: Tensor | None = None) -> Tensor:
    """-own + log(exp(own) + sum over others of exp(other - log q)), each example [M].

    `log_q_S` None: every row is among the others, and this is the full softmax. Otherwise it is the log-probability
    that the row is in the sample, which keeps the sum's expectation right (Bengio and Senecal, 2008).
    """
    if log_q_S is not None:
        others_MS = others_MS - log_q_S
    others_M = others_MS.masked_fill(is_own_MS, -torch.inf).logsumexp(dim=1)
    return torch.logaddexp(own_M, others_M) - own_M


def bpr_max(own_M: Tensor, others_MS: Tensor, is_own_MS: Tensor, log_q_S: Tensor | None = None) -> Tensor:
    """-log(sum over others of s_j sigmoid(own - other_j)) + r sum of s_j other_j^2, s = softmax(others), each example.

    BPR-max with score regularisation (Hidasi and Karatzoglou, 2018). Of a sample, s = softmax(others - log q): both
    sums are means under the softmax over all others, and importance weights of 1 / q keep these means (for many
    negatives) where they are.
    """
    weights_MS = others_MS if log_q_S is None else others_MS - log_q_S
    log_s_MS = weights_MS.masked_fill(is_own_MS, -torch.inf).log_softmax(dim=1)
    likelihood_M = (log_s_MS + F.logsigmoid(own_M[:, None] - others_MS)).logsumexp(dim=1)
    return _BPR_REGULARISATION * (log_s_MS.exp() * others_MS**2).sum(dim=1) - likelihood_M


LOSSES: dict[str, Loss] = {"softmax": softmax_cross_entropy, "bpr_max": bpr_max}


def log_inclusion(probability_N: Tensor, draws: int) -> Tensor:
    """log(1 - (1 - p)^draws): the log-probability that a row is in a sample of `draws` with replacement."""
    never = torch.log1p(-probability_N.double().clamp(1e-12, 1 - 1e-9)) * draws
    return torch.log(-torch.expm1(never)).float()

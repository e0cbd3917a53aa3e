"""One function a loss, with its gradient; formula and paper in its docstring.

Legend: M examples, S rows that each one's target is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_BPR_REGULARISATION = 0.01
_LEAST_SCORE = -1e4  # of what is not compared, where infinity times 0 would be no number


class Losses(NamedTuple):
    """Of each example the loss [M], its derivative by the target's own score [M] and by those of the others [M, S]."""

    losses_M: Tensor
    by_own_M: Tensor
    by_others_MS: Tensor


# own_M, others_MS (-inf: this example is not compared with that one), log_q_S -> losses. others_MS may be overwritten,
# and be what is given back as the derivatives by them.
#
# Where the others are a sample, log_q is the log-probability that each is in it. None: all there are are compared.
Loss = Callable[[Tensor, Tensor, Tensor | None], Losses]


def softmax_cross_entropy(own_M: Tensor, others_MS: Tensor, log_q_S: Tensor | None = None) -> Losses:
    """-own + log(exp(own) + sum over others of exp(other - log q)).

    With log q the sum's expectation is that over all rows (Bengio and Senecal, 2008).
    """
    if log_q_S is not None:
        others_MS.sub_(log_q_S)
    most_M = torch.maximum(own_M, others_MS.amax(dim=1))
    weight_M, weight_MS = (own_M - most_M).exp(), others_MS.sub_(most_M[:, None]).exp_()
    total_M = weight_M + weight_MS.sum(dim=1)
    return Losses(most_M + total_M.log() - own_M, weight_M / total_M - 1.0, weight_MS.div_(total_M[:, None]))


def bpr_max(own_M: Tensor, others_MS: Tensor, log_q_S: Tensor | None = None) -> Losses:
    """-log(sum over others of s_j sigmoid(own - other_j)) + r sum of s_j other_j^2, s = softmax(others).

    BPR-max with score regularisation (Hidasi and Karatzoglou, 2018). Of a sample, s = softmax(others - log q): both
    sums are means under the softmax over all others, and importance weights of 1 / q keep these means (for many
    negatives) where they are.
    """
    log_s_MS = (others_MS if log_q_S is None else others_MS - log_q_S).log_softmax(dim=1)
    s_MS, others_MS = log_s_MS.exp(), others_MS.clamp(min=_LEAST_SCORE)
    log_win_MS = F.logsigmoid(own_M[:, None] - others_MS)
    likelihood_M = (log_s_MS + log_win_MS).logsumexp(dim=1)
    squares_MS = others_MS**2
    penalty_M = (s_MS * squares_MS).sum(dim=1)
    win_MS, share_MS = log_win_MS.exp(), (log_s_MS + log_win_MS - likelihood_M[:, None]).exp()
    by_penalty_MS = s_MS * (squares_MS - penalty_M[:, None] + 2 * others_MS)
    return Losses(
        _BPR_REGULARISATION * penalty_M - likelihood_M,
        -(share_MS * (1 - win_MS)).sum(dim=1),
        _BPR_REGULARISATION * by_penalty_MS - share_MS * win_MS + s_MS,
    )


LOSSES: dict[str, Loss] = {"softmax": softmax_cross_entropy, "bpr_max": bpr_max}


def log_inclusion(probability_N: Tensor, draws: int) -> Tensor:
    """log(1 - (1 - p)^draws): the log-probability that a row is in a sample of `draws` with replacement."""
    never = torch.log1p(-probability_N.double().clamp(1e-12, 1 - 1e-9)) * draws
    return torch.log(-torch.expm1(never)).float()

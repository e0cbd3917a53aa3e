"""Losses of the encoder, softmax cross-entropy and BPR-max (`model.loss`), with gradients, formulas and papers.

Shape suffixes: M examples, S rows that each target is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_BPR_REGULARISATION = 0.01  # r in the formula of `bpr_max`; not tuned
_LEAST_SCORE = -1e4  # replaces -inf, since inf * 0 is NaN


class Losses(NamedTuple):
    """Losses of M examples, with their derivatives by the targets' scores [M] and by the others' scores [M, S]."""

    losses_M: Tensor
    by_own_M: Tensor
    by_others_MS: Tensor


# own_M, others_MS, log_q_S -> losses.
# own_M: scores of the targets
# others_MS: scores of the others, -inf: not compared; may be overwritten and returned as the derivative
# log_q_S: log-probability that each row is in the sample; None: the others are all rows
Loss = Callable[[Tensor, Tensor, Tensor | None], Losses]


def softmax_cross_entropy(own_M: Tensor, others_MS: Tensor, log_q_S: Tensor | None = None) -> Losses:
    """Softmax cross-entropy: -own + log(exp(own) + sum over others of exp(other - log q)).

    Subtracting log q makes the sum an unbiased estimate of the sum over all rows (Bengio and Senecal, 2008).
    """
    if log_q_S is not None:
        others_MS.sub_(log_q_S)
    most_M = torch.maximum(own_M, others_MS.amax(dim=1))
    weight_M, weight_MS = (own_M - most_M).exp(), others_MS.sub_(most_M[:, None]).exp_()
    total_M = weight_M + weight_MS.sum(dim=1)
    return Losses(most_M + total_M.log() - own_M, weight_M / total_M - 1.0, weight_MS.div_(total_M[:, None]))


def bpr_max(own_M: Tensor, others_MS: Tensor, log_q_S: Tensor | None = None) -> Losses:
    """BPR-max with score regularisation (Hidasi and Karatzoglou, 2018).

    -log(sum over others of s_j sigmoid(own - other_j)) + r sum of s_j other_j^2, s = softmax(others)

    For a sample, s = softmax(others - log q): both sums are means under the softmax over all others, and importance
    weights of 1 / q estimate these means.
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
    """Return log(1 - (1 - p)^draws), the log-probability that a row is in a sample of `draws` with replacement.

    probability_N: p, the probability of each row in one draw
    """
    never = torch.log1p(-probability_N.double().clamp(1e-12, 1 - 1e-9)) * draws
    return torch.log(-torch.expm1(never)).float()

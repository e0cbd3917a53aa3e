"""One function a loss; formula and paper in its docstring. M examples, S scored rows, the target's among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# logits_MS, column of the target [M], log_q_MS -> loss of each example [M].
#
# Where the scored rows are a sample, log_q is the log-probability that a row is in it: 0 of the target's own, and
# infinite of what this example is not compared with. None: all rows are scored.
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_BPR_REGULARISATION = 0.01


def softmax_cross_entropy(logits_MS: Tensor, own_M: Tensor, log_q_MS: Tensor | None = None) -> Tensor:
    """-own + log(exp(own) + sum over others of exp(other - log q)), each example [M].

    With log q the sum's expectation is that over all rows (Bengio and Senecal, 2008).
    """
    return F.cross_entropy(_corrected(logits_MS, log_q_MS), own_M, reduction="none")


def bpr_max(logits_MS: Tensor, own_M: Tensor, log_q_MS: Tensor | None = None) -> Tensor:
    """-log(sum over others of s_j sigmoid(own - other_j)) + r sum of s_j other_j^2, s = softmax(others), each example.

    BPR-max with score regularisation (Hidasi and Karatzoglou, 2018). Of a sample, s = softmax(others - log q): both
    sums are means under the softmax over all others, and importance weights of 1 / q keep these means (for many
    negatives) where they are.
    """
    own_M1 = logits_MS.gather(1, own_M[:, None])
    log_s_MS = _corrected(logits_MS, log_q_MS).scatter(1, own_M[:, None], -torch.inf).log_softmax(dim=1)
    likelihood_M = (log_s_MS + F.logsigmoid(own_M1 - logits_MS)).logsumexp(dim=1)
    return _BPR_REGULARISATION * (log_s_MS.exp() * logits_MS**2).sum(dim=1) - likelihood_M


def _corrected(logits_MS: Tensor, log_q_MS: Tensor | None) -> Tensor:
    return logits_MS if log_q_MS is None else logits_MS - log_q_MS


LOSSES: dict[str, Loss] = {"softmax": softmax_cross_entropy, "bpr_max": bpr_max}


def log_inclusion(probability_N: Tensor, draws: int) -> Tensor:
    """log(1 - (1 - p)^draws): the log-probability that a row is in a sample of `draws` with replacement."""
    never = torch.log1p(-probability_N.double().clamp(1e-12, 1 - 1e-9)) * draws
    return torch.log(-torch.expm1(never)).float()

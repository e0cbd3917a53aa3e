"""Losses over M places that each have a next item: states_MD, targets_M (rows of the item table, from 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def full_softmax(states_MD: Tensor, targets_M: Tensor, vectors_ND: Tensor, bias_N: Tensor) -> Tensor:
    """-log softmax(s)_target over all items, s = states · vectors + bias; padding (row 0) is no item."""
    scores_MN = states_MD @ vectors_ND[1:].T + bias_N[1:]
    return F.cross_entropy(scores_MN, targets_M - 1)


def sampled_softmax(
    states_MD: Tensor, targets_M: Tensor, vectors_ND: Tensor, bias_N: Tensor, sampled_S: Tensor, logq_N: Tensor
) -> Tensor:
    """-log e^{s_t} / (e^{s_t} + sum_j e^{s_j} / (S q_j)), s = states · vectors + bias; S shared negatives drawn by q.

    A place's own target is left out of its negatives, so the sum estimates that of all others without bias
    (Bengio & Senécal 2008).
    """
    own_M = (states_MD * vectors_ND[targets_M]).sum(1) + bias_N[targets_M]
    correction_S = logq_N[sampled_S] + math.log(len(sampled_S))
    others_MS = states_MD @ vectors_ND[sampled_S].T + bias_N[sampled_S] - correction_S
    others_MS = others_MS.masked_fill(sampled_S == targets_M[:, None], -torch.inf)
    return F.cross_entropy(torch.cat([own_M[:, None], others_MS], 1), torch.zeros_like(targets_M))


def binary(states_MD: Tensor, targets_M: Tensor, vectors_ND: Tensor, bias_N: Tensor, others_M: Tensor) -> Tensor:
    """-log sigmoid(s_target) - log(1 - sigmoid(s_other)), one other item per place (Kang & McAuley 2018)."""
    own_M = (states_MD * vectors_ND[targets_M]).sum(1) + bias_N[targets_M]
    other_M = (states_MD * vectors_ND[others_M]).sum(1) + bias_N[others_M]
    return (F.softplus(-own_M) + F.softplus(other_M)).mean()

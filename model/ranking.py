"""Top-K of many rows without a full sort, ranks, and what may not stand in a list."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 65_536


class Top(NamedTuple):
    """Scores [B, k] and rows [B, k] of the best (score -inf where fewer than k rows are allowed), and the log-sum-exp
    of all allowed scores [B]. all_BN: every row's score, allowed or not, where they are one block."""

    scores_BK: Tensor
    rows_BK: Tensor
    total_B: Tensor
    all_BN: Tensor | None


def top_k_blocked(queries_BD: Tensor, items_ND: Tensor, bias_N: Tensor, banned_N: Tensor, k: int) -> Top:
    """Exact top-k of `queries . items + bias` over N rows, a block of rows at a time: of a large table [B, N] never
    exists."""
    parts = []
    for start in range(0, items_ND.shape[0], _BLOCK):
        block = slice(start, min(start + _BLOCK, items_ND.shape[0]))
        all_BN = torch.addmm(bias_N[block], queries_BD, items_ND[block].T)
        allowed_BN = all_BN.masked_fill(banned_N[block], -torch.inf)
        scores_BK, at_BK = allowed_BN.topk(min(k, allowed_BN.shape[1]), dim=1)
        parts.append(Top(scores_BK, at_BK + start, allowed_BN.logsumexp(dim=1), all_BN))
    if len(parts) == 1:
        return parts[0]
    best_BX, rows_BX = torch.cat([p.scores_BK for p in parts], dim=1), torch.cat([p.rows_BK for p in parts], dim=1)
    scores_BK, at_BK = best_BX.topk(min(k, best_BX.shape[1]), dim=1)
    return Top(scores_BK, rows_BX.gather(1, at_BK), torch.stack([p.total_B for p in parts]).logsumexp(dim=0), None)


def rank_of(scores_BC: Tensor, candidates_BC: Tensor, target_B: Tensor) -> Tensor:
    """The 1-based rank of the target among the candidates by score, 0 where it is not among them.

    A tie counts against the target, so that a constant scorer gains nothing.
    """
    is_target_BC = candidates_BC == target_B[:, None]
    own_B1 = scores_BC.masked_fill(~is_target_BC, -torch.inf).amax(dim=1, keepdim=True)
    ahead_B = ((scores_BC >= own_B1) & ~is_target_BC & (candidates_BC >= 0)).sum(dim=1)
    return torch.where(is_target_BC.any(dim=1), ahead_B + 1, 0)

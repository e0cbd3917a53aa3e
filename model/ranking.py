"""Top-K of many rows without a full sort, ranks, and what may not stand in a list."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 65_536


def top_k_blocked(
    queries_BD: Tensor, items_ND: Tensor, bias_N: Tensor, banned_N: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Exact top-k of `queries . items + bias` over N rows, a block of rows at a time, so that [B, N] never exists.

    Returns scores [B, k], rows [B, k] (score -inf where fewer than k rows are allowed) and the log-sum-exp of all
    allowed scores [B].
    """
    best, rows, total = [], [], []
    for start in range(0, items_ND.shape[0], _BLOCK):
        stop = min(start + _BLOCK, items_ND.shape[0])
        scores = queries_BD @ items_ND[start:stop].T + bias_N[start:stop]
        scores = scores.masked_fill(banned_N[start:stop], -torch.inf)
        top = scores.topk(min(k, stop - start), dim=1)
        best.append(top.values)
        rows.append(top.indices + start)
        total.append(scores.logsumexp(dim=1))
    scores_BK, at_BK = torch.cat(best, dim=1).topk(min(k, sum(b.shape[1] for b in best)), dim=1)
    return scores_BK, torch.cat(rows, dim=1).gather(1, at_BK), torch.stack(total).logsumexp(dim=0)


def rank_of(scores_BC: Tensor, candidates_BC: Tensor, target_B: Tensor) -> Tensor:
    """The 1-based rank of the target among the candidates by score, 0 where it is not among them.

    A tie counts against the target, so that a constant scorer gains nothing.
    """
    is_target_BC = candidates_BC == target_B[:, None]
    own_B1 = scores_BC.masked_fill(~is_target_BC, -torch.inf).amax(dim=1, keepdim=True)
    ahead_B = ((scores_BC >= own_B1) & ~is_target_BC & (candidates_BC >= 0)).sum(dim=1)
    return torch.where(is_target_BC.any(dim=1), ahead_B + 1, 0)

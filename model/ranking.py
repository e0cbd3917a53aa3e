"""Finds the items that the encoder proposes, by an exact top k of its scores, and the ranks of targets.

Shape suffixes: B queries or events, X queries of one step, N rows, G groups, C candidates, K places of a list, D size
of a vector.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 65_536  # rows of a block; not tuned
# Scores at a time (4 MiB), so that they stay in the processor's cache. That this pays was measured
# (docs/experiments/cheaper-lists.md); the size is not tuned.
_CELLS = 1 << 20
_LEAST_WIDTH = 4  # scores in a group; below, torch's top k over all scores is used; not tuned


class Top(NamedTuple):
    """The k best rows of B queries.

    scores_BK: their scores, -inf if fewer than k rows are allowed
    rows_BK: their rows
    all_BN: the scores of all rows, banned or not; None for more than one block
    """

    scores_BK: Tensor
    rows_BK: Tensor
    all_BN: Tensor | None


def top_k_blocked(queries_BD: Tensor, items_ND: Tensor, banned: NDArray[np.int64], k: int) -> Top:
    """Return the exact top k of `queries . items` over N rows.

    A large table is searched block by block, so that the matrix [B, N] is never in memory.

    banned: rows to leave out, in ascending order
    k: number of rows to return
    """
    parts = []
    for start in range(0, len(items_ND), _BLOCK):
        end = min(start + _BLOCK, len(items_ND))
        inside = banned[np.searchsorted(banned, start) : np.searchsorted(banned, end)] - start
        best = _top_of(queries_BD, items_ND[start:end], inside, k)
        parts.append(best._replace(rows_BK=best.rows_BK + start))
    if len(parts) == 1:
        return parts[0]
    best_BX, rows_BX = torch.cat([p.scores_BK for p in parts], dim=1), torch.cat([p.rows_BK for p in parts], dim=1)
    scores_BK, at_BK = best_BX.topk(min(k, best_BX.shape[1]), dim=1)
    return Top(scores_BK, rows_BX.gather(1, at_BK), None)


def _top_of(queries_BD: Tensor, items_ND: Tensor, banned: NDArray[np.int64], k: int) -> Top:
    """Return the top k of one block, a few queries at a time, so that their scores stay in the processor's cache."""
    at, most = torch.from_numpy(banned).to(queries_BD.device), min(k, len(items_ND))
    all_BN = queries_BD.new_empty(len(queries_BD), len(items_ND))
    step = max(1, _CELLS // len(items_ND))
    scores, rows = [], []
    for queries_XD, scores_XN in zip(torch.split(queries_BD, step), torch.split(all_BN, step), strict=True):
        torch.mm(queries_XD, items_ND.T, out=scores_XN)
        kept = scores_XN[:, at]
        scores_XN[:, at] = -torch.inf
        best = _top_k(scores_XN, most)
        scores.append(best[0])
        rows.append(best[1])
        scores_XN[:, at] = kept
    return Top(torch.cat(scores), torch.cat(rows), all_BN)


def _top_k(scores_XN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest scores of each query and their places, in two passes.

    The N scores are split into groups of `width`. The k best are in the k groups with the largest maxima. With
    width = sqrt(N / k) both passes look at the same number of values: N / width maxima, then k * width scores.
    """
    width = math.isqrt(scores_XN.shape[1] // k)
    if width < _LEAST_WIDTH:
        best = scores_XN.topk(k, dim=1)
        return best.values, best.indices
    groups = scores_XN.shape[1] // width
    grouped = groups * width
    best_XG = scores_XN[:, :grouped].view(-1, width, groups).amax(dim=1)
    places = torch.arange(0, grouped, groups, device=scores_XN.device)
    at_XM = (best_XG.topk(k, dim=1, sorted=False).indices[:, :, None] + places).flatten(1)
    rest = torch.arange(grouped, scores_XN.shape[1], device=scores_XN.device)
    at_XM = torch.cat([at_XM, rest.expand(len(at_XM), -1)], dim=1)
    scores_XK, at_XK = scores_XN.gather(1, at_XM).topk(k, dim=1)
    return scores_XK, at_XM.gather(1, at_XK)


def rank_of(scores_BC: Tensor, candidates_BC: Tensor, target_B: Tensor) -> Tensor:
    """Return the 1-based rank of the target among the candidates by score, 0: not among them.

    A tie counts against the target, so that a constant scorer gains nothing.
    """
    is_target_BC = candidates_BC == target_B[:, None]
    own_B1 = scores_BC.masked_fill(~is_target_BC, -torch.inf).amax(dim=1, keepdim=True)
    ahead_B = ((scores_BC >= own_B1) & ~is_target_BC & (candidates_BC >= 0)).sum(dim=1)
    return torch.where(is_target_BC.any(dim=1), ahead_B + 1, 0)

"""Computes the encoder's loss, of either kind, against all live rows or a sample, block by block of queries.

The matrix of all scores is never in memory, and the backward pass does not compute it again: fused linear
cross-entropy (Hsu et al., Liger Kernel, 2024).

Shape suffixes: X queries, S rows they are compared with, N rows of the table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.encoder.losses import Loss
from model.items.item_table import with_one
from model.optimizers.row_adam import Rows

# Scores at a time (1 MiB), so that they stay in the processor's cache. That this pays was measured
# (docs/experiments/cheaper-learning.md); the size is not tuned.
_CELLS = 1 << 18


class Compared(NamedTuple):
    """X targets and the S rows of a table that each is compared with.

    rows: the S rows
    log_q_S: log-probability that each of them is in the sample; None: they are all rows
    target_X: row of each target
    place_X: place of the target itself among the S rows, -1: not among them
    weight_X: weight of each target in the loss
    """

    rows: Rows
    log_q_S: Tensor | None
    target_X: Tensor
    place_X: Tensor
    weight_X: Tensor


def compared_loss(queries_XD: Tensor, table_ND1: Tensor, compared: Compared, loss: Loss) -> Tensor:
    """Return the weighted sum of the losses of X queries; score = query . vector + bias (the table's last column)."""
    total: Tensor = _ComparedLoss.apply(with_one(queries_XD), table_ND1, compared, loss)  # type: ignore[no-untyped-call]
    return total


class _ComparedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries_XD1: Tensor, table_ND1: Tensor, compared: Compared, loss: Loss) -> Tensor:
        rows, log_q_S, target_X, place_X, weight_X = compared
        learns = any(ctx.needs_input_grad)
        others_SD1, own_XD1 = table_ND1[rows], table_ND1[target_X]
        own_X = (queries_XD1 * own_XD1).sum(dim=1)
        losses_X, by_own_X, by_query_XD1 = (torch.empty_like(x) for x in (own_X, own_X, queries_XD1))
        by_others_SD1, weighted_XD1 = torch.zeros_like(others_SD1), queries_XD1 * weight_X[:, None]
        step = max(1, _CELLS // len(others_SD1))
        scores_MS = own_X.new_empty(min(step, len(own_X)), len(others_SD1))
        for start in range(0, len(own_X), step):
            piece = slice(start, start + step)
            others_MS = torch.mm(queries_XD1[piece], others_SD1.T, out=scores_MS[: len(own_X[piece])])
            known = (place_X[piece] >= 0).nonzero()[:, 0]
            others_MS[known, place_X[piece][known]] = -torch.inf
            losses_X[piece], by_own_X[piece], by_others_MS = loss(own_X[piece], others_MS, log_q_S)
            if learns:
                torch.mm(by_others_MS, others_SD1, out=by_query_XD1[piece])
                by_others_SD1.addmm_(by_others_MS.T, weighted_XD1[piece])
        if learns:
            by_query_XD1.addcmul_(own_XD1, by_own_X[:, None]).mul_(weight_X[:, None])
            by_table_ND1 = torch.zeros_like(table_ND1)
            by_table_ND1[rows] = by_others_SD1
            by_table_ND1.index_put_((target_X,), weighted_XD1 * by_own_X[:, None], accumulate=True)
            ctx.save_for_backward(by_query_XD1, by_table_ND1)
        return losses_X @ weight_X

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_total: Tensor) -> tuple[Tensor | None, ...]:
        by_query_XD1, by_table_ND1 = ctx.saved_tensors
        return by_query_XD1 * by_total, by_table_ND1 * by_total, None, None

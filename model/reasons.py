"""Reasons: why an item is in a list. Which item of the user's history it came from, and how.

Made from what the prediction used: the counting tables, the ranker's slopes and the encoder's attention. What a history
item is worth to a listed one is what the score would lose if the user had never met it; the largest is the cause.

Shape suffixes as in `predictor`; also K places of a list, W newest ring entries that attention sees.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.counting.causes import KINDS, PROMOTED, Memo, explain, make_memo
from model.counting.features import BEHIND, COMPARED, FEATURES
from model.counting.walk import Counting
from model.items.item_table import ItemTable
from model.lists.lists import Because, Lists
from model.ranker.trainer import RankerTrainer

__all__ = ["KINDS", "Reasons"]

# Newest ring entries whose items are named as causes. 10 are .01 truer for a tenth of the time more:
# docs/experiments/reasons.md.
SPAN = 8
_BEHIND = np.array([FEATURES.index(name) for name in BEHIND])
_COMPARED = np.array([FEATURES.index(name) for name in COMPARED])


class Reasons:
    """Finds the causes with the present state of a line's parts. Several threads may ask while nothing is learned."""

    def __init__(self, counting: Counting, items: ItemTable, ranker: RankerTrainer) -> None:
        self._counting, self._items, self._ranker = counting, items, ranker
        self._spare: list[Memo] = []

    def of(
        self,
        windows_UL: NDArray[np.int32],
        attention_UW: Tensor,
        candidates_UC: NDArray[np.int32],
        features_UCF: Tensor,
        rows_UK: NDArray[np.int32],
        chance_UK: NDArray[np.float32],
    ) -> Because:
        """Return why each item is in its list.

        windows_UL: item rows of the users' rings, newest last, -1: none
        attention_UW: the encoder's attention to their newest entries
        candidates_UC, features_UCF: candidates, -1: none, and what the ranker sees of them
        rows_UK: the lists, -1: no item; rows that are no candidates may stand in them, too
        chance_UK: probabilities of their items among the candidates
        """
        kind_UK, weight_UK = np.full(rows_UK.shape, -1, np.int8), np.zeros(rows_UK.shape, np.float32)
        row_UK = np.full(rows_UK.shape, -1, np.int32)
        ranker, memo = self._ranker.optimizer.slow.module, self._memo(rows_UK.shape[1], attention_UW.shape[1])
        slope_F = ranker.linear_slopes().cpu().numpy()
        slope_F[_COMPARED] += slope_F[_BEHIND]
        explain(
            self._counting.tables, memo, SPAN, windows_UL, rows_UK, chance_UK, candidates_UC,
            features_UCF.cpu().numpy(), slope_F, ranker.mean_F.cpu().numpy(),
            self._closeness(rows_UK, windows_UL[:, -attention_UW.shape[1] :]), attention_UW.cpu().numpy(),
            kind_UK, row_UK, weight_UK,
        )  # fmt: skip
        self._spare.append(memo)
        return Because(kind_UK, row_UK, weight_UK)

    def of_lists(
        self,
        windows_UL: NDArray[np.int32],
        attention_UW: Tensor,
        candidates_UC: NDArray[np.int32],
        features_UCF: Tensor,
        lists: Lists,
    ) -> Because:
        """Return why each item is in its list, see `of`; what a promotion asked for is there because of it."""
        because = self.of(windows_UL, attention_UW, candidates_UC, features_UCF, lists.rows_UK, lists.scores_UK)
        promoted = lists.promoted_UK & (lists.rows_UK >= 0)
        because.kind_UK[promoted], because.row_UK[promoted], because.weight_UK[promoted] = PROMOTED, -1, 1.0
        return because

    def _closeness(self, rows_UK: NDArray[np.int32], windows_UW: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the cosines of the vectors of listed items and of ring entries; any for places without an item."""
        at_UX = torch.from_numpy(np.concatenate([rows_UK, windows_UW], axis=1)).clamp_(min=0)
        vectors_UXD = F.embedding(at_UX.to(self._items.device), self._items.table_ND1)[..., :-1]
        listed_UKD, newest_UWD = vectors_UXD.split([rows_UK.shape[1], windows_UW.shape[1]], dim=1)
        closeness_UKW: NDArray[np.float32] = torch.bmm(listed_UKD, newest_UWD.transpose(1, 2)).cpu().numpy()
        return closeness_UKW

    def _memo(self, listed: int, window: int) -> Memo:
        """Return working memory that no other thread uses; made anew if all is in use, or for other sizes."""
        rows = self._counting.rows
        try:
            spare = self._spare.pop()
        except IndexError:
            spare = None
        if spare is not None and (len(spare.mark_N), len(spare.own_K), len(spare.j_W)) == (rows + 1, listed, window):
            return spare
        return make_memo(rows, listed, window)

"""Item rows of a line as it gives them, and the mean with the rows that others gave, item by item.

Shape suffixes: N rows of the catalogue, M rows of a gift, R rows that a mean is taken of, D1: vector and bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.items.catalog import Catalog
from model.items.item_table import ItemTable
from model.optimizers.row_adam import grown
from model.state import Arrays, array_of
from model.weights.gift import ROWS, SLOW_ROWS, Gift

# Rows in a gift, about 2 MB of them; those left out are in the next gifts. Not tuned.
_MOST_ROWS = 8_192


class SharedItems:
    """The rows of `items` that steps have changed since they were last given, by the number of steps of each row."""

    def __init__(self, items: ItemTable, catalog: Catalog) -> None:
        self._items, self._catalog = items, catalog
        self._given_N = items.adam.steps.clone()
        self._from = 0

    def give(self) -> tuple[Arrays, list[str]]:
        """Return the changed rows in half precision, at most `_MOST_ROWS`, with the ids of their items."""
        rows = self._changed()
        at = torch.from_numpy(rows).to(self._items.device)
        self._given_N[at] = self._items.adam.steps[at]
        slow = self._items.slow.averages(self._items.table_ND1, at)
        columns = {ROWS: array_of(self._items.table_ND1[at].half()), SLOW_ROWS: array_of(slow.half())}
        return columns, self._catalog.ids_of_rows(rows)

    def none(self) -> Arrays:
        """Return the columns of a gift without items."""
        no_MD1 = np.zeros((0, self._items.table_ND1.shape[1]), np.float16)
        return {ROWS: no_MD1, SLOW_ROWS: no_MD1}

    def _changed(self) -> NDArray[np.int64]:
        """Return the next changed rows of live items, from where the last gift ended."""
        steps_N = self._items.adam.steps
        if len(self._given_N) < len(steps_N):
            self._given_N = grown(self._given_N, len(steps_N))
        changed_N = array_of(steps_N != self._given_N) & self._catalog.live_N[: len(steps_N)]
        rows = np.flatnonzero(changed_N[: self._catalog.rows_used])
        rows = np.roll(rows, -int(np.searchsorted(rows, self._from)))[:_MOST_ROWS]
        self._from = int(rows[-1]) + 1 if len(rows) else 0
        return np.sort(rows)

    def take(self, own_say: int, gifts: Sequence[Gift]) -> None:
        """Bring the rows that others gave to the mean with them. Rows of items that are unknown here are left out, and
        of those that have not begun here, too: an item may stand later in the batch."""
        found = [(gift, self._catalog.find(gift.ids)) for gift in gifts]
        rows = np.unique(np.concatenate([rows for _, rows in found]))
        rows = rows[rows >= 0].astype(np.int64)
        rows = rows[array_of((self._items.all_vectors[torch.from_numpy(rows)] != 0).any(dim=1))]
        if not len(rows):
            return
        at = torch.from_numpy(rows).to(self._items.device)
        fast_RD1, slow_RD1 = self._items.table_ND1[at], self._items.slow.averages(self._items.table_ND1, at)
        fast_RD1, slow_RD1 = (
            self._mean(mine, own_say, name, found, rows) for mine, name in ((fast_RD1, ROWS), (slow_RD1, SLOW_ROWS))
        )
        fast_RD1[:, :-1] = F.normalize(fast_RD1[:, :-1], dim=-1)
        self._items.table_ND1[at] = fast_RD1
        self._items.slow.wait(at, slow_RD1)

    def _mean(
        self,
        mine_RD1: Tensor,
        own_say: int,
        name: str,
        found: Sequence[tuple[Gift, NDArray[np.int32]]],
        rows: NDArray[np.int64],
    ) -> Tensor:
        total_RD1 = mine_RD1 * own_say
        says_R = torch.full((len(rows),), float(own_say), device=mine_RD1.device)
        for gift, rows_M in found:
            place_M = np.searchsorted(rows, rows_M).clip(max=len(rows) - 1)
            known = np.flatnonzero(rows[place_M] == rows_M)
            at = torch.from_numpy(place_M[known]).to(mine_RD1.device)
            theirs = torch.from_numpy(gift.columns[name][known]).to(mine_RD1.device).float()
            total_RD1.index_add_(0, at, theirs, alpha=gift.say)
            says_R.index_add_(0, at, torch.full((len(known),), float(gift.say), device=mine_RD1.device))
        return total_RD1 / says_R[:, None]

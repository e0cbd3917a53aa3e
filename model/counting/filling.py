"""Items that fill a list up where proposers named fewer than it has room for.

First come hot items, then any item that somebody touched, then the user's own items that were left out. They stand
behind the candidates and are neither ranked nor learned from. So a list is short only if there are no more items.

In the very first batch nobody knows yet what users return to: then the items left out, newest first, stand in front.

Shape suffixes and shared parameters as in `candidates`; also B events, K places of a list, Q hot rows.
    filled, room: number of rows written so far, and at most
    spare_K: the rows, written here
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import Places
from model.counting.popularity import EVER
from model.counting.proposers import NO_PROPOSER
from model.counting.scratch import Scratch, is_hidden, touch
from model.counting.tables import Tables
from model.kernels import kernel


@kernel
def fill(tables: Tables, s: Scratch, size, room, window_L, live_N, spare_K):  # type: ignore[no-untyped-def]
    """Write up to `room` rows that are no candidates.

    live_N: True for rows of live items that somebody touched before this batch; items of this batch have counts

    Returns the number of rows touched.
    """
    filled = 0
    popular = tables.popularity
    for p in range(len(popular.hottest_PQ)):
        for row in popular.hottest_PQ[p]:
            if filled < room and row >= 0:
                filled, size = _take(s, size, row, filled, spare_K)
    for row in range(len(live_N)):
        if filled >= room:
            break
        # A hidden row would only be touched, and there is no working memory for all of them.
        if (live_N[row] or popular.weight_PN[EVER, row] > 0.0) and not is_hidden(s, row):
            filled, size = _take(s, size, row, filled, spare_K)
    _take_back(s, room, window_L, filled, spare_K)
    return size


@kernel
def _take(s: Scratch, size, row, filled, spare_K):  # type: ignore[no-untyped-def]
    """Append a row to `spare_K`, unless it is a candidate, was left out, or is there. Returns (filled, touched)."""
    x, size = touch(s, row, size)
    if not s.is_chosen_X[x]:
        s.is_chosen_X[x] = True
        spare_K[filled] = row
        filled += 1
    return filled, size


@kernel
def _take_back(s: Scratch, room, window_L, filled, spare_K):  # type: ignore[no-untyped-def]
    """Append the user's own items that were left out, newest first, while there is room."""
    for d in range(len(window_L)):
        row = window_L[len(window_L) - 1 - d]
        if filled < room and row >= 0 and s.is_left_out_X[s.place_N[row]]:
            s.is_left_out_X[s.place_N[row]] = False
            spare_K[filled] = row
            filled += 1


class Filling(NamedTuple):
    """Rows that fill the lists of B events up.

    spare_BK: rows, -1: no more
    in_front: True if lists begin with them
    """

    spare_BK: NDArray[np.int32]
    in_front: bool

    def at(self, places: Places) -> Filling:
        return self._replace(spare_BK=self.spare_BK[places])

    def filled_up(self, rows_BK: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the rows of the lists with these rows added where there is room."""
        both_BX = self._joined(rows_BK, self.spare_BK)
        order_BK = np.argsort(both_BX < 0, axis=1, kind="stable")[:, : rows_BK.shape[1]]
        return np.take_along_axis(both_BX, order_BK, axis=1)

    def beside(
        self, rows_BC: NDArray[np.int32], value_BC: NDArray[np.float64], proposer_BC: NDArray[np.int8]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int8]]:
        """Return rows, values and proposers with these rows beside them: their proposer is NO_PROPOSER, their value
        -inf."""
        return (
            self._joined(rows_BC, self.spare_BK),
            self._joined(value_BC, np.full(self.spare_BK.shape, -np.inf)),
            self._joined(proposer_BC, np.full_like(self.spare_BK, NO_PROPOSER, dtype=np.int8)),
        )

    def _joined(self, proposed_BK: NDArray[Any], spare_BK: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate((spare_BK, proposed_BK) if self.in_front else (proposed_BK, spare_BK), axis=1)

    def ranks(
        self, rank_B: NDArray[np.int64], candidates_BC: NDArray[np.int32], target_B: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Return the 1-based place of each target in its list, 0: not there.

        rank_B: its rank among the candidates, 0: not among them
        candidates_BC: rows of the candidates, -1: none
        target_B: row of the target
        """
        is_target_BK = self.spare_BK == target_B[:, None]
        place_B, is_spare_B = is_target_BK.argmax(axis=1) + 1, is_target_BK.any(axis=1)
        if self.in_front:
            behind_B = np.where(rank_B > 0, rank_B + (self.spare_BK >= 0).sum(axis=1), 0)
            return np.where(is_spare_B, place_B, behind_B)
        return np.where(is_spare_B, place_B + (candidates_BC >= 0).sum(axis=1), rank_B)

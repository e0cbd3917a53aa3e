"""Lists that belong to no user, from the counting tables: what goes with an item, and what is popular in a category.

Shape suffixes: M rows that are asked about, N rows of the catalogue, K places of a list, C categories, Q rows kept of a
category.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.counting import neighbours
from model.counting.popularity import HALF_LIVES, Popularity, move_up
from model.counting.tables import FORWARD, WIDE, Tables
from model.kernels import kernel

PLACES = 20  # of a list; not tuned
# Popular is what has the most events under this half-life, in events: some days of a small shop, an hour of a large
# one. Not tuned.
POPULAR = HALF_LIVES.tolist().index(20_000.0)
MOST_CATEGORIES = 4_096  # with a list of their own, those that came first; not tuned
_KEPT = 2 * PLACES  # rows of a category, so that some may be hidden; not tuned
# Weight that is added to what a pair's is divided by, so that two items that were seen together once are not the
# closest of all; and the weight of following beside it. Not tuned.
_DAMPING, _FOLLOWING = 1.0, 0.5
ALL = 0  # the place of the list of all categories


class Ranked:
    """M lists, best first. rows_MK: catalogue rows, -1 behind the last one. score_MK: never negative."""

    def __init__(self, count: int) -> None:
        self.rows_MK = np.full((count, PLACES), -1, np.int32)
        self.score_MK = np.zeros((count, PLACES), np.float32)

    def at(self, places: NDArray[np.int64]) -> Ranked:
        """Return the lists at these places."""
        some = Ranked(0)
        some.rows_MK, some.score_MK = self.rows_MK[places], self.score_MK[places]
        return some


def similar(tables: Tables, rows: NDArray[np.int32], allowed_N: NDArray[np.bool_]) -> Ranked:
    """Return what goes with each of these rows: never the row itself, nor one that is not allowed.

    The score of a pair is its damped cosine in WIDE, and half of the share of FORWARD that follows.

    allowed_N: True for rows that may stand in a list
    """
    ranked = Ranked(len(rows))
    _similar(tables, rows, allowed_N, ranked.rows_MK, ranked.score_MK)
    return ranked


@kernel
def _similar(tables: Tables, row_M, allowed_N, rows_MK, score_MK):  # type: ignore[no-untyped-def]
    rows = tables.rows
    for m in range(len(row_M)):
        row = row_M[m]
        wide_W, weight_W = neighbours.of(rows, WIDE, row)
        after_W, share_W = neighbours.of(rows, FORWARD, row)
        own, follows = rows.total_TN[WIDE, row], _FOLLOWING / max(rows.total_TN[FORWARD, row], 1e-9)
        for j in range(len(wide_W)):
            other = wide_W[j]
            if other >= 0 and other != row and allowed_N[other]:
                score = weight_W[j] / (np.sqrt(own * rows.total_TN[WIDE, other]) + _DAMPING)
                for i in range(len(after_W)):
                    if after_W[i] == other:
                        score += follows * share_W[i]
                _insert(rows_MK[m], score_MK[m], other, score)


@kernel
def _insert(rows_K, score_K, row, score):  # type: ignore[no-untyped-def]
    """Insert a row into a list by its score; of equal scores the first one stays in front."""
    place = len(rows_K) - 1
    if score <= score_K[place]:
        return
    while place > 0 and score_K[place - 1] < score:
        rows_K[place], score_K[place] = rows_K[place - 1], score_K[place - 1]
        place -= 1
    rows_K[place], score_K[place] = row, score


class Hottest:
    """The hottest rows of each category, and of all: exact without a pass over the catalogue (see `popularity`).

    A row that was evicted or has another category now is passed over when a list is made, and sinks as others rise.

    code_C: code of each category, in the order they came; 0 for `ALL`
    """

    def __init__(self) -> None:
        self.hottest_CQ = np.full((1, _KEPT), -1, np.int32)
        self.code_C = np.zeros(1, np.uint32)
        self._place_of = {0: ALL}

    def begin(self, tables: Tables, rows: NDArray[np.int64]) -> None:
        """Begin with all live rows, by one pass over them."""
        self.__init__()  # type: ignore[misc]
        weight_N = tables.popularity.weight_PN[POPULAR]
        self.see(tables, rows[np.argsort(-weight_N[rows], kind="stable")].astype(np.int32))

    def see(self, tables: Tables, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Move rows up that had events. Returns the places of the categories that this concerns."""
        place_M = self._places(tables.category_N[rows])
        _rise(self.hottest_CQ, tables.popularity.weight_PN[POPULAR], rows, place_M)
        return np.unique(np.append(place_M[place_M >= 0], ALL)) if len(rows) else place_M

    def _places(self, code_M: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the place of each category, -1 for items without one, and for a category that no place is left for."""
        codes, which_M = np.unique(code_M, return_inverse=True)
        places = np.array([self._place(code) if code else -1 for code in codes.tolist()], np.int64)
        return places[which_M]

    def _place(self, code: int) -> int:
        place = self._place_of.get(code, -1)
        if place < 0 and len(self._place_of) <= MOST_CATEGORIES:
            place = self._place_of[code] = len(self._place_of)
            self.code_C = np.append(self.code_C, np.uint32(code))
            if place >= len(self.hottest_CQ):
                more = np.full_like(self.hottest_CQ, -1)
                self.hottest_CQ = np.concatenate([self.hottest_CQ, more])
        return place

    def lists(self, tables: Tables, places: NDArray[np.int64], allowed_N: NDArray[np.bool_]) -> Ranked:
        """Return the lists of categories; a score is the decayed share of all events that were of the item."""
        ranked = Ranked(len(places))
        rows_MQ, code_M1 = self.hottest_CQ[places], self.code_C[places][:, None]
        stands_MQ = (rows_MQ >= 0) & allowed_N[rows_MQ] & ((code_M1 == 0) | (tables.category_N[rows_MQ] == code_M1))
        share_MQ = np.where(stands_MQ, _shares(tables.popularity, rows_MQ), 0.0)
        order_MK = np.argsort(-share_MQ, axis=1, kind="stable")[:, :PLACES]
        ranked.score_MK[:] = np.take_along_axis(share_MQ, order_MK, axis=1)
        ranked.rows_MK[:] = np.where(ranked.score_MK > 0, np.take_along_axis(rows_MQ, order_MK, axis=1), -1)
        return ranked


def _shares(popularity: Popularity, rows_MQ: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the decayed share of each row; see `popularity.share`."""
    own_MQ = popularity.weight_PN[POPULAR][rows_MQ]
    share_MQ: NDArray[np.float64] = own_MQ / popularity.newest_P[POPULAR] * (1.0 - popularity.decay_P[POPULAR])
    return share_MQ


@kernel
def _rise(hottest_CQ, weight_N, row_M, place_M):  # type: ignore[no-untyped-def]
    for m in range(len(row_M)):
        move_up(hottest_CQ[ALL], weight_N, row_M[m])
        if place_M[m] >= 0:
            move_up(hottest_CQ[place_M[m]], weight_N, row_M[m])

"""Which items are worth ranking for a user: neighbours of what the user did last, own history, the encoder's, the hot.

Legend: X rows touched for one event, T scores of a row, C candidates, W neighbours of one, d places back in a window
(0: newest).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.counting import categories, neighbours, returns
from model.counting.features import COLUMNS, COUNTS, OWN_COUNT, OWN_DISTANCE, OWN_FOLLOWED, OWN_SECONDS, OWN_TYPE
from model.counting.neighbours import NeighbourRows
from model.counting.tables import (
    BACKWARD,
    FORWARD,
    NEXT,
    PLAIN,
    SECONDS,
    WIDE,
    WIDE_SPAN,
    Tables,
)
from model.kernels import kernel

_RECENT, _RECENT_FADE, _COSINE_FADE = 5, 0.6, 0.8
_SESSION_ENDS = 11  # gap bucket: 2^11 s, 34 minutes
_LONGEST_RING = 255

_NEXT_LAST = COUNTS.index("next_last")  # and behind it that of the last but one
_PLAIN_LAST = COUNTS.index("plain_last")
_FORWARD_LAST = COUNTS.index("forward_last")
_FORWARD_RECENT = COUNTS.index("forward_recent")
_BACKWARD_LAST = COUNTS.index("backward_last")
_COSINE_LAST = COUNTS.index("cosine_last")
_COSINE_RECENT = COUNTS.index("cosine_recent")
_COSINE_MAX = COUNTS.index("cosine_max")
_TWO_HOP = COUNTS.index("two_hop")
_TASTE = COUNTS.index("taste")
_NOT = -1

# What proposes, in this order, and how many at most: in a first round, so that everybody has a say, and in a second one
# while there is room. Of each popularity as many as of the hot, or fewer.
PROPOSERS = ("encoder", "follows", "next", "own", "together", "two_hop", "hot")
QUOTA_RS = np.array([[16, 20, 12, 30, 40, 12, 16], [_LONGEST_RING, 40, 24, 60, 56, 20, 40]])
NO_PROPOSER = -1  # of an item that only fills a list up, and of no item at all
_ENCODER, _FOLLOWS, _NEXT, _OWN, _TOGETHER, _BY_TWO_HOPS, _HOT = range(len(PROPOSERS))
_HOT_AT_MOST = np.array([40, 40, 20, 20])
# The score that a proposer goes by, before and after the user's own items.
_PROPOSED_FIRST = ((_FOLLOWS, _FORWARD_RECENT), (_NEXT, _NEXT_LAST))
_PROPOSED_THEN = ((_TOGETHER, _COSINE_RECENT), (_BY_TWO_HOPS, _TWO_HOP))
_BY_SCORE = (*_PROPOSED_FIRST, *_PROPOSED_THEN)


class Breadth(NamedTuple):
    """How far candidates are looked for: how many there may be, of how many of the newest items the neighbours are
    looked at, and of how many of the likeliest followers of the last item again the followers. `least`: with fewer
    candidates there are so many rows with those that fill a list up, where there are so many items."""

    candidates: int
    span: int = WIDE_SPAN
    hops: int = 8
    least: int = 0


class Scratch(NamedTuple):
    """Of one event: the rows touched, their scores and own history, which of them are candidates, and which of the
    user's own may be none.

    place_N: where among the touched a row is, -1: it is not. counts_XT: a row's scores and own history, a line of the
    processor's cache. best_SX: of each proposer the places of its best, in the order touched, best_S of them, with
    their scores. category_S: the categories of the user's newest items. Between two events all is as it was made,
    but for what is always written before it is read.
    """

    place_N: NDArray[np.int32]
    row_X: NDArray[np.int32]
    counts_XT: NDArray[np.float32]
    is_chosen_X: NDArray[np.bool_]
    is_left_out_X: NDArray[np.bool_]
    best_S: NDArray[np.int64]
    best_SX: NDArray[np.int32]
    score_SX: NDArray[np.float32]
    order_X: NDArray[np.float32]
    picked_X: NDArray[np.int32]
    weight_W: NDArray[np.float32]
    chosen_C: NDArray[np.int32]
    proposer_C: NDArray[np.int8]
    category_S: NDArray[np.uint32]


def scratch(rows: int, most: int, breadth: Breadth) -> Scratch:
    """For a catalogue of `rows`, each with at most `most` neighbours, and the largest breadth."""
    rows_spread = breadth.span + _RECENT + breadth.hops + 4
    touched = min(rows, rows_spread * most + 2 * _LONGEST_RING + breadth.candidates)
    return Scratch(
        place_N=np.full(rows, -1, dtype=np.int32),
        row_X=np.zeros(touched, dtype=np.int32),
        counts_XT=np.zeros((touched, COLUMNS), dtype=np.float32),
        is_chosen_X=np.zeros(touched, dtype=np.bool_),
        is_left_out_X=np.zeros(touched, dtype=np.bool_),
        best_S=np.zeros(len(PROPOSERS), dtype=np.int64),
        best_SX=np.zeros((len(PROPOSERS), touched), dtype=np.int32),
        score_SX=np.zeros((len(PROPOSERS), touched), dtype=np.float32),
        order_X=np.zeros(touched, dtype=np.float32),
        picked_X=np.zeros(touched, dtype=np.int32),
        weight_W=np.zeros(most, dtype=np.float32),
        chosen_C=np.zeros(breadth.candidates, dtype=np.int32),
        proposer_C=np.zeros(breadth.candidates, dtype=np.int8),
        category_S=np.zeros(categories.SPAN, dtype=np.uint32),
    )


@kernel
def touch(s: Scratch, row, size):  # type: ignore[no-untyped-def]
    """The place of `row` in this event's scratch; a new one is appended. Returns (place, size)."""
    x = s.place_N[row]
    if x >= 0:
        return x, size
    s.place_N[row] = size
    s.row_X[size] = row
    return size, size + 1


@kernel
def clear(s: Scratch, size):  # type: ignore[no-untyped-def]
    """For the next event."""
    for x in range(size):
        s.place_N[s.row_X[x]] = -1
    s.counts_XT[:size] = 0.0
    s.is_chosen_X[:size] = False
    s.is_left_out_X[:size] = False


@kernel
def _at(column, d):  # type: ignore[no-untyped-def]
    """The column is about the newest item only."""
    return column if d == 0 else _NOT


@kernel
def _spread(s: Scratch, size, rows: NeighbourRows, table, of_row, column, recent=_NOT, fade=1.0, scale=1.0):  # type: ignore[no-untyped-def]
    """A row's neighbours get `scale` times their share of it in `column`; `fade` times that is added in `recent`."""
    item_W, weight_W = neighbours.of(rows, table, of_row)
    share, faded = np.float32(scale / max(rows.total_TN[table, of_row], 1e-9)), np.float32(fade)
    for j in range(len(item_W)):
        if item_W[j] >= 0:
            x, size = touch(s, item_W[j], size)
            score = weight_W[j] * share
            if column >= 0:
                s.counts_XT[x, column] = score
            if recent >= 0:
                s.counts_XT[x, recent] += faded * score
    return size


@kernel
def _spread_cosine(s: Scratch, size, rows: NeighbourRows, of_row, is_last, fade):  # type: ignore[no-untyped-def]
    """Cosine of the WIDE rows, weight / sqrt(total of one * total of the other), without the other's total so far."""
    item_W, weight_W = neighbours.of(rows, WIDE, of_row)
    scale, faded = np.float32(1.0 / np.sqrt(max(rows.total_TN[WIDE, of_row], 1e-9))), np.float32(fade)
    for j in range(len(item_W)):
        if item_W[j] >= 0:
            x, size = touch(s, item_W[j], size)
            cosine = weight_W[j] * scale
            counts_T = s.counts_XT[x]
            if is_last:
                counts_T[_COSINE_LAST] = cosine
            counts_T[_COSINE_RECENT] += faded * cosine
            counts_T[_COSINE_MAX] = max(counts_T[_COSINE_MAX], cosine)
            counts_T[_TASTE] += cosine
    return size


@kernel
def _end_cosine(s: Scratch, size, rows: NeighbourRows):  # type: ignore[no-untyped-def]
    """By the total of the other: once for each row touched, however many have it as a neighbour."""
    for x in range(size):
        scale = np.float32(1.0 / np.sqrt(max(rows.total_TN[WIDE, s.row_X[x]], 1e-9)))
        for column in (_COSINE_LAST, _COSINE_RECENT, _COSINE_MAX, _TASTE):
            s.counts_XT[x, column] *= scale


@kernel
def count_neighbours(tables: Tables, s: Scratch, window_L, breadth: Breadth):  # type: ignore[no-untyped-def]
    """All neighbours of the recent items with their scores, in the order of COUNTS; returns how many."""
    ring, rows, size = len(window_L), tables.rows, 0
    near, far = 1.0, 1.0
    for d in range(min(breadth.span, ring)):
        of_row = window_L[ring - 1 - d]
        if of_row >= 0:
            if d < 2:
                size = _spread(s, size, rows, NEXT, of_row, _NEXT_LAST + d)
            if d == 0:
                size = _spread(s, size, rows, PLAIN, of_row, _PLAIN_LAST)
                size = _spread(s, size, rows, BACKWARD, of_row, _BACKWARD_LAST)
            if d < _RECENT:
                size = _spread(s, size, rows, FORWARD, of_row, _at(_FORWARD_LAST, d), _FORWARD_RECENT, near)
            size = _spread_cosine(s, size, rows, of_row, d == 0, far)
        near *= _RECENT_FADE
        far *= _COSINE_FADE
    _end_cosine(s, size, rows)
    if window_L[ring - 1] >= 0:
        size = _score_two_hops(s, size, rows, window_L[ring - 1], breadth.hops)
    return size


@kernel
def _score_two_hops(s: Scratch, size, rows: NeighbourRows, last, hops):  # type: ignore[no-untyped-def]
    """What follows the likeliest followers of the last item."""
    start, width = rows.start_TN[FORWARD, last], rows.width_TN[FORWARD, last]
    weights = s.weight_W[:width]
    for j in range(width):
        weights[j] = rows.weight_X[start + j]
    total = max(rows.total_TN[FORWARD, last], 1e-9)
    for _ in range(min(hops, width)):
        best = np.argmax(weights)
        via = rows.item_X[start + best]
        if weights[best] <= 0.0:
            break
        if via != last:
            size = _spread(s, size, rows, FORWARD, via, _NOT, _TWO_HOP, 1.0, weights[best] / total)
        weights[best] = 0.0
    return size


@kernel
def look_back(s: Scratch, size, window_L, type_L, gap_L, idle):  # type: ignore[no-untyped-def]
    """The user's own history of each row of the ring; returns (size, events known, repeats, events in the session)."""
    ring, last = len(window_L), window_L[-1]
    known, repeats, session = 0, 0, 0
    seconds = np.expm1(idle)
    in_session = seconds < 2.0**_SESSION_ENDS
    for d in range(ring):
        j = ring - 1 - d
        row = window_L[j]
        if row >= 0:
            known += 1
            x, size = touch(s, row, size)
            counts_T = s.counts_XT[x]
            if counts_T[OWN_COUNT] == 0.0:
                counts_T[OWN_DISTANCE] = d + 1
                counts_T[OWN_SECONDS] = seconds
                counts_T[OWN_TYPE] = type_L[j]
            else:
                repeats += 1
            counts_T[OWN_COUNT] += 1.0
            if j > 0 and last >= 0 and window_L[j - 1] == last:
                counts_T[OWN_FOLLOWED] += 1.0
            session += in_session
        in_session = in_session and gap_L[j] < _SESSION_ENDS
        seconds += SECONDS[gap_L[j]]
    return size, known, repeats, session


@kernel
def leave_out(tables: Tables, s: Scratch, window_L, items):  # type: ignore[no-untyped-def]
    """Nobody proposes what the user has done with, where users do not return to that: films once rated, say."""
    for row in window_L:
        if row >= 0:
            x = s.place_N[row]
            if not s.is_chosen_X[x] and returns.are_over(tables.returns, int(s.counts_XT[x, OWN_TYPE]), items):
                s.is_chosen_X[x] = s.is_left_out_X[x] = True


@kernel
def _add(s: Scratch, proposer, x, count):  # type: ignore[no-untyped-def]
    if not s.is_chosen_X[x]:
        s.is_chosen_X[x] = True
        s.chosen_C[count], s.proposer_C[count] = x, proposer
        count += 1
    return count


@kernel
def _choose_one(s: Scratch, proposer, row, most, count, size):  # type: ignore[no-untyped-def]
    """Put a row among the candidates, once, while there is room. Returns (count, size)."""
    if count >= most:
        return count, size
    x, size = touch(s, row, size)
    return _add(s, proposer, x, count), size


@kernel
def _find_best(s: Scratch, size, quota_S):  # type: ignore[no-untyped-def]
    """Of each score that something is proposed by as many of the best as the quota says; none that was left out."""
    for proposer, _ in _BY_SCORE:
        s.best_S[proposer] = 0
    for x in range(size):
        counts_T, may_be = s.counts_XT[x], not s.is_chosen_X[x]
        for proposer, column in _BY_SCORE:
            score, place = counts_T[column], s.best_S[proposer]
            s.best_SX[proposer, place], s.score_SX[proposer, place] = x, score
            s.best_S[proposer] += may_be and score > 0.0
    for proposer, _ in _BY_SCORE:
        kept = _pick(s, proposer, quota_S[proposer])
        for i in range(kept):
            at = s.picked_X[i]
            s.best_SX[proposer, i], s.score_SX[proposer, i] = s.best_SX[proposer, at], s.score_SX[proposer, at]
        s.best_S[proposer] = kept


@kernel
def _pick(s: Scratch, proposer, quota):  # type: ignore[no-untyped-def]
    """Where the `quota` best of a proposer stand among its best, in the order touched; of equal ones the first. Returns
    how many there are."""
    positive, score_X = s.best_S[proposer], s.score_SX[proposer]
    least, ties = np.float32(0.0), 0
    if quota == 0:
        return 0
    if positive > quota:
        for i in range(positive):
            s.order_X[i] = score_X[i]
        least, ties = _nth_largest(s.order_X, positive, quota), quota
        for i in range(positive):
            ties -= score_X[i] > least
    picked = 0
    for i in range(positive):
        if score_X[i] > least or (score_X[i] == least and ties > 0):
            ties -= score_X[i] == least
            s.picked_X[picked] = i
            picked += 1
    return picked


@kernel
def _choose_best(s: Scratch, proposer, quota, most, count):  # type: ignore[no-untyped-def]
    """The `quota` best of a proposer, as far as there is room."""
    for i in range(_pick(s, proposer, quota)):
        if count < most:
            count = _add(s, proposer, s.best_SX[proposer, s.picked_X[i]], count)
    return count


@kernel
def _nth_largest(values_X, size, n):  # type: ignore[no-untyped-def]
    """Of the first `size` values, which are put in another order: quickselect (Hoare, 1961)."""
    low, high = 0, size
    while True:
        pivot = values_X[(low + high) // 2]
        over = low
        for i in range(low, high):
            value = values_X[i]
            values_X[i], values_X[over] = values_X[over], value
            over += value > pivot
        if n <= over:
            high = over
            continue
        low = over
        for i in range(over, high):
            value = values_X[i]
            values_X[i], values_X[low] = values_X[low], value
            low += value == pivot
        if n <= low:
            return pivot


@kernel
def choose(tables: Tables, s: Scratch, size, quota_RS, most, window_L, encoder_rows_E):  # type: ignore[no-untyped-def]
    """Some of everybody's, then more, while there is room for `most`. Returns (count, size)."""
    count = 0
    _find_best(s, size, quota_RS[-1])
    for r in range(len(quota_RS)):
        count, size = _choose_a_round(tables, s, size, quota_RS[r], most, window_L, encoder_rows_E, count)
    return count, size


@kernel
def _choose_a_round(  # type: ignore[no-untyped-def]
    tables: Tables, s: Scratch, size, quota_S, most, window_L, encoder_rows_E, count
):  # fmt: skip
    """The encoder's, the likeliest to follow, the user's own, what goes with them, and what is hot."""
    for e in range(min(quota_S[_ENCODER], len(encoder_rows_E))):
        if encoder_rows_E[e] >= 0:
            count, size = _choose_one(s, _ENCODER, encoder_rows_E[e], most, count, size)
    for proposer, _ in _PROPOSED_FIRST:
        count = _choose_best(s, proposer, quota_S[proposer], most, count)
    for d in range(min(quota_S[_OWN], len(window_L))):
        if window_L[len(window_L) - 1 - d] >= 0:
            count, size = _choose_one(s, _OWN, window_L[len(window_L) - 1 - d], most, count, size)
    for proposer, _ in _PROPOSED_THEN:
        count = _choose_best(s, proposer, quota_S[proposer], most, count)
    hottest_PQ = tables.popularity.hottest_PQ
    for p in range(len(hottest_PQ)):
        for q in range(min(quota_S[_HOT], _HOT_AT_MOST[p])):
            if hottest_PQ[p, q] >= 0:
                count, size = _choose_one(s, _HOT, hottest_PQ[p, q], most, count, size)
    return count, size

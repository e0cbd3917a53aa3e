"""Candidates for one event: the items that proposers name and the ranker scores.

Proposers are the neighbours of the user's newest items, the user's own items, the encoder, and what is hot.

Shape suffixes: N rows of the catalogue, X rows touched for one event, T columns of counts (COUNTS and the user's own
history, see `features`), C candidates, W neighbours in a row, L ring entries, S proposers, R rounds, P half-lives,
E proposals of the encoder. d: places back in a ring (0: newest).

Parameters that the kernels share:
    tables, rows: the counting tables; their rows of neighbours
    s: working memory of this event, see `Scratch`
    size: number of rows touched so far
    count, most: number of candidates so far, and at most
    window_L, type_L, gap_L: item rows (-1: none), event types and gap buckets of the user's ring
    encoder_rows_E: rows that the encoder proposes, best first, -1: none
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

# Newest items whose followers are scored; weight of these per place back in the ring, and weight of cosines per place
# back. Not tuned.
_RECENT, _RECENT_FADE, _COSINE_FADE = 5, 0.6, 0.8
_SESSION_ENDS = 11  # gap bucket that ends a session: 2^11 s, 34 minutes; not tuned
_LONGEST_RING = 255  # ring entries; the upper bound of `model.ring_size`

_NEXT_LAST = COUNTS.index("next_last")  # "next_last_but_one" is the column behind it
_PLAIN_LAST = COUNTS.index("plain_last")
_FORWARD_LAST = COUNTS.index("forward_last")
_FORWARD_RECENT = COUNTS.index("forward_recent")
_BACKWARD_LAST = COUNTS.index("backward_last")
_COSINE_LAST = COUNTS.index("cosine_last")
_COSINE_RECENT = COUNTS.index("cosine_recent")
_COSINE_MAX = COUNTS.index("cosine_max")
_TWO_HOP = COUNTS.index("two_hop")
_TASTE = COUNTS.index("taste")
_NOT = -1  # no column

PROPOSERS = ("encoder", "follows", "next", "own", "together", "two_hop", "hot")
# Candidates that each proposer may name, by round. The first round gives every proposer some places, the second one
# fills what is left. Measured: docs/experiments/candidates-in-two-rounds.md; 60 own items: docs/experiments/ring.md.
QUOTA_RS = np.array([[16, 20, 12, 30, 40, 12, 16], [_LONGEST_RING, 40, 24, 60, 56, 20, 40]])
NO_PROPOSER = -1  # the proposer of items that only fill a list up, and of places without an item
_ENCODER, _FOLLOWS, _NEXT, _OWN, _TOGETHER, _BY_TWO_HOPS, _HOT = range(len(PROPOSERS))
_HOT_AT_MOST = np.array([40, 40, 20, 20])  # hot items per half-life, whatever the quota; not tuned
# Proposers by counts, each with the score by which it picks: those before the user's own items, and those after.
_PROPOSED_FIRST = ((_FOLLOWS, _FORWARD_RECENT), (_NEXT, _NEXT_LAST))
_PROPOSED_THEN = ((_TOGETHER, _COSINE_RECENT), (_BY_TWO_HOPS, _TWO_HOP))
_BY_SCORE = (*_PROPOSED_FIRST, *_PROPOSED_THEN)


class Breadth(NamedTuple):
    """Bounds of the search for candidates.

    A smaller span and fewer hops cost quality: docs/experiments/cheaper-walks.md.

    candidates: candidates at most
    span: newest items of a user whose neighbours are looked at
    hops: likeliest followers of the last item whose own followers are looked at
    least: with fewer candidates, other items fill the list up to this length (see `filling`)
    """

    candidates: int
    span: int = WIDE_SPAN
    hops: int = 8
    least: int = 0


class Scratch(NamedTuple):
    """Working memory for one event. A row's place is its position among the touched rows.

    place_N: place of each row, -1: not touched
    row_X: row at each place
    counts_XT: scores and own history of each row; one cache line of the processor
    is_chosen_X: whether the row is a candidate, or must not become one
    is_left_out_X: whether it is one of the user's own items that must not become one
    best_S: number of rows kept per proposer
    best_SX, score_SX: places of these rows, in the order touched, and their scores
    order_X, picked_X: for the selection of the best
    weight_W: neighbours' weights in one row
    chosen_C, proposer_C: places of the candidates, and the proposer of each
    category_S: categories of the user's newest items, of `categories.SPAN`

    Between two events all arrays are as `scratch` makes them, except those that are written before they are read.
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
    """Return working memory for a catalogue of `rows` with at most `most` neighbours each, and the largest breadth."""
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
    """Find the place of `row`, or give it the next one. Returns (place, number of rows touched)."""
    x = s.place_N[row]
    if x >= 0:
        return x, size
    s.place_N[row] = size
    s.row_X[size] = row
    return size, size + 1


@kernel
def clear(s: Scratch, size):  # type: ignore[no-untyped-def]
    """Clear the scratch for the next event."""
    for x in range(size):
        s.place_N[s.row_X[x]] = -1
    s.counts_XT[:size] = 0.0
    s.is_chosen_X[:size] = False
    s.is_left_out_X[:size] = False


@kernel
def _at(column, d):  # type: ignore[no-untyped-def]
    """Return the column for the newest item (d = 0), no column for the others."""
    return column if d == 0 else _NOT


@kernel
def _spread(s: Scratch, size, rows: NeighbourRows, table, of_row, column, recent=_NOT, fade=1.0, scale=1.0):  # type: ignore[no-untyped-def]
    """Score the neighbours of `of_row` in a table by their share of its total, times `scale`.

    column: column that is set to the score, _NOT: none
    recent: column to which `fade` times the score is added, _NOT: none
    """
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
    """Score the neighbours of `of_row` in WIDE by cosine, weight / sqrt(own total * neighbour's total).

    `_end_cosine` divides by the root of the neighbour's total later, once per row.

    is_last: True for the user's newest item
    fade: factor on the cosine in "cosine_recent"
    """
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
    """Divide the cosines of all touched rows by the square root of their own totals."""
    for x in range(size):
        scale = np.float32(1.0 / np.sqrt(max(rows.total_TN[WIDE, s.row_X[x]], 1e-9)))
        for column in (_COSINE_LAST, _COSINE_RECENT, _COSINE_MAX, _TASTE):
            s.counts_XT[x, column] *= scale


@kernel
def count_neighbours(tables: Tables, s: Scratch, window_L, breadth: Breadth):  # type: ignore[no-untyped-def]
    """Score the neighbours of the user's newest items. Returns how many rows were touched."""
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
    """Score the followers of the `hops` likeliest followers of the last item."""
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
    """Write the user's own history of each row in the ring. idle: log(1 + seconds since the user's last event).

    Returns (number of rows touched, events with a row, repeated ones among them, events of the present session).
    """
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
    """Leave out the user's own items where users do not return to items after that event type: films once rated, say.

    They count as chosen, so that no proposer names them. items: number of live items.
    """
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
    """Put a row among the candidates, once, while there are fewer than `most`. Returns (candidates, rows touched)."""
    if count >= most:
        return count, size
    x, size = touch(s, row, size)
    return _add(s, proposer, x, count), size


@kernel
def _find_best(s: Scratch, size, quota_S):  # type: ignore[no-untyped-def]
    """Keep the best rows by the score of each proposer, at most its quota, without those left out."""
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
    """Write to `picked_X` the positions of the `quota` largest scores of a proposer, in the order touched.

    Of equal scores the first win. Returns how many were picked.
    """
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
    """Add the `quota` best rows of a proposer to the candidates, while there are fewer than `most`."""
    for i in range(_pick(s, proposer, quota)):
        if count < most:
            count = _add(s, proposer, s.best_SX[proposer, s.picked_X[i]], count)
    return count


@kernel
def _nth_largest(values_X, size, n):  # type: ignore[no-untyped-def]
    """Return the n-th largest of the first `size` values, and reorder them: quickselect (Hoare, 1961)."""
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
    """Take candidates from all proposers in rounds, small quotas first, until there are `most`.

    Returns (candidates, rows touched).
    """
    count = 0
    _find_best(s, size, quota_RS[-1])
    for r in range(len(quota_RS)):
        count, size = _choose_a_round(tables, s, size, quota_RS[r], most, window_L, encoder_rows_E, count)
    return count, size


@kernel
def _choose_a_round(  # type: ignore[no-untyped-def]
    tables: Tables, s: Scratch, size, quota_S, most, window_L, encoder_rows_E, count
):  # fmt: skip
    """Take up to `quota_S` candidates from each proposer, in the order of PROPOSERS."""
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

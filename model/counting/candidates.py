"""Candidates for one event: the items that proposers name and the ranker scores.

Proposers are the neighbours of the user's newest items, the user's own items, the encoder, and what is hot.

Shape suffixes are those of `scratch`, and L ring entries, R rounds, P half-lives, E proposals of the encoder. d: places
back in a ring (0: newest).

Parameters that the kernels share:
    tables, rows: the counting tables; their rows of neighbours
    s: working memory of this event, see `scratch.Scratch`
    size: number of rows touched so far
    count, most: number of candidates so far, and at most
    window_L: item rows of the user's ring (-1: none)
    encoder_rows_E: rows that the encoder proposes, best first, -1: none
"""

from __future__ import annotations

import numpy as np

from model.counting.features import COUNTS
from model.counting.proposers import ENCODER, FOLLOWS, HOT, HOT_AT_MOST, NEXT, OWN, TOGETHER, TWO_HOP
from model.counting.scratch import Scratch, touch
from model.counting.tables import Tables
from model.kernels import kernel

# Proposers by counts, each with the score by which it picks: those before the user's own items, and those after.
_PROPOSED_FIRST = ((FOLLOWS, COUNTS.index("forward_recent")), (NEXT, COUNTS.index("next_last")))
_PROPOSED_THEN = ((TOGETHER, COUNTS.index("cosine_recent")), (TWO_HOP, COUNTS.index("two_hop")))
_BY_COUNTS = (*_PROPOSED_FIRST, *_PROPOSED_THEN)
_BY_SCORE = (FOLLOWS, NEXT, OWN, TOGETHER, TWO_HOP)


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
def _find_best(s: Scratch, size, quota_S, window_L):  # type: ignore[no-untyped-def]
    """Keep the best rows by the score of each proposer, at most its quota, without those left out."""
    for proposer in _BY_SCORE:
        s.best_S[proposer] = 0
    for x in range(size):
        counts_T, may_be = s.counts_XT[x], not s.is_chosen_X[x]
        for proposer, column in _BY_COUNTS:
            _offer(s, proposer, x, counts_T[column], may_be)
    for d in range(len(window_L)):
        row = window_L[len(window_L) - 1 - d]
        x = s.place_N[row] if row >= 0 else 0
        if row >= 0 and s.own_X[x] > 0.0:
            _offer(s, OWN, x, s.own_X[x], not s.is_chosen_X[x])
            s.own_X[x] = 0.0  # the user's own items are offered once each, the newest first
    for proposer in _BY_SCORE:
        kept = _pick(s, proposer, quota_S[proposer])
        for i in range(kept):
            at = s.picked_X[i]
            s.best_SX[proposer, i], s.score_SX[proposer, i] = s.best_SX[proposer, at], s.score_SX[proposer, at]
        s.best_S[proposer] = kept


@kernel
def _offer(s: Scratch, proposer, x, score, may_be):  # type: ignore[no-untyped-def]
    """Append a row and its score to those of a proposer, if the score is positive and the row may be a candidate."""
    place = s.best_S[proposer]
    s.best_SX[proposer, place], s.score_SX[proposer, place] = x, score
    s.best_S[proposer] += may_be and score > 0.0


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
    _find_best(s, size, quota_RS[-1], window_L)
    for r in range(len(quota_RS)):
        count, size = _choose_a_round(tables, s, size, quota_RS[r], most, encoder_rows_E, count)
    return count, size


@kernel
def _choose_a_round(  # type: ignore[no-untyped-def]
    tables: Tables, s: Scratch, size, quota_S, most, encoder_rows_E, count
):  # fmt: skip
    """Take up to `quota_S` candidates from each proposer, in the order of PROPOSERS."""
    for e in range(min(quota_S[ENCODER], len(encoder_rows_E))):
        if encoder_rows_E[e] >= 0:
            count, size = _choose_one(s, ENCODER, encoder_rows_E[e], most, count, size)
    for proposer, _ in _PROPOSED_FIRST:
        count = _choose_best(s, proposer, quota_S[proposer], most, count)
    count = _choose_best(s, OWN, quota_S[OWN], most, count)
    for proposer, _ in _PROPOSED_THEN:
        count = _choose_best(s, proposer, quota_S[proposer], most, count)
    hottest_PQ = tables.popularity.hottest_PQ
    for p in range(len(hottest_PQ)):
        for q in range(min(quota_S[HOT], HOT_AT_MOST[p])):
            if hottest_PQ[p, q] >= 0:
                count, size = _choose_one(s, HOT, hottest_PQ[p, q], most, count, size)
    return count, size

"""Causes: how much each item of a user's history has to do with the scores of the items in the user's list.

The same tables are walked as for `evidence`, but only listed items are looked for. What a history item has done to the
amounts of a listed item is taken out again, as if the user had never met it; the ranker's slopes tell what that costs.

Shape suffixes: N rows of the catalogue, J different history items, newest first, K listed items, L ring entries, F
features, C candidates, W newest ring entries that attention sees, W neighbours in a row of the tables.

Parameters that the kernels share:
    tables: the counting tables
    m: working memory of one user, see `Memo`
    count: number of different history items
    slope_F: slopes of the ranker's score by feature; those of BEHIND are added to the amounts that they compare
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.counting import evidence, neighbours
from model.counting.features import (
    ENCODER,
    FEATURES,
    OWN_LOGS,
    OWN_SIGNS,
    POPULARITIES,
)
from model.counting.neighbours import NeighbourRows
from model.counting.popularity import EVER
from model.counting.scratch import RECENT
from model.counting.tables import BACKWARD, FORWARD, NEXT, PLAIN, TABLES, WIDE, WIDE_SPAN, Tables
from model.kernels import kernel

# Kinds of reasons. The first ones are kinds of effect of a history item, too; rules give the last two.
KINDS = ("together", "follows", "taste", "again", "trending", "new", "promoted", "exploring")
TOGETHER, FOLLOWS, TASTE, AGAIN, TRENDING, NEW, PROMOTED, EXPLORING = range(len(KINDS))
EFFECTS = 3
_LEAST = np.float32(1e-4)  # added before a logarithm is taken, as in `features`
_LOG_LEAST = np.log(_LEAST)

_NEXT_LAST, _NEXT_LAST_BUT_ONE = FEATURES.index("next_last"), FEATURES.index("next_last_but_one")
_PLAIN_LAST, _FORWARD_LAST = FEATURES.index("plain_last"), FEATURES.index("forward_last")
_FORWARD_RECENT, _BACKWARD_LAST = FEATURES.index("forward_recent"), FEATURES.index("backward_last")
_COSINE_LAST, _COSINE_RECENT = FEATURES.index("cosine_last"), FEATURES.index("cosine_recent")
_COSINE_MAX, _TASTE = FEATURES.index("cosine_max"), FEATURES.index("taste")
_OWN_FEATURES = tuple(FEATURES.index(name) for name in (*OWN_LOGS, *OWN_SIGNS))
_ENCODER_0, _ENCODER_1 = (FEATURES.index(name) for name in ENCODER)
# Falls of the encoder's logit per cosine, without an attended item and without the newest one: twice what removals
# show, since the ranker goes by the encoder more than its linear part tells (docs/experiments/reasons.md).
_ATTENDED, _NEWEST = np.float32(4.0), np.float32(8.0)
_POPULARITIES = tuple(FEATURES.index(name) for name in POPULARITIES)


class Memo(NamedTuple):
    """Working memory of one user.

    mark_N: place of each row in the list, K: not listed; and K once more, which -1 finds
    item_J: rows of the different history items
    near_J, far_J, times_J: sums of their weights in "forward_recent", "cosine_recent" and "taste"
    part_TJK: score of each listed item as a neighbour of each history item, by table; of WIDE the cosine. FORWARD and
        WIDE of all, the others of the second newest alone. The last place is of no use
    sums_5K: sums over the history items, and the two largest cosines
    effect_EJK: what taking a history item out costs a listed item, by kind of effect
    total_JK: the sums over all kinds, and what of them moves the item among those listed (see `_relate`)
    own_K, trend_K: the same for the item's own history, and for its popularity above a usual candidate's
    at_K: place of each listed item among the candidates, -1: it is none
    j_W: place in `item_J` of the item of each ring entry that attention sees, -1: none
    """

    mark_N: NDArray[np.int16]
    item_J: NDArray[np.int32]
    near_J: NDArray[np.float32]
    far_J: NDArray[np.float32]
    times_J: NDArray[np.float32]
    part_TJK: NDArray[np.float32]
    sums_5K: NDArray[np.float32]
    effect_EJK: NDArray[np.float32]
    total_JK: NDArray[np.float32]
    own_K: NDArray[np.float32]
    trend_K: NDArray[np.float32]
    at_K: NDArray[np.int32]
    j_W: NDArray[np.int32]


def make_memo(rows: int, listed: int, window: int) -> Memo:
    """Return working memory for a catalogue of `rows`, lists of `listed` items, and attention to `window` entries."""
    return Memo(
        mark_N=np.full(rows + 1, listed, np.int16),
        item_J=np.zeros(WIDE_SPAN, np.int32),
        near_J=np.zeros(WIDE_SPAN, np.float32),
        far_J=np.zeros(WIDE_SPAN, np.float32),
        times_J=np.zeros(WIDE_SPAN, np.float32),
        part_TJK=np.zeros((TABLES, WIDE_SPAN, listed + 1), np.float32),
        sums_5K=np.zeros((5, listed), np.float32),
        effect_EJK=np.zeros((EFFECTS, WIDE_SPAN, listed), np.float32),
        total_JK=np.zeros((WIDE_SPAN, listed), np.float32),
        own_K=np.zeros(listed, np.float32),
        trend_K=np.zeros(listed, np.float32),
        at_K=np.zeros(listed, np.int32),
        j_W=np.zeros(window, np.int32),
    )


@kernel
def note_history(m: Memo, window_L, span):  # type: ignore[no-untyped-def]
    """Note the different items of the newest `span` ring entries. Returns how many there are."""
    count, near, far = 0, np.float32(1.0), np.float32(1.0)
    for d in range(min(span, len(window_L), len(m.item_J))):
        row = window_L[len(window_L) - 1 - d]
        if row >= 0:
            j = 0
            while j < count and m.item_J[j] != row:
                j += 1
            if j == count:
                m.item_J[j] = row
                m.near_J[j] = m.far_J[j] = m.times_J[j] = 0.0
                count += 1
            m.near_J[j] += near if d < RECENT else np.float32(0.0)
            m.far_J[j] += far
            m.times_J[j] += 1.0
        near *= np.float32(evidence.RECENT_FADE)
        far *= np.float32(evidence.COSINE_FADE)
    return count


@kernel
def _look_for(rows: NeighbourRows, table, of_row, m: Memo, scale, part_K):  # type: ignore[no-untyped-def]
    """Write the weights of listed items, times `scale`, in the row of a history item.

    Without a branch: those that are not listed, and places without an item (-1), are written to a place of no use.
    """
    item_W, weight_W = neighbours.of(rows, table, of_row)
    for i in range(len(item_W)):
        part_K[m.mark_N[item_W[i]]] = weight_W[i] * scale


@kernel
def find_parts(tables: Tables, m: Memo, rows_K, candidates_C, count):  # type: ignore[no-untyped-def]
    """Write what the tables know of the listed items as neighbours of each history item."""
    rows = tables.rows
    for k in range(len(rows_K)):
        m.at_K[k] = -1
        if rows_K[k] >= 0:
            m.mark_N[rows_K[k]] = k
    for c in range(len(candidates_C)):
        if candidates_C[c] >= 0 and m.mark_N[candidates_C[c]] < len(rows_K):
            m.at_K[m.mark_N[candidates_C[c]]] = c
    for table in range(TABLES):
        m.part_TJK[table, : max(count, 2)] = 0.0
    for j in range(count):
        of_row = m.item_J[j]
        if m.near_J[j] > 0.0 or j == 1:
            _look_for(rows, FORWARD, of_row, m, _share(rows, FORWARD, of_row), m.part_TJK[FORWARD, j])
        if j == 1:  # what the newest item gives is known from the features
            for table in (NEXT, PLAIN, BACKWARD):
                _look_for(rows, table, of_row, m, _share(rows, table, of_row), m.part_TJK[table, j])
        scale = np.float32(1.0 / np.sqrt(max(rows.total_TN[WIDE, of_row], 1e-9)))
        _look_for(rows, WIDE, of_row, m, scale, m.part_TJK[WIDE, j])
    for k in range(len(rows_K)):
        if rows_K[k] >= 0:
            m.mark_N[rows_K[k]] = len(rows_K)
            scale = np.float32(1.0 / np.sqrt(max(rows.total_TN[WIDE, rows_K[k]], 1e-9)))
            for j in range(count):
                m.part_TJK[WIDE, j, k] *= scale


@kernel
def _share(rows: NeighbourRows, table, of_row):  # type: ignore[no-untyped-def]
    return np.float32(1.0 / max(rows.total_TN[table, of_row], 1e-9))


@kernel
def _fall_without(total, part):  # type: ignore[no-untyped-def]
    """Return by how much the logarithm of a total falls without a part of it, by a Pade approximation.

    Within 8 % up to four fifths of the total, then too little: 2.5 for all of it.
    """
    share = part / (total + _LEAST)
    return share * (np.float32(6.0) - share) / (np.float32(6.0) - np.float32(4.0) * share)


@kernel
def find_effects(m: Memo, count, slope_F):  # type: ignore[no-untyped-def]
    """Write what it costs the listed items to take each history item out, by the sums over the newest items."""
    near_K, far_K, times_K, most_K, second_K = m.sums_5K
    m.sums_5K[:] = 0.0
    for j in range(count):
        near, far, times = m.near_J[j], m.far_J[j], m.times_J[j]
        forward_K, wide_K = m.part_TJK[FORWARD, j], m.part_TJK[WIDE, j]
        for k in range(len(near_K)):
            near_K[k] += near * forward_K[k]
            far_K[k] += far * wide_K[k]
            times_K[k] += times * wide_K[k]
            second_K[k] = max(second_K[k], min(most_K[k], wide_K[k]))
            most_K[k] = max(most_K[k], wide_K[k])
    by_near, by_far, by_times = slope_F[_FORWARD_RECENT], slope_F[_COSINE_RECENT], slope_F[_TASTE]
    by_most = slope_F[_COSINE_MAX]
    for j in range(count):
        near, far, times = m.near_J[j], m.far_J[j], m.times_J[j]
        forward_K, wide_K = m.part_TJK[FORWARD, j], m.part_TJK[WIDE, j]
        follows_K, together_K = m.effect_EJK[FOLLOWS, j], m.effect_EJK[TOGETHER, j]
        for k in range(len(near_K)):
            follows_K[k] = by_near * _fall_without(near_K[k], near * forward_K[k])
            lost = wide_K[k] - second_K[k] if wide_K[k] == most_K[k] else np.float32(0.0)
            together_K[k] = (
                by_far * _fall_without(far_K[k], far * wide_K[k])
                + by_times * _fall_without(times_K[k], times * wide_K[k])
                + by_most * _fall_without(most_K[k], lost)
            )
        m.effect_EJK[TASTE, j] = 0.0


@kernel
def _to(logarithm, after):  # type: ignore[no-untyped-def]
    """Return by how much a logarithm falls if its amount becomes `after`."""
    return logarithm - (np.log(after + _LEAST) if after > 0.0 else _LOG_LEAST)


@kernel
def hand_over(m: Memo, slope_F, features_F, k):  # type: ignore[no-untyped-def]
    """Add what it costs a candidate that the second newest item becomes the newest, and the third the second.

    features_F: what the ranker sees of it
    """
    part_T = m.part_TJK[:, 1, k]
    m.effect_EJK[FOLLOWS, 0, k] += (
        slope_F[_NEXT_LAST] * _to(features_F[_NEXT_LAST], part_T[NEXT])
        + slope_F[_PLAIN_LAST] * _to(features_F[_PLAIN_LAST], part_T[PLAIN])
        + slope_F[_FORWARD_LAST] * _to(features_F[_FORWARD_LAST], part_T[FORWARD])
    )
    m.effect_EJK[TOGETHER, 0, k] += slope_F[_BACKWARD_LAST] * _to(features_F[_BACKWARD_LAST], part_T[BACKWARD])
    m.effect_EJK[TOGETHER, 0, k] += slope_F[_COSINE_LAST] * _to(features_F[_COSINE_LAST], part_T[WIDE])
    m.effect_EJK[FOLLOWS, 1, k] += slope_F[_NEXT_LAST_BUT_ONE] * _to(features_F[_NEXT_LAST_BUT_ONE], np.float32(0.0))


@kernel
def _find_own(m: Memo, slope_F, usual_F, features_F, k):  # type: ignore[no-untyped-def]
    """Write what a candidate has from the user's own history with it, and from its popularity.

    usual_F: features of a usual candidate
    """
    for f in _OWN_FEATURES:
        m.own_K[k] += slope_F[f] * features_F[f]  # all of them are 0 for an item that the user never met
    for f in _POPULARITIES:
        m.trend_K[k] += slope_F[f] * (features_F[f] - usual_F[f])


@kernel
def _find_places(m: Memo, count, window_L):  # type: ignore[no-untyped-def]
    """Write which history item stands at each ring entry that attention sees. Returns the newest other item's place."""
    width, before = len(m.j_W), -1
    for w in range(width):
        row = window_L[len(window_L) - width + w]
        m.j_W[w] = -1
        for j in range(count):
            if m.item_J[j] == row:
                m.j_W[w] = j
        if m.j_W[w] > 0:
            before = w
    return before


@kernel
def _find_taste(m: Memo, before, closeness_KW, attention_W, slope, k):  # type: ignore[no-untyped-def]
    """Write what it costs a listed item that the encoder no longer sees a history item.

    before: the ring entry that attention sees of the newest item but the very newest, -1: none
    closeness_KW: cosines of the vectors of listed items and of the newest ring entries
    attention_W: the encoder's attention to these entries
    slope: slope of the score by the encoder's logit
    """
    for w in range(len(m.j_W)):
        if m.j_W[w] >= 0:
            m.effect_EJK[TASTE, m.j_W[w], k] += slope * _ATTENDED * attention_W[w] * closeness_KW[k, w]
    if m.j_W[-1] == 0:
        other = closeness_KW[k, before] if before >= 0 else np.float32(0.0)
        m.effect_EJK[TASTE, 0, k] += slope * _NEWEST * (closeness_KW[k, -1] - other)


@kernel
def _relate(m: Memo, count, chance_K):  # type: ignore[no-untyped-def]
    """Add the kinds up, and take the mean over the list away: what all listed items lose moves none of them.

    chance_K: probabilities of the listed items
    """
    all_chances = np.float32(1e-9)
    for k in range(len(chance_K)):
        all_chances += chance_K[k]
    for j in range(count):
        mean = np.float32(0.0)
        for k in range(len(chance_K)):
            total = m.effect_EJK[TOGETHER, j, k] + m.effect_EJK[FOLLOWS, j, k] + m.effect_EJK[TASTE, j, k]
            m.total_JK[j, k] = total
            mean += chance_K[k] * total
        mean /= all_chances
        for k in range(len(chance_K)):
            m.total_JK[j, k] -= mean


@kernel
def _strongest(tables: Tables, m: Memo, count, row, k):  # type: ignore[no-untyped-def]
    """Return the kind, the history item's row and the weight of a listed item's strongest cause."""
    if tables.popularity.weight_PN[EVER, row] == 0.0:
        return NEW, -1, np.float32(1.0)
    best_j, best, all_of_it = -1, np.float32(0.0), max(np.float32(0.0), m.trend_K[k])
    own = m.own_K[k]
    for j in range(count):
        if m.item_J[j] == row:
            own += m.total_JK[j, k]
        else:
            all_of_it += max(np.float32(0.0), m.total_JK[j, k])
            if m.total_JK[j, k] > best:
                best_j, best = j, m.total_JK[j, k]
    all_of_it += max(np.float32(0.0), own)
    if own > best and m.own_K[k] != 0.0:
        return AGAIN, row, own / all_of_it
    if best_j >= 0:
        kind = TOGETHER
        for e in range(1, EFFECTS):
            if m.effect_EJK[e, best_j, k] > m.effect_EJK[kind, best_j, k]:
                kind = e
        return kind, m.item_J[best_j], best / all_of_it
    return TRENDING, -1, np.float32(1.0)


@kernel
def explain(  # type: ignore[no-untyped-def]
    tables: Tables, m: Memo, span, windows_UL, rows_UK, chance_UK, candidates_UC, features_UCF, slope_F, usual_F,
    closeness_UKW, attention_UW, kind_UK, row_UK, weight_UK,
):  # fmt: skip
    """Write the cause of each listed item.

    span: newest ring entries that may be causes
    windows_UL: item rows of the rings, -1: none
    rows_UK, chance_UK: the lists, -1: no item, and the probabilities of their items
    candidates_UC, features_UCF: candidates, and what the ranker sees of them
    usual_F: features of a usual candidate
    closeness_UKW, attention_UW: see `_find_taste`
    kind_UK, row_UK, weight_UK: written: place in KINDS, row of the history item (-1: none), share of the whole effect
    """
    for u in range(len(rows_UK)):
        count = note_history(m, windows_UL[u], span)
        find_parts(tables, m, rows_UK[u], candidates_UC[u], count)
        before = _find_places(m, count, windows_UL[u])
        slope = slope_F[_ENCODER_0] + slope_F[_ENCODER_1]
        find_effects(m, count, slope_F)
        m.own_K[:] = m.trend_K[:] = 0.0
        for k in range(len(rows_UK[u])):
            _find_taste(m, before, closeness_UKW[u], attention_UW[u], slope, k)
            if m.at_K[k] >= 0:
                features_F = features_UCF[u, m.at_K[k]]
                hand_over(m, slope_F, features_F, k)
                _find_own(m, slope_F, usual_F, features_F, k)
        _relate(m, count, chance_UK[u])
        for k in range(len(rows_UK[u])):
            if rows_UK[u, k] >= 0:
                kind_UK[u, k], row_UK[u, k], weight_UK[u, k] = _strongest(tables, m, count, rows_UK[u, k], k)

"""Arranges lists by rules, on columns: leave out -> boost -> quotas and caps -> diversity -> the next place.

A list is filled place by place. The next item is the best one that may still stand there; while a quota with a least
number of places is behind, the best one of its items. Quotas are spread over the list: after k of K places an item of a
quota is due where least * k / K, rounded, says so.

Diversity is maximal marginal relevance (Carbonell and Goldstein, 1998): of the values, scaled to 0..1,
    (1 - diversity) * value - diversity * (largest cosine to an item that stands in the list).

Shape suffixes: U users, M rows that may stand in a list, K places, Q quotas, F fields, R reasons, D size of a vector,
N rows of the catalogue, L ring entries, T event types, S scenarios with a boost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.counting.walk import Users
from model.kernels import kernel
from model.lists import facts, purchases
from model.lists.facts import IS_BOUGHT, IS_IN_CART, IS_IN_SESSION, IS_SEEN, Facts
from model.lists.purchases import Purchases
from model.lists.rules import CATEGORY, FRESH, KEPT, LEARNED, PROMOTED, SEEN, ListRules

# Reasons why a row does not stand in a list, in the order in which they are asked. "most": a quota or a cap was full.
REASONS = ("unavailable", "filter", "bought", "cart", "session", "clicked", "most")
_UNAVAILABLE, _FILTER, _BOUGHT, _CART, _SESSION, _CLICKED, _MOST = range(len(REASONS))
# Value of the first row that the ranker did not see, far below that of all others; each is a little less than the one
# before.
BEHIND = -1e6
_FREE, _TAKEN, _TWICE = -1, -2, -3  # beside the reasons: it may stand in the list, stands there, is there before


class ItemColumns(NamedTuple):
    """Columns of N items, as far as rules know them. Of rows behind the end of a column it knows nothing.

    hidden_N: True for rows that may not be recommended
    holds_N: bits of the conditions that hold
    factor_NS: factors of boosts
    group_NF: codes of the fields beside the category, 0: none
    category_N: category codes
    born_ts_N: time of the item's first event in seconds, 0: not known
    """

    hidden_N: NDArray[np.bool_]
    holds_N: NDArray[np.uint64]
    factor_NS: NDArray[np.float32]
    group_NF: NDArray[np.uint32]
    category_N: NDArray[np.uint32]
    born_ts_N: NDArray[np.float64]


class Work(NamedTuple):
    """Working memory for the list of one user.

    why_M: the reason why a row does not stand in the list, or one of the states beside them
    member_M: bits of the quotas that a row belongs to
    worth_M: value after the boost
    alike_M: largest cosine to an item that stands in the list
    count_Q, spent_Q: places taken by a quota's items; True if there are no more of them
    facts: what the user did
    """

    why_M: NDArray[np.int8]
    member_M: NDArray[np.uint64]
    worth_M: NDArray[np.float64]
    alike_M: NDArray[np.float32]
    count_Q: NDArray[np.int64]
    spent_Q: NDArray[np.bool_]
    facts: Facts


def working_memory(rows: int, quotas: int) -> Work:
    return Work(
        why_M=np.zeros(rows, np.int8),
        member_M=np.zeros(rows, np.uint64),
        worth_M=np.zeros(rows),
        alike_M=np.zeros(rows, np.float32),
        count_Q=np.zeros(quotas, np.int64),
        spent_Q=np.zeros(quotas, np.bool_),
        facts=facts.empty(rows),
    )


@kernel
def arrange(  # type: ignore[no-untyped-def]
    rules: ListRules, items: ItemColumns, bought: Purchases, role_T, users: Users, clock_ts, rows_UM, value_UM,
    vectors_UMD, work: Work, picks_UK, promoted_UK, left_UR,
):  # fmt: skip
    """Make the lists of U users.

    items, bought: what is known of items, and of purchases
    role_T: the role of each event type
    users: the users' rings
    clock_ts: time of the newest event, in seconds
    rows_UM: rows that may stand in the list, -1: none; of a row that is there twice the first one counts
    value_UM: log-probability of each, smaller the further behind an item is to stand; a boost adds its logarithm
    vectors_UMD: unit vectors for diversity, or [U, 0, 0] without it
    work: working memory
    picks_UK: written: places in M of the list's items, -1: no more
    promoted_UK: written: True where a promotion's quota asked for the item
    left_UR: written: how many rows were left out, by reason
    """
    for u in range(len(rows_UM)):
        _look(rules, items, bought, role_T, users, u, clock_ts, rows_UM[u], value_UM[u], work)
        for r in range(len(REASONS)):
            left_UR[u, r] = 0
        _fill(rules, items, rows_UM[u], vectors_UMD[u], work, picks_UK[u], promoted_UK[u])
        for m in range(rows_UM.shape[1]):
            if rows_UM[u, m] >= 0 and work.why_M[m] >= 0:
                left_UR[u, work.why_M[m]] += 1


@kernel
def _look(  # type: ignore[no-untyped-def]
    rules: ListRules, items: ItemColumns, bought: Purchases, role_T, users: Users, u, clock_ts, rows_M, value_M,
    work: Work,
):  # fmt: skip
    """Find out of each row whether it may stand in the list of user `u`, its quotas and its worth."""
    known = work.facts
    facts.clear(known)
    for m in range(len(rows_M)):
        work.why_M[m] = _TWICE
        if rows_M[m] >= 0 and facts.enter(known, rows_M, m):
            work.why_M[m] = _FREE
    facts.look_back(known, rows_M, role_T, users.windows_BL[u], users.types_BL[u], users.gaps_BL[u], users.idle_B[u])
    for m in range(len(rows_M)):
        if work.why_M[m] == _FREE:
            row = rows_M[m]
            work.why_M[m] = _why_not(rules, items, bought, known, m, row)
            work.member_M[m] = _quotas_of(rules, items, known.fact_M[m], row, clock_ts)
            work.worth_M[m] = value_M[m] + _boost(rules, items, row)
            work.alike_M[m] = -1.0


@kernel
def _why_not(rules: ListRules, items: ItemColumns, bought: Purchases, known: Facts, m, row):  # type: ignore[no-untyped-def]
    """Return the first reason to leave a row out, or _FREE."""
    if row < len(items.hidden_N) and items.hidden_N[row]:
        return _UNAVAILABLE
    if rules.holds != 0 and not (row < len(items.holds_N) and items.holds_N[row] & rules.holds == rules.holds):
        return _FILTER
    if known.fact_M[m] & IS_BOUGHT and _is_over(rules, items, bought, row, known.bought_seconds_M[m]):
        return _BOUGHT
    return _why_not_now(rules, known.fact_M[m], known.clicks_M[m])


@kernel
def _is_over(rules: ListRules, items: ItemColumns, bought: Purchases, row, seconds):  # type: ignore[no-untyped-def]
    """True if an item that was bought so many seconds ago is left out."""
    if rules.bought == LEARNED:
        return purchases.are_over(bought, row, items.category_N[row], seconds)
    return rules.bought != KEPT and seconds < rules.bought_seconds


@kernel
def _why_not_now(rules: ListRules, fact, clicks):  # type: ignore[no-untyped-def]
    """Return the first reason in what the user did with an item lately, or _FREE."""
    if rules.in_cart and fact & IS_IN_CART:
        return _CART
    if rules.in_session and fact & IS_IN_SESSION:
        return _SESSION
    if rules.clicks > 0 and clicks >= rules.clicks and not fact & IS_BOUGHT:
        return _CLICKED
    return _FREE


@kernel
def _boost(rules: ListRules, items: ItemColumns, row):  # type: ignore[no-untyped-def]
    if rules.boost < 0 or row >= len(items.factor_NS):
        return 0.0
    return np.log(items.factor_NS[row, rules.boost])


@kernel
def _quotas_of(rules: ListRules, items: ItemColumns, fact, row, clock_ts):  # type: ignore[no-untyped-def]
    """Return the bits of the quotas that a row belongs to."""
    quotas, member = rules.quotas, np.uint64(0)
    for q in range(len(quotas.kind_Q)):
        kind, belongs = quotas.kind_Q[q], False
        if kind == PROMOTED:
            holds = row < len(items.holds_N) and items.holds_N[row] & quotas.of_Q[q] != 0
            belongs = holds and clock_ts < quotas.seconds_Q[q]
        elif kind == FRESH:
            born_ts = items.born_ts_N[row]
            belongs = born_ts > 0.0 and clock_ts - born_ts < quotas.seconds_Q[q]
        elif kind == SEEN:
            belongs = fact & IS_SEEN != 0
        else:
            belongs = _group(items, row, quotas.field_Q[q]) == quotas.of_Q[q]
        if belongs:
            member |= np.uint64(1) << np.uint64(q)
    return member


@kernel
def _fill(rules: ListRules, items: ItemColumns, rows_M, vectors_MD, work: Work, picks_K, promoted_K):  # type: ignore[no-untyped-def]
    """Write the places in M of the list's items, place by place."""
    quotas = rules.quotas
    low, span = _span(work, rows_M)
    work.count_Q[:], work.spent_Q[:] = 0, False
    picks_K[:], promoted_K[:] = -1, False
    _close_full_quotas(rules, work, rows_M)
    k = 0
    while k < len(picks_K):
        q = _most_behind(rules, work, k)
        m = _best(rules, work, rows_M, q, low, span)
        if m < 0 and q < 0:
            break
        if m < 0:
            work.spent_Q[q] = True
            continue
        picks_K[k], promoted_K[k] = m, q >= 0 and quotas.kind_Q[q] == PROMOTED
        k += 1
        _take(rules, items, rows_M, vectors_MD, work, picks_K[:k], m)


@kernel
def _span(work: Work, rows_M):  # type: ignore[no-untyped-def]
    """Return the smallest worth of a ranked row that may stand in the list, and the distance to the largest."""
    low, high = np.inf, -np.inf
    for m in range(len(rows_M)):
        if work.why_M[m] == _FREE and work.worth_M[m] > BEHIND / 2:
            low, high = min(low, work.worth_M[m]), max(high, work.worth_M[m])
    if low == np.inf:
        return BEHIND, 1.0
    return low, max(high - low, 1e-9)


@kernel
def _most_behind(rules: ListRules, work: Work, k):  # type: ignore[no-untyped-def]
    """Return the quota that lacks most items for place `k`, -1: none does."""
    quotas, length = rules.quotas, rules.length
    found, most = -1, 0
    for q in range(len(quotas.kind_Q)):
        due = (2 * quotas.least_Q[q] * (k + 1) + length) // (2 * length)
        lacks = due - work.count_Q[q]
        if lacks > most and not work.spent_Q[q]:
            found, most = q, lacks
    return found


@kernel
def _best(rules: ListRules, work: Work, rows_M, q, low, span):  # type: ignore[no-untyped-def]
    """Return the place of the best row that may stand in the list, of quota `q` if it is not -1; -1: there is none."""
    best, most = -1, -np.inf
    wanted = np.uint64(0) if q < 0 else np.uint64(1) << np.uint64(q)
    for m in range(len(rows_M)):
        if work.why_M[m] == _FREE and work.member_M[m] & wanted == wanted:
            worth = work.worth_M[m]
            if rules.diversity > 0.0:
                worth = (1.0 - rules.diversity) * (worth - low) / span - rules.diversity * work.alike_M[m]
            if worth > most:
                best, most = m, worth
    return best


@kernel
def _take(rules: ListRules, items: ItemColumns, rows_M, vectors_MD, work: Work, picks_K, taken):  # type: ignore[no-untyped-def]
    """Note that a row stands in the list, and leave out what may not stand there any more."""
    work.why_M[taken] = _TAKEN
    for q in range(len(work.count_Q)):
        if work.member_M[taken] & (np.uint64(1) << np.uint64(q)) != 0:
            work.count_Q[q] += 1
    _close_full_quotas(rules, work, rows_M)
    row = rows_M[taken]
    for f in range(len(rules.cap_F)):
        if rules.cap_F[f] > 0 and _group(items, row, f) != 0:
            _close_full_group(rules, items, rows_M, work, picks_K, f)
    if rules.diversity > 0.0:
        for m in range(len(rows_M)):
            if work.why_M[m] == _FREE:
                work.alike_M[m] = max(work.alike_M[m], _cosine(vectors_MD, m, taken))


@kernel
def _close_full_quotas(rules: ListRules, work: Work, rows_M):  # type: ignore[no-untyped-def]
    full = np.uint64(0)
    for q in range(len(work.count_Q)):
        if work.count_Q[q] >= rules.quotas.most_Q[q]:
            full |= np.uint64(1) << np.uint64(q)
    if full != 0:
        for m in range(len(rows_M)):
            if work.why_M[m] == _FREE and work.member_M[m] & full != 0:
                work.why_M[m] = _MOST


@kernel
def _close_full_group(rules: ListRules, items: ItemColumns, rows_M, work: Work, picks_K, f):  # type: ignore[no-untyped-def]
    """Leave out what has the same code in field `f` as the last item, if as many stand there as may."""
    code, stands = _group(items, rows_M[picks_K[-1]], f), 0
    for pick in picks_K:
        stands += _group(items, rows_M[pick], f) == code
    if stands >= rules.cap_F[f]:
        for m in range(len(rows_M)):
            if work.why_M[m] == _FREE and _group(items, rows_M[m], f) == code:
                work.why_M[m] = _MOST


@kernel
def _group(items: ItemColumns, row, f):  # type: ignore[no-untyped-def]
    """Return the code of a row in field `f`, 0: none."""
    if f == CATEGORY:
        return items.category_N[row]
    return items.group_NF[row, f - 1] if row < len(items.group_NF) else np.uint32(0)


@kernel
def _cosine(vectors_MD, m, other):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for d in range(vectors_MD.shape[1]):
        total += vectors_MD[m, d] * vectors_MD[other, d]
    return total

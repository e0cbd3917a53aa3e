"""Features of a candidate for the ranker: counts, popularity, the user's own history, the encoder, context, category.

Shape suffixes: C candidates, T columns of counts, L columns of AMOUNTS, R columns of REST.
"""

from __future__ import annotations

import numpy as np

from model.counting import categories, returns
from model.counting.popularity import EVER, HALF_LIVES, Popularity, share
from model.counting.returns import Returns
from model.kernels import kernel

# Scores of neighbours, which proposers pick by; see `candidates`.
COUNTS = (
    "next_last", "next_last_but_one", "plain_last", "forward_last", "forward_recent", "backward_last",
    "cosine_last", "cosine_recent", "cosine_max", "two_hop", "taste",
)  # fmt: skip
POPULARITIES = tuple(f"popularity_{half_life:.0f}" for half_life in HALF_LIVES)
OWN_LOGS = ("own_count", "own_distance", "own_elapsed", "own_followed", "own_type_return")
# Features that are also given as a share of the best candidate's: a small network can't find the best of a list by
# itself. Measured: docs/experiments/behind-the-best.md.
COMPARED = (
    "next_last", "plain_last", "forward_recent", "backward_last", "cosine_recent", "two_hop", "taste",
    *POPULARITIES[:-1],
)  # fmt: skip
BEHIND = tuple(f"{name}_behind_best" for name in COMPARED)
# Features whose logarithm the predictor takes, for all candidates at once.
AMOUNTS = (*COUNTS, *POPULARITIES, *OWN_LOGS, *BEHIND)
OWN_SIGNS = ("own", "own_is_last", "own_in_session")
ENCODER = ("encoder_log_probability", "encoder_behind_best")
CONTEXT = (
    "history_length",
    "idle",
    "last_gap",
    "session_position",
    "repeat_share",
    "last_type_return",
    "last_item_known",
)
CATEGORY = ("category_share", "category_of_last")  # 0 where events name no category
REST = (*OWN_SIGNS, "popularity_distance", *ENCODER, *CONTEXT, *CATEGORY)
FEATURES = (*AMOUNTS, *REST)

# Columns of `Scratch.counts_XT` for an item of the user's ring: how often it stands there; of its newest entry the
# distance in events (1: the newest) and in seconds, and the event type; how often it came right after the item that is
# the newest now.
OWN_COUNT, OWN_DISTANCE, OWN_SECONDS, OWN_FOLLOWED, OWN_TYPE = range(len(COUNTS), len(COUNTS) + 5)
COLUMNS = len(COUNTS) + 5

_POPULARITY = AMOUNTS.index(POPULARITIES[0])
_OWN_LOG = AMOUNTS.index(OWN_LOGS[0])
_BEHIND = AMOUNTS.index(BEHIND[0])
_COMPARED = np.array([AMOUNTS.index(name) for name in COMPARED])
_POPULARITY_DISTANCE = REST.index("popularity_distance")
_CONTEXT = REST.index(CONTEXT[0])
_CATEGORY = REST.index(CATEGORY[0])
# Added before a logarithm is taken, to scores and to shares of all events; not tuned.
_LEAST_COUNT = np.float32(1e-4)
_LEAST_SHARE = 1e-6


@kernel
def write(  # type: ignore[no-untyped-def]
    amounts_L, rest_R, counts_T, row, is_last, usual, session, popularity: Popularity, returned: Returns
):  # fmt: skip
    """Write the features of one candidate, without those of the encoder, the context, BEHIND and the category.

    amounts_L, rest_R: written; the logarithm of the amounts is still to be taken
    counts_T: the candidate's counts and own history, see `Scratch`
    row: row of the candidate
    is_last: whether it is the user's newest item
    usual: mean log-popularity of the user's items
    session: events of the user's present session
    popularity, returned: the tables
    """
    for t in range(len(COUNTS)):
        amounts_L[t] = counts_T[t] + _LEAST_COUNT
    for p in range(len(HALF_LIVES)):
        amounts_L[_POPULARITY + p] = share(popularity, p, row) + _LEAST_SHARE
    distance = counts_T[OWN_DISTANCE]
    is_own = distance > 0
    amounts_L[_OWN_LOG] = 1.0 + counts_T[OWN_COUNT]
    amounts_L[_OWN_LOG + 1] = 1.0 + distance
    amounts_L[_OWN_LOG + 2] = 1.0 + counts_T[OWN_SECONDS]
    amounts_L[_OWN_LOG + 3] = 1.0 + counts_T[OWN_FOLLOWED]
    amounts_L[_OWN_LOG + 4] = returns.share(returned, returns.BY_PLACE, int(counts_T[OWN_TYPE])) if is_own else 1.0
    rest_R[0] = is_own
    rest_R[1] = is_own and is_last
    rest_R[2] = is_own and distance <= session
    rest_R[_POPULARITY_DISTANCE] = abs(np.log(amounts_L[_POPULARITY + EVER]) - usual)


@kernel
def write_behind(amounts_CL, count):  # type: ignore[no-untyped-def]
    """Write BEHIND for all `count` candidates of an event, once their other amounts are written."""
    for i in range(len(_COMPARED)):
        best = np.float32(0.0)
        for c in range(count):
            best = max(best, amounts_CL[c, _COMPARED[i]])
        for c in range(count):
            amounts_CL[c, _BEHIND + i] = amounts_CL[c, _COMPARED[i]] / best


@kernel
def log_share(popularity: Popularity, p, row):  # type: ignore[no-untyped-def]
    return np.log(np.float32(share(popularity, p, row) + _LEAST_SHARE))


@kernel
def _log_1_plus(x):  # type: ignore[no-untyped-def]
    """Return log(1 + x) in single precision: half the time of log1p, and as exact unless x is tiny but not 0."""
    return np.log(np.float32(1.0) + np.float32(x))


@kernel
def context(history, idle, last_gap, session, repeats, returned, known):  # type: ignore[no-untyped-def]
    """Return the features that all candidates of an event share, in the order of CONTEXT.

    history: ring entries with a row
    idle: log(1 + seconds since the user's last event)
    last_gap: gap bucket of the newest ring entry
    session: events of the present session
    repeats: ring entries whose item stands in the ring again later
    returned: share of users who return after an event of the last one's type
    known: total counts of the last item in FORWARD
    """
    repeat_share = np.float32(repeats / max(1, history))
    return (
        _log_1_plus(history), idle, last_gap, _log_1_plus(session), repeat_share, np.log(returned), _log_1_plus(known)
    )  # fmt: skip


@kernel
def write_context(rest_R, context_7):  # type: ignore[no-untyped-def]
    for i in range(len(CONTEXT)):
        rest_R[_CONTEXT + i] = context_7[i]


@kernel
def write_category(rest_R, category, category_S, known):  # type: ignore[no-untyped-def]
    """Write CATEGORY of a candidate.

    category: its category code
    category_S: category codes of the user's newest items, newest first; see `categories`
    known: number of these that are not 0
    """
    rest_R[_CATEGORY] = categories.share(category, category_S, known)
    rest_R[_CATEGORY + 1] = category > 0 and category == category_S[0]

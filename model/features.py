"""What the ranker sees of a candidate: counts, popularity, the user's own history, age, the encoder, context."""

from __future__ import annotations

import numpy as np

from model import returns
from model.kernels import kernel
from model.popularity import EVER, HALF_LIVES, Popularity, share
from model.returns import Returns

# Scores by which neighbours are proposed; see `counting`. Each feature is its logarithm.
COUNTS = (
    "next_last", "next_last_but_one", "plain_last", "forward_last", "forward_recent", "backward_last",
    "cosine_last", "cosine_recent", "cosine_max", "session_last", "session_recent", "pair", "two_hop", "taste",
)  # fmt: skip
POPULARITIES = tuple(f"popularity_{half_life:.0f}" for half_life in HALF_LIVES)
OWN = (
    "own",
    "own_count",
    "own_distance",
    "own_elapsed",
    "own_is_last",
    "own_followed",
    "own_in_session",
    "own_type_return",
)
ITEM = ("popularity_distance", "age", "unseen_for")
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
FEATURES = (*COUNTS, *POPULARITIES, *OWN, *ITEM, *ENCODER, *CONTEXT)

# Scratch columns of a candidate that stands in the user's ring: how often, how far back in events and in seconds, how
# often right after the item that is the newest now, and the type of the last event.
OWN_COUNT, OWN_DISTANCE, OWN_SECONDS, OWN_FOLLOWED, OWN_TYPE = range(len(COUNTS), len(COUNTS) + 5)
COLUMNS = len(COUNTS) + 5

_POPULARITY = FEATURES.index(POPULARITIES[0])
_OWN = FEATURES.index(OWN[0])
_ITEM = FEATURES.index(ITEM[0])
_CONTEXT = FEATURES.index(CONTEXT[0])
_LEAST_COUNT = np.float32(1e-4)
_UNCOUNTED = np.log(_LEAST_COUNT)


@kernel
def write(f, counts_T, row, is_last, now, born, seen, usual, session, popularity: Popularity, returned: Returns):  # type: ignore[no-untyped-def]
    """All but the encoder's and the context's features of one candidate.

    `usual`: mean log-popularity of what this user takes; `session`: events in the present session.
    """
    for t in range(len(COUNTS)):
        f[t] = np.log(counts_T[t] + _LEAST_COUNT) if counts_T[t] > 0.0 else _UNCOUNTED
    for p in range(len(HALF_LIVES)):
        f[_POPULARITY + p] = log_share(popularity, p, row)
    distance = counts_T[OWN_DISTANCE]
    if distance > 0:
        f[_OWN] = 1.0
        f[_OWN + 1] = _log_1_plus(counts_T[OWN_COUNT])
        f[_OWN + 2] = _log_1_plus(distance)
        f[_OWN + 3] = _log_1_plus(counts_T[OWN_SECONDS])
        f[_OWN + 4] = 1.0 if is_last else 0.0
        f[_OWN + 5] = _log_1_plus(counts_T[OWN_FOLLOWED])
        f[_OWN + 6] = 1.0 if distance <= session else 0.0
        f[_OWN + 7] = returns.log_share(returned, returns.BY_PLACE, int(counts_T[OWN_TYPE]))
    f[_ITEM] = abs(f[_POPULARITY + EVER] - usual)
    f[_ITEM + 1] = _log_1_plus(max(0, now - born))
    f[_ITEM + 2] = _log_1_plus(max(0, now - seen))


@kernel
def log_share(popularity: Popularity, p, row):  # type: ignore[no-untyped-def]
    return np.log(np.float32(share(popularity, p, row) + 1e-6))


@kernel
def _log_1_plus(x):  # type: ignore[no-untyped-def]
    """In single precision: half the time of log1p, and as good for what is 0 or not tiny."""
    return np.log(np.float32(1.0) + np.float32(x))


@kernel
def context(history, idle, last_gap, session, repeats, last_type_return, known):  # type: ignore[no-untyped-def]
    """The features that all candidates of an event share, in the order of CONTEXT."""
    repeat_share = np.float32(repeats / max(1, history))
    return (
        _log_1_plus(history), idle, last_gap, _log_1_plus(session), repeat_share, last_type_return, _log_1_plus(known)
    )  # fmt: skip


@kernel
def write_context(f, context_7):  # type: ignore[no-untyped-def]
    for i in range(len(CONTEXT)):
        f[_CONTEXT + i] = context_7[i]

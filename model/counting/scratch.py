"""Working memory for one event, and the bounds of what is searched for it.

Shape suffixes: N rows of the catalogue, X rows touched for one event, T columns of counts (COUNTS and the user's own
history, see `features`), C candidates, W neighbours in a row, S proposers or categories.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.counting import categories
from model.counting.features import COLUMNS
from model.counting.proposers import LONGEST_RING, PROPOSERS
from model.counting.tables import WIDE_SPAN
from model.kernels import kernel

NONE_HIDDEN = np.zeros(0, np.bool_)  # for `Scratch.hidden_N`
RECENT = 5  # newest items of a user whose followers are scored; not tuned


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
    own_X: score of a row of the user's ring, see `evidence.look_back`; 0 again once the row was offered
    best_S: number of rows kept per proposer
    best_SX, score_SX: places of these rows, in the order touched, and their scores
    order_X, picked_X: for the selection of the best
    weight_W: neighbours' weights in one row
    chosen_C, proposer_C: places of the candidates, and the proposer of each
    category_S: categories of the user's newest items, of `categories.SPAN`
    hidden_N: whether a row must not become a candidate; rows behind its end may; given for each walk

    Between two events all arrays are as `make_scratch` makes them, except those that are written before they are read.
    """

    place_N: NDArray[np.int32]
    row_X: NDArray[np.int32]
    counts_XT: NDArray[np.float32]
    is_chosen_X: NDArray[np.bool_]
    is_left_out_X: NDArray[np.bool_]
    own_X: NDArray[np.float32]
    best_S: NDArray[np.int64]
    best_SX: NDArray[np.int32]
    score_SX: NDArray[np.float32]
    order_X: NDArray[np.float32]
    picked_X: NDArray[np.int32]
    weight_W: NDArray[np.float32]
    chosen_C: NDArray[np.int32]
    proposer_C: NDArray[np.int8]
    category_S: NDArray[np.uint32]
    hidden_N: NDArray[np.bool_]


def make_scratch(rows: int, most: int, breadth: Breadth) -> Scratch:
    """Return working memory for a catalogue of `rows` with at most `most` neighbours each, and the largest breadth."""
    rows_spread = breadth.span + RECENT + breadth.hops + 4
    touched = min(rows, rows_spread * most + 2 * LONGEST_RING + breadth.candidates)
    return Scratch(
        place_N=np.full(rows, -1, dtype=np.int32),
        row_X=np.zeros(touched, dtype=np.int32),
        counts_XT=np.zeros((touched, COLUMNS), dtype=np.float32),
        is_chosen_X=np.zeros(touched, dtype=np.bool_),
        is_left_out_X=np.zeros(touched, dtype=np.bool_),
        own_X=np.zeros(touched, dtype=np.float32),
        best_S=np.zeros(len(PROPOSERS), dtype=np.int64),
        best_SX=np.zeros((len(PROPOSERS), touched), dtype=np.int32),
        score_SX=np.zeros((len(PROPOSERS), touched), dtype=np.float32),
        order_X=np.zeros(touched, dtype=np.float32),
        picked_X=np.zeros(touched, dtype=np.int32),
        weight_W=np.zeros(most, dtype=np.float32),
        chosen_C=np.zeros(breadth.candidates, dtype=np.int32),
        proposer_C=np.zeros(breadth.candidates, dtype=np.int8),
        category_S=np.zeros(categories.SPAN, dtype=np.uint32),
        hidden_N=NONE_HIDDEN,
    )


@kernel
def is_hidden(s: Scratch, row):  # type: ignore[no-untyped-def]
    return row < len(s.hidden_N) and s.hidden_N[row]


@kernel
def touch(s: Scratch, row, size):  # type: ignore[no-untyped-def]
    """Find the place of `row`, or give it the next one. Returns (place, number of rows touched)."""
    x = s.place_N[row]
    if x >= 0:
        return x, size
    s.place_N[row] = size
    s.row_X[size] = row
    s.is_chosen_X[size] = is_hidden(s, row)
    return size, size + 1


@kernel
def clear(s: Scratch, size):  # type: ignore[no-untyped-def]
    """Clear the scratch for the next event."""
    for x in range(size):
        s.place_N[s.row_X[x]] = -1
    s.counts_XT[:size] = 0.0
    s.is_chosen_X[:size] = False
    s.is_left_out_X[:size] = False

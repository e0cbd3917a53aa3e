"""Evidence for one event: the scores of the neighbours of a user's newest items, and the user's own history.

It is written into the counts of the rows that are touched. Shape suffixes are those of `scratch`, and L ring entries.
d: places back in a ring (0: newest).

Parameters that the kernels share:
    tables, rows: the counting tables; their rows of neighbours
    s: working memory of this event, see `scratch.Scratch`
    size: number of rows touched so far
    window_L, type_L, gap_L: item rows (-1: none), event types and gap buckets of the user's ring
"""

from __future__ import annotations

import numpy as np

from model.counting import neighbours, returns
from model.counting.features import COUNTS, OWN_COUNT, OWN_DISTANCE, OWN_FOLLOWED, OWN_SECONDS, OWN_TYPE
from model.counting.neighbours import NeighbourRows
from model.counting.returns import Returns
from model.counting.scratch import RECENT, Breadth, Scratch, touch
from model.counting.tables import BACKWARD, FORWARD, NEXT, PLAIN, SECONDS, WIDE, Tables
from model.kernels import kernel

RECENT_FADE, COSINE_FADE = 0.6, 0.8  # weights per place back in the ring, of followers and of cosines; not tuned

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
# Weight of a place of the ring in an own item's score, relative to the next newer one: half in 400 places, so that it
# goes by how often first. Measured: docs/experiments/own-history.md.
_OWN_FADE = np.float32(0.5 ** (1 / 400))


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
            if d < RECENT:
                size = _spread(s, size, rows, FORWARD, of_row, _at(_FORWARD_LAST, d), _FORWARD_RECENT, near)
            size = _spread_cosine(s, size, rows, of_row, d == 0, far)
        near *= RECENT_FADE
        far *= COSINE_FADE
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
def look_back(returned: Returns, s: Scratch, size, window_L, type_L, gap_L, idle):  # type: ignore[no-untyped-def]
    """Write the user's own history of each row in the ring, and its score.

    The score is one a place, less for older ones, times the share of return of the session that the newest is of.

    returned: the shares of return
    idle: log(1 + seconds since the user's last event)

    Returns (number of rows touched, events with a row, repeated ones among them, events of the present session).
    """
    ring, last = len(window_L), window_L[-1]
    known, repeats, session, faded = 0, 0, 0, np.float32(1.0)
    seconds = np.expm1(idle)
    places = returns.session_places(gap_L, idle)
    earlier, present = returns.share_of_session(returned, False), returns.share_of_session(returned, True)
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
            s.own_X[x] += faded * (present if counts_T[OWN_DISTANCE] <= places else earlier)
            if j > 0 and last >= 0 and window_L[j - 1] == last:
                counts_T[OWN_FOLLOWED] += 1.0
            session += d < places
        seconds += SECONDS[gap_L[j]]
        faded *= _OWN_FADE
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

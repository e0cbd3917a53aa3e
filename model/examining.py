"""Chooses the events of a batch that are examined or read by the LSTM, and cuts a batch into mini-batches.

Shape suffixes as in `batch`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model import sets
from model.batch import Batch, Places
from model.pace import Pace

# Most events of a mini-batch of which hardly any is examined; bounds the memory (not tuned).
_MOST_EVENTS = 4_096


def mini_batches(batch: Batch, pace: Pace, size: int) -> Iterator[slice]:
    """Cut a batch into mini-batches of which about `size` events are examined; none cuts a set."""
    if batch.own_B.all():
        return sets.pieces(batch.within_B, size * pace.thinning)
    # Numbers of examined events in units of 1 / (thinning * heard_one_in), so that they add up exactly.
    heard = max(1, pace.heard_one_in)
    cost_B = np.where(batch.own_B, heard, pace.thinning * min(1, pace.heard_one_in) * batch.learn_B)
    most = max(size * pace.thinning, _MOST_EVENTS)
    return sets.pieces_by_cost(batch.within_B, cost_B, size * pace.thinning * heard, most)


def drawn(batch: Batch, pace: Pace, rng: np.random.Generator) -> Places:
    """Draw the events to examine: of own ones one in `thinning`, of heard ones one in `heard_one_in`; of a set all or
    none. Of own events all are drawn from, of heard ones only those to learn."""
    all_own = batch.own_B.all()
    if pace.thinning == 1 and all_own:
        return slice(None)
    one_in_B = np.where(batch.own_B, pace.thinning, pace.heard_one_in)
    drawn_B = one_in_B > 0 if all_own else batch.own_B | (batch.learn_B & (one_in_B > 0))
    if one_in_B.max(initial=0) > 1:
        drawn_B &= rng.random(len(batch)) * one_in_B < 1
    return np.flatnonzero(drawn_B[sets.begins(batch.within_B)])


def read(batch: Batch, pace: Pace) -> Places:
    """Return the events that the LSTM reads: all, but heard ones only if some of these are examined."""
    return slice(None) if pace.heard_one_in or batch.own_B.all() else np.flatnonzero(batch.own_B)


def among(places: Places, of: Places) -> Places:
    """Return the places of events within some events that they are among. Both are in order."""
    if isinstance(of, slice):
        return places
    assert not isinstance(places, slice)
    found: NDArray[np.int64] = np.searchsorted(of, places)
    return found

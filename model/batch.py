"""A batch of events for the learner, and the outcome of predicting them.

Shape suffixes as in `encoder.encoder`; also L ring entries, K places of a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model import sets
from model.kernels import kernel
from model.state import Arrays

TYPES = 16  # event types that the model tells apart, in the order of the configuration; not tuned
# Buckets of the time since a user's previous event: bucket g begins at 2^g - 1 seconds, the last one stands for no
# previous event. Enough for every gap: the last but one begins after 34 years.
GAP_BUCKETS = 32
NO_GAP = GAP_BUCKETS - 1
SESSION_ENDS = 11  # gap bucket that ends a session: 2^11 s, 34 minutes; not tuned
# Some of B events, in order.
Places: TypeAlias = "slice | NDArray[np.int64]"


@dataclass(frozen=True)
class Batch:
    """B events in the order of the source.

    slot_B: slot of the user
    row_B: item row
    number_B: item number, 0: none
    category_B: category code, 0: none (see `categories`)
    type_B: event type
    ts_B: time in seconds
    next_offset_B: offset after the event in its partition
    target_B: True for events to predict, by their type
    remember_B: True for events that the user's memory does not hold yet
    learn_B: True for events among these that the line has not learned yet
    new_B: True for the first event of an item that has just been given its row
    within_B: events of the same set before this one in the batch (see `sets`); 0 for the first, and for events of none
    session_B: hash of the session's id, 0: none
    own_B: True for events of owned partitions; the others are heard, which are counted but never scored
    clock_B: second to which the event may move the clock: its time, for a heard one at most its record's time
    """

    slot_B: NDArray[np.int64]
    row_B: NDArray[np.int32]
    number_B: NDArray[np.uint32]
    category_B: NDArray[np.uint32]
    type_B: NDArray[np.uint8]
    ts_B: NDArray[np.float64]
    next_offset_B: NDArray[np.int64]
    target_B: NDArray[np.bool_]
    remember_B: NDArray[np.bool_]
    learn_B: NDArray[np.bool_]
    new_B: NDArray[np.bool_]
    within_B: NDArray[np.int16]
    session_B: NDArray[np.uint32]
    own_B: NDArray[np.bool_]
    clock_B: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.slot_B)

    def enters_rings(self) -> NDArray[np.bool_]:
        """Return True [B] for events that enter their users' rings: those to remember whose items have a number."""
        return self.remember_B & (self.number_B > 0)

    def born(self, windows_BL: NDArray[np.int32], start: int) -> NDArray[np.int32]:
        """Return the rings before the events from `start` on, without items that first appear at that event or later.

        An item that first appears in a set does so at the set's beginning, for all of the set. An evicted item that
        returns may stand in rings already, with the row that this batch gave it.

        windows_BL: item rows of the ring before each of these events, -1: none
        """
        places = np.flatnonzero(self.new_B[start:])
        if len(places) == 0:
            return windows_BL
        # The event at which each row first appears; -1 for all others.
        appears_N = np.full(1 + int(max(self.row_B.max(), windows_BL.max(initial=-1))), -1, np.int64)
        appears_N[self.row_B[start:][places]] = places
        born_BL = windows_BL.copy()
        _take_out_later(born_BL, appears_N, sets.begins(self.within_B[start : start + len(windows_BL)]))
        return born_BL

    def first_seen(self) -> NDArray[np.bool_]:
        """Return True [B] for events whose item first appears there, or in the same set."""
        return self.born(self.row_B[:, None], 0)[:, 0] < 0

    def new_rows(self, start: int) -> NDArray[np.int32]:
        """Return the rows of items that first appear at event `start` or later."""
        return self.row_B[start:][self.new_B[start:]]

    def piece(self, events: Places) -> Batch:
        return Batch(**{column.name: getattr(self, column.name)[events] for column in fields(self)})


# Values for events that were not predicted.
_NOTHING: dict[str, np.generic] = {
    "rank_B": np.int64(0), "proposer_B": np.int8(-1), "age_B": np.int64(-1), "log_probability_B": np.float64(0.0),
    "repeat_B": np.False_, "first_B": np.False_, "list_BK": np.int32(-1), "listed_B": np.int64(-1),
    "after_BK": np.int32(-1),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Predictions for B events, made before they were learned; only those in `examined_B` were predicted.

    rank_B: 1-based place of the event's item among the candidates and what fills the list up, 0: not there
    proposer_B: proposer of the item, a place in `proposers.PROPOSERS`, -1: none
    age_B: events learned since the item's first event, -1: this is its first
    log_probability_B: log-probability of the item
    repeat_B: True if the item stood in the user's ring
    first_B: True if the ring was empty
    examined_B: True for events that were predicted
    windows_BL: item rows of the ring before the event, and before its set, -1: none
    list_BK: rows of the list before any rule, best first, -1: none
    after_BK: rows of the default list after the rules, -1: none; it is made before one examined event in eight
    listed_B: 1-based place of the item in it, 0: not there, -1: it was not made
    losses: losses of the last step of the weights, in nats, by part
    """

    rank_B: NDArray[np.int64]
    proposer_B: NDArray[np.int8]
    age_B: NDArray[np.int64]
    log_probability_B: NDArray[np.float64]
    repeat_B: NDArray[np.bool_]
    first_B: NDArray[np.bool_]
    examined_B: NDArray[np.bool_]
    windows_BL: NDArray[np.int32]
    list_BK: NDArray[np.int32]
    after_BK: NDArray[np.int32]
    listed_B: NDArray[np.int64]
    losses: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of_none(windows_BL: NDArray[np.int32], length: int, after: int, losses: dict[str, float]) -> Outcome:
        """Return the outcome of B events none of which was predicted. Its columns can't be written.

        windows_BL: item rows of the ring before each event
        length, after: places of a list before the rules, and after them
        """
        count = len(windows_BL)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_NOTHING, (count,))
        shapes |= {"list_BK": (count, length), "after_BK": (count, after)}
        nothing: Arrays = {name: np.broadcast_to(value, shapes[name]) for name, value in _NOTHING.items()}
        return Outcome(**nothing, examined_B=np.zeros(count, np.bool_), windows_BL=windows_BL, losses=losses)

    def among(self, examine_B: NDArray[np.bool_], windows_BL: NDArray[np.int32]) -> Outcome:
        """Spread the outcome of examined events over all B events of a batch.

        examine_B: True for the examined events
        windows_BL: item rows of the ring before each of the B events
        """
        if examine_B.all():
            return self
        spread: Arrays = {}
        for name, nothing in _NOTHING.items():
            column = getattr(self, name)
            spread[name] = np.full((len(examine_B), *column.shape[1:]), nothing, column.dtype)
            spread[name][examine_B] = column
        return Outcome(**spread, examined_B=examine_B, windows_BL=windows_BL, losses=self.losses)

    def scored(self, batch: Batch) -> NDArray[np.int64]:
        """Return the places of own events that count for the metrics; users' first events are among them."""
        return np.flatnonzero(batch.learn_B & batch.target_B & self.examined_B & batch.own_B)

    @staticmethod
    def joined(parts: Sequence[Outcome]) -> Outcome:
        """Concatenate outcomes of the parts of a batch; of the losses the last ones count."""
        if len(parts) == 1:
            return parts[0]
        losses = dict(item for part in parts for item in part.losses.items())
        names = [column.name for column in fields(Outcome) if column.name != "losses"]
        return Outcome(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}, losses=losses
        )


@kernel
def _take_out_later(windows_BL, appears_N, begin_B):  # type: ignore[no-untyped-def]
    """Write -1 over the rows in rings that appear at the place in `begin_B` or later."""
    for b in range(len(windows_BL)):
        for j in range(windows_BL.shape[1]):
            row = windows_BL[b, j]
            if row >= 0 and appears_N[row] >= begin_B[b]:
                windows_BL[b, j] = -1

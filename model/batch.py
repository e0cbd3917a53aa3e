"""A batch of events on its way through the learner, and what was predicted of it. Legend in `encoder.encoder`; L ring
entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.state import Arrays

TYPES = 16  # event types that are told apart, in the order of the configuration
# Time since a user's event before: bucket g begins at 2^g - 1 seconds; the last stands for no event before.
GAP_BUCKETS = 32
NO_GAP = GAP_BUCKETS - 1
# Some of B events, in order.
Places: TypeAlias = "slice | NDArray[np.int64]"


@dataclass(frozen=True)
class Batch:
    """B events in the order of the source: user slot, item row, number (0: none) and category (see `categories`), type,
    time, and what is still to be done.

    `target_B` tells the events that are to be predicted at all, by their type.
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

    def __len__(self) -> int:
        return len(self.slot_B)

    def enters_rings(self) -> NDArray[np.bool_]:
        """Which events [B] stand in their users' rings afterwards: those to remember whose items have a number."""
        return self.remember_B & (self.number_B > 0)

    def born(self, windows_BL: NDArray[np.int32], start: int) -> NDArray[np.int32]:
        """The rings before the events from `start` on, without items whose first event is that event or a later one:
        an item that was evicted and comes back may stand in rings already, with the row that this batch gave it."""
        places = np.flatnonzero(self.new_B[start:])
        if len(places) == 0:
            return windows_BL
        rows = self.row_B[start:][places]
        order = np.argsort(rows)
        at_BL = order[np.searchsorted(rows[order], windows_BL).clip(max=len(rows) - 1)]
        unborn_BL = (rows[at_BL] == windows_BL) & (places[at_BL] >= np.arange(len(windows_BL))[:, None])
        return np.where(unborn_BL, np.int32(-1), windows_BL)

    def new_rows(self, start: int) -> NDArray[np.int32]:
        """Of the items that come for the first time at event `start` or later."""
        return self.row_B[start:][self.new_B[start:]]

    def piece(self, events: Places) -> Batch:
        return Batch(**{column.name: getattr(self, column.name)[events] for column in fields(self)})


# What stands for events of which nothing was predicted.
_NOTHING = {
    "rank_B": 0, "proposer_B": -1, "age_B": -1, "log_probability_B": 0.0, "repeat_B": False, "first_B": False,
    "list_BK": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What was predicted for B events before they were learned; of those not `examined_B` nothing.

    rank_B: 1-based place among the candidates, 0: not among them; proposer_B: what proposed the item, a place in
    `candidates.PROPOSERS`, -1: nothing; list_BK rows, best first, -1: none; age_B: events learned since the item first
    came, -1: it comes now; repeat_B: it stood in the user's ring; first_B: the ring was empty; windows_BL: the rows of
    the ring before the event.
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
    losses: dict[str, float] = field(default_factory=dict)

    def among(self, examine_B: NDArray[np.bool_], windows_BL: NDArray[np.int32]) -> Outcome:
        """The same of B events, of which these are the examined ones."""
        if examine_B.all():
            return self
        spread: Arrays = {}
        for name, nothing in _NOTHING.items():
            column = getattr(self, name)
            spread[name] = np.full((len(examine_B), *column.shape[1:]), nothing, column.dtype)
            spread[name][examine_B] = column
        return Outcome(**spread, examined_B=examine_B, windows_BL=windows_BL, losses=self.losses)

    def scored(self, batch: Batch) -> NDArray[np.int64]:
        """Which events of the batch count for its quality, a user's first ones too."""
        return np.flatnonzero(batch.learn_B & batch.target_B & self.examined_B)

    @staticmethod
    def joined(parts: Sequence[Outcome]) -> Outcome:
        """One outcome of the parts of a batch; of the losses the last ones."""
        losses = dict(item for part in parts for item in part.losses.items())
        names = [column.name for column in fields(Outcome) if column.name != "losses"]
        return Outcome(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}, losses=losses
        )

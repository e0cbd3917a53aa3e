"""Leaves out events that came before: they are published, and neither remembered nor learned.

An event is a duplicate if its id is among the last ones of its user. The ids are in the user's memory, so an event that
is done again after a crash is judged by the same ids as at first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.joining import KEPT_JOINS
from model.recent_ids import KEPT_IDS, Identified, Judged, judge
from model.user_table import UserTable
from stream_worker.core.events import Events
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.offsets import Effects


def kept_of(config: EventsConfig) -> tuple[int, int]:
    """Return how many ids of a user, and how many users that were joined to one, are kept where events are so read."""
    return KEPT_IDS if config.sources("id") else 0, KEPT_JOINS if config.sources("alias") else 0


class Fresh(NamedTuple):
    """The events of a batch that are no duplicates, with the slots of their users and the effects they still have.

    judged: which events are duplicates, and the ids of users after them, which the table does not have yet.
    """

    events: Events
    slot_B: NDArray[np.int64]
    effects: Effects
    judged: Judged


def without_duplicates(users: UserTable, events: Events, slot_B: NDArray[np.int64], effects: Effects) -> Fresh:
    """Return the events that are no duplicates. No table changes."""
    judged = judge(users, Identified(slot_B, events.offset_B, events.id_B, effects.remember_B))
    if not judged.repeated_B.any():
        return Fresh(events, slot_B, effects, judged)
    kept = np.flatnonzero(~judged.repeated_B)
    return Fresh(_renumbered(events, judged.repeated_B).at(kept), slot_B[kept], effects.at(kept), judged)


def _renumbered(events: Events, repeated_B: NDArray[np.bool_]) -> Events:
    """Return the events with `within_B` as it is without the duplicates."""
    kept_before_B: NDArray[np.int64] = np.cumsum(~repeated_B) - ~repeated_B
    first_B = np.arange(len(events)) - events.within_B
    return replace(events, within_B=(kept_before_B - kept_before_B[first_B]).astype(np.int16))

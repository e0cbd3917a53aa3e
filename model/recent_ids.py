"""The ids of users' last events: tells events that came before, so that they are left out.

Shape suffixes: B events, U users, I ids (right-aligned, newest last, 0: none).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels import kernel
from model.user_table import UserTable

KEPT_IDS = 64  # ids of a user that are kept; ADR 0018


class Identified(NamedTuple):
    """Events in the order of the source, with the hashes of their ids.

    slot_B: slot of the user
    offset_B: offset of the record; events of one record stand next to each other
    id_B: hash of the event's id, 0: none
    remember_B: True for events that the user's memory does not hold yet; no others are judged
    """

    slot_B: NDArray[np.int64]
    offset_B: NDArray[np.int64]
    id_B: NDArray[np.uint32]
    remember_B: NDArray[np.bool_]


class Judged(NamedTuple):
    """The result of `judge`.

    repeated_B: True for events whose id is among the user's last ones
    slot_U, ids_UI: the users, with their last ids after these events
    """

    repeated_B: NDArray[np.bool_]
    slot_U: NDArray[np.int64]
    ids_UI: NDArray[np.uint32]


def judge(users: UserTable, events: Identified) -> Judged:
    """Tell which events repeat an earlier one. Nothing changes until `UserTable.put_ids` is called with the result.

    An id that comes again becomes no newer. Events of one record with the same id are not repeats of each other.
    """
    repeated_B = np.zeros(len(events.slot_B), np.bool_)
    if not users.ids_SI.shape[1]:
        nobody = np.zeros(0, np.int64)
        return Judged(repeated_B, nobody, users.ids_SI[nobody])
    slot_U, place_B = np.unique(events.slot_B, return_inverse=True)
    ids_UI = users.ids_SI[slot_U]
    if events.id_B.any():
        _judge(events, place_B, ids_UI, repeated_B)
    return Judged(repeated_B, slot_U, ids_UI)


@kernel
def _judge(events: Identified, place_B, ids_UI, repeated_B):  # type: ignore[no-untyped-def]
    for k in range(len(place_B)):
        if events.id_B[k] == 0 or not events.remember_B[k]:
            continue
        first = _first_of_record(events, k)
        if first < k:
            repeated_B[k] = repeated_B[first]
        elif _stands_in(ids_UI[place_B[k]], events.id_B[k]):
            repeated_B[k] = True
        else:
            _push(ids_UI[place_B[k]], events.id_B[k])


@kernel
def _first_of_record(events: Identified, k):  # type: ignore[no-untyped-def]
    """Return the first event to remember of the same record, user and id."""
    first, j = k, k - 1
    while j >= 0 and events.offset_B[j] == events.offset_B[k]:
        if events.remember_B[j] and events.slot_B[j] == events.slot_B[k] and events.id_B[j] == events.id_B[k]:
            first = j
        j -= 1
    return first


@kernel
def _stands_in(ids_I, wanted):  # type: ignore[no-untyped-def]
    found = False
    for known in ids_I:
        found |= known == wanted
    return found


@kernel
def _push(ids_I, newest):  # type: ignore[no-untyped-def]
    for j in range(len(ids_I) - 1):
        ids_I[j] = ids_I[j + 1]
    ids_I[-1] = newest

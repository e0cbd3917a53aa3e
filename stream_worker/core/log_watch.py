"""Finds faults of a recorded log that spoil the figures of its replay.

These are rows over a minute older than the row before, events twice in a row, and a user who is not a person. Each
fault is told once, at the end of the replay, with its extent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.amounts import amount
from stream_worker.core.events import Events
from stream_worker.core.reasons import shown

BACK_SECONDS = 60.0  # an event that is older than the one before by more than this is out of order (not tuned)
LARGE_SHARE = 0.2  # share of all events from which on one user is told of (not tuned)
_FEW_EVENTS = 1_000  # events below which no share is told (not tuned)
# Users counted at most, and users left when there are more: an error of at most 1 / 10,000 of the events (see below).
_MOST_USERS, _KEPT_USERS = 20_000, 10_000


class LogWatch:
    """Counts of the faults in the events of a log, in bounded memory.

    Of more than 20,000 users the rare ones are forgotten (Misra and Gries 1982), so that a user's share is told at most
    a ten-thousandth too small.

    types: names of the event types by their numbers, if each of them is expected to occur.
    mapped: whether a mapping file reads the log; else it is a recorded topic, in the order of its records.
    """

    def __init__(self, types: Sequence[str] = (), *, mapped: bool = True) -> None:
        self._mapped = mapped
        self._types, self._seen = types, np.zeros(len(types), bool)
        self._events = self._back = self._twice = 0
        self._first_back = self._first_twice = -1
        self._users: Counter[str] = Counter()
        self._last_ts, self._last = -np.inf, ("", "", -1)

    def add(self, events: Events) -> None:
        """Count the faults in the next events of the log."""
        if not len(events):
            return
        step_B = np.diff(events.ts_B, prepend=self._last_ts)
        back_X = np.flatnonzero(step_B < -BACK_SECONDS)
        twice_X = self._same_as_before(events, step_B)
        if self._back == 0 and len(back_X):
            self._first_back = int(events.offset_B[back_X[0]])
        if self._twice == 0 and len(twice_X):
            self._first_twice = int(events.offset_B[twice_X[0]])
        self._events += len(events)
        self._back += len(back_X)
        self._twice += len(twice_X)
        self._last_ts = float(events.ts_B[-1])
        self._last = events.users[-1], events.items[-1], int(events.type_B[-1])
        self._count_users(events)
        if len(self._types):
            self._seen[events.type_B] = True

    def _same_as_before(self, events: Events, step_B: NDArray[np.float64]) -> list[int]:
        """Return the rows that equal the row before in time, user, item and type; texts are compared last."""
        users, items, types = events.users, events.items, events.type_B
        found = []
        for row in np.flatnonzero(step_B == 0).tolist():
            before = (users[row - 1], items[row - 1], int(types[row - 1])) if row else self._last
            if (users[row], items[row], int(types[row])) == before:
                found.append(row)
        return found

    def _count_users(self, events: Events) -> None:
        self._users.update(events.users)
        if len(self._users) > _MOST_USERS:
            kept = self._users.most_common(_KEPT_USERS)
            least = kept[-1][1]
            self._users = Counter({user: count - least for user, count in kept if count > least})

    def findings(self) -> Iterator[str]:
        """Yield a sentence for a person about each fault that was found."""
        if self._back:
            remedy = "; `sort = true` in the mapping puts them in order" if self._mapped else ", as in their topic"
            yield (
                f"{amount(self._back, 'event is', 'events are')} more than a minute older than the one before "
                f"(first: row {self._first_back:,}){remedy}"
            )
        if self._twice:
            yield (
                f"{amount(self._twice, 'event stands', 'events stand')} there twice in a row "
                f"(first: row {self._first_twice:,}); each counts, and is easy to predict"
            )
        if unseen := [name for name, seen in zip(self._types, self._seen, strict=True) if not seen]:
            yield f"event types of the configuration that no event has: {', '.join(unseen)}"
        [(user, count)] = self._users.most_common(1) or [("", 0)]
        if self._events >= _FEW_EVENTS and count > LARGE_SHARE * self._events:
            yield (
                f"{count / self._events:.0%} of the events are of one user, {shown(user)}; one that stands for "
                f"nobody can be left out by {'[keep] in the mapping' if self._mapped else '[events.keep]'}"
            )

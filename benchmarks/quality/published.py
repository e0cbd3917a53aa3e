"""Ranks of events in the lists that a group of workers published, from its input topic and its output topic alone.

An event counts against the newest list of its user that was as of an earlier event and stood in the output topic before
the event was produced. Both times are the broker's records'; a list that came later never counts, whatever it is as of.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import DEPTH
from stream_worker.core.codec import decode_recommendation
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from tests.support.fleet import read_all

NO_LIST = -1  # in place of a rank
_KINDS: dict[str, type] = {"first_E": np.bool_, "stale_E": np.bool_, "wait_ms_E": np.float64}


class Asked(NamedTuple):
    """An event of a target type. `first`: its user had no valid event before; `before`: the newest one's offset."""

    partition: int
    offset: int
    at_ms: int
    user: str
    item: str
    first: bool
    before: int


@dataclass
class Lists:
    """The lists of one user, in the order of the events that they are as of. `partition`: of the user's events."""

    partition: int = -1
    offsets: list[int] = field(default_factory=list)
    at_ms: list[int] = field(default_factory=list)
    items: list[Sequence[str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def newest(self, offset: int, at_ms: float) -> int:
        """Return the place of the newest list as of an event before `offset` and published before `at_ms`, or -1."""
        place = self.as_of(offset) - 1
        while place >= 0 and self.at_ms[place] >= at_ms:
            place -= 1
        return place

    def as_of(self, offset: int) -> int:
        """Return the place of the first list as of this event or a later one."""
        return bisect_left(self.offsets, offset)

    def rank(self, place: int, item: str) -> int:
        """Return the rank of an item from 1, 0 behind the list's first 20, `NO_LIST` without a list."""
        if place < 0:
            return NO_LIST
        items = self.items[place][:DEPTH]
        return items.index(item) + 1 if item in items else 0


@dataclass(frozen=True)
class Scored:
    """E events of target types by partition and offset, the same in each run of the same log.

    partition_E, offset_E: where they stand.
    user_E: numbers of the users.
    at_ms_E: when they were produced.
    rank_E: rank in the list of then, see `Lists.rank`.
    rank_whenever_E: the same in the newest list as of an earlier event, however late it was published.
    first_E: True for the first event of a user, for which there can't be a list.
    stale_E: True where the list of then was not yet as of the user's event before.
    wait_ms_E: from the event to the first list as of it or of a later one; infinite without one.
    """

    partition_E: NDArray[np.int64]
    offset_E: NDArray[np.int64]
    user_E: NDArray[np.int64]
    at_ms_E: NDArray[np.int64]
    rank_E: NDArray[np.int64]
    rank_whenever_E: NDArray[np.int64]
    first_E: NDArray[np.bool_]
    stale_E: NDArray[np.bool_]
    wait_ms_E: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rank_E)

    def at(self, chosen_E: NDArray[Any]) -> Scored:
        return Scored(**{name: column[chosen_E] for name, column in vars(self).items()})

    def are_those_of(self, other: Scored) -> bool:
        """Return True if the events are the same."""
        mine, theirs = ((run.partition_E, run.offset_E) for run in (self, other))
        return all(map(np.array_equal, mine, theirs))


_COLUMNS = [(name, _KINDS.get(name, np.int64)) for name in Scored.__dataclass_fields__]


def asked(bootstrap: str, topic: str, config: EventsConfig) -> list[Asked]:
    """Return the events of target types that stand in the input topic."""
    decoder, targets = Decoder(config), [kind.target for kind in config.event_types]
    found, newest = list[Asked](), dict[str, int]()
    for message in sorted(read_all(bootstrap, topic), key=lambda one: (one.partition(), one.offset())):
        place, at_ms = (message.partition(), message.offset()), message.timestamp()[1]
        events, _ = decoder.decode([Record(*place, at_ms, message.key(), message.value())])
        for user, item, kind in zip(events.users, events.items, events.type_B.tolist(), strict=True):
            if targets[kind]:
                found.append(Asked(*place, at_ms, user, item, user not in newest, newest.get(user, -1)))
            newest[user] = place[1]
    return found


def lists_of(bootstrap: str, topic: str) -> dict[str, Lists]:
    """Return the lists of each user that stand in the output topic and were committed."""
    found = defaultdict[str, Lists](Lists)
    for message in read_all(bootstrap, topic):
        told = decode_recommendation(message.value())
        lists = found[told.user]
        lists.partition = told.partition
        lists.offsets.append(told.next_offset - 1)
        lists.at_ms.append(message.timestamp()[1])
        lists.items.append(told.items)
        lists.lines.append(told.line)
    return found


def scored(events: Iterable[Asked], lists: Mapping[str, Lists]) -> Scored:
    """Rank each event in the lists that its user had."""
    numbers, rows = dict[str, int](), list[tuple[Any, ...]]()
    for event in events:
        own = lists.get(event.user, Lists())
        then, covered = own.newest(event.offset, event.at_ms), own.as_of(event.offset)
        ranks = own.rank(then, event.item), own.rank(covered - 1, event.item)
        stale = (own.offsets[then] if then >= 0 else -1) < event.before
        wait = own.at_ms[covered] - event.at_ms if covered < len(own.offsets) else np.inf
        user = numbers.setdefault(event.user, len(numbers))
        rows.append((event.partition, event.offset, user, event.at_ms, *ranks, event.first, stale, wait))
    table = np.array(rows, dtype=_COLUMNS)
    return Scored(**{name: table[name] for name, _ in _COLUMNS})

"""Pieces of a poll: whole records, whose events fit into the tables of a tick, since a record may hold many events.

An alias acts at the beginning of its piece. So one whose user, or whose user's other id, has events before it in the
piece begins another one.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.events import Alias, DeadLetter, Events, Record


@dataclass(frozen=True)
class Piece:
    """Records in the order of the poll, with their events, dead letters and aliases."""

    records: Sequence[Record]
    events: Events
    dead_letters: Sequence[DeadLetter]
    aliases: Sequence[Alias] = ()

    def of(self, partitions: Container[int]) -> Piece:
        """Return what of the piece is of these partitions."""
        there = partitions_of(self.records)
        kept = {partition for partition in there if partition in partitions}
        if kept == there:
            return self
        return Piece(
            records_of(self.records, kept),
            self.events.at(np.flatnonzero(np.isin(self.events.partition_B, list(kept)))),
            [letter for letter in self.dead_letters if letter.record.partition in partitions],
            [alias for alias in self.aliases if alias.partition in partitions],
        )

    def parted(self, partitions: Container[int]) -> tuple[list[Alias], list[Alias]]:
        """Return the aliases of these partitions, and those of others."""
        inside = [alias for alias in self.aliases if alias.partition in partitions]
        return inside, [alias for alias in self.aliases if alias.partition not in partitions]


def partitions_of(records: Sequence[Record]) -> set[int]:
    """Return the partitions that these records are of."""
    return set(map(attrgetter("partition"), records))


def records_of(records: Sequence[Record], partitions: Collection[int]) -> Sequence[Record]:
    """Return the records of these partitions, in their order."""
    there = partitions_of(records)
    if there.isdisjoint(partitions):
        return []
    return records if there <= set(partitions) else [record for record in records if record.partition in partitions]


def next_offsets(records: Sequence[Record]) -> dict[int, int]:
    """Return the offset behind the last of these records, by partition."""
    last = dict(zip(map(attrgetter("partition"), records), map(attrgetter("offset"), records), strict=True))
    return {partition: offset + 1 for partition, offset in last.items()}


def places_of(
    records: Sequence[Record], partition_X: NDArray[np.integer], offset_X: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return the place among the records of each of these partitions and offsets; all of them are there."""
    count = len(records)
    offset_R = np.fromiter(map(attrgetter("offset"), records), np.int64, count)
    partition_R = np.fromiter(map(attrgetter("partition"), records), np.int64, count)
    if np.array_equal(offset_R, offset_X) and np.array_equal(partition_R, partition_X):
        return np.arange(count)
    first = offset_R.min(initial=0)
    # Partition and offset as one number, so that a search finds both at once.
    width = 1 + offset_R.max(initial=0) - first
    at_R = partition_R * width + offset_R - first
    order_R = np.argsort(at_R, kind="stable")
    places_X: NDArray[np.int64] = order_R[np.searchsorted(at_R, partition_X * width + offset_X - first, sorter=order_R)]
    return places_X


def cut(whole: Piece, most: int) -> Iterator[Piece]:
    """Cut a poll into pieces of at most `most` events and aliases; a record of more events is a piece alone."""
    if len(whole.events) <= most and not whole.aliases:
        yield whole
        return
    places = _Places(
        places_of(whole.records, whole.events.partition_B, whole.events.offset_B),
        _places(whole.records, [letter.record for letter in whole.dead_letters]),
        _places(whole.records, whole.aliases),
    )
    count = len(whole.records)
    counts_R = np.bincount(places.events, minlength=count) + np.bincount(places.aliases, minlength=count)
    for begin, end in pairwise([0, *_begins(whole, places), count]):
        for start, stop in pairwise([begin, *_stops(counts_R[begin:end], begin, most), end]):
            yield places.between(whole, start, stop)


def _places(records: Sequence[Record], wanted: Sequence[Record | Alias]) -> NDArray[np.int64]:
    partition_X = np.array([one.partition for one in wanted], np.int64)
    return places_of(records, partition_X, np.array([one.offset for one in wanted], np.int64))


@dataclass(frozen=True)
class _Places:
    """The places among the records of a piece's events, dead letters and aliases."""

    events: NDArray[np.int64]
    dead_letters: NDArray[np.int64]
    aliases: NDArray[np.int64]

    def between(self, whole: Piece, start: int, stop: int) -> Piece:
        """Return the piece of the records from `start` to before `stop`."""
        events, letters, aliases = (
            np.flatnonzero((at >= start) & (at < stop)) for at in (self.events, self.dead_letters, self.aliases)
        )
        return Piece(
            whole.records[start:stop],
            whole.events.at(events),
            [whole.dead_letters[place] for place in letters.tolist()],
            [whole.aliases[place] for place in aliases.tolist()],
        )


def _begins(whole: Piece, places: _Places) -> Iterator[int]:
    """Yield the places of records that begin a piece, since an alias in them may not act before events in front."""
    users, partitions, seen = whole.events.users, whole.events.partition_B.tolist(), 0
    own, everywhere = set[tuple[int, str]](), set[str]()
    for alias, place in zip(whole.aliases, places.aliases.tolist(), strict=True):
        before = int(np.searchsorted(places.events, place))
        own.update(zip(partitions[seen:before], users[seen:before], strict=True))
        everywhere.update(users[seen:before])
        seen = before
        if (alias.partition, alias.user) in own or alias.old in everywhere:
            own.clear()
            everywhere.clear()
            yield place


def _stops(counts_R: NDArray[np.int64], begin: int, most: int) -> Iterator[int]:
    """Yield the place behind the last record of each piece but the last one.

    counts_R: events and aliases of each record, from the one at place `begin` on
    """
    before_R = np.concatenate([[0], np.cumsum(counts_R)])
    start = 0
    while before_R[-1] - before_R[start] > most:
        fitting = int(np.searchsorted(before_R, before_R[start] + most, side="right")) - 1
        start = max(fitting, start + 1)
        if start < len(counts_R):
            yield begin + start

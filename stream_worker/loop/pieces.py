"""Pieces of a poll: whole records, whose events fit into the tables of a tick, since a record may hold many events."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_worker.core.events import DeadLetter, Events, Record


@dataclass(frozen=True)
class Piece:
    """Records in the order of the poll, with their events and dead letters."""

    records: Sequence[Record]
    events: Events
    dead_letters: Sequence[DeadLetter]

    def of(self, partitions: Container[int]) -> Piece:
        """Return what of the piece is of these partitions."""
        if all(record.partition in partitions for record in self.records):
            return self
        kept = [place for place, partition in enumerate(self.events.partition_B.tolist()) if partition in partitions]
        return Piece(
            [record for record in self.records if record.partition in partitions],
            self.events.at(np.array(kept, np.int64)),
            [letter for letter in self.dead_letters if letter.record.partition in partitions],
        )


def cut(whole: Piece, most: int) -> Iterator[Piece]:
    """Cut a poll into pieces of at most `most` events; a record of more events is a piece alone."""
    if len(whole.events) <= most:
        yield whole
        return
    place_of = {(record.partition, record.offset): place for place, record in enumerate(whole.records)}
    record_B = [
        place_of[at] for at in zip(whole.events.partition_B.tolist(), whole.events.offset_B.tolist(), strict=True)
    ]
    record_D = np.array([place_of[d.record.partition, d.record.offset] for d in whole.dead_letters], np.int64)
    start = begin = 0
    for stop in _stops(np.array(record_B), most):
        end = record_B[stop] if stop < len(record_B) else len(whole.records)
        letters = np.flatnonzero((record_D >= begin) & (record_D < end)).tolist()
        events = whole.events.at(np.arange(start, stop))
        yield Piece(whole.records[begin:end], events, [whole.dead_letters[place] for place in letters])
        start, begin = stop, end


def _stops(record_B: NDArray[np.int64], most: int) -> Iterator[int]:
    """Yield the place behind the last event of each piece. `record_B`: the place of each event's record."""
    ends = np.append(np.flatnonzero(np.diff(record_B)) + 1, len(record_B))  # of the events of a record
    start = 0
    while start < len(record_B):
        fitting = int(np.searchsorted(ends, start + most, side="right")) - 1
        first = int(np.searchsorted(ends, start, side="right"))
        start = int(ends[max(fitting, first)])
        yield start

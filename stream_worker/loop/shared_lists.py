"""Makes shared lists: what goes with an item, and what is popular in a category, for those who are not known yet.

A list is looked at after events of its item or category, and goes out if its first items have changed. One worker alone
publishes it: the owner of the partition that a checksum of its key names. What it has published it knows in memory
only: after a start, or where partitions came or went, a list that is looked at goes out once more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.counting.shared_lists import ALL, Hottest, Ranked, similar
from model.learner import Learner
from stream_worker.core.events import SCORE_DIGITS, Events, Outputs, SharedList
from stream_worker.core.interfaces import Source
from stream_worker.core.offsets import Offsets
from stream_worker.loop.line import Line
from stream_worker.loop.turns import Turns

_FIRST = 10  # items of a list that must have changed before it goes out again
_ONE_IN = 10  # published events for one shared list, so that these stay a small part of what is written
_LOOKS = 4  # lists that are looked at for one that may go out; not tuned
_PRIME = np.uint64(1_099_511_628_211)  # of the FNV hash

# Returns True by catalogue row for items that may stand in a shared list.
Allowed = Callable[[], NDArray[np.bool_]]


@dataclass(frozen=True)
class SharedTopics:
    """Choice of the shared lists that are made."""

    similar: bool = False
    popular: bool = False


@dataclass(frozen=True)
class _Moment:
    """The newest event that a commit publishes, and the rows that may stand in its shared lists."""

    partition: int
    next_offset: int
    ts: float
    allowed_N: NDArray[np.bool_]


class _Kind(Protocol):
    """A kind of shared lists; places are its own."""

    def key(self, place: int) -> str:
        """Return the key of the list of a place."""
        ...

    def due(self, moment: _Moment, most: int) -> tuple[NDArray[np.int64], Ranked]:
        """Return the places whose lists go out, at most so many, and the lists."""
        ...


class SharedLists:
    """Notes what had events, and puts the lists that are due into the outbox.

    line: the line whose counts they come from.
    wanted: which are made.
    names: the names of categories by their codes, as far as they are known; it may grow.
    allowed: None for all items that may stand in a default list.
    """

    def __init__(
        self,
        line: Line,
        source: Source,
        offsets: Offsets,
        wanted: SharedTopics,
        names: Mapping[int, str],
        allowed: Allowed | None = None,
    ) -> None:
        self._line, self._learner, self._wanted = line, line.learner, wanted
        self._source, self._offsets = source, offsets
        self._allowed = allowed or line.learner.list_maker.allowed
        self._allowed_N = np.zeros(0, np.bool_)
        self._similar = _Similar(line.learner, self._is_ours)
        self._popular = _Popular(line.learner, self._is_ours, names)
        self._owned: tuple[list[int], int] = ([], 0)
        self._credit = 0.0
        self._popular_first = False  # in turns, so that neither kind takes all that there is room for

    def see(self, row_B: NDArray[np.int32]) -> None:
        """Note the rows of events that were counted."""
        rows = np.unique(row_B)
        if self._wanted.similar:
            self._similar.see(rows)
        if self._wanted.popular:
            self._popular.see(rows)

    def collect(self, outbox: Outputs, events: Events, published: NDArray[np.int64]) -> None:
        """Put the lists that are due into the outbox, beside those of users for these events.

        published: places of the published events; not empty.
        """
        if not (self._wanted.similar or self._wanted.popular):
            return
        self._follow_ownership()
        moment = self._moment(events, int(published.max()))
        share = len(published) / _ONE_IN
        self._credit = min(self._credit + share, max(1.0, share))
        kinds: list[tuple[_Kind, list[SharedList]]] = [(self._similar, outbox.similar)] if self._wanted.similar else []
        kinds += [(self._popular, outbox.popular)] if self._wanted.popular else []
        for kind, made in kinds[:: -1 if self._popular_first else 1]:
            made.extend(lists := self._made(kind, moment))
            self._credit = max(0.0, self._credit - len(lists))
            if lists:
                self._popular_first = kind is self._similar

    def _made(self, kind: _Kind, moment: _Moment) -> list[SharedList]:
        places, ranked = kind.due(moment, int(self._credit))
        ids, partitions = self._learner.catalog.ids, len(self._source.partitions())
        scores_MK = np.round(ranked.score_MK.astype(np.float64), SCORE_DIGITS).tolist()
        lists = []
        for place, rows_K, scores_K in zip(places.tolist(), ranked.rows_MK.tolist(), scores_MK, strict=True):
            items = [ids[row] for row in rows_K if row >= 0]
            lists.append(
                SharedList(
                    key=(key := kind.key(place)),
                    home=_checksum(key) % partitions,
                    partition=moment.partition,
                    next_offset=moment.next_offset,
                    ts=moment.ts,
                    items=items,
                    scores=scores_K[: len(items)],
                    line=self._line.name,
                    step=self._learner.steps,
                )
            )
        return lists

    def _moment(self, events: Events, last: int) -> _Moment:
        """Return the moment of the newest published event; what may stand in lists no more is looked for at once."""
        before_N, self._allowed_N = self._allowed_N, self._allowed()
        common = min(len(before_N), len(self._allowed_N))
        left = np.flatnonzero(before_N[:common] & ~self._allowed_N[:common])
        if len(left):
            self._similar.leave(left)
            self._popular.leave(left)
        at = int(events.partition_B[last]), int(events.offset_B[last]) + 1
        return _Moment(*at, self._learner.clock_ts, self._allowed_N)

    def _is_ours(self, checksum_M: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return True for keys whose lists this worker publishes."""
        return np.isin(checksum_M % max(1, len(self._source.partitions())), self._offsets.owned())

    def _follow_ownership(self) -> None:
        """Publish lists anew once other partitions are owned: another worker had them, or some got lost."""
        owned = self._offsets.owned(), len(self._source.partitions())
        if owned != self._owned:
            self._owned = owned
            self._similar.begin_again()
            self._popular.begin_again()


class _Similar:
    """Lists by catalogue row: what goes with its item. An item without a number has none."""

    def __init__(self, learner: Learner, is_ours: Callable[[NDArray[np.uint32]], NDArray[np.bool_]]) -> None:
        self._learner, self._is_ours = learner, is_ours
        self._turns = Turns()
        self._number_N = np.zeros(0, np.uint32)
        self._checksum_N = np.zeros(0, np.uint32)

    def key(self, row: int) -> str:
        return self._learner.catalog.ids[row]

    def see(self, rows: NDArray[np.integer]) -> None:
        """Let rows wait for their turn."""
        self._know(rows)
        ours = self._is_ours(self._checksum_N[rows]) & (self._number_N[rows] > 0)
        self._turns.touch(rows[ours])

    def _know(self, rows: NDArray[np.integer]) -> None:
        """Begin anew with rows that belong to another item than before."""
        catalog = self._learner.catalog
        more = catalog.capacity - len(self._number_N)
        if more > 0:
            self._number_N, self._checksum_N = np.pad(self._number_N, (0, more)), np.pad(self._checksum_N, (0, more))
            self._turns.grow(catalog.capacity)
        new = rows[self._number_N[rows] != catalog.number_N[rows]]
        if len(new):
            self._number_N[new] = catalog.number_N[new]
            self._checksum_N[new] = [_checksum(item) for item in catalog.ids_of_rows(new)]
            self._turns.forget(new)

    def leave(self, rows: NDArray[np.integer]) -> None:
        """Look at once at the lists of the neighbours of rows that may stand in lists no more."""
        counted = self._learner.counting.tables.rows
        for table in range(len(counted.start_TN)):
            starts, widths = counted.start_TN[table, rows], counted.width_TN[table, rows]
            blocks = [counted.item_X[start : start + width] for start, width in zip(starts, widths, strict=True)]
            beside = np.unique(np.concatenate(blocks))
            beside = beside[beside >= 0]
            self.see(beside)
            self._turns.hurry(beside)

    def begin_again(self) -> None:
        self._turns.forget_all(self._is_ours(self._checksum_N[self._turns.queue]))

    def due(self, moment: _Moment, most: int) -> tuple[NDArray[np.int64], Ranked]:
        """Return the rows whose lists go out, at most so many, and the lists."""
        catalog = self._learner.catalog
        rows = self._turns.ready(moment.ts)[: _LOOKS * most]
        gone = catalog.number_N[rows] != self._number_N[rows]
        self._turns.pass_over(rows[gone])
        rows = rows[~gone]
        ranked = similar(self._learner.counting.tables, rows.astype(np.int32), moment.allowed_N)
        return _changed(self._turns, rows, ranked, catalog.number_N, moment.ts, most)


class _Popular:
    """Lists by place in `Hottest`: what is popular in a category, or at all. One without a known name has none."""

    def __init__(
        self,
        learner: Learner,
        is_ours: Callable[[NDArray[np.uint32]], NDArray[np.bool_]],
        names: Mapping[int, str],
    ) -> None:
        self._learner, self._is_ours, self._names = learner, is_ours, names
        self._turns = Turns()
        self._hottest: Hottest | None = None
        self._at_once: NDArray[np.int64] = np.zeros(0, np.int64)

    def key(self, place: int) -> str:
        assert self._hottest is not None
        return "" if place == ALL else self._names[int(self._hottest.code_C[place])]

    def see(self, rows: NDArray[np.integer]) -> None:
        """Move rows up in their categories, and let these wait for their turn."""
        tables = self._learner.counting.tables
        if self._hottest is None:
            self._hottest = Hottest()
            self._hottest.begin(tables, self._learner.catalog.live_rows())
        places = self._hottest.see(tables, rows.astype(np.int32))
        self._turns.grow(len(self._hottest.hottest_CQ))
        self._turns.touch(places[self._are_ours(places)])

    def _are_ours(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for places whose category has a name and a list that this worker publishes."""
        assert self._hottest is not None
        codes = self._hottest.code_C[places].tolist()
        named = np.array([code == 0 or code in self._names for code in codes], np.bool_)
        checksums = [_checksum(self._names.get(code, "")) for code in codes]
        return named & self._is_ours(np.array(checksums, np.uint32))

    def leave(self, rows: NDArray[np.integer]) -> None:
        """Look at once at all lists that rows stand in which may stand in lists no more."""
        if self._hottest is not None:
            places = np.flatnonzero(np.isin(self._hottest.hottest_CQ, rows).any(axis=1))
            places = places[places < len(self._hottest.code_C)]
            self._at_once = np.union1d(self._at_once, places[self._are_ours(places)])

    def begin_again(self) -> None:
        queue = self._turns.queue
        self._turns.forget_all(self._are_ours(queue) if len(queue) else np.zeros(0, np.bool_))

    def due(self, moment: _Moment, most: int) -> tuple[NDArray[np.int64], Ranked]:
        """Return the places whose lists go out, and the lists: at most so many, and those that must at once."""
        if self._hottest is None:
            return np.zeros(0, np.int64), Ranked(0)
        at_once, self._at_once = self._at_once, np.zeros(0, np.int64)
        waiting = self._turns.ready(moment.ts)[: _LOOKS * most]
        places = np.append(at_once, waiting[~np.isin(waiting, at_once)])
        ranked = self._hottest.lists(self._learner.counting.tables, places, moment.allowed_N)
        numbers = self._learner.catalog.number_N
        return _changed(self._turns, places, ranked, numbers, moment.ts, most + len(at_once))


def _changed(
    turns: Turns, places: NDArray[np.int64], ranked: Ranked, number_N: NDArray[np.uint32], now: float, most: int
) -> tuple[NDArray[np.int64], Ranked]:
    """Return the first lists whose first items are others than last time; the rest of those keep their turn."""
    first_M = _hash(ranked.rows_MK[:, :_FIRST], number_N)
    differ = np.flatnonzero(first_M != turns.first[places])
    turns.looked_at(np.delete(places, differ[most:]), now)
    chosen = differ[:most]
    turns.first[places[chosen]] = first_M[chosen]
    return places[chosen], ranked.at(chosen)


def _hash(rows_MK: NDArray[np.int32], number_N: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return a hash of the items of each list in their order, 0 for an empty one."""
    hash_M = np.zeros(len(rows_MK), np.uint64)
    for rows_M in rows_MK.T:
        there_M = rows_M >= 0
        hash_M[there_M] = hash_M[there_M] * _PRIME + number_N[rows_M[there_M]] + np.uint64(1)
    return hash_M


def _checksum(key: str) -> int:
    """Return a checksum of a key, the same in every process."""
    return zlib.crc32(key.encode())

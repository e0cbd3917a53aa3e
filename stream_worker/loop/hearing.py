"""Hears every partition that this worker does not own: it learns from them what their owners publish lists for."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from model.batch import Batch, Outcome
from model.pace import Pace
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Record
from stream_worker.core.interfaces import Claim, HeardSource
from stream_worker.core.offsets import Kept, Offsets
from stream_worker.core.status import Hearing as Counts
from stream_worker.logs import get_logger
from stream_worker.loop.awaited import Awaited
from stream_worker.loop.heard_users import HeardUsers
from stream_worker.loop.item_numbers import ItemNumbers
from stream_worker.loop.kept_back import KeptBack
from stream_worker.loop.line import Line
from stream_worker.loop.outside import Outside
from stream_worker.loop.time_order import in_time_order

# Seconds between two tries of a broker that does not answer, and between two log lines about that. Not tuned.
_RETRY_SECONDS, _SILENT_SECONDS = 1.0, 15.0
# The newest events that a worker need not have heard before it joins the group.
_CAUGHT_UP_SECONDS = 1.0
_log = get_logger(__name__)
InOrder = Callable[[Sequence[Record], Sequence[Record]], list[Record]]


@dataclass(frozen=True)
class HearingLimits:
    """The bounds of hearing.

    records: read again before L where hearing begins.
    rebuild_records: read before Y where the line has no L.
    from_end: a partition that nobody has ever read begins at its end.
    """

    records: int = 20_000
    rebuild_records: int = 0
    from_end: bool = False


class Hearing:
    """Keeps every partition that is not owned heard, from L on; before L it reads only what its users did last.

    in_order: puts heard and own records of a tick into one order.

    more: True if the last poll had as many records as it may have.
    _reading, _next: the partitions that are heard, and the next offset of each that is read.
    _kept_back: records of them that wait until the own ones have come as far in time; _held: their partitions, as the
        source was told.
    """

    def __init__(
        self,
        outside: Outside,
        line: Line,
        numbers: ItemNumbers,
        offsets: Offsets,
        counts: Counts,
        limits: HearingLimits,
        in_order: InOrder = in_time_order,
    ) -> None:
        self._outside, self._source, self._clock = outside, outside.heard, outside.clock
        self._line, self._numbers, self._offsets = line, numbers, offsets
        self._limits, self._in_order, self._counts = limits, in_order, counts
        self.users = HeardUsers(line.learner.users, lambda: self._reading)
        self.more = False
        self._reading: set[int] = set()
        self._next: dict[int, int] = {}
        self._begun_anew: set[int] = set()
        self._awaited = Awaited(outside.clock)
        self._kept_back = KeptBack(outside.clock, self._awaited.__contains__)
        self._held: set[int] = set()
        self._came_ms: dict[int, int] = {}
        self._again_at = self._silent_until = -math.inf
        counts.on = outside.heard is not None

    def __contains__(self, partition: int) -> bool:
        return partition in self._reading

    def learned(self) -> dict[int, int]:
        """Return L of each heard partition."""
        return {partition: self._line.offsets.get(partition, 0) for partition in self._reading}

    # -- records -------------------------------------------------------------------------------------------------

    def joined(self, own: Sequence[Record], *, behind: bool, most: int, wait_seconds: float = 0.0) -> list[Record]:
        """Return the own records of a tick and the heard ones that came, in one order.

        behind: True while own records lag: then no heard record goes in front of them in time, as long as they come.
        most: heard records at the most; those that have waited for their time come above that.
        wait_seconds: longest wait for the first heard record.
        """
        self.more = False
        if self._source is None or not self._reading:
            return list(own)
        polled = self._source.poll(most, wait_seconds)
        self.more = len(polled) >= most
        came = self._new(polled)
        heard = self._kept_back.sift(came, own, behind=behind)
        self._hold(self._kept_back.partitions)
        return self._in_order(heard, own)

    def _new(self, polled: Sequence[Record]) -> list[Record]:
        """Return the records that are heard, and did not come before: an event counts once whatever is read.

        A partition's records are in the order of their offsets.
        """
        came: list[Record] = []
        for partition, records in groupby(polled, attrgetter("partition")):
            first = self._next.get(partition, sys.maxsize)
            new = list(records)
            if new[0].offset < first:
                new = [record for record in new if record.offset >= first]
            if new:
                self._next[partition], self._came_ms[partition] = new[-1].offset + 1, new[-1].timestamp_ms
                came += new
        return came

    def _hold(self, partitions: set[int]) -> None:
        if partitions != self._held and self._source is not None:
            self._source.hold(partitions)
            self._held = partitions

    # -- partitions ----------------------------------------------------------------------------------------------

    def has_reached(self, partition: int, published: int) -> bool:
        """Return True if a partition may be claimed: L has reached Y, the line owned it last, or a claim has waited for
        long enough.

        Where the line only heard it, memories may be ahead of L, and what lies between would never be learned: the
        partition is heard first. Raises Unavailable.
        """
        if self._source is None:
            return True
        if partition not in self._reading:
            learned = self._line.offsets.get(partition, 0)
            if partition not in self._line.counted.heard or learned >= published:
                return True
            _log.info(
                "hearing what was published, before claiming it", partition=partition, learned=learned, end=published
            )
            self.begin([partition])
        learned = self._line.offsets.get(partition, 0)
        if self._source.stood({partition: learned})[partition] >= published:
            return True
        if self._awaited.ask(partition, self._next.get(partition, 0)):
            return False
        _log.warning(
            "a partition is claimed before it was heard to its end", partition=partition, learned=learned, end=published
        )
        return True

    def lacks(self, partition: int, claim: Claim) -> bool:
        """Return True if memories of a partition are ahead of L and it can be heard first: then that begins.

        This line did not write these memories then, or has lost the checkpoint that it wrote before them. Without an L,
        M counts as L. False for a partition that is heard: there `has_reached` waits. Raises Unavailable.
        """
        if self._source is None or partition in self._reading:
            return False
        floor = claim.floor or 0
        learned, remembered = self._line.offsets.get(partition, floor), max(floor, claim.remembered)
        if learned >= remembered:
            return False
        _log.info("hearing what is remembered, first", partition=partition, learned=learned, remembered=remembered)
        self.begin([partition])
        return partition in self._reading

    def leave(self, partitions: Collection[int]) -> None:
        """Stop hearing these partitions, and forget their users: they are claimed, or begin again."""
        gone = self._reading & set(partitions)
        if self._source is None or not gone:
            return
        self._source.leave(gone)
        self._forget(gone)

    def _forget(self, gone: set[int]) -> None:
        self._reading -= gone
        for partition in gone:
            self._next.pop(partition, None)
            self._came_ms.pop(partition, None)
        self._held = self._held - gone
        self._kept_back.forget(gone)
        self._awaited.forget(gone)
        self.users.drop(gone)

    def begin_again(self) -> None:
        """Hear all partitions anew, since the item numbers in their users' rings have lost their meaning."""
        self.leave(set(self._reading))

    def keep(self) -> None:
        """Begin to hear what is neither owned nor heard. Called between two ticks. Raises MemoriesLost."""
        if self._source is None:
            return
        if anew := self._reading & set(self._source.begun_anew()):
            self._begun_anew |= anew
            self._forget(anew)
        missing = self._missing(self._source)
        if missing and self._clock.monotonic() >= self._again_at and self._has_place():
            try:
                self.begin()
            except Unavailable as fault:
                self._complain(fault)
        self._counts.unheard = len(self._missing(self._source))

    def _missing(self, source: HeardSource) -> set[int]:
        return set(source.partitions()) - self._reading - set(self._offsets.owned())

    def _has_place(self) -> bool:
        """Return True if the group has said what this worker owns; before that it may be all there is."""
        return bool(self._offsets.owned()) or self._outside.source.standing().ready

    def begin(self, only: Collection[int] | None = None) -> None:
        """Begin to hear these partitions, by default all, that are not owned. Raises Unavailable: then none of them is
        heard."""
        source = self._source
        assert source is not None
        if self._numbers.foreign:
            self._numbers.renumber()
        self._line.learn_of(self._outside.source.identity())
        bounds = source.bounds()
        wanted = bounds.keys() if only is None else bounds.keys() & set(only)
        there = sorted(wanted - self._reading - set(self._offsets.owned()))
        kept = self._kept([partition for partition in there if partition not in self._line.offsets])
        self.users.drop(there)
        starts = {partition: self._start(partition, *bounds[partition], kept.get(partition)) for partition in there}
        begun = source.listen(starts)
        for partition, start in begun.items():
            self._leave_a_gap(partition, start)  # retention may have passed L since it was asked for
        self._reading |= begun.keys()
        self._next |= begun
        self._begun_anew -= begun.keys()
        self._line.counted.heard |= begun.keys()
        if begun:
            _log.info("partitions heard", start={str(p): start for p, start in begun.items()})

    def _kept(self, partitions: Sequence[int]) -> Mapping[int, Kept]:
        return self._outside.store.kept(partitions) if partitions else {}

    def _start(self, partition: int, low: int, end: int, kept: Kept | None) -> int:
        """Return where to begin to hear a partition. A log that begins after L leaves a gap."""
        line = self._line
        # An offset that retention removed while records before L were read again is none of another log.
        if partition in self._begun_anew and line.offsets.get(partition, 0) > end:
            _log.error("a heard partition was made again, and is heard from its beginning", partition=partition)
            line.forget_partition(partition)
        learned = line.offsets.get(partition)
        if learned is None:
            line.offsets[partition] = start = self._first_start(low, end, kept)
            line.counted.forget([partition])  # of a claim that led to no L
            line.counted.begin(partition, start)
            return start
        self._leave_a_gap(partition, low)
        return min(end, max(low, learned - self._limits.records))

    def _leave_a_gap(self, partition: int, begins: int) -> None:
        """Raise L to where the log begins; what stood before that is never counted."""
        learned = self._line.offsets[partition]
        if learned < begins:
            _log.warning(
                "a part of the log is gone before it was heard", partition=partition, at=learned, begins=begins
            )
            self._line.counted.skip(partition, learned, begins)
            self._line.offsets[partition] = begins

    def _first_start(self, low: int, end: int, kept: Kept | None) -> int:
        """Return where a line begins that has no L: before what the group has published, else where a group begins."""
        topic_id = self._outside.source.identity().topic_id
        if kept is not None and kept.floor is not None and not kept.is_of_another(topic_id):
            return min(end, max(low, kept.floor - self._limits.rebuild_records))
        return end if self._limits.from_end else low

    def _complain(self, fault: Unavailable) -> None:
        now = self._clock.monotonic()
        self._again_at = now + _RETRY_SECONDS
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            _log.warning("partitions of others can't be heard now", reason=str(fault))

    def trouble(self) -> str:
        """Return what keeps heard records from coming; empty for nothing."""
        return "" if self._source is None else self._source.trouble()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    # -- how far it is ---------------------------------------------------------------------------------------------

    def lag(self) -> Mapping[int, int]:
        """Return the records still to hear, by heard partition."""
        return {} if self._source is None or not self._reading else self._source.lag(self.learned())

    def has_caught_up(self) -> bool:
        """Return True if all but about the last second of every partition was heard."""
        since_ms = 1000 * (self._clock.now() - _CAUGHT_UP_SECONDS)
        lag = self.lag()
        return all(lag.get(p) == 0 or self._came_ms.get(p, -math.inf) >= since_ms for p in self._reading)

    def count(self, batch: Batch, outcome: Outcome, pace: Pace) -> None:
        """Count a batch that was learned, and how."""
        counts, heard_B = self._counts, batch.learn_B & ~batch.own_B
        heard = int(heard_B.sum())
        counts.one_in = pace.heard_one_in
        counts.counted_heard += heard
        counts.counted_owned += int(batch.learn_B.sum()) - heard
        counts.examined_heard += int((heard_B & outcome.examined_B).sum())

    def observe(self) -> None:
        """Bring the section of the status up to now."""
        counts = self._counts
        counts.lag = self.lag()
        counts.gap = self._line.counted.gap
        counts.users = self._line.learner.users.count(heard=True)

"""Recalls the users of a piece to the device, lets its aliases act, and makes its events the learner's batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch
from stream_worker.core.events import Events, EventType
from stream_worker.core.interfaces import Source
from stream_worker.core.offsets import Effects, Offsets
from stream_worker.core.status import Status
from stream_worker.loop.duplicates import Fresh, without_duplicates
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.line import Line
from stream_worker.loop.logins import Logins
from stream_worker.loop.memories import Key, Memories
from stream_worker.loop.pieces import Piece, places_of
from stream_worker.loop.reporting import Reporter


class Recalled(NamedTuple):
    """The events of a piece, with their users on the device.

    slot_B, publish_B: the slot of each event's user, and True for events that are still to be published.
    fresh: the events that are no duplicates.
    batch: these, for the learner.
    """

    slot_B: NDArray[np.int64]
    publish_B: NDArray[np.bool_]
    fresh: Fresh
    batch: Batch

    def past(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return the partition of each event at or past L, and True for those that are learned."""
        effects = self.fresh.effects
        return self.fresh.events.partition_B[effects.past_B], effects.learn_B[effects.past_B]


class Recalling:
    """Recalls piece after piece.

    room: the most new items that a piece can bring, but for a record of more events.
    number_items: returns the item numbers of ids.
    """

    def __init__(
        self,
        line: Line,
        source: Source,
        memories: Memories,
        logins: Logins,
        heard_logins: Logins,
        hearing: Hearing,
        offsets: Offsets,
        status: Status,
        reporter: Reporter,
        types: Sequence[EventType],
        room: int,
        number_items: Callable[[Sequence[str]], list[int]],
    ) -> None:
        self._line, self._source, self._memories, self._logins = line, source, memories, logins
        self._heard_logins, self._hearing = heard_logins, hearing
        self._offsets, self._status, self._reporter = offsets, status, reporter
        self._room, self._number_items = room, number_items
        self._is_target = np.array([kind.target for kind in types], dtype=np.bool_)
        self._is_act = np.array([kind.role != "impression" for kind in types], dtype=np.bool_)

    def recall(self, piece: Piece) -> Recalled | None:
        """Let aliases act; return the events with their users on the device, without a duplicate among them.

        None for a piece without events. Raises Unavailable, StaleToken and MemoriesLost.
        """
        events = piece.events
        slot_B = self._slots(piece)
        if not len(events):
            return None
        users = self._line.learner.users
        effects = self._offsets.effects(
            events.partition_B, events.offset_B, users.next_offset_S[slot_B], self._hearing.learned()
        )
        fresh = without_duplicates(users, events, slot_B, effects.only(self._is_act[events.type_B]))
        batch = self._batch(piece, fresh, max(self._room, len(events)))
        users.put_ids(fresh.judged.slot_U, fresh.judged.ids_UI)
        self._count(effects, fresh, batch)
        self._reporter.duplicates(events, fresh.judged.repeated_B & effects.publish_B)
        return Recalled(slot_B, effects.publish_B, fresh, batch)

    def _slots(self, piece: Piece) -> NDArray[np.int64]:
        """Return the slot of each event's user, after the aliases have acted."""
        events = piece.events
        keys = list(zip(events.partition_B.tolist(), events.users, strict=True))
        own_B = self._owned(events)
        own_aliases, heard_aliases = piece.parted(self._offsets.owned())
        slot_B = np.empty(len(keys), np.int64)
        own, named = _where(keys, own_B), [(alias.partition, alias.user) for alias in own_aliases]
        slot_B[own_B] = self._memories.recall([*own, *named], self._source.moved_from())[: len(own)]
        if len(own) < len(keys) or heard_aliases:
            heard, named = _where(keys, ~own_B), [(alias.partition, alias.user) for alias in heard_aliases]
            slot_B[~own_B] = self._hearing.users.recall([*heard, *named])[: len(heard)]
        if piece.aliases:
            at = set(zip(events.partition_B.tolist(), events.users, events.offset_B.tolist(), strict=True))
            self._logins.act(own_aliases, self._source.partitions(), at)
            self._heard_logins.act(heard_aliases, (), at)
        return slot_B

    def _owned(self, events: Events) -> NDArray[np.bool_]:
        return np.isin(events.partition_B, self._offsets.owned())

    def _clock(self, piece: Piece, events: Events, own_B: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return to which second each event may move the clock: a heard one at most to its record's time.

        So a heard event that is dated ahead does not move the clock of every worker.
        """
        if own_B.all():
            return events.ts_B
        places_H = places_of(piece.records, events.partition_B[~own_B], events.offset_B[~own_B])
        ms_R = np.fromiter(map(attrgetter("timestamp_ms"), piece.records), np.float64, len(piece.records))
        record_H = ms_R[places_H] / 1000
        clock_B = events.ts_B.copy()
        clock_B[~own_B] = np.where(record_H >= 0, np.minimum(clock_B[~own_B], record_H), clock_B[~own_B])
        return clock_B

    def _batch(self, piece: Piece, fresh: Fresh, room: int) -> Batch:
        events, effects = fresh.events, fresh.effects
        own_B = self._owned(events)
        row_B, new_B = self._line.admit(events.items, room, self._number_items)
        return Batch(
            slot_B=fresh.slot_B,
            row_B=row_B,
            number_B=self._line.learner.catalog.number_N[row_B],
            category_B=events.category_B,
            type_B=events.type_B.astype(np.uint8),
            ts_B=events.ts_B,
            next_offset_B=events.offset_B + 1,
            target_B=self._is_target[events.type_B],
            remember_B=effects.remember_B,
            learn_B=effects.learn_B,
            new_B=new_B,
            within_B=events.within_B,
            session_B=events.session_B,
            own_B=own_B,
            clock_B=self._clock(piece, events, own_B),
        )

    def _count(self, effects: Effects, fresh: Fresh, batch: Batch) -> None:
        takeovers = self._status.takeovers
        takeovers.unlearned += effects.unlearned
        takeovers.listed_again += effects.again
        takeovers.overlap += int(np.sum(batch.own_B & fresh.effects.learn_B & ~fresh.effects.publish_B))
        self._status.memory.events_not_remembered += int(np.sum(batch.remember_B & (batch.number_B == 0)))


def _where(keys: Sequence[Key], mask_B: NDArray[np.bool_]) -> Sequence[Key]:
    return keys if mask_B.all() else [keys[place] for place in np.flatnonzero(mask_B).tolist()]

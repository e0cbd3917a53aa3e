"""Recalls the users of a piece to the device, lets its aliases act, and makes its events the learner's batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch import Batch
from stream_worker.core.events import EventType
from stream_worker.core.interfaces import Source
from stream_worker.core.offsets import Effects, Offsets
from stream_worker.core.status import Status
from stream_worker.loop.duplicates import Fresh, without_duplicates
from stream_worker.loop.line import Line
from stream_worker.loop.logins import Logins
from stream_worker.loop.memories import Memories
from stream_worker.loop.pieces import Piece
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
        offsets: Offsets,
        status: Status,
        reporter: Reporter,
        types: Sequence[EventType],
        room: int,
        number_items: Callable[[Sequence[str]], list[int]],
    ) -> None:
        self._line, self._source, self._memories, self._logins = line, source, memories, logins
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
        effects = self._offsets.effects(events.partition_B, events.offset_B, users.next_offset_S[slot_B])
        fresh = without_duplicates(users, events, slot_B, effects.only(self._is_act[events.type_B]))
        batch = self._batch(fresh, max(self._room, len(events)))
        users.put_ids(fresh.judged.slot_U, fresh.judged.ids_UI)
        self._count(effects, fresh, batch)
        self._reporter.duplicates(events, fresh.judged.repeated_B & effects.publish_B)
        return Recalled(slot_B, effects.publish_B, fresh, batch)

    def _slots(self, piece: Piece) -> NDArray[np.int64]:
        """Return the slot of each event's user, after the aliases have acted."""
        events = piece.events
        keys = list(zip(events.partition_B.tolist(), events.users, strict=True))
        named = [(alias.partition, alias.user) for alias in piece.aliases]
        slot_B = self._memories.recall([*keys, *named], self._source.moved_from())[: len(keys)]
        if piece.aliases:
            places = zip(events.partition_B.tolist(), events.users, events.offset_B.tolist(), strict=True)
            self._logins.act(piece.aliases, self._source.partitions(), set(places))
        return slot_B

    def _batch(self, fresh: Fresh, room: int) -> Batch:
        events, effects = fresh.events, fresh.effects
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
            own_B=np.ones(len(events), np.bool_),
            clock_B=events.ts_B,
        )

    def _count(self, effects: Effects, fresh: Fresh, batch: Batch) -> None:
        takeovers = self._status.takeovers
        takeovers.unlearned += effects.unlearned
        takeovers.listed_again += effects.again
        takeovers.overlap += int(np.sum(fresh.effects.learn_B & ~fresh.effects.publish_B))
        self._status.memory.events_not_remembered += int(np.sum(batch.remember_B & (batch.number_B == 0)))

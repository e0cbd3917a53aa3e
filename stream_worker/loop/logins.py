"""Joins the memory that a user has under an earlier id to the user's own, where an alias says that they are one.

An alias acts once: it moves the user's n past its offset, in the record that holds what was joined. How much was joined
is in that record, too, so a further alias of the same two ids joins only what has come since. The other record stays as
it is, since another worker may own it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.joining import join
from model.user_table import UserTable
from stream_worker.core.events import Alias
from stream_worker.core.offsets import Offsets
from stream_worker.core.status import JOINED, NOTHING_NEW, UNKNOWN, Memory
from stream_worker.loop.memories import Key


class Known(Protocol):
    """A finder of the memories of a user under another id; see `Memories`."""

    def look_for(self, keys: Sequence[Key]) -> Mapping[Key, bytes]: ...

    def newest(self, user: str, partitions: Collection[int], looked_for: Mapping[Key, bytes], of: int) -> Any: ...


class Logins:
    """Lets aliases act on the users of the device.

    rebuild: makes (h, c) of slots anew from their rings.
    counts: the section of the worker's status that takes the counts.
    """

    def __init__(
        self,
        memories: Known,
        users: UserTable,
        rebuild: Callable[[NDArray[np.int64]], None],
        offsets: Offsets,
        counts: Memory,
    ) -> None:
        self._memories, self._users, self._rebuild = memories, users, rebuild
        self._offsets, self._counts = offsets, counts

    def act(
        self, aliases: Sequence[Alias], partitions: Collection[int], with_events: Collection[tuple[int, str, int]] = ()
    ) -> None:
        """Let aliases act in their order; their users are on the device.

        partitions: those in which a record of the other id may be.
        with_events: (partition, user, offset) of events; an alias in the record of one leaves n to that event, which
            would else count as remembered.

        Takes one round trip to the store. Raises Unavailable and MemoriesLost; then nothing has changed.
        """
        slots = self._users.find([(alias.partition, alias.user) for alias in aliases])
        due_A = np.array([alias.offset for alias in aliases]) >= self._users.next_offset_S[slots]
        due = [(alias, slot) for alias, slot, is_due in zip(aliases, slots.tolist(), due_A, strict=True) if is_due]
        if not due:
            return
        looked_for = self._memories.look_for([(p, alias.old) for alias, _ in due for p in partitions])
        touched = np.unique(slots[due_A])
        before = self._users.get(touched)
        try:
            outcomes = [self._join(alias, slot, partitions, looked_for, with_events) for alias, slot in due]
            joined = [slot for (_, slot), outcome in zip(due, outcomes, strict=True) if outcome == JOINED]
            if joined:
                self._rebuild(np.unique(joined))
        except BaseException:
            self._users.put(touched, before)
            raise
        self._users.dirty_S[touched] = ~self._users.heard_S[touched]
        self._count([alias for alias, _ in due], outcomes)

    def _join(
        self,
        alias: Alias,
        slot: int,
        partitions: Collection[int],
        looked_for: Mapping[Key, bytes],
        with_events: Collection[tuple[int, str, int]],
    ) -> str:
        """Join the other memory as far as it is new, and move n past the alias; return what it led to."""
        outcome = NOTHING_NEW
        if alias.old != alias.user:
            other = self._memories.newest(alias.old, partitions, looked_for, alias.partition)
            outcome = UNKNOWN if other is None else self._join_to(slot, other, code_of(alias.old))
        if (alias.partition, alias.user, alias.offset) not in with_events:
            self._users.next_offset_S[slot] = max(alias.offset + 1, int(self._users.next_offset_S[slot]))
        return outcome

    def _join_to(self, slot: int, other: Any, code: int) -> str:
        at = np.array([slot])
        own = {name: column[0] for name, column in self._users.get(at).items()}
        joined = join(own, {name: other[name] for name in own}, code)
        if joined is None:
            return NOTHING_NEW
        self._users.put(at, {name: np.asarray(column)[None] for name, column in joined.items()})
        return JOINED

    def _count(self, aliases: Sequence[Alias], outcomes: Sequence[str]) -> None:
        published = [
            alias.partition in self._offsets and self._offsets.publishes(alias.partition, alias.offset)
            for alias in aliases
        ]
        self._counts.aliases.update(
            outcome for outcome, is_published in zip(outcomes, published, strict=True) if is_published
        )


def code_of(user: str) -> int:
    """Return the 32-bit checksum that stands for a user who was joined to another one; never 0."""
    return zlib.crc32(user.encode()) or 1

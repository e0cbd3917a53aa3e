"""The users of heard partitions on the device: they begin with an empty ring, and are forgotten, never saved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.user_table import UserTable
from stream_worker.loop.memories import Key


class HeardUsers:
    """Rows of the users table that belong to heard partitions; the store is asked for none of them.

    partitions: returns the partitions that are heard now.
    """

    def __init__(self, users: UserTable, partitions: Callable[[], Collection[int]]) -> None:
        self._users, self._partitions = users, partitions

    def recall(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        """Return the slot of each key. A user who has none gets an empty one."""
        slots = self._users.find(keys)
        places = np.flatnonzero(slots < 0)
        self._users.touch(slots[slots >= 0])
        if len(places):
            added = [keys[place] for place in places.tolist()]
            missing = list(dict.fromkeys(added))
            self._users.evict(self._users.overflow(len(missing), heard=True))
            self._users.add(missing, heard=True)
            slots[places] = self._users.find(added)
            self._users.touch(slots)
        return slots

    def drop(self, partitions: Collection[int]) -> None:
        """Forget the heard users of these partitions."""
        heard, gone = np.flatnonzero(self._users.heard_S), set(partitions)
        keys = self._users.keys_of(heard)
        self._users.evict(heard[np.array([key[0] in gone for key in keys], dtype=np.bool_)])

    def look_for(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Return nothing: what is not on the device is not looked for."""
        return {}

    def newest(self, user: str, partitions: Collection[int], looked_for: Mapping[Key, bytes], of: int) -> Any:
        """Return the newest memory of a user in any heard partition, None if there is none; see `Memories.newest`."""
        slots = self._users.find([(partition, user) for partition in self._partitions()])
        slots = slots[slots >= 0]
        slots = slots[self._users.heard_S[slots]]
        if not len(slots):
            return None
        newest = slots[[int(np.argmax(self._users.ts_S[slots]))]]
        return {name: column[0] for name, column in self._users.get(newest).items()}

"""User memories between the device and the store: recall, spill, and the records that the store does not have yet.

A *key* is (partition, user). A slot is *dirty* when the device is ahead of the store. Memory records that are not
written yet are *pending* in host memory until the store has them, and recall looks there first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.user_table import UserTable
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Claim, RecordStore
from stream_worker.core.memory_record import (
    MemoryFormat,
    begin_again,
    fault_of,
    generation_of,
    generations_of,
    in_generations,
    without_generation,
)
from stream_worker.core.offsets import Committed, Kept
from stream_worker.core.status import Memory
from stream_worker.logs import get_logger

Key = tuple[int, str]
_log = get_logger(__name__)
Owed = dict[int, list[tuple[str, bytes]]]


class Memories:
    """The memories of the users of this worker's partitions.

    store: the memory store.
    users: the table of users on the device.
    rebuild: makes (h, c) of slots anew from their rings.
    layout: the format of memory records.
    max_pending: pending records from which on `full` is True.
    counts: the section of the worker's status that takes the counts.

    tokens: the token of each owned partition.
    ancestors: user -> memory record of another source (a warm start); unknown users start from a copy with its
        counters at 0.
    """

    def __init__(
        self,
        store: RecordStore,
        users: UserTable,
        rebuild: Callable[[NDArray[np.int64]], None],
        layout: MemoryFormat,
        max_pending: int,
        counts: Memory,
    ) -> None:
        self.store = store
        self.tokens: dict[int, int] = {}
        self._generations: dict[int, int] = {}
        self.line = 0
        self.ancestors: Mapping[str, bytes] = {}
        self._users = users
        self._rebuild = rebuild
        self._layout = layout
        self._max_pending = max_pending
        self._pending: dict[Key, bytes] = {}
        self._counts = counts

    def set_line(self, line: str) -> None:
        """Set the line by its name. The states of records that another line made are rebuilt on recall."""
        self.line = line_number(line)

    def claim(self, committed: Mapping[int, Committed]) -> dict[int, Claim]:
        """Take new tokens, which fence the partitions off from earlier owners; return the claims."""
        tokens = {partition: at.mark.token for partition, at in committed.items()}
        claims = self.store.claim(list(committed), tokens, _topic_of(committed))
        self.tokens |= {partition: claim.token for partition, claim in claims.items()}
        self._generations |= {partition: claim.generation for partition, claim in claims.items()}
        return claims

    def begin(self, partition: int, floor: int) -> None:
        """Write the first M of a claimed partition."""
        self.store.set_floor(partition, self.tokens[partition], floor)

    def recall(self, keys: Sequence[Key], moved_from: Collection[int] = ()) -> NDArray[np.int64]:
        """Bring the memories of these keys to the device; return the slot of each.

        keys: one key per event.
        moved_from: partitions that may hold earlier records of users.

        Takes one round trip to the store for users who are not on the device, and a second one for unknown users if
        `moved_from` names partitions. Raises Unavailable, StaleToken and MemoriesLost.
        """
        slots = self._users.find(keys)
        missing = list(dict.fromkeys(key for key, slot in zip(keys, slots.tolist(), strict=True) if slot < 0))
        self._users.touch(slots[slots >= 0])
        if missing:
            self._bring(missing, moved_from)
            slots = self._users.find(keys)
            self._users.touch(slots)
        return slots

    def _bring(self, keys: list[Key], moved_from: Collection[int]) -> None:
        self._spill(self._users.overflow(len(keys)))
        unknown = [key for key in keys if key not in self._pending]
        fetched = self._records(unknown, self.store.load(self.tokens, unknown)) if unknown else {}
        self._counts.recall_misses += len(keys)
        known = {key: blob for key in keys if (blob := self._pending.get(key) or fetched.get(key)) is not None}
        strangers = [key for key in keys if key not in known]
        known |= self._ancestors_of(strangers)
        if moved_from:
            known |= self._moved([key for key in keys if self._is_stranger(key, known.get(key))], known, moved_from)
        slots = self._users.add(keys)
        blobs = [known.get(key) for key in keys]
        places = [place for place, blob in enumerate(blobs) if blob is not None]
        if places:
            records = self._layout.decode([blob for blob in blobs if blob is not None])
            self._count_anew(records, [keys[place][0] for place in places])
            self._users.put(slots[places], records)
            foreign = records["line"] != self.line
            if foreign.any():
                self._rebuild_or_forget(slots, slots[places][foreign])

    def _records(self, keys: Sequence[Key], blobs: Sequence[bytes | None]) -> dict[Key, bytes]:
        """Return the records that can be read. A user whose record can't be read starts anew, and is written anew."""
        found = {key: blob for key, blob in zip(keys, blobs, strict=True) if blob is not None}
        for key in [key for key, blob in found.items() if fault_of(blob)]:
            partition, user = key
            reason = fault_of(found.pop(key))
            self._counts.unreadable_records += 1
            _log.warning(
                "memory record can't be read, the user starts anew", user=user, partition=partition, reason=reason
            )
        return found

    def _count_anew(self, records: NDArray[Any], partitions: Sequence[int]) -> None:
        """Set the counters of records to 0 that were written under an earlier topic of the name."""
        begin_again(records, generations_of(records) != self._generation_of(partitions))
        without_generation(records)

    def _generation_of(self, partitions: Sequence[int]) -> NDArray[np.int64]:
        return np.fromiter((self._generations.get(p, 0) for p in partitions), np.int64, len(partitions))

    def _is_stranger(self, key: Key, blob: bytes | None) -> bool:
        """Return True if the user has no record under the partition's topic of now."""
        return blob is None or generation_of(blob) != self._generations.get(key[0], 0)

    def _rebuild_or_forget(self, new: NDArray[np.int64], foreign: NDArray[np.int64]) -> None:
        """Rebuild the states that another line made; if the store does not answer, evict all `new` slots again.

        A rebuild has to ask the store for item ids. Without the eviction the next recall would take states of other
        weights as this line's.
        """
        try:
            self._rebuild(foreign)
        except Unavailable:
            self._users.evict(new)
            raise

    def _ancestors_of(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        return {key: self._as_new(blob) for key in keys if (blob := self.ancestors.get(key[1])) is not None}

    def _moved(self, keys: Sequence[Key], known: Mapping[Key, bytes], moved_from: Collection[int]) -> dict[Key, bytes]:
        """Return the newest record that each user has in any partition, as their first one in this partition.

        keys: users without a record under the partition's topic of now.
        known: their records that were found already (an ancestor, an earlier topic's).
        moved_from: the partitions to look in. Records of other workers' partitions may be some seconds old; records on
            this device or pending are not.
        """
        others = [(partition, user) for own, user in keys for partition in moved_from if partition != own]
        held = self._held(others)
        found = held | self._peek([other for other in others if other not in held])
        newest: dict[str, tuple[float, bytes]] = {}
        candidates = [(key[1], known.get(key)) for key in keys]
        candidates += [(other[1], found.get(other)) for other in others]
        for user, blob in candidates:
            if blob is not None:
                dated = float(self._layout.decode([blob])["ts"][0]), blob
                newest[user] = max(dated, newest.get(user, dated))
        return {key: self._as_new(newest[key[1]][1]) for key in keys if key[1] in newest}

    def _held(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the records that are on this device or pending: the store's are not newer."""
        slots = self._users.find(keys)
        resident = slots >= 0
        resident[resident] = ~self._users.heard_S[slots[resident]]  # their owner's records are in the store
        held = {key: blob for key in keys if (blob := self._pending.get(key)) is not None}
        return held | dict(zip(self._users.keys_of(slots[resident]), self._encode(slots[resident]), strict=True))

    def _peek(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the store's records of these keys, whoever owns the partitions."""
        return self._records(keys, self.store.peek(keys)) if keys else {}

    def look_for(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the store's records of those keys that are neither on this device nor pending, in one round trip.

        Raises Unavailable and MemoriesLost.
        """
        held = self._held(keys)
        return self._peek([key for key in dict.fromkeys(keys) if key not in held])

    def newest(self, user: str, partitions: Collection[int], looked_for: Mapping[Key, bytes], of: int) -> Any:
        """Return the newest record of a user in any partition, or that of its ancestor; None if there is none.

        looked_for: what `look_for` has returned for these keys.
        of: the partition whose topic of now counts; a record of an earlier topic has counters at 0.
        """
        keys = [(partition, user) for partition in partitions]
        found = {**looked_for, **self._held(keys)}
        blobs = [found[key] for key in keys if key in found] or [*self._ancestors_of([(of, user)]).values()]
        if not blobs:
            return None
        records = self._layout.decode(blobs)
        self._count_anew(records, [of] * len(blobs))
        return records[int(np.argmax(records["ts"]))]

    def _as_new(self, blob: bytes) -> bytes:
        """Return the record with n and the count of events at 0, since these belong to where it comes from."""
        record = self._layout.decode([blob])
        record["next_offset"] = record["events"] = 0
        return self._layout.encode(record)[0]

    def _spill(self, slots: NDArray[np.int64]) -> None:
        dirty = slots[self._users.dirty_S[slots]]
        self._pending |= dict(zip(self._users.keys_of(dirty), self._encode(dirty), strict=True))
        self._counts.users_spilled += len(slots)
        self._users.evict(slots)

    def take_owed(self) -> Owed:
        """Return the records that the store lacks, by partition. They stay pending until `written` is called."""
        dirty = np.flatnonzero(self._users.dirty_S)
        self._pending |= dict(zip(self._users.keys_of(dirty), self._encode(dirty), strict=True))
        self._users.dirty_S[dirty] = False
        owed: Owed = {}
        for (partition, user), blob in self._pending.items():
            owed.setdefault(partition, []).append((user, blob))
        return owed

    def written(self, partition: int, records: Sequence[tuple[str, bytes]]) -> None:
        """Note that the store has these records; those that changed since then stay pending."""
        for user, blob in records:
            if self._pending.get((partition, user)) is blob:
                del self._pending[(partition, user)]

    def full(self) -> bool:
        """Return True if so many records are pending that consumption has to pause."""
        return len(self._pending) >= self._max_pending

    def pending(self) -> int:
        return len(self._pending)

    def observe(self) -> None:
        """Bring the section of the status up to now."""
        self._counts.users_on_device, self._counts.rows_pending = self._users.count(heard=False), self.pending()

    def drop(self, partitions: Collection[int]) -> None:
        """Forget all memories of partitions that this worker no longer owns."""
        gone = set(partitions)
        occupied = self._users.occupied()
        keys = self._users.keys_of(occupied)
        self._users.evict(occupied[np.array([key[0] in gone for key in keys], dtype=np.bool_)])
        self._pending = {key: blob for key, blob in self._pending.items() if key[0] not in gone}
        for partition in gone:
            self.tokens.pop(partition, None)
            self._generations.pop(partition, None)

    def _encode(self, slots: NDArray[np.int64]) -> list[bytes]:
        columns = self._users.get(slots) | {"line": np.full(len(slots), self.line, np.uint64)}
        if any(self._generations.values()):
            generation_R = self._generation_of([partition for partition, _ in self._users.keys_of(slots)])
            columns["next_offset"] = in_generations(columns["next_offset"], generation_R)
        return self._layout.encode(columns)


def _topic_of(committed: Mapping[int, Committed]) -> Kept:
    """Return what the store is to keep of the topic: its id and its numbers of partitions."""
    at = next(iter(committed.values()), Committed(0))
    return Kept(topic_id=at.mark.topic_id, first_partitions=at.mark.partitions, partitions=at.partitions)


def line_number(line: str) -> int:
    """Return the number by which memory records name a line."""
    return int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "little") or 1

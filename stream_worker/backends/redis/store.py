"""The memory store in Redis: one key per memory record; every write is fenced by the partition's token.

Keys, with `<p>` = `<namespace>:{<group>:<partition>}` (a hash tag, which keeps a script's keys in one cluster slot):

    <p>:token      fencing token, which rises at every claim
    <p>:floor      M (-1: not written yet for this topic's id)
    <p>:topic      the topic that M belongs to: id, generation, where its reader stood, numbers of partitions, highest n
    <p>:u:<user>   a memory record

The dictionary of items is under `<namespace>:{<group>:items}`, the owners and holders of worker slots are under
`<namespace>:{<group>:slots}` (`slots.py`). Bytes 1 to 8 of a record are its n in big-endian order: scripts compare
them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import scripts
from stream_worker.backends.redis import wipe as wiping
from stream_worker.backends.redis.connection import Connection, script_of
from stream_worker.backends.redis.item_numbers import ItemNumbers
from stream_worker.backends.redis.kept import described, ensure_kept
from stream_worker.backends.redis.scan import scanned
from stream_worker.backends.redis.slots import RedisSlots
from stream_worker.core.errors import StaleToken
from stream_worker.core.interfaces import Claim, Holder
from stream_worker.core.item_dictionary import numbers_kept_seconds
from stream_worker.core.memory_record import highest_next_offset
from stream_worker.core.offsets import Kept

_CHUNK = 1_000  # records per read or per call of a script, which blocks Redis meanwhile; not tuned
_UNKNOWN = Kept()


class RedisMemoryStore:
    """Implements `interfaces.MemoryStore`. `group` names the consumer group and topic that the memories belong to."""

    durable = True

    def __init__(self, config: MemoryConfig, group: str) -> None:
        self._prefix = f"{config.namespace}:{{{group}"
        self._ttl_ms = str(math.ceil(2_000 * config.expire_seconds))
        self._connection = Connection(config)
        self._most_items = config.max_item_ids
        self.numbers_kept_seconds = numbers_kept_seconds(config.expire_seconds)
        self._items = ItemNumbers(
            self._connection, f"{self._prefix}:items}}", config.max_item_ids, self.numbers_kept_seconds
        )
        self._slots = RedisSlots(self._connection, self._prefix)
        self._claim = script_of(scripts.CLAIM)
        self._kept = script_of(scripts.KEPT)
        self._save = script_of(scripts.SAVE)
        self._set_floor = script_of(scripts.SET_FLOOR)

    def begin_again(self) -> None:
        self._connection.begin_again()
        self._items.begin_again()

    def kept(self, partitions: Collection[int]) -> dict[int, Kept]:
        found: dict[int, Kept] = {}
        for partition in partitions:
            with self._connection.available():
                answer = self._connection.run(self._kept, self._floor_keys(partition)[1:], [])
            found[partition] = _kept(answer)
        return found

    def claim(
        self, partitions: Collection[int], above: Mapping[int, int] | None = None, now: Kept = _UNKNOWN
    ) -> dict[int, Claim]:
        claims: dict[int, Claim] = {}
        topic = [now.topic_id, str(now.first_partitions), str(now.partitions)]
        for partition in partitions:
            given = [str((above or {}).get(partition, 0)), *topic]
            with self._connection.claimed():
                answer = self._connection.run(self._claim, self._floor_keys(partition), given)
            token, floor, generation, before, remembered = answer
            known = int(generation or 0), before.decode(), int(remembered or 0)
            claims[partition] = Claim(int(token), _floor(floor), *known)
        return claims

    def _floor_keys(self, partition: int) -> list[str]:
        return [self._key(partition, name) for name in ("token", "floor", "topic")]

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return self._fetch(keys, tokens)

    def peek(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return self._fetch(keys)

    def _fetch(self, keys: Sequence[tuple[int, str]], tokens: Mapping[int, int] | None = None) -> list[bytes | None]:
        """Read records together with the tokens of their partitions; raise StaleToken if these differ from `tokens`."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for partition, user in keys:
            by_partition[partition].append(user)
        chunks = [(p, users[i : i + _CHUNK]) for p, users in by_partition.items() for i in range(0, len(users), _CHUNK)]
        groups = [[self._key(p, "token"), *(self._key(p, f"u:{user}") for user in users)] for p, users in chunks]
        with self._connection.claimed():
            answers = self._connection.values(groups)
        found: dict[tuple[int, str], bytes | None] = {}
        for (partition, users), (token, *records) in zip(chunks, answers, strict=True):
            if tokens is not None:
                self._check(partition, tokens[partition], int(token or 0))
            found |= zip(((partition, user) for user in users), records, strict=True)
        return [found[key] for key in keys]

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        """Write records in chunks of 1,000. If the token goes stale in between, the first chunks have been written."""
        written = 0
        for start in range(0, max(len(records), 1), _CHUNK):
            chunk = records[start : start + _CHUNK]
            blobs = [blob for _, blob in chunk]
            keys = [self._key(partition, name) for name in ("token", "topic", *(f"u:{user}" for user, _ in chunk))]
            given = [str(token), self._ttl_ms, str(highest_next_offset(blobs))]
            with self._connection.claimed():
                answer = self._connection.run(self._save, keys, [*given, *blobs])
            written += self._accepted(int(answer), partition, token)
        return written

    def set_floor(self, partition: int, token: int, floor: int, stood: int = 0) -> None:
        with self._connection.claimed():
            args = [str(token), str(floor), str(stood)]
            answer = self._connection.run(self._set_floor, self._floor_keys(partition), args)
        self._accepted(int(answer), partition, token)

    def number_items(self, ids: Sequence[str]) -> list[int]:
        return self._items.numbers(ids)

    def item_ids_used(self) -> float:
        return self._items.size / self._most_items

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]:
        return self._items.ids(numbers)

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        return scanned(self._connection, self._prefix, user)

    def counted(self) -> dict[str, int]:
        """Return the number of memories, partitions and other keys."""
        return wiping.counted(self._connection, self._prefix)

    def wipe(self) -> int:
        """Delete all keys of the group and return their number. No worker may be running."""
        return wiping.wipe(self._connection, self._prefix)

    def take_slot(self, slot: str, nonce: str) -> None:
        self._slots.take_slot(slot, nonce)

    def slot_owner(self, slot: str) -> str | None:
        return self._slots.slot_owner(slot)

    def claim_slot(self, slot: str, holder: Holder, seconds: float, *, member: bool) -> bool:
        return self._slots.claim_slot(slot, holder, seconds, member=member)

    def keep_slot(self, slot: str, holder: Holder, seconds: float) -> bool:
        return self._slots.keep_slot(slot, holder, seconds)

    def give_slot_back(self, slot: str, holder: Holder, seconds: float) -> None:
        self._slots.give_slot_back(slot, holder, seconds)

    def ensure_kept(self) -> None:
        ensure_kept(self._connection)

    def ping(self) -> str:
        return described(self._connection)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing: Redis keeps its own state."""

    def close(self) -> None:
        self._connection.close()

    def _accepted(self, answer: int, partition: int, token: int) -> int:
        if answer < 0:
            self._check(partition, token, -answer - 1)
        return answer

    def _check(self, partition: int, token: int, current: int) -> None:
        if current < token:
            self._connection.lose(f"the token of partition {partition} is {current}, it was {token}")
        if current > token:
            raise StaleToken(partition, token, current)

    def _key(self, partition: int, name: str) -> str:
        return f"{self._prefix}:{partition}}}:{name}"


def _floor(text: bytes | None) -> int | None:
    return None if text is None or int(text) < 0 else int(text)


def _kept(answer: Sequence[bytes | None]) -> Kept:
    floor, topic_id, *numbers = answer
    return Kept(_floor(floor), (topic_id or b"").decode(), *(int(number or 0) for number in numbers))

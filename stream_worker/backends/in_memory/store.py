"""The memory store in memory: memory records, tokens, floors and item numbers of one process, without Redis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.backends.in_memory.slots import InMemorySlots
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.core.amounts import amount
from stream_worker.core.errors import MemoriesLost, StaleToken
from stream_worker.core.interfaces import Claim, Clock, Holder
from stream_worker.core.item_dictionary import ItemDictionary, numbers_kept_seconds
from stream_worker.core.memory_record import KNOWN_VERSIONS, highest_next_offset
from stream_worker.core.offsets import Kept

_NEXT_OFFSET = slice(1, 9)  # n in a record, comparable as bytes
# Past the bound at least 1 / 16 of the records is removed at once, so that they are sorted rarely. Not tuned.
_FORGOTTEN_SHARE = 16
_UNKNOWN = Kept()


class InMemoryMemoryStore:
    """A memory store for one process; `state_dict` goes into its checkpoint.

    It keeps at most about `twin_users` records: past that the records with the lowest n are removed. New
    item ids get no number once there are `twin_items`. While no record has been removed, the state depends only on the
    events and not on the times of the writes, so that a replay which was killed and resumed ends with the same bytes.

    clock: with one, item ids are forgotten after the same time as in Redis. Without one they are kept for ever, and so
    are the records.
    """

    durable = False

    def __init__(self, config: MemoryConfig | None = None, clock: Clock | None = None) -> None:
        self._config = config or MemoryConfig()
        self._clock = clock
        self.numbers_kept_seconds = numbers_kept_seconds(self._config.expire_seconds) if clock else math.inf
        self._turn = 0
        self._lost = ""
        self._empty()

    def _empty(self) -> None:
        """Forget everything except the newest token's number, since a token must never be given twice."""
        self._items = ItemDictionary(self._config.twin_items, self.numbers_kept_seconds)
        self._records: dict[tuple[int, str], bytes] = {}
        self._tokens: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        self._remembered: dict[int, int] = {}
        self._topics: dict[int, Kept] = {}
        self._generations: dict[int, int] = {}
        self._owners: dict[str, str] = {}
        self._slots = InMemorySlots(self._clock)

    def fall_back(self, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Simulate that the store was wiped, or put back to an earlier `state`, while a worker uses it."""
        self._empty()
        self._lost = "the store was put back to an earlier state"
        if state is not None:
            self.load_state_dict(state)

    def begin_again(self) -> None:
        self._lost = ""

    def peek(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return [self._records.get(key) for key in keys]

    def kept(self, partitions: Collection[int]) -> dict[int, Kept]:
        return {p: replace(self._topics.get(p, Kept()), floor=self._floors.get(p)) for p in partitions}

    def claim(
        self, partitions: Collection[int], above: Mapping[int, int] | None = None, now: Kept = _UNKNOWN
    ) -> dict[int, Claim]:
        if self._lost:
            raise MemoriesLost(self._lost)
        for partition in partitions:
            # A token must rise also across a wipe: `above` is the token in the mark of the committed Y.
            self._turn = 1 + max(self._turn, (above or {}).get(partition, 0), self._tokens.get(partition, 0))
            self._tokens[partition] = self._turn
        before = {partition: self._belong(partition, now) for partition in partitions}
        return {
            p: Claim(
                self._tokens[p], self._floors.get(p), self._generations.get(p, 0), before[p], self._remembered.get(p, 0)
            )
            for p in partitions
        }

    def _belong(self, partition: int, now: Kept) -> str:
        """Note the topic that the partition belongs to. Returns the id of the topic it was of before, or ""."""
        kept = self._topics.get(partition, Kept())
        another = kept.is_of_another(now.topic_id)
        if another:
            self._generations[partition] = 1 + self._generations.get(partition, 0)
            self._floors.pop(partition, None)
            self._remembered.pop(partition, None)
        self._topics[partition] = Kept(
            topic_id=now.topic_id or kept.topic_id,
            stood=0 if another else kept.stood,
            first_partitions=min(filter(None, (kept.first_partitions, now.first_partitions)), default=0),
            partitions=max(kept.partitions, now.partitions),
        )
        return kept.topic_id if another else ""

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        for partition in {partition for partition, _ in keys}:
            self._check(partition, tokens[partition])
        return [self._records.get(key) for key in keys]

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        self._check(partition, token)
        highest = highest_next_offset([blob for _, blob in records])
        self._remembered[partition] = max(highest, self._remembered.get(partition, 0))
        written = 0
        for user, blob in records:
            key = (partition, user)
            if self._next_offset(key) <= blob[_NEXT_OFFSET]:
                self._records[key] = blob
                written += 1
        if (excess := len(self._records) - self._config.twin_users) > 0:
            for key in sorted(self._records, key=self._age)[: max(excess, self._config.twin_users // _FORGOTTEN_SHARE)]:
                del self._records[key]
        return written

    def _next_offset(self, key: tuple[int, str]) -> bytes:
        """Return n as 8 bytes; b"", lower than any n, without a record of a known version (`core.memory_record`)."""
        blob = self._records.get(key, b"")
        return blob[_NEXT_OFFSET] if blob and blob[0] in KNOWN_VERSIONS else b""

    def _age(self, key: tuple[int, str]) -> tuple[bytes, tuple[int, str]]:
        return self._next_offset(key), key

    def set_floor(self, partition: int, token: int, floor: int, stood: int = 0) -> None:
        self._check(partition, token)
        self._floors[partition] = max(floor, self._floors.get(partition, -1))
        kept = self._topics.get(partition, Kept())
        self._topics[partition] = replace(kept, stood=max(kept.stood, stood))

    def number_items(self, ids: Sequence[str]) -> list[int]:
        if self._lost:
            raise MemoriesLost(self._lost)
        return self._items.numbers(ids, self._clock.now() if self._clock else 0.0)

    def item_ids_used(self) -> float:
        return len(self._items) / self._items.most

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]:
        return self._items.ids(numbers)

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        for (partition, name), blob in self._records.items():
            if user is None or name == user:
                yield partition, name, blob

    def take_slot(self, slot: str, nonce: str) -> None:
        self._owners[slot] = nonce
        self._slots.end_others(slot, nonce)

    def slot_owner(self, slot: str) -> str | None:
        return self._owners.get(slot)

    def claim_slot(self, slot: str, holder: Holder, seconds: float, *, member: bool) -> bool:
        return self._slots.claim_slot(slot, holder, seconds, member=member)

    def keep_slot(self, slot: str, holder: Holder, seconds: float) -> bool:
        return self._slots.keep_slot(slot, holder, seconds)

    def give_slot_back(self, slot: str, holder: Holder, seconds: float) -> None:
        self._slots.give_slot_back(slot, holder, seconds)

    def ensure_kept(self) -> None:
        """Do nothing: only the configured bound `twin_users` removes records."""

    def ping(self) -> str:
        return f"in memory: {amount(len(self._records), 'record')}"

    def state_dict(self) -> dict[str, NDArray[Any]]:
        keys, named = sorted(self._records, key=self._age), list(self._items.entries())
        users, user_lengths = _join(user.encode() for _, user in keys)
        blobs, blob_lengths = _join(self._records[key] for key in keys)
        items, item_lengths = _join(item.encode() for _, item, _ in named)
        return {
            "partition": np.fromiter((p for p, _ in keys), np.int32, len(keys)),
            "users": users,
            "user_lengths": user_lengths,
            "blobs": blobs,
            "blob_lengths": blob_lengths,
            "items": items,
            "item_lengths": item_lengths,
            "numbers": np.fromiter((number for number, _, _ in named), np.int64, len(named)),
            "numbers_old": np.fromiter((old for _, _, old in named), np.bool_, len(named)),
            "counter": np.array([self._items.counter], np.int64),
            "floors": _pairs(self._floors),
            "tokens": _pairs(self._tokens),
            "topics": np.frombuffer(self._topics_as_json(), dtype=np.uint8),
        }

    def _topics_as_json(self) -> bytes:
        known = {p: asdict(kept) for p, kept in sorted(self._topics.items()) if kept != _UNKNOWN}
        named = {str(p): entry | {"generation": self._generations.get(p, 0)} for p, entry in known.items()}
        return orjson.dumps(named)

    def _load_topics(self, text: bytes) -> None:
        named = {int(p): entry for p, entry in orjson.loads(text).items()}
        self._generations = {p: entry.pop("generation") for p, entry in named.items()}
        self._topics = {p: Kept(**entry) for p, entry in named.items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        users = [user.decode() for user in _split(state["users"], state["user_lengths"])]
        keys = zip(state["partition"].tolist(), users, strict=True)
        self._records = dict(zip(keys, _split(state["blobs"], state["blob_lengths"]), strict=True))
        items = [item.decode() for item in _split(state["items"], state["item_lengths"])]
        # States of earlier versions have no `numbers_old`: all ids were in one generation.
        old = state.get("numbers_old", np.zeros(len(items), np.bool_)).tolist()
        self._items.restore(list(zip(state["numbers"].tolist(), items, old, strict=True)), int(state["counter"][0]))
        self._floors, self._remembered = dict(state["floors"].tolist()), {}
        self._load_topics(state["topics"].tobytes() if "topics" in state else b"{}")
        # A token never falls, even if an older state is loaded into a store in use.
        self._tokens |= {p: max(token, self._tokens.get(p, 0)) for p, token in state["tokens"].tolist()}

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def _check(self, partition: int, token: int) -> None:
        if self._lost:
            raise MemoriesLost(self._lost)
        current = self._tokens.get(partition, 0)
        if current < token:
            self._lost = f"the token of partition {partition} is {current}, it was {token}"
            raise MemoriesLost(self._lost)
        if current > token:
            raise StaleToken(partition, token, current)


def _join(parts: Iterable[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    whole = list(parts)
    lengths = np.fromiter(map(len, whole), np.int64, len(whole))
    return np.frombuffer(b"".join(whole), dtype=np.uint8), lengths


def _split(joined: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[bytes]:
    data = joined.tobytes()
    ends = [0, *np.cumsum(lengths).tolist()]
    return [data[start:end] for start, end in pairwise(ends)]


def _pairs(numbers: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array(sorted(numbers.items()), dtype=np.int64).reshape(-1, 2)

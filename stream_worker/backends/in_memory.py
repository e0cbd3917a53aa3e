"""Twins of the outside things, in memory: same interfaces, same contract suites, nothing to install."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_worker.backends.redis import MemoryConfig
from stream_worker.core.errors import StaleToken
from stream_worker.core.interfaces import Claim, Snapshot


class InMemoryMemoryStore:
    """Memories for one process without Redis; `state_dict` goes into its checkpoint.

    Bounded: of more than `twin_users` records those written longest ago go, of more than `twin_items` item numbers
    those asked for longest ago.
    """

    durable = False

    def __init__(self, config: MemoryConfig | None = None) -> None:
        self._config = config or MemoryConfig()
        self._records: dict[tuple[int, str], bytes] = {}
        self._tokens: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._counter = 0
        self._owners: dict[str, str] = {}

    def claim(self, partitions: Collection[int]) -> dict[int, Claim]:
        for partition in partitions:
            self._tokens[partition] = self._tokens.get(partition, 0) + 1
        return {p: Claim(self._tokens[p], self._floors.get(p)) for p in partitions}

    def load(self, tokens: Mapping[int, int], keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        for partition in {partition for partition, _ in keys}:
            self._check(partition, tokens[partition])
        return [self._records.get(key) for key in keys]

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        self._check(partition, token)
        written = 0
        for user, blob in records:
            old = self._records.pop((partition, user), b"")
            newer = old[1:9] <= blob[1:9]
            self._records[partition, user] = blob if newer else old
            written += newer
        _trim(self._records, self._config.twin_users)
        return written

    def set_floor(self, partition: int, token: int, floor: int) -> None:
        self._check(partition, token)
        self._floors[partition] = max(floor, self._floors.get(partition, -1))

    def number_items(self, ids: Sequence[str]) -> list[int]:
        numbers = []
        for item in ids:
            number = self._numbers.pop(item, 0)
            if not number:
                self._counter += 1
                number = self._counter
                self._names[number] = item
            self._numbers[item] = number
            numbers.append(number)
        for forgotten in _trim(self._numbers, self._config.twin_items):
            del self._names[forgotten]
        return numbers

    def item_ids(self, numbers: Sequence[int]) -> list[str | None]:
        return [self._names.get(number) for number in numbers]

    def scan(self, user: str | None = None) -> Iterator[tuple[int, str, bytes]]:
        for (partition, name), blob in self._records.items():
            if user is None or name == user:
                yield partition, name, blob

    def take_slot(self, slot: str, nonce: str) -> None:
        self._owners[slot] = nonce

    def slot_owner(self, slot: str) -> str | None:
        return self._owners.get(slot)

    def ping(self) -> str:
        return f"in memory: {len(self._records)} records"

    def state_dict(self) -> dict[str, NDArray[Any]]:
        users, user_lengths = _join(user.encode() for _, user in self._records)
        blobs, blob_lengths = _join(self._records.values())
        items, item_lengths = _join(item.encode() for item in self._numbers)
        return {
            "partition": np.fromiter((p for p, _ in self._records), np.int32, len(self._records)),
            "users": users,
            "user_lengths": user_lengths,
            "blobs": blobs,
            "blob_lengths": blob_lengths,
            "items": items,
            "item_lengths": item_lengths,
            "numbers": np.fromiter(self._numbers.values(), np.int64, len(self._numbers)),
            "counter": np.array([self._counter], np.int64),
            "floors": _pairs(self._floors),
            "tokens": _pairs(self._tokens),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        users = [user.decode() for user in _split(state["users"], state["user_lengths"])]
        keys = zip(state["partition"].tolist(), users, strict=True)
        self._records = dict(zip(keys, _split(state["blobs"], state["blob_lengths"]), strict=True))
        items = [item.decode() for item in _split(state["items"], state["item_lengths"])]
        self._numbers = dict(zip(items, state["numbers"].tolist(), strict=True))
        self._names = {number: item for item, number in self._numbers.items()}
        self._counter = int(state["counter"][0])
        self._floors = dict(state["floors"].tolist())
        self._tokens = dict(state["tokens"].tolist())

    def close(self) -> None:
        """Nothing to close."""

    def _check(self, partition: int, token: int) -> None:
        current = self._tokens.get(partition, 0)
        if current != token:
            raise StaleToken(partition, token, current)


def _trim(kept: dict[Any, Any], bound: int) -> list[Any]:
    """Remove the oldest entries over `bound`; returns their values."""
    oldest = [key for key, _ in zip(kept, range(len(kept) - bound), strict=False)] if len(kept) > bound else []
    return [kept.pop(key) for key in oldest]


def _join(parts: Iterable[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    whole = list(parts)
    lengths = np.fromiter(map(len, whole), np.int64, len(whole))
    return np.frombuffer(b"".join(whole), dtype=np.uint8).copy(), lengths


def _split(joined: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[bytes]:
    data = joined.tobytes()
    ends = [0, *np.cumsum(lengths).tolist()]
    return [data[start:end] for start, end in pairwise(ends)]


def _pairs(numbers: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array(sorted(numbers.items()), dtype=np.int64).reshape(-1, 2)


class InMemoryCheckpoints:
    """The newest snapshot only; gone with the process."""

    def __init__(self) -> None:
        self._newest: Snapshot | None = None
        self.bytes = 0

    def save(self, snapshot: Snapshot) -> None:
        self._newest = snapshot
        self.bytes = sum(array.nbytes for array in snapshot.arrays.values())

    def load_newest(self) -> Snapshot | None:
        return self._newest


class ManualClock:
    """Time that stands still until it is told to move."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds

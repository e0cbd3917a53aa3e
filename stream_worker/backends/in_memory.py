"""Twins of the outside things, in memory: same interfaces, same contract suites, nothing to install."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_worker.backends.redis import MemoryConfig
from stream_worker.core.amounts import amount
from stream_worker.core.errors import (
    MemoriesLost,
    OffsetLost,
    SlotTaken,
    StaleToken,
    StreamWorkerError,
    TransactionAborted,
)
from stream_worker.core.events import Outputs, Record
from stream_worker.core.interfaces import Claim, Clock, PartitionOwner, Snapshot
from stream_worker.core.item_dictionary import ItemDictionary, numbers_kept_seconds
from stream_worker.core.missing_offsets import begin, first_partitions, most_partitions, of_this_topic
from stream_worker.core.offsets import Committed, Kept, Mark
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Standing

_NEXT_OFFSET = slice(1, 9)  # n in a record, comparable as bytes
_FORGOTTEN_SHARE = 16
_UNKNOWN = Kept()


class InMemoryMemoryStore:
    """Memories for one process without Redis; `state_dict` goes into its checkpoint.

    Bounded: of more than `twin_users` records those whose last event is longest ago go; of more than `twin_items` item
    ids the new ones get no number. Up to the former bound neither what is kept nor its order in the state depends on
    when it was written, so that a replay which was killed ends up the same as one that was not. By a `clock` ids are
    forgotten as in Redis; without one never, since no record is.
    """

    durable = False

    def __init__(self, config: MemoryConfig | None = None, clock: Clock | None = None) -> None:
        self._config = config or MemoryConfig()
        self._clock = clock
        self.numbers_kept_seconds = numbers_kept_seconds(self._config.expire_seconds) if clock else math.inf
        self._items = ItemDictionary(self._config.twin_items, self.numbers_kept_seconds)
        self._records: dict[tuple[int, str], bytes] = {}
        self._tokens: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        self._topics: dict[int, Kept] = {}
        self._generations: dict[int, int] = {}
        self._turn = 0
        self._lost = ""
        self._owners: dict[str, str] = {}

    def fall_back(self, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        """What happens to a store that is wiped, or put back to an earlier state, while it is in use."""
        turn = self._turn
        self.__init__(self._config, self._clock)  # type: ignore[misc]
        self._turn, self._lost = turn, "the store was put back to an earlier state"
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
            # Over losses, too, no token comes again.
            self._turn = 1 + max(self._turn, (above or {}).get(partition, 0), self._tokens.get(partition, 0))
            self._tokens[partition] = self._turn
        before = {partition: self._belong(partition, now) for partition in partitions}
        return {
            p: Claim(self._tokens[p], self._floors.get(p), self._generations.get(p, 0), before[p]) for p in partitions
        }

    def _belong(self, partition: int, now: Kept) -> str:
        """Make the partition one of this topic; returns the id of another one that it was of."""
        kept = self._topics.get(partition, Kept())
        another = kept.is_of_another(now.topic_id)
        if another:
            self._generations[partition] = 1 + self._generations.get(partition, 0)
            self._floors.pop(partition, None)
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
        """Lower than any for what is no record of a version that is known (see `core.memory_record`)."""
        blob = self._records.get(key, b"")
        return blob[_NEXT_OFFSET] if blob[:1] in (b"\1", b"\2") else b""

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

    def slot_owner(self, slot: str) -> str | None:
        return self._owners.get(slot)

    def ensure_kept(self) -> None:
        """What has to go is told by `twin_users`."""

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
        # States of earlier versions know of no generations.
        old = state.get("numbers_old", np.zeros(len(items), np.bool_)).tolist()
        self._items.restore(list(zip(state["numbers"].tolist(), items, old, strict=True)), int(state["counter"][0]))
        self._floors = dict(state["floors"].tolist())
        self._load_topics(state["topics"].tobytes() if "topics" in state else b"{}")
        # Tokens only grow, also where an older state comes into a store in use.
        self._tokens |= {p: max(token, self._tokens.get(p, 0)) for p, token in state["tokens"].tolist()}

    def close(self) -> None:
        """Nothing to close."""

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


class InMemoryCheckpoints:
    """The newest snapshot only; gone with the process. As from files, what is loaded is a copy, its meta JSON types."""

    def __init__(self) -> None:
        self._newest: Snapshot | None = None
        self.bytes = 0

    def save(self, snapshot: Snapshot) -> None:
        self._newest = Snapshot({name: array.copy() for name, array in snapshot.arrays.items()}, snapshot.meta)
        self.bytes = sum(array.nbytes for array in snapshot.arrays.values())

    def load_newest(self) -> Snapshot | None:
        if self._newest is None:
            return None
        meta = orjson.loads(orjson.dumps(self._newest.meta, option=orjson.OPT_SORT_KEYS))
        return Snapshot({name: array.copy() for name, array in self._newest.arrays.items()}, meta)

    def close(self) -> None:
        """Nothing to close."""


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


class InMemoryTopic:
    """A broker in one object: partitions of records, their readers and writers, Y (`committed`) and all `outputs` that
    were ever published from them.

    `rebalance` moves partitions among the sources; each hears of it in its next `poll` or `serve`, and a partition is
    claimed only once its former owner has let go. `ended` makes sources `exhausted` when all is read. `trim` does
    what retention does.
    """

    def __init__(self, partitions: int = 1, name: str = "events") -> None:
        self.name = name
        self.topic_id, self.cluster_id = "topic-1", "cluster"
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.committed: dict[int, int] = {}
        self.marks: dict[int, Mark] = {}
        self.markers: set[tuple[int, int]] = set()
        self.first_partitions = partitions
        self.outputs = Outputs()
        self.ended = False
        self.generation = 0
        self.lows = [0] * partitions
        self.wanted: dict[int, InMemorySource] = {}
        self.held: dict[int, InMemorySource] = {}
        self.writers: dict[str, InMemorySink] = {}
        self._members: dict[str, InMemorySource] = {}

    def append(self, key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int | None = None) -> Record:
        """Add a record; without a partition, its key decides."""
        number = zlib.crc32(key or b"") % len(self.partitions) if partition is None else partition
        record = Record(number, len(self.partitions[number]), timestamp_ms, key, value)
        self.partitions[number].append(record)
        return record

    def make_again(self, partitions: int = 1) -> None:
        """Delete the topic, and Y with it, and make an empty one of the same name; its members claim it anew."""
        self.topic_id = f"topic-{1 + int(self.topic_id.removeprefix('topic-'))}"
        self.partitions, self.lows = [[] for _ in range(partitions)], [0] * partitions
        self.first_partitions = partitions
        self.committed, self.marks, self.held, self.markers = {}, {}, {}, set()
        self.rebalance()

    def append_marker(self, partition: int) -> None:
        """An offset that holds no record, as the end of a transaction does."""
        self.markers.add((partition, len(self.partitions[partition])))
        self.append(None, None, -1, partition)

    def past_markers(self, partition: int, offset: int) -> int:
        while (partition, offset) in self.markers:
            offset += 1
        return offset

    def grow(self, partitions: int) -> None:
        """More partitions, which are given to the members in turn; keys are spread anew."""
        more = partitions - len(self.partitions)
        self.partitions += [[] for _ in range(more)]
        self.lows += [0] * more
        self.rebalance()

    def trim(self, partition: int, before: int) -> None:
        self.lows[partition] = before

    def rebalance(self, wanted: Mapping[int, InMemorySource] | None = None) -> None:
        """Give each partition to the source named in `wanted`; without it, to all in turn."""
        self.generation += 1
        members = list(self._members.values())
        turns = {p: members[p % len(members)] for p in range(len(self.partitions))} if members else {}
        self.wanted = turns if wanted is None else dict(wanted)

    def join(self, slot: str, source: InMemorySource) -> None:
        """A second source of a slot takes the place of the first, which is fenced."""
        if former := self._members.get(slot):
            self._free(former)
        self._members[slot] = source
        self.rebalance()

    def leave(self, slot: str, source: InMemorySource) -> None:
        if self.has(slot, source):
            del self._members[slot]
            self._free(source)
            self.rebalance()

    def has(self, slot: str, source: InMemorySource) -> bool:
        return self._members.get(slot) is source

    def lose(self, source: InMemorySource, to: InMemorySource) -> None:
        """As after a stall past the session timeout: all partitions of `source` are `to`'s before it hears of it."""
        moved = {p: to if owner is source else owner for p, owner in self.wanted.items()}
        self._free(source)
        self.rebalance(moved)

    def _free(self, source: InMemorySource) -> None:
        self.held = {p: owner for p, owner in self.held.items() if owner is not source}


class InMemorySource:
    """A member of the topic's group. Its poll never waits: what is not there yet is there at the next one."""

    def __init__(self, topic: InMemoryTopic, slot: str = "0", start: str = "earliest") -> None:
        self._topic, self._slot, self._start = topic, slot, start
        self._owner: PartitionOwner | None = None
        self._next: dict[int, int] = {}
        self._kept: dict[int, Kept] = {}
        self._first = self._most = topic.first_partitions
        self._generation = -1
        self._lost = False

    @property
    def name(self) -> str:
        return self._topic.name

    def identity(self) -> SourceId:
        return SourceId(self.name, self._topic.topic_id, self._topic.cluster_id, "group")

    def subscribe(self, owner: PartitionOwner) -> None:
        self._owner = owner
        self._topic.join(self._slot, self)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        self.serve()
        self._claim()
        records: list[Record] = []
        for partition in sorted(self._next):
            start = self._readable(partition, self._next[partition], self._next[partition])
            taken = self._topic.partitions[partition][start : start + max_records - len(records)]
            self._next[partition] = start + len(taken)
            records += [record for record in taken if (partition, record.offset) not in self._topic.markers]
        return records

    def serve(self) -> None:
        if self._owner is None or not self._topic.has(self._slot, self):
            raise SlotTaken(f"another source uses slot {self._slot!r} of {self.name}")
        if self._generation != self._topic.generation:
            self._generation, self._lost = self._topic.generation, False
        lost = [p for p in self._next if self._topic.held.get(p) is not self]
        revoked = [p for p in self._next if p not in lost and self._topic.wanted.get(p) is not self]
        self._lost = self._lost or bool(lost)
        self._leave(lost, self._owner.drop)
        self._leave(revoked, self._owner.release)

    def _leave(self, partitions: list[int], tell: Callable[[list[int]], None]) -> None:
        try:
            if partitions:
                tell(sorted(partitions))
        finally:
            for partition in partitions:
                del self._next[partition]
                if self._topic.held.get(partition) is self:
                    del self._topic.held[partition]

    def _claim(self) -> None:
        topic = self._topic
        free = [p for p, owner in sorted(topic.wanted.items()) if owner is self and p not in topic.held]
        if not free or self._owner is None:
            return
        published = self._published(self._owner, free)
        starts = self._owner.claim(published)
        self._next |= {p: self._readable(p, starts[p], topic.committed[p]) for p in free}
        topic.held |= dict.fromkeys(free, self)

    def _published(self, owner: PartitionOwner, free: list[int]) -> dict[int, Committed]:
        topic, count = self._topic, len(self._topic.partitions)
        there = {p: Committed(at, topic.marks.get(p, Mark())) for p, at in topic.committed.items()}
        known = of_this_topic(there, self.identity())
        kept = owner.kept(range(count))
        self._kept |= {p: kept[p] for p in free}
        first = min(topic.first_partitions, first_partitions(list(known.values()), kept, count))
        self._first, self._most = first, most_partitions(kept, count)
        for p in set(free) - known.keys():
            begun = begin(kept[p], topic.topic_id, self._start, topic.lows[p], len(topic.partitions[p]), p >= first)
            mark = Mark(partitions=first, topic_id=topic.topic_id, cluster_id=topic.cluster_id)
            known[p] = Committed(begun.next_offset, mark, begun.first)
            topic.committed[p], topic.marks[p] = begun.next_offset, known[p].mark
        return {
            p: replace(known[p], mark=replace(known[p].mark, partitions=first), partitions=self._most) for p in free
        }

    def reclaim(self, partitions: Collection[int]) -> None:
        for partition in self._next.keys() & set(partitions):
            del self._next[partition]
            if self._topic.held.get(partition) is self:
                del self._topic.held[partition]

    def moved_from(self) -> Collection[int]:
        most = max(self._most, len(self._topic.partitions))
        return range(most) if most > self._first else ()

    def stood(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {p: self._topic.past_markers(p, offset) for p, offset in next_offsets.items()}

    def _readable(self, partition: int, start: int, published: int) -> int:
        low, kept = self._topic.lows[partition], self._kept.get(partition, _UNKNOWN)
        stood = 0 if kept.is_of_another(self._topic.topic_id) else kept.stood
        if max(start, published, stood, self._topic.marks.get(partition, Mark()).stood) < low:
            raise OffsetLost(f"{self.name} [{partition}]: next offset {published} is gone, the topic begins at {low}")
        return max(start, low)

    def exhausted(self) -> bool:
        mine = [p for p, owner in self._topic.wanted.items() if owner is self]
        return (
            self._topic.ended and bool(mine) and all(self._next.get(p) == len(self._topic.partitions[p]) for p in mine)
        )

    def standing(self) -> Standing:
        if self._lost:
            return Standing(False, "lost its partitions, and has to claim again")
        mine = any(owner is self for owner in self._topic.wanted.values())
        return Standing(self._generation >= 0 and not mine, "claiming its partitions" if mine else "standing by")

    def trouble(self) -> str:
        return ""

    def lag(self, next_offsets: Mapping[int, int]) -> Mapping[int, int]:
        return {p: max(0, len(self._topic.partitions[p]) - offset) for p, offset in next_offsets.items()}

    def membership(self) -> Any:
        return self._generation

    def close(self) -> None:
        self._topic.leave(self._slot, self)
        self._next.clear()


class InMemorySink:
    """The writer of a slot; a newer one fences it. Each of `failures` is raised by one commit, which then publishes
    nothing. A membership from before the last rebalance is refused, as the broker does."""

    shortened = 0

    def __init__(self, topic: InMemoryTopic, slot: str = "0") -> None:
        self._topic, self._slot = topic, slot
        self.failures: list[StreamWorkerError] = []
        topic.writers[slot] = self

    @property
    def outputs(self) -> Outputs:
        """All that was ever committed to the topic."""
        return self._topic.outputs

    def commit(
        self,
        outputs: Outputs,
        next_offsets: Mapping[int, int],
        membership: Any,
        marks: Mapping[int, Mark] | None = None,
    ) -> None:
        if outputs and not next_offsets:
            raise ValueError("outputs without the offsets they come from can't be told apart after a lost answer")
        if self._topic.writers[self._slot] is not self:
            raise SlotTaken(f"another sink uses slot {self._slot!r} of {self._topic.name}")
        if self.failures:
            raise self.failures.pop(0)
        if membership != self._topic.generation:
            raise TransactionAborted(f"generation {membership} is over, it is {self._topic.generation} now")
        self._topic.committed |= next_offsets
        self._topic.marks |= marks or {}
        for name in ("recommendations", "dead_letters", "predictions"):
            getattr(self._topic.outputs, name).extend(getattr(outputs, name))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing: the topic keeps it."""

    def close(self) -> None:
        """Nothing is held."""

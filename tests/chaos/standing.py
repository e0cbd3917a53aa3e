"""Y, L, n and M as they stand outside of all workers, and what the rule of the four offsets says of them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_worker.backends.checkpoint import newest_in, newest_of, slots_below
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.core.memory_record import header_of
from tests.support.fleet import Sent, read_all
from tests.support.scene import Scene

Offsets = dict[int, int]


@dataclass(frozen=True)
class Record:
    """Of one memory record: n, and the events that it counts."""

    next_offset: int
    events: int


@dataclass(frozen=True)
class Standing:
    """What is there while no worker lives. `learned`: L of each slot, a partition; `floors`: M, where there is one."""

    published: Offsets
    learned: dict[str, Offsets]
    records: dict[tuple[str, int], Record]
    floors: Offsets

    def check(self, sent: Sent) -> None:
        """M and every n <= L <= Y. A record counts its user's events before n, and no other; before M, all are in."""
        for partition, published in self.published.items():
            newest = max((offsets.get(partition, 0) for offsets in self.learned.values()), default=0)
            floor = self.floors.get(partition, 0)
            where = f"partition {partition}: M {floor}, L {newest}, Y {published}"
            assert floor <= newest <= published, where
            assert all(r.next_offset <= newest for (_, p), r in self.records.items() if p == partition), where
        for key, offsets in sent.valid.items():
            record, floor = self.records.get(key, Record(0, 0)), self.floors.get(key[1], 0)
            counted = bisect_left(offsets, record.next_offset)
            assert record.events == counted, f"{key}: expected {counted} events, got {record}"
            assert counted >= bisect_left(offsets, floor), f"{key}: M is {floor}, n is {record.next_offset}"

    def half_written(self, sent: Sent) -> int:
        """Partitions with some records past M and others still to be written."""
        past: dict[int, set[bool]] = defaultdict(set)
        for (user, partition), offsets in sent.valid.items():
            floor, newest = self.floors.get(partition, 0), max(o.get(partition, 0) for o in self.learned.values())
            record = self.records.get((user, partition), Record(0, 0))
            if owed := offsets[bisect_left(offsets, floor) : bisect_left(offsets, newest)]:
                past[partition].add(record.next_offset > owed[-1])
        return sum(seen == {True, False} for seen in past.values())

    def to_read(self, ends: Offsets) -> int:
        """Records that the next owner of all partitions reads up to their ends: from M."""
        return sum(end - self.floors.get(partition, 0) for partition, end in ends.items())

    def to_learn(self, learned: Offsets, sent: Sent) -> tuple[int, int]:
        """What a line with this L learns after it was published (overlap), and what it never will (gap)."""
        overlap = 0
        gap = sum(max(0, floor - learned[p]) for p, floor in self.floors.items() if learned.get(p))
        for key, offsets in sent.valid.items():
            level, floor = learned.get(key[1], 0), self.floors.get(key[1], 0)
            remembered = self.records.get(key, Record(0, 0)).next_offset
            read_again = [offset for offset in offsets if floor <= offset < self.published[key[1]]]
            overlap += sum(offset >= max(level, remembered) for offset in read_again)
            gap += sum(0 < level <= offset < remembered for offset in read_again)
        return overlap, gap


def look(scene: Scene) -> Standing:
    """Read all four from outside."""
    store = RedisMemoryStore(MemoryConfig(redis_url=scene.redis_url), f"{scene.group}:{scene.topic}")
    headers = {(user, partition): header_of(blob) for partition, user, blob in store.scan()}
    store.close()
    slots = slots_below(_checkpoints(scene))
    return Standing(
        published=_published(scene),
        learned={slot.name: _offsets(newest_in(slot)) for slot in slots},
        records={key: Record(header["next_offset"], header["events"]) for key, header in headers.items()},
        floors=scene.floors(),
    )


def learned_at_start(scene: Scene, slot: str) -> Offsets:
    """L that a start of the slot begins with: its own, else another slot's."""
    path = _checkpoints(scene)
    own = next((newest_in(folder) for folder in slots_below(path) if folder.name == slot), None)
    return _offsets(own or newest_of(path))


def _checkpoints(scene: Scene) -> Path:
    return scene.folder / "checkpoints"


def _offsets(snapshot: object) -> Offsets:
    meta = getattr(snapshot, "meta", {"offsets": {}})
    return {int(partition): offset for partition, offset in meta["offsets"].items()}


def _published(scene: Scene) -> Offsets:
    """Y. While a dead worker's transaction is open, the broker does not tell, nor does a young one without a
    coordinator: then it is what was committed of the outputs."""
    consumer = Consumer(
        {"bootstrap.servers": scene.bootstrap, "group.id": scene.group, "isolation.level": "read_uncommitted"}
    )
    asked = [TopicPartition(scene.topic, partition) for partition in range(scene.partitions)]
    try:
        offsets = {place.partition: place.offset for place in consumer.committed(asked, timeout=10)}
    except KafkaException:
        return _published_outputs(scene)
    finally:
        consumer.close()
    return offsets if min(offsets.values()) >= 0 else _published_outputs(scene)


def _published_outputs(scene: Scene) -> Offsets:
    ends = dict.fromkeys(range(scene.partitions), 0)
    for message in read_all(scene.bootstrap, scene.output):
        at = json.loads(message.value())["as_of"]
        ends[at["partition"]] = max(ends[at["partition"]], at["offset"] + 1)
    for message in read_all(scene.bootstrap, scene.dead):
        headers = dict(message.headers())
        partition = int(headers["partition"])
        ends[partition] = max(ends[partition], int(headers["offset"]) + 1)
    return ends

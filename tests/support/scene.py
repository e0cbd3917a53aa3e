"""Fresh topics, a group and a fleet of workers on a real Kafka and Redis, and what must hold there at the end."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType

import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from model.learner_config import LearnerConfig
from tests.support.fleet import Event, Fleet, Sent, check_contract, check_shared_lists, committed, produce

RING = LearnerConfig().ring_size
_numbers = count()


Memories = dict[tuple[str, int], tuple[int, list[str]]]  # (user, partition) -> counted events and ring


def memories_of(items: Mapping[tuple[str, int], Sequence[str]]) -> Memories:
    """What has to be remembered of these items of each (user, partition)."""
    return {key: (len(of_user), list(of_user[-RING:])) for key, of_user in items.items() if of_user}


class Scene:
    """Topics with `partitions` partitions; `environment`: settings of the workers, as `SECTION__KEY`."""

    def __init__(
        self,
        bootstrap: str,
        redis_url: str,
        folder: Path,
        *,
        partitions: int = 8,
        replicas: int = 1,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.bootstrap, self.redis_url, self.folder = bootstrap, redis_url, folder
        self.partitions, self.replicas = partitions, replicas
        self._admin = AdminClient({"bootstrap.servers": bootstrap}, logger=logging.getLogger("tests.kafka"))
        name = f"{folder.name}-{next(_numbers)}-{token_hex(3)}"
        self.topic, self.output, self.dead, self.group = f"{name}.events", f"{name}.lists", f"{name}.dead", name
        self._create(self.topic, partitions)
        self._create(self.output, partitions)
        self._create(self.dead, 1)
        self.shared = {f"{name}.similar": "item", f"{name}.popular": "category"}
        for topic in self.shared:
            self._create(topic, 2)
        self.environment = {
            "KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "KAFKA__INPUT_TOPIC": self.topic,
            "KAFKA__OUTPUT_TOPIC": self.output,
            "KAFKA__DEAD_LETTER_TOPIC": self.dead,
            "KAFKA__SIMILAR_TOPIC": f"{name}.similar",
            "KAFKA__POPULAR_TOPIC": f"{name}.popular",
            "KAFKA__GROUP_ID": self.group,
            "KAFKA__SESSION_TIMEOUT_MS": "6000",
            "MEMORY__REDIS_URL": redis_url,
            "CHECKPOINT__PATH": str(folder / "checkpoints"),
            "CHECKPOINT__INTERVAL_SECONDS": "1",
            "METRICS__PORT": "0",
        } | dict(environment)
        self.fleet = Fleet(folder, **self.environment)
        self.sent = Sent()

    def _create(self, topic: str, partitions: int) -> None:
        """Nothing in it expires: old events carry their own time, by which retention would delete them."""
        made = NewTopic(topic, partitions, self.replicas, config={"retention.ms": "-1"})
        self._admin.create_topics([made])[topic].result(30)

    def grow(self, partitions: int) -> None:
        """More partitions of the input topic."""
        self._admin.create_partitions([NewPartitions(self.topic, partitions)])[self.topic].result(30)
        self.partitions = partitions

    def produce(self, events: Iterable[Event]) -> None:
        """Send them, and note in `sent` where each went."""
        self.sent.add(produce(self.bootstrap, self.topic, events))

    def progress(self) -> int:
        """Records whose offsets the group has committed."""
        return committed(self.bootstrap, self.group, self.topic, self.partitions)

    def floors(self) -> dict[int, int]:
        """M of every partition that has one, by Redis' own word."""
        with redis.Redis.from_url(self.redis_url) as client:
            keys = {p: f"stream-worker:{{{self.group}:{self.topic}:{p}}}:floor" for p in range(self.partitions)}
            found = {partition: client.get(key) for partition, key in keys.items()}
        return {partition: int(floor) for partition, floor in found.items() if floor is not None}

    def done(self) -> bool:
        return self.progress() >= self.sent.records

    def check(self) -> int:
        """Contract 1 at every list, the shared ones, and the dead letters; returns the number of lists of users."""
        lists = check_contract(self.bootstrap, self.output, self.dead, self.sent)
        check_shared_lists(self.bootstrap, self.output, self.shared)
        assert lists > 0
        return lists

    def check_memories(self, expected: Memories | None = None) -> int:
        """Counters and rings of every (user, partition) are as expected, by default what the log says; returns the
        number of records."""
        if expected is None:
            expected = memories_of(self.sent.items)
        found = self.remembered()
        wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
        assert not wrong, (
            f"{len(wrong)} memories differ, {wrong[0]}: expected {expected.get(wrong[0])}, got {found.get(wrong[0])}"
        )
        return len(found)

    def remembered(self) -> Memories:
        """What is remembered, by the program's own word."""
        # Ids may hold what splitlines() splits at.
        records = [json.loads(line) for line in self.fleet.command("memory").split("\n") if line]
        return {(r["user"], r["partition"]): (r["events"], r["ring"]) for r in records}

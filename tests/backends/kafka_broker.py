"""A fresh topic, group and outputs on the real Kafka, as the contract suites want them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, Published, messages, produce_records
from stream_worker.core.codec import decode_recommendation
from stream_worker.core.events import Recommendation
from stream_worker.core.interfaces import Source
from tests.conftest import MakeTopic

# Messages are read until none has come for so long.
IDLE_SECONDS = 0.6
_MADE_SECONDS = 30.0


class KafkaBroker:
    """`config` names the fresh topics; sources and sinks made here are closed at the end of the test."""

    partitions = 4

    def __init__(self, bootstrap: str, make_topic: MakeTopic, **settings: Any) -> None:
        self.config = KafkaConfig(
            bootstrap_servers=bootstrap,
            input_topic=make_topic("events", self.partitions),
            output_topic=make_topic("recommendations", 2),
            dead_letter_topic=make_topic("dead", 1),
            similar_topic=make_topic("similar", 1),
            popular_topic=make_topic("popular", 1),
            group_id=make_topic("group", 1),
            **{"session_timeout_ms": 2_000, **settings},
        )
        self.younger_wins = self.config.group_protocol == "classic"
        self._open: list[Callable[[], None]] = []

    def send(self, partition: int, *values: bytes) -> None:
        """To one partition; `produce_records` lets the key decide, so a key is looked for that lands there."""
        produce_records(self.config, self.config.input_topic, [(self.key(partition), v, 1) for v in values])

    def key(self, partition: int) -> bytes:
        return next(k for n in range(1_000) if murmur2(k := b"u%d" % n) % self.partitions == partition)

    def source(
        self, slot: str = "a", start: Literal["earliest", "latest"] = "earliest", **settings: Any
    ) -> KafkaSource:
        source = KafkaSource(replace(self.config, start=start, **settings), slot)
        self._open.append(source.close)
        return source

    def sink(self, slot: str = "a", **settings: Any) -> KafkaSink:
        sink = KafkaSink(replace(self.config, **settings), slot)
        self._open.append(sink.close)
        return sink

    def trim(self, partition: int, before: int) -> None:
        at = TopicPartition(self.config.input_topic, partition, before)
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers})
        admin.delete_records([at])[at].result(10)

    def make_again(self, partitions: int = 4) -> None:
        make_again(self.config.bootstrap_servers, self.config.input_topic, partitions)

    def vanish(self, source: Source) -> None:
        """A static member's close does not leave: to the group it is dead."""
        source.close()

    def lists(self) -> list[Recommendation]:
        return [decode_recommendation(m.value or b"") for m in self.read(self.config.output_topic)]

    def dead_letters(self) -> list[tuple[int, int, str]]:
        found = [m.headers for m in self.read(self.config.dead_letter_topic)]
        return [(int(h["partition"]), int(h["offset"]), h["error"]) for h in found]

    def shared(self) -> list[tuple[str, list[str]]]:
        found = [m for topic in (self.config.similar_topic, self.config.popular_topic) for m in self.read(topic)]
        return [((m.key or b"").decode(), [entry["item"] for entry in m.json()["items"]]) for m in found]

    def read(self, topic: str) -> list[Published]:
        return list(messages(self.config, topic, from_beginning=True, idle_seconds=IDLE_SECONDS))

    def close(self) -> None:
        for close in self._open:
            close()


def make_again(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete a topic and make an empty one of the same name; done once the broker tells of the new one."""
    admin = AdminClient({"bootstrap.servers": bootstrap}, logger=logging.getLogger("tests.kafka"))
    before = topic_id(admin, topic)
    admin.delete_topics([topic])[topic].result(10)
    end = time.monotonic() + _MADE_SECONDS
    while topic_id(admin, topic) in ("", before):
        assert time.monotonic() < end, f"{topic} can't be made again"
        with suppress(KafkaException):
            new = NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})
            admin.create_topics([new])[topic].result(10)


def topic_id(admin: AdminClient, topic: str) -> str:
    """Empty while the topic is not there."""
    try:
        return str(admin.describe_topics(TopicCollection([topic]))[topic].result(10).topic_id)
    except KafkaException:
        return ""


def murmur2(data: bytes) -> int:
    """The positive half of Kafka's hash of a key (Austin Appleby's MurmurHash2, seed 0x9747b28c)."""
    size, mask, m = len(data), 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ size) & mask
    whole = size - size % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF

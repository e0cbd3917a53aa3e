"""Sources of items: the twin, the real Kafka, and files. All pass the suites of `contracts_items`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from stream_worker.backends.files import FileItems
from stream_worker.backends.in_memory import InMemoryItems, InMemoryTopic
from stream_worker.backends.kafka import KafkaConfig, KafkaItems
from stream_worker.core.interfaces import ItemSource
from stream_worker.core.item_config import ItemsConfig
from tests.backends.contracts_items import ItemSourceContract, ItemTopicContract, Topic, item
from tests.backends.kafka_broker import make_again
from tests.conftest import MakeTopic


class InMemoryShelf:
    def __init__(self) -> None:
        self.topic = InMemoryTopic(2, "items")

    def tell(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            self.tell_in(number % 2, value)

    def tell_in(self, partition: int, *values: bytes) -> None:
        for value in values:
            self.topic.append(b"key", value, 1, partition)

    def delete(self, key: bytes) -> None:
        self.topic.append(key, None, 1, 0)

    def open_transaction(self, value: bytes) -> None:
        """A reader of committed records does not see it; nor does the twin."""

    def source(self) -> ItemSource:
        return InMemoryItems(self.topic)

    def other(self) -> ItemSource:
        self.make_again()
        self.tell_in(0, item(7))
        return self.source()

    def grow(self, partitions: int) -> None:
        self.topic.grow(partitions)

    def trim(self, partition: int, before: int) -> None:
        self.topic.trim(partition, before)

    def go_away(self, source: ItemSource) -> None:
        assert isinstance(source, InMemoryItems)
        source.away = "it is away"

    def make_again(self) -> None:
        self.topic.make_again(2)


class TestTwin(ItemTopicContract):
    @pytest.fixture
    def shelf(self) -> Topic:
        return InMemoryShelf()


class KafkaShelf:
    def __init__(self, bootstrap: str, make_topic: MakeTopic) -> None:
        topic = make_topic("items", 2, cleanup_policy="compact,delete")
        self.config = KafkaConfig(bootstrap_servers=bootstrap, items_topic=topic, group_id=make_topic("group", 1))
        self._open: list[Callable[[], None]] = []

    def tell(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            self.tell_in(number % 2, value)

    def tell_in(self, partition: int, *values: bytes) -> None:
        self._write([(partition, b"k%d" % hash(value), value) for value in values])

    def delete(self, key: bytes) -> None:
        self._write([(0, key, None)])

    def _write(self, records: list[tuple[int, bytes, bytes | None]]) -> None:
        producer = Producer({"bootstrap.servers": self.config.bootstrap_servers})
        for partition, key, value in records:
            producer.produce(self.config.items_topic, value, key, partition)
        assert producer.flush(20) == 0

    def open_transaction(self, value: bytes) -> None:
        topic = self.config.items_topic
        producer = Producer({"bootstrap.servers": self.config.bootstrap_servers, "transactional.id": f"open-{topic}"})
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(topic, value, b"k", 0)
        producer.flush(20)
        self._open.append(lambda: producer.abort_transaction(20))

    def source(self) -> ItemSource:
        source = KafkaItems(self.config)
        self._open.append(source.close)
        return source

    def other(self) -> ItemSource:
        self.make_again()
        self.tell_in(0, item(7))
        return self.source()

    def grow(self, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers})
        new = NewPartitions(self.config.items_topic, partitions)
        admin.create_partitions([new])[self.config.items_topic].result(20)

    def trim(self, partition: int, before: int) -> None:
        at = TopicPartition(self.config.items_topic, partition, before)
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers})
        admin.delete_records([at])[at].result(10)

    def go_away(self, source: ItemSource) -> None:
        """Deleted, and not made again."""
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers})
        admin.delete_topics([self.config.items_topic])[self.config.items_topic].result(10)

    def make_again(self) -> None:
        make_again(self.config.bootstrap_servers, self.config.items_topic, 2)

    def close(self) -> None:
        for close in self._open:
            close()


@pytest.mark.kafka
class TestKafka(ItemTopicContract):
    @pytest.fixture
    def shelf(self, kafka_bootstrap: str, make_topic: MakeTopic) -> Iterator[KafkaShelf]:
        shelf = KafkaShelf(kafka_bootstrap, make_topic)
        yield shelf
        shelf.close()


class FileShelf:
    def __init__(self, folder: Path) -> None:
        self.folder, self.lines = folder, list[bytes]()

    def tell(self, *values: bytes) -> None:
        self.lines += values

    def source(self) -> FileItems:
        path = self.folder / "items.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in self.lines))
        return FileItems([path], ItemsConfig())

    def other(self) -> FileItems:
        self.lines = [item(7)]
        return self.source()


class TestFiles(ItemSourceContract):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> FileShelf:
        return FileShelf(tmp_path)

"""Sources of heard partitions: the twin and the real Kafka pass the suite of `contracts_heard`; what Kafka alone shows
is here, too."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from stream_worker.backends.in_memory import InMemoryHeard
from stream_worker.backends.kafka import KafkaConfig, KafkaHeard, create_topics, heard, look_at_group, produce_records
from stream_worker.backends.kafka.config import outsider_settings
from stream_worker.backends.kafka.groups import Group
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import HeardSource
from tests.backends.contracts_heard import HeardContract, HeardTopic, Listener
from tests.backends.contracts_topics import Member, retry, until, values
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.test_in_memory_topics import InMemoryBroker
from tests.conftest import MakeTopic
from tests.support.services import KafkaCluster


class InMemoryHeardTopic(InMemoryBroker):
    def heard(self, slot: str = "a") -> HeardSource:
        return InMemoryHeard(self.topic)

    def grow(self, partitions: int) -> None:
        self.topic.grow(partitions)

    def send_in_transaction(self, partition: int, *values: bytes) -> None:
        self.send(partition, *values)
        self.topic.append_marker(partition)


class TestTwin(HeardContract):
    @pytest.fixture
    def topic(self) -> HeardTopic:
        return InMemoryHeardTopic()


class KafkaTopic(KafkaBroker):
    def heard(self, slot: str = "a") -> HeardSource:
        source = KafkaHeard(self.config, slot)
        self._open.append(source.close)
        return source

    def grow(self, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers})
        new = NewPartitions(self.config.input_topic, partitions)
        admin.create_partitions([new])[self.config.input_topic].result(20)

    def send(self, partition: int, *values: bytes) -> None:
        self._produce(self.producer(), partition, *values)

    def send_in_transaction(self, partition: int, *values: bytes) -> None:
        producer = self.begun(partition, *values)
        producer.commit_transaction(20)

    def begun(self, partition: int, *values: bytes) -> Producer:
        """A producer whose transaction is open."""
        producer = self.producer(**{"transactional.id": f"upstream-{self.config.input_topic}"})
        producer.init_transactions(20)
        producer.begin_transaction()
        self._produce(producer, partition, *values)
        return producer

    def producer(self, **settings: Any) -> Producer:
        servers = {"bootstrap.servers": self.config.bootstrap_servers}
        return Producer(servers | settings, logger=logging.getLogger("tests.kafka"))

    def _produce(self, producer: Producer, partition: int, *values: bytes) -> None:
        for value in values:
            producer.produce(self.config.input_topic, value, b"u", partition)
        assert producer.flush(20) == 0


@pytest.fixture
def topic(kafka_bootstrap: str, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaTopic]:
    monkeypatch.setattr(heard, "_LOOK_SECONDS", 0.2)
    topic = KafkaTopic(kafka_bootstrap, make_topic)
    retry(topic.heard().bounds)  # a broker says that a topic is there a moment before it leads its partitions
    yield topic
    topic.close()


@pytest.mark.kafka
class TestKafka(HeardContract):
    pass


@pytest.mark.kafka
class TestPlaces:
    def test_the_group_keeps_the_place_of_a_worker_that_left_without_a_word(self, topic: KafkaTopic) -> None:
        member = Member(topic.source("b"))
        until(lambda: bool(member.owner.owned), member)
        member.source.close()
        assert topic.heard("b").is_awaited()
        assert not topic.heard("c").is_awaited()


@pytest.mark.kafka
class TestTransactions:
    def test_records_come_once_their_transaction_is_committed(self, topic: KafkaTopic) -> None:
        topic.send(0, b"a")
        open_one = topic.begun(0, b"b")
        topic.send(0, b"c")
        listener = Listener(topic.heard(), 0)
        listener.poll_until(lambda: listener.values(0) == values("a"))
        listener.poll_in_vain()
        assert listener.source.bounds()[0] == (0, 1)
        assert listener.source.stood({0: 1}) == {0: 1}
        open_one.commit_transaction(20)
        listener.poll_until(lambda: listener.values(0) == values("a", "b", "c"))

    def test_records_of_an_aborted_transaction_never_come(self, topic: KafkaTopic) -> None:
        topic.begun(0, b"a", b"b").abort_transaction(20)
        listener = Listener(topic.heard(), 0)
        listener.poll_until(lambda: listener.source.stood({0: 0}) == {0: 3})
        assert listener.source.lag({0: 0}) == {0: 0}
        topic.send(0, b"c")
        listener.poll_until(lambda: bool(listener.records))
        assert listener.offsets(0) == [3]


@pytest.mark.kafka
def test_a_listener_is_no_member_and_commits_nothing(topic: KafkaTopic) -> None:
    topic.send(0, b"a")
    listener = Listener(topic.heard(), 0)
    listener.poll_until(lambda: bool(listener.records))
    assert look_at_group(topic.config) == Group()
    listener.source.close()
    assert look_at_group(topic.config) == Group()


@pytest.mark.kafka
def test_the_member_that_an_earlier_start_of_the_slot_left_is_no_other(topic: KafkaTopic) -> None:
    member = Member(topic.source("a"))
    member.poll_until(lambda: bool(member.owner.owned))
    assert retry(topic.heard("a").alone)
    assert not retry(topic.heard("b").alone)


@pytest.mark.kafka
def test_waiting_for_records_does_not_hold_up_a_signal(topic: KafkaTopic) -> None:
    source = topic.heard()
    source.listen({0: 0})
    with interrupted_after(0.3):
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            source.poll(10, 10.0)
    assert time.monotonic() - began < 2


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.kafka
def test_while_the_brokers_are_away_nothing_comes_and_afterwards_it_goes_on(impatient: None) -> None:
    """A poll comes back empty and says why; what has to be answered raises."""
    with KafkaCluster() as kafka:
        config = KafkaConfig(bootstrap_servers=kafka.bootstrap, extra={"socket.timeout.ms": "2000"})
        retry(lambda: create_topics(config, config.topics, 1))
        produce_records(config, config.input_topic, [(b"u", b"a", 1)])
        source = KafkaHeard(config, "a")
        listener = Listener(source)
        retry(lambda: source.listen({0: 0}))
        listener.poll_until(lambda: bool(listener.records))
        assert source.trouble() == ""
        os.kill(kafka.brokers[0].pid, signal.SIGSTOP)
        try:
            for call in (source.bounds, lambda: source.listen({0: 0}), source.alone):
                with pytest.raises(Unavailable):
                    call()
            assert listener.poll() == []
            assert config.input_topic in source.trouble()
        finally:
            os.kill(kafka.brokers[0].pid, signal.SIGCONT)
        retry(lambda: source.listen({0: 1}))
        produce_records(config, config.input_topic, [(b"u", b"b", 1)])
        listener.poll_until(lambda: listener.values(0) == values("a", "b"))
        assert source.trouble() == ""
        source.close()


def test_what_is_fetched_ahead_is_bounded() -> None:
    assert outsider_settings(KafkaConfig())["queued.max.messages.kbytes"] == 16_384
    assert (
        outsider_settings(KafkaConfig(extra={"queued.max.messages.kbytes": "99"}))["queued.max.messages.kbytes"] == "99"
    )

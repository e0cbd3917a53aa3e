"""Topics of weights: the twin and the real Kafka. Both pass the suite of `contracts_weights`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream_worker.backends.in_memory import InMemoryTopic, InMemoryWeights
from stream_worker.backends.kafka import KafkaConfig, KafkaWeights, create_topics
from stream_worker.backends.kafka.retention import retention_of
from stream_worker.core.interfaces import WeightsTopic
from tests.backends.contracts_weights import PATIENCE_SECONDS, Place, WeightsTopicContract
from tests.conftest import MakeTopic
from tests.support.secured_kafka import SecuredKafka


class _Twin:
    def __init__(self) -> None:
        self.topic = InMemoryTopic(2, "weights")

    def of(self, slot: str) -> WeightsTopic:
        return InMemoryWeights(self.topic, slot)


class TestTwin(WeightsTopicContract):
    @pytest.fixture
    def place(self) -> Place:
        return _Twin()


class _Kafka:
    def __init__(self, bootstrap: str, make_topic: MakeTopic) -> None:
        self.config = KafkaConfig(bootstrap_servers=bootstrap, weights_topic=make_topic("weights", 2))
        self.made: list[KafkaWeights] = []

    def of(self, slot: str) -> WeightsTopic:
        self.made.append(KafkaWeights(self.config, slot))
        return self.made[-1]


@pytest.mark.kafka
class TestKafka(WeightsTopicContract):
    @pytest.fixture
    def place(self, kafka_bootstrap: str, make_topic: MakeTopic) -> Iterator[Place]:
        place = _Kafka(kafka_bootstrap, make_topic)
        yield place
        for topic in place.made:
            topic.close()


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_named_with_what_makes_it_and_nothing_is_written(
    kafka_bootstrap: str, make_topic: MakeTopic
) -> None:
    missing = f"{make_topic()}-missing"
    weights = KafkaWeights(KafkaConfig(bootstrap_servers=kafka_bootstrap, weights_topic=missing), "one")
    weights.begin()
    assert weights.trouble() == f"there is no topic {missing}; `stream-worker topics create` makes it"
    assert not weights.write([b"x"])
    assert weights.poll(10) == []
    weights.close()
    assert missing not in AdminClient({"bootstrap.servers": kafka_bootstrap}).list_topics(timeout=10).topics


@pytest.mark.kafka
def test_a_topic_that_is_made_later_is_found(kafka_bootstrap: str, make_topic: MakeTopic) -> None:
    now = [0.0]
    config = KafkaConfig(bootstrap_servers=kafka_bootstrap, weights_topic=f"{make_topic()}-later")
    weights = KafkaWeights(config, "one", lambda: now[0])
    weights.begin()
    assert weights.trouble()
    assert create_topics(config, [config.weights_topic], 1) == [config.weights_topic]
    now[0] += 60.0
    weights.poll(1)
    assert weights.trouble() == ""
    assert weights.write([b"x"])
    weights.close()


@pytest.mark.kafka
def test_weights_are_kept_for_a_minute_in_small_segments(kafka_bootstrap: str, make_topic: MakeTopic) -> None:
    config = KafkaConfig(bootstrap_servers=kafka_bootstrap, weights_topic=f"{make_topic()}-made")
    create_topics(config, config.all_topics[-1:], 1)
    found = retention_of(config, config.weights_topic)
    assert found is not None
    assert found.ms == 60_000


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.kafka
def test_who_may_not_read_or_write_the_topic_is_told_how_to_be_allowed(secured_kafka: SecuredKafka) -> None:
    """Nobody but the workers may write it; a worker that may not goes on by itself."""
    config = KafkaConfig(secured_kafka.address("SASL_SSL"), weights_topic="weights-of-few", extra=secured_kafka.scram())
    for made in secured_kafka.admin.create_topics([NewTopic(config.weights_topic, 1, 1)]).values():
        made.result(30)
    now = [0.0]
    weights = KafkaWeights(config, "one", lambda: now[0])
    told = f"this user may not read and write the topic {config.weights_topic}. kafka-acls.sh --add"

    def is_refused() -> bool:
        weights.begin()
        return weights.trouble().startswith(told)

    _until(is_refused)
    assert not weights.write([b"x"])
    secured_kafka.allow([("READ", "TOPIC", config.weights_topic)])
    now[0] += 60.0

    def is_told() -> bool:
        weights.poll(10)
        weights.write([b"x"])
        now[0] += 30.0
        return weights.trouble().startswith(told)

    _until(is_told)
    secured_kafka.allow([("WRITE", "TOPIC", config.weights_topic)])

    def is_heard() -> bool:
        now[0] += 30.0
        weights.write([b"mine"])
        return any(record.value == b"mine" for record in weights.poll(10))

    _until(is_heard)
    assert weights.trouble() == ""
    weights.close()


def test_the_name_of_the_topic_is_checked() -> None:
    with pytest.raises(ValueError, match=r"kafka.weights_topic: must be a topic's name or empty, got 'a b'"):
        KafkaConfig(weights_topic="a b")
    with pytest.raises(ValueError, match="kafka: the topics must differ"):
        KafkaConfig(weights_topic="events")
    assert KafkaConfig(weights_topic="").all_topics == KafkaConfig().topics

"""Topics are created, described, filled and watched."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from stream_worker.backends.kafka import (
    KafkaConfig,
    KafkaSource,
    create_topics,
    describe_cluster,
    messages,
    missing_topics,
    produce_records,
    tail,
)
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Outputs
from tests.backends.contracts_topics import Member, list_for
from tests.backends.kafka_broker import KafkaBroker, murmur2
from tests.support.services import free_port


@pytest.mark.kafka
class TestRealKafka:
    def test_missing_topics_are_named_and_created(self, kafka_broker: KafkaBroker) -> None:
        known = kafka_broker.config
        config = KafkaConfig(known.bootstrap_servers, known.input_topic, "", "made-lists", "made-dead")
        assert missing_topics(config) == ["made-lists", "made-dead"]
        assert "missing: made-lists, made-dead" in describe_cluster(config)
        create_topics(config, config.topics, 3)
        create_topics(config, config.topics, 3)
        assert missing_topics(config) == []
        assert "made-lists (3 partitions)" in describe_cluster(config)
        assert f"{known.input_topic} (4 partitions)" in describe_cluster(config)

    def test_records_are_written_as_they_are_and_their_keys_spread_as_javas_are(
        self, kafka_broker: KafkaBroker
    ) -> None:
        """Events of other producers' users must land in the same partitions."""
        topic = kafka_broker.config.input_topic
        records = [(f"u{n}", b"%d" % n, 1_400_000_000_000 + n) for n in range(100)]
        assert produce_records(kafka_broker.config, topic, records) == 100
        found = sorted(kafka_broker.read(topic), key=lambda m: m.timestamp_ms)
        assert [(m.key, m.value, m.timestamp_ms) for m in found] == [(k.encode(), v, t) for k, v, t in records]
        assert all(m.partition == murmur2(m.key or b"") % 4 for m in found)

    def test_a_time_that_brokers_refuse_becomes_now(self, kafka_broker: KafkaBroker) -> None:
        topic = kafka_broker.config.input_topic
        produce_records(kafka_broker.config, topic, [("u", b"2100", 4_102_444_800_000), ("u", None, 0)])
        now_ms = time.time() * 1000
        found = kafka_broker.read(topic)
        assert [m.value for m in found] == [b"2100", None]
        assert all(abs(m.timestamp_ms - now_ms) < 600_000 for m in found)

    def test_what_was_handed_over_is_written_when_the_rest_fails(self, kafka_broker: KafkaBroker) -> None:
        def records() -> Iterator[tuple[str, bytes, int]]:
            yield "u", b"a", 1
            raise KeyboardInterrupt

        topic = kafka_broker.config.input_topic
        with pytest.raises(KeyboardInterrupt):
            produce_records(kafka_broker.config, topic, records())
        assert [m.value for m in kafka_broker.read(topic)] == [b"a"]

    def test_more_records_than_the_queue_holds_are_all_written(self, kafka_broker: KafkaBroker) -> None:
        config = KafkaConfig(kafka_broker.config.bootstrap_servers, extra={"queue.buffering.max.messages": "50"})
        topic = kafka_broker.config.input_topic
        assert produce_records(config, topic, (("u", b"%d" % n, 1) for n in range(2_000))) == 2_000
        assert [m.value for m in kafka_broker.read(topic)] == [b"%d" % n for n in range(2_000)]

    def test_records_that_were_not_written_are_an_error(self, kafka_broker: KafkaBroker) -> None:
        """Here for want of time."""
        extra = {"linger.ms": "0", "message.timeout.ms": "1"}
        config = KafkaConfig(kafka_broker.config.bootstrap_servers, extra=extra)
        with pytest.raises(Unavailable, match="1 of 1 record was not written"):
            produce_records(config, kafka_broker.config.input_topic, [("u", b"a", 1)])

    def test_a_topic_that_is_not_there_is_said_before_anything_is_read(self, kafka_broker: KafkaBroker) -> None:
        def records() -> Iterator[tuple[str, bytes, int]]:
            yield pytest.fail("nothing is asked for")

        with pytest.raises(Unavailable, match="there is no topic nowhere"):
            produce_records(kafka_broker.config, "nowhere", records())

    def test_tail_gives_lists_as_they_come_and_passes_over_what_is_none(self, kafka_broker: KafkaBroker) -> None:
        member, sink = Member(kafka_broker.source()), kafka_broker.sink()
        member.poll_until(lambda: len(member.owner.owned) == kafka_broker.partitions)
        produce_records(kafka_broker.config, kafka_broker.config.output_topic, [("u", b"{}", 1)])
        sink.commit(Outputs([list_for("u", 3)]), {0: 3}, member.source.membership())
        assert [found for found, _ in tail(kafka_broker.config, from_beginning=True, idle_seconds=0.6)] == [
            list_for("u", 3)
        ]
        assert list(tail(kafka_broker.config, idle_seconds=0.6)) == []

    def test_watching_a_topic_that_is_not_there_says_so(self, kafka_broker: KafkaBroker) -> None:
        with pytest.raises(Unavailable, match="nowhere"):
            list(messages(kafka_broker.config, "nowhere", idle_seconds=0.2))


def test_the_mock_cluster_is_good_enough_for_a_demo(mock_kafka_bootstrap: str) -> None:
    """Topics, records and reading work on it; transactions' promises do not."""
    config = KafkaConfig(mock_kafka_bootstrap)
    create_topics(config, config.topics, 4)
    assert "events (4 partitions)" in describe_cluster(config)
    produce_records(config, "events", [(f"u{n}", b"%d" % n, 1) for n in range(50)])
    member = Member(KafkaSource(config, "0"))
    member.poll_until(lambda: len(member.records) == 50)
    member.source.close()


def test_a_kafka_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_worker.backends.kafka.topics._ANSWER_SECONDS", 0.5)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=address):
        describe_cluster(KafkaConfig(address))

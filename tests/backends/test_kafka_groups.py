"""What only a real Kafka can show of groups: killed members, overtaken offsets, brokers that do not answer."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import TopicPartition

from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, create_topics, produce_records, tail
from stream_worker.backends.kafka.config import transaction_settings
from stream_worker.backends.kafka.producer import TransactionalProducer
from stream_worker.core.errors import ConfigurationError, OffsetLost, Unavailable
from stream_worker.core.events import Outputs
from stream_worker.core.offsets import Mark
from tests.backends.contracts_topics import Member, list_for, retry, values
from tests.backends.kafka_broker import KafkaBroker
from tests.conftest import MakeTopic
from tests.support.services import KafkaCluster

pytestmark = pytest.mark.kafka


def kill_in_a_transaction(config: KafkaConfig, timeout_seconds: int) -> None:
    """A member of slot "a" that owns everything dies by SIGKILL with a transaction open."""
    settings = json.dumps(dataclasses.asdict(config))
    command = [sys.executable, "-m", "tests.backends.killed_member", settings, str(timeout_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()


class KilledMember:
    def test_its_successor_ends_the_open_transaction_and_goes_on(self, kafka_broker: KafkaBroker) -> None:
        """The same slot has its partitions back well before that transaction would have timed out."""
        kafka_broker.send(0, b"a", b"b")
        kill_in_a_transaction(kafka_broker.config, timeout_seconds=120)
        sink = kafka_broker.sink("a")
        member = Member(kafka_broker.source("a"))
        member.poll_until(lambda: len(member.records) == 2)
        assert member.owner.published[0] == 0
        sink.commit(Outputs([list_for("u", 2)]), {0: 2}, member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 2)]

    def test_another_slot_takes_over_once_the_open_transaction_has_ended(self, kafka_broker: KafkaBroker) -> None:
        """Until then nobody can know Y, and nothing is claimed."""
        kafka_broker.send(0, b"a", b"b")
        kill_in_a_transaction(kafka_broker.config, timeout_seconds=8)
        killed = time.monotonic()
        member = Member(kafka_broker.source("b"))
        member.poll_until(lambda: 0 in member.owner.owned)
        assert time.monotonic() - killed > 4
        member.poll_until(lambda: len(member.records) == 2)
        assert member.owner.published[0] == 0


class TestKilledMember(KilledMember):
    protocol = "classic"


class TestKilledMemberByTheNewProtocol(KilledMember):
    protocol = "consumer"


def test_a_claim_does_not_wait_for_transactions_over_other_partitions(kafka_broker: KafkaBroker) -> None:
    """Of a busy group one is open most of the time. This one is still open when the partition has been claimed."""
    member = Member(kafka_broker.source("a"))
    member.poll_until(lambda: len(member.owner.owned) == kafka_broker.partitions)
    settings = transaction_settings(kafka_broker.config, "b")
    producer = TransactionalProducer(settings | {"transaction.timeout.ms": 6_000})
    producer.begin()
    offset = TopicPartition(kafka_broker.config.input_topic, 0, 0, Mark(partitions=kafka_broker.partitions).encode())
    producer.send_offsets([offset], member.source.membership())
    member.owner.owned.discard(1)
    member.source.reclaim([1])
    member.poll_until(lambda: 1 in member.owner.owned)
    producer.commit()


def test_a_slot_that_still_has_another_topics_partitions_claims_none(
    kafka_broker: KafkaBroker, make_topic: MakeTopic
) -> None:
    """The group gives a static member back what it had, whatever it subscribes to now."""
    first = Member(kafka_broker.source("a"))
    first.poll_until(lambda: len(first.owner.owned) == kafka_broker.partitions)
    first.source.close()
    second = Member(kafka_broker.source("a", input_topic=make_topic("orders", 2)))
    with pytest.raises(ConfigurationError, match=rf"{kafka_broker.config.group_id}' reads .*events.* can't read .*or"):
        second.poll_until(lambda: bool(second.owner.owned))
    assert not second.owner.owned


class TestOffsetsThatAreGone:
    @pytest.mark.parametrize(("policy", "want"), [("earliest", ["d", "e"]), ("latest", ["e"])])
    def test_the_policy_says_where_to_go_on(self, kafka_broker: KafkaBroker, policy: str, want: list[str]) -> None:
        kafka_broker.send(0, *values("a", "b", "c", "d"))
        first = Member(kafka_broker.source())
        first.poll_until(lambda: len(first.records) == 4)
        first.source.close()
        kafka_broker.trim(0, 3)
        member = Member(kafka_broker.source(on_lost_offset=policy))
        member.poll_until(lambda: 0 in member.owner.owned)
        member.poll()
        kafka_broker.send(0, b"e")
        member.poll_until(lambda: member.values(0)[-1:] == [b"e"])
        assert member.values(0) == values(*want)

    @pytest.mark.parametrize("policy", ["fail", "earliest"])
    def test_it_holds_for_a_reader_that_falls_behind_too(self, kafka_broker: KafkaBroker, policy: str) -> None:
        """librdkafka's error for it, met while reading, follows the same policy."""
        source = kafka_broker.source(on_lost_offset=policy, extra={"fetch.min.bytes": "1"})
        member = Member(source)
        member.poll_until(lambda: len(member.owner.owned) == kafka_broker.partitions)
        source.serve()
        kafka_broker.send(0, *values("a", "b", "c", "d"))
        kafka_broker.trim(0, 3)
        if policy == "fail":
            with pytest.raises(OffsetLost, match=r"holds 3 to 4, next offset 0 "):
                member.poll_until(lambda: bool(member.records))
        else:
            member.poll_until(lambda: bool(member.records))
            assert member.values(0) == [b"d"]


def test_while_kafka_is_silent_nothing_is_raised_lost_or_repeated(kafka_bootstrap: str, impatient: None) -> None:
    """Polls come back empty, a commit says Unavailable, and repeated afterwards it is published once."""
    with KafkaCluster() as kafka:
        config = KafkaConfig(bootstrap_servers=kafka.bootstrap, extra={"socket.timeout.ms": "2000"})
        retry(lambda: create_topics(config, config.topics, 2))
        produce_records(config, config.input_topic, [(b"u", b"a", 1)])
        sink = retry(lambda: KafkaSink(config, "0"))
        member = Member(KafkaSource(config, "0"))
        member.poll_until(lambda: bool(member.records))
        outputs, place = Outputs([list_for("u", 1)]), {member.records[0].partition: 1}
        os.kill(kafka.brokers[0].pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    sink.commit(outputs, place, member.source.membership())
            assert [member.poll() for _ in range(5)] == [[]] * 5
            member.source.serve()
        finally:
            os.kill(kafka.brokers[0].pid, signal.SIGCONT)
        retry(lambda: sink.commit(outputs, place, member.source.membership()), member.source.serve)
        assert [found for found, _ in tail(config, from_beginning=True, idle_seconds=2.0)] == [list_for("u", 1)]
        sink.close()
        member.source.close()

"""What only a real Kafka can show of groups: killed members, overtaken offsets, brokers that do not answer."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, create_topics, produce_records, tail
from stream_worker.core.errors import OffsetLost, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs
from tests.backends.contracts_topics import PATIENCE_SECONDS, Member, list_for
from tests.backends.kafka_broker import KafkaBroker
from tests.services import KafkaService, ServiceMissing

pytestmark = pytest.mark.kafka

_Answer = TypeVar("_Answer")


def kill_in_a_transaction(config: KafkaConfig) -> None:
    """A member of slot "a" that owns everything dies by SIGKILL, its transaction open."""
    command = [sys.executable, "-m", "tests.backends.killed_member", json.dumps(dataclasses.asdict(config))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()


class KilledMember:
    def test_a_killed_member_starts_again_from_what_was_committed(self, kafka_broker: KafkaBroker) -> None:
        """The same slot has its partitions back, and what was left open is aborted, not waited for."""
        kafka_broker.send(0, b"a", b"b")
        kill_in_a_transaction(kafka_broker.config)
        sink = kafka_broker.sink("a")
        member = Member(kafka_broker.source("a"))
        member.poll_until(lambda: len(member.records) == 2)
        assert member.owner.published[0] == 0
        sink.commit(Outputs([list_for("u", 2)]), {0: 2}, member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 2)]

    def test_another_slot_takes_over_once_the_open_transaction_has_ended(self, kafka_broker: KafkaBroker) -> None:
        """Until then nobody knows Y; the partitions that have one are not held up by it."""
        kafka_broker.send(0, b"a", b"b")
        kill_in_a_transaction(kafka_broker.config)
        member = Member(kafka_broker.source("b"))
        end = time.monotonic() + PATIENCE_SECONDS
        while not member.owner.owned and time.monotonic() < end:
            member.poll()
            if time.monotonic() > end - PATIENCE_SECONDS / 2:
                kafka_broker.sink("a")
                end += PATIENCE_SECONDS
                break
        member.poll_until(lambda: len(member.records) == 2)
        assert member.owner.published[0] == 0


class TestKilledMember(KilledMember):
    protocol = "classic"


class TestKilledMemberByTheNewProtocol(KilledMember):
    protocol = "consumer"

"""Fixtures of the Kafka tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_worker.backends.kafka import producer, starts
from tests.backends.contracts_topics import Member
from tests.backends.kafka_broker import KafkaBroker
from tests.conftest import MakeTopic


@pytest.fixture
def kafka_broker(kafka_bootstrap: str, make_topic: MakeTopic, request: pytest.FixtureRequest) -> Iterator[KafkaBroker]:
    """Fresh topics on the real Kafka; a test class names the protocol of its groups in `protocol`."""
    protocol = getattr(request.cls, "protocol", "classic")
    broker = KafkaBroker(kafka_bootstrap, make_topic, group_protocol=protocol)
    yield broker
    broker.close()


@pytest.fixture
def kafka_member(kafka_broker: KafkaBroker) -> Member:
    """A member that owns all partitions."""
    member = Member(kafka_broker.source())
    member.poll_until(lambda: len(member.owner.owned) == kafka_broker.partitions)
    return member


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on brokers after a second or two instead of thirty."""
    monkeypatch.setattr(producer, "_PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(producer, "_CALL_SECONDS", 2.0)
    monkeypatch.setattr(starts, "_ANSWER_SECONDS", 1.0)

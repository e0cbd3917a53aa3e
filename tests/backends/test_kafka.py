"""The real Kafka keeps the contract of sources and sinks, with both protocols of groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.contracts_topics import SinkContract, SourceContract
from tests.backends.kafka_broker import KafkaBroker
from tests.conftest import MakeTopic

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka_bootstrap: str, make_topic: MakeTopic, request: pytest.FixtureRequest) -> Iterator[KafkaBroker]:
    protocol = getattr(request.cls, "protocol", "classic")
    broker = KafkaBroker(kafka_bootstrap, make_topic, group_protocol=protocol)
    yield broker
    broker.close()


class TestKafkaSource(SourceContract):
    pass


class TestKafkaSourceByTheNewProtocol(SourceContract):
    protocol = "consumer"


class TestKafkaSink(SinkContract):
    pass


class TestKafkaSinkByTheNewProtocol(SinkContract):
    protocol = "consumer"

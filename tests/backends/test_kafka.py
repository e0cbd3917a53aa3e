"""The real Kafka keeps the contract of sources and sinks, with both protocols of groups."""

from __future__ import annotations

import pytest

from tests.backends.contracts_topics import SinkContract, SourceContract
from tests.backends.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka_broker: KafkaBroker) -> KafkaBroker:
    return kafka_broker


class TestKafkaSource(SourceContract):
    protocol = "classic"


class TestKafkaSourceByTheNewProtocol(SourceContract):
    protocol = "consumer"


class TestKafkaSink(SinkContract):
    protocol = "classic"


class TestKafkaSinkByTheNewProtocol(SinkContract):
    protocol = "consumer"

"""Services that tests ask for by name. A real one that can't be started: skipped at home, a failure under CI=true."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import NoReturn

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import settings

from tests.support.redis_services import RedisCluster, RedisSentinel
from tests.support.schema_registry import SchemaRegistry
from tests.support.secured_kafka import SecuredKafka
from tests.support.services import KafkaCluster, RedisService, ServiceMissing

MakeTopic = Callable[..., str]

# A busy machine makes no example wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def missing(fault: ServiceMissing) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"required under CI=true: {fault}", pytrace=False)
    pytest.skip(str(fault))


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a real Apache Kafka."""
    try:
        service = KafkaCluster().__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service.bootstrap
    service.__exit__(None, None, None)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a real Redis; tests share it, each with keys of its own."""
    try:
        service = RedisService().__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service.url
    service.__exit__(None, None, None)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters and their replicas; a test that harms one leaves six that are whole."""
    try:
        service = RedisCluster().__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service
    service.__exit__(None, None, None)


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    """A master and a replica under a sentinel; a test that harms one leaves both in step."""
    try:
        service = RedisSentinel(password="sesame").__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service
    service.__exit__(None, None, None)


@pytest.fixture(scope="session")
def mock_kafka_bootstrap() -> Iterator[str]:
    """librdkafka's mock cluster: no evidence for exactly-once. It lives as long as the client that started it."""
    cluster = Producer(
        {"bootstrap.servers": "", "test.mock.num.brokers": 1}, logger=logging.getLogger("tests.mock_kafka")
    )
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    del cluster


@pytest.fixture(scope="session")
def make_topic(kafka_bootstrap: str) -> MakeTopic:
    """`make_topic(partitions=4, **settings)` creates a topic that no other test has and returns its name.

    Nothing in it expires: old events carry their own time, by which retention would delete them within the test.
    """
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap}, logger=logging.getLogger("tests.kafka"))
    numbers = count()

    def make(name: str = "topic", partitions: int = 4, **settings: str) -> str:
        topic = f"{name}-{next(numbers)}"
        config = {"retention.ms": "-1"} | {key.replace("_", "."): value for key, value in settings.items()}
        [created] = admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values()
        created.result(30)
        return topic

    return make


@pytest.fixture(scope="session")
def secured_kafka() -> Iterator[SecuredKafka]:
    """A real Apache Kafka with TLS, SASL and rights."""
    try:
        service = SecuredKafka().__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service
    service.__exit__(None, None, None)


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[SchemaRegistry]:
    """A real Apicurio, with Confluent's API; a test that stops it leaves it started."""
    try:
        service = SchemaRegistry().__enter__()
    except ServiceMissing as fault:
        missing(fault)
    yield service
    service.__exit__(None, None, None)

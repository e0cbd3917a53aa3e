"""A Kafka inside this process: librdkafka's mock cluster, on a free loopback port.

It keeps no transactional offsets and fences no producer, so a run on it proves nothing about exactly-once.
"""

from __future__ import annotations

from confluent_kafka import Producer

from stream_worker.backends.kafka.faults import connect

_START_SECONDS = 10.0  # the longest time until the cluster answers (not tuned)


class EmbeddedKafka:
    """A mock cluster that runs as long as this object lives. Clients of any process reach it at `bootstrap_servers`."""

    def __init__(self) -> None:
        self._cluster = connect(Producer, {"bootstrap.servers": "", "test.mock.num.brokers": 1})
        brokers = self._cluster.list_topics(timeout=_START_SECONDS).brokers
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())

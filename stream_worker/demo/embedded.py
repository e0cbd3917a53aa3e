"""A Kafka inside this process: librdkafka's mock cluster, on a free loopback port.

It keeps no transactional offsets and fences nobody, so nothing seen on it is evidence for exactly-once.
"""

from __future__ import annotations

from confluent_kafka import Producer

from stream_worker.backends.kafka.faults import connect

_START_SECONDS = 10.0


class EmbeddedKafka:
    """Runs as long as this object lives; other clients, of other processes too, reach it at `bootstrap_servers`."""

    def __init__(self) -> None:
        self._cluster = connect(Producer, {"bootstrap.servers": "", "test.mock.num.brokers": 1})
        brokers = self._cluster.list_topics(timeout=_START_SECONDS).brokers
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())

"""`[kafka]` of the configuration, and the settings of librdkafka that exactly-once and latency need."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import dataclasses as checked

ClientSettings = dict[str, str | int | float | bool]

# librdkafka prints on stderr unless a client is given a logger.
LIBRARY_LOG = logging.getLogger("stream_worker.kafka")

TRANSACTION_TIMEOUT_SECONDS = 20
# Kilobytes that an outsider fetches ahead of the loop. librdkafka's 64 MiB would be kept for good. Not tuned.
_AHEAD_KBYTES = 16_384
# The others learn from the answer to their next heartbeat that a member is gone, so its users wait for as long beyond
# the session. Not tuned.
_HEARTBEAT_MS = 1_000
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
# What the promises rest on, or what a key of its own sets.
_OURS = frozenset(
    {
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "partition.assignment.strategy",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "isolation.level",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "transactional.id",
        "transaction.timeout.ms",
        "acks",
        "request.required.acks",
        "partitioner",
    }
)
# Settings of the Python client that hold a mapping or a function.
_NO_TEXTS = frozenset({"default.topic.config", "logger", "on_commit", "on_delivery", "partitioner_cb"})


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class KafkaConfig:
    """`[kafka]`: brokers, topics, group and policies."""

    #: Brokers to begin with: host:port, several separated by commas. User and password belong to `extra`.
    bootstrap_servers: str = "127.0.0.1:9092"
    #: Topic of events. Its records are keyed by user.
    input_topic: str = "events"
    #: Topic of what items are (`[items]`), keyed by item and compacted. Every worker reads all of it. Empty: only the
    #: events tell of items.
    items_topic: str = ""
    #: Topic of lists, keyed by user.
    output_topic: str = "recommendations"
    #: Topic of records that are no event, as they came, with the reason in their headers.
    dead_letter_topic: str = "events.dead"
    #: Topic of what goes with each item, for its page, as "recommendations.similar": keyed by item and compacted.
    #: Empty: these lists are not made.
    similar_topic: str = ""
    #: Topic of what is popular, at all and by category, as "recommendations.popular": keyed by category, empty for all,
    #: and compacted. Empty: these lists are not made.
    popular_topic: str = ""
    #: Topic of decisions on items (`stream-worker items`), keyed by item; it keeps all of them, and every worker reads
    #: them from the beginning. Empty: nobody decides.
    decisions_topic: str = ""
    #: Topic by which the workers of the group bring their weights together. Only workers may write it: whoever does
    #: steers every list. Absent or empty: each worker's weights learn from its own events alone. Up to 3.5 MB/s a
    #: worker where there are several, kept for a minute.
    weights_topic: str = "weights"
    #: Consumer group. Kafka keeps the offsets that lists are published up to under it.
    group_id: str = "stream-worker"
    #: Protocol of the group: "consumer" is KIP-848. With "classic" a killed worker gets its partitions back in 0.1 s,
    #: with "consumer" after the old session has ended.
    group_protocol: Literal["classic", "consumer"] = "classic"
    #: Milliseconds of silence after which a member's partitions go to others. Acts with "classic" only; with "consumer"
    #: the broker's setting or the group's holds. The default is Kafka's own, the bound its brokers'.
    session_timeout_ms: Annotated[int, Interval(ge=1_000, le=1_800_000)] = 45_000
    #: Beginning of a group without committed offsets.
    start: Literal["earliest", "latest"] = "earliest"
    #: Answer when retention has overtaken the next offset. "fail": the worker ends, so that no event is left out in
    #: silence.
    on_lost_offset: Literal["fail", "earliest", "latest"] = "fail"
    #: Settings of every client under librdkafka's names (security, buffer sizes), in quotes or not; in a variable's
    #: name `__` stands for a dot (..._EXTRA__SASL__PASSWORD). Settings that the worker's promises rest on are refused.
    #: It is never shown, since it may hold secrets.
    extra: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("bootstrap_servers", "group_id"):
            if not getattr(self, name).strip():
                raise ValueError(f"kafka.{name}: must not be empty")
        if "@" in self.bootstrap_servers:
            raise ValueError(
                "kafka.bootstrap_servers: takes no user and password; they are sasl.username and sasl.password of "
                "[kafka.extra]"
            )
        self._check_topics()
        self._check_extra()

    def _check_extra(self) -> None:
        if taken := sorted(_OURS & self.extra.keys()):
            raise ValueError(f"kafka.extra: must not set what the worker sets itself, got {', '.join(taken)}")
        if replaced := sorted(key for key in self.extra if key.startswith("test.mock.")):
            raise ValueError(f"kafka.extra: must not put a made-up cluster in Kafka's place, got {', '.join(replaced)}")
        if nested := sorted(key for key in self.extra if key in _NO_TEXTS or key.endswith("_cb")):
            raise ValueError(f"kafka.extra: takes librdkafka's settings that are texts, got {', '.join(nested)}")

    def _check_topics(self) -> None:
        for name in ("input_topic", "output_topic", "dead_letter_topic"):
            topic = getattr(self, name)
            if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
                raise ValueError(f"kafka.{name}: must be 1 to 249 of letters, digits, '.', '_', '-', got {topic!r}")
        for name in ("items_topic", "decisions_topic", "similar_topic", "popular_topic", "weights_topic"):
            if (topic := getattr(self, name)) and not _TOPIC.fullmatch(topic):
                raise ValueError(f"kafka.{name}: must be a topic's name or empty, got {topic!r}")
        used = self.all_topics
        if len(set(used)) < len(used):
            raise ValueError(f"kafka: the topics must differ, got {', '.join(used)}")

    @property
    def read_topics(self) -> tuple[str, ...]:
        """Names of the topics that the worker reads and can't do without."""
        return tuple(t for t in (self.input_topic, self.items_topic, self.decisions_topic) if t)

    @property
    def topics(self) -> tuple[str, ...]:
        """Names of the topics that the worker can't do without."""
        return (*self.read_topics, *self.written)

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the topics that its transactions write to."""
        shared = tuple(name for name in (self.similar_topic, self.popular_topic) if name)
        return (self.output_topic, *shared, self.dead_letter_topic)

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Names of all topics that the worker reads or writes."""
        return (*self.topics, self.weights_topic) if self.weights_topic else self.topics


def client_settings(config: KafkaConfig) -> ClientSettings:
    """Settings of every client."""
    return {**config.extra, "bootstrap.servers": config.bootstrap_servers}


def reader_settings(config: KafkaConfig) -> ClientSettings:
    """A consumer that sees committed records only and commits nothing by itself."""
    return {
        "fetch.min.bytes": 100_000,
        "fetch.wait.max.ms": 10,
        # The default of 1000 keeps a full local queue waiting for a second: 0.2 instead of 1 million events/s.
        "fetch.queue.backoff.ms": 5,
        # How soon partitions that are added to the topic are noticed.
        "topic.metadata.refresh.interval.ms": 30_000,
        **client_settings(config),
        "group.id": config.group_id,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
    }


def outsider_settings(config: KafkaConfig) -> ClientSettings:
    """A reader of whole topics beside the group: it never joins, and commits nothing."""
    ahead: ClientSettings = {"queued.max.messages.kbytes": _AHEAD_KBYTES}
    # Only the end of a partition tells that the offsets before it hold no record.
    return ahead | reader_settings(config) | {"enable.partition.eof": True}


def member_settings(config: KafkaConfig, slot: str) -> ClientSettings:
    """The reader as a static member of the group."""
    return {
        "client.id": f"{config.group_id}-{slot}",
        **reader_settings(config),
        **_protocol_settings(config),
        # Only the end of a partition tells that the offsets before it hold no record.
        "enable.partition.eof": True,
        "group.instance.id": f"{config.group_id}-{slot}",
        "group.protocol": config.group_protocol,
    }


def _protocol_settings(config: KafkaConfig) -> Mapping[str, str | int]:
    if config.group_protocol == "consumer":
        return {}
    return {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": config.session_timeout_ms,
        "heartbeat.interval.ms": min(_HEARTBEAT_MS, config.session_timeout_ms // 3),
    }


def writer_settings(config: KafkaConfig) -> ClientSettings:
    """A producer that loses and repeats nothing while it lives, and spreads keys as Java's does."""
    return {
        "linger.ms": 5,
        **client_settings(config),
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
    }


def weights_reader_settings(config: KafkaConfig) -> ClientSettings:
    """A reader that begins at the end, and again at the end where records are lost: only the newest weights count."""
    return {
        **reader_settings(config),
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 500,
        "queued.max.messages.kbytes": 32_768,
        "auto.offset.reset": "latest",
        "isolation.level": "read_uncommitted",
    }


def weights_writer_settings(config: KafkaConfig, slot: str) -> ClientSettings:
    """A producer that keeps the order of records, and drops what is not written soon: newer weights follow."""
    return {
        "client.id": f"{config.group_id}-{slot}",
        "linger.ms": 0,
        "queue.buffering.max.kbytes": 16_384,
        **client_settings(config),
        "acks": 1,
        "max.in.flight.requests.per.connection": 1,
        "message.timeout.ms": 5_000,
        "partitioner": "murmur2_random",
    }


def transaction_settings(config: KafkaConfig, slot: str) -> ClientSettings:
    """The writer of a worker slot. Its name is stable, so that a restart ends what its predecessor left open."""
    return {
        "client.id": f"{config.group_id}-{slot}",
        # After a commit the broker still writes markers; librdkafka's default then waits 100 ms before the next one.
        "retry.backoff.ms": 5,
        **writer_settings(config),
        "transactional.id": f"{config.group_id}-{slot}",
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_SECONDS * 1000,
    }

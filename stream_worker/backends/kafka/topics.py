"""Topics as the other commands use them: create, describe, fill, watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from stream_worker.backends.kafka.causes import metadata
from stream_worker.backends.kafka.config import KafkaConfig, client_settings, reader_settings, writer_settings
from stream_worker.backends.kafka.faults import Complaints, connect, error_of, lacks_right
from stream_worker.backends.kafka.rights import hidden_topics, how_to_allow
from stream_worker.core.amounts import amount
from stream_worker.core.codec import decode_recommendation
from stream_worker.core.errors import InvalidEvent, RightMissing, Unavailable
from stream_worker.core.events import Recommendation
from stream_worker.logs import get_logger

_ANSWER_SECONDS = 10.0
_FLUSH_SECONDS = 60.0
_SLICE_SECONDS = 0.2
_MOCK = "mockCluster"
# Brokers refuse timestamps from more than an hour ahead.
_MOST_AHEAD_MS = 3_600_000

_log = get_logger(__name__)


@dataclass(frozen=True)
class Published:
    """One committed message, its headers as text."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    def json(self) -> Any:
        """The value as JSON. Raises ValueError."""
        return orjson.loads(self.value or b"")


def describe_cluster(config: KafkaConfig) -> str:
    """One line about what answers, for `check`. Raises Unavailable."""
    known = metadata(config, _ANSWER_SECONDS)
    counts = {topic: len(known.topics[topic].partitions) for topic in config.topics if topic in known.topics}
    found = [f"{topic} ({amount(count, 'partition')})" for topic, count in counts.items()]
    missing = missing_topics(config)
    parts = [f"{amount(len(known.brokers), 'broker')} at {config.bootstrap_servers}", *found]
    return ", ".join([*parts, f"missing: {', '.join(missing)}"] if missing else parts)


def missing_topics(config: KafkaConfig) -> list[str]:
    """The configured topics that the cluster does not have. Raises Unavailable."""
    known = metadata(config, _ANSWER_SECONDS)
    hidden = hidden_topics(config, [topic for topic in config.topics if topic not in known.topics])
    return [topic for topic in config.topics if topic not in known.topics and topic not in hidden]


def require_topic(config: KafkaConfig, topic: str) -> None:
    """Raises Unavailable where the topic is not there. One that this user may not see passes: what is done next with
    it says which right is missing. So does librdkafka's mock cluster, which makes topics as they are asked for."""
    known = metadata(config, _ANSWER_SECONDS)
    if topic in known.topics or is_mock(known) or hidden_topics(config, [topic]):
        return
    raise Unavailable(
        f"kafka: there is no topic {topic} at {config.bootstrap_servers}; `stream-worker produce --create` makes the "
        "worker's topics"
    )


def is_mock(known: ClusterMetadata) -> bool:
    """Whether librdkafka's mock cluster has answered: it has no settings of topics."""
    return str(known.cluster_id).startswith(_MOCK)


def create_topics(config: KafkaConfig, names: Sequence[str], partitions: int, replication: int = -1) -> None:
    """Create the topics that are not there; replication -1 is the broker's default. Raises Unavailable.

    librdkafka's mock cluster creates a topic when it is asked about it, with four partitions.
    """
    known = metadata(config, _ANSWER_SECONDS)
    absent = [name for name in names if name not in known.topics]
    admin = connect(AdminClient, client_settings(config))
    if is_mock(known):
        for name in absent:
            admin.list_topics(name, timeout=_ANSWER_SECONDS)
    elif absent:
        _create(admin, [NewTopic(name, partitions, replication, config=_policy(config, name)) for name in absent])


def _policy(config: KafkaConfig, name: str) -> dict[str, str]:
    """Recorded events carry their own old time, by which retention would delete them within minutes."""
    if name == config.input_topic:
        return {"retention.ms": "-1"}
    return {"cleanup.policy": "compact"} if name == config.items_topic else {}


def _create(admin: AdminClient, topics: list[NewTopic]) -> None:
    for name, created in admin.create_topics(topics, request_timeout=_ANSWER_SECONDS).items():
        try:
            created.result()
        except KafkaException as fault:
            if error_of(fault).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"kafka: topic {name} was not created: {error_of(fault).str()}") from fault


def produce_records(
    config: KafkaConfig, topic: str, records: Iterable[tuple[str | bytes | None, bytes | None, int]]
) -> int:
    """Write (key, value, timestamp_ms) as fast as they come or the brokers take them; returns how many were written.

    A timestamp that brokers refuse (0, or far ahead) becomes now. Everything handed over is written before an exception
    of `records` goes on. Raises Unavailable for what was not written.
    """
    refused: list[KafkaError] = []
    require_topic(config, topic)
    producer = connect(Producer, writer_settings(config))
    latest_ms = int(time.time() * 1000) + _MOST_AHEAD_MS
    count = 0
    try:
        for key, value, timestamp_ms in records:
            stamp = timestamp_ms if 0 < timestamp_ms < latest_ms else 0
            name = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
            _enqueue(producer, topic, value, name, timestamp=stamp, on_delivery=_noting(refused))
            count += 1
    finally:
        left = producer.flush(_FLUSH_SECONDS)
    if left or refused:
        why = refused[0].str() if refused else f"no answer within {_FLUSH_SECONDS:.0f} s"
        of_all = f"of {amount(count, 'record')}"
        lost = amount(left + len(refused), f"{of_all} was", f"{of_all} were")
        raise Unavailable(f"kafka: {lost} not written to {topic}: {why}")
    return count


def _noting(refused: list[KafkaError]) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error)

    return on_delivery


def _enqueue(producer: Producer, topic: str, value: bytes | None, key: bytes | None, **more: Any) -> None:
    while True:
        try:
            producer.produce(topic, value, key, **more)
            break
        except BufferError:
            producer.poll(0.1)
        except KafkaException as fault:
            raise Unavailable(f"kafka: {topic}: {error_of(fault).str()}") from fault
    producer.poll(0)


def tail(
    config: KafkaConfig,
    *,
    from_beginning: bool = False,
    idle_seconds: float | None = None,
    on_idle: Callable[[], None] | None = None,
) -> Iterator[tuple[Recommendation, Published]]:
    """Committed recommendations as they come, each with its message; see `messages`. What is none is logged and left
    out."""
    lists = messages(
        config, config.output_topic, from_beginning=from_beginning, idle_seconds=idle_seconds, on_idle=on_idle
    )
    for message in lists:
        try:
            yield decode_recommendation(message.value or b""), message
        except InvalidEvent as fault:
            _log.warning("not a recommendation", offset=message.offset, reason=fault.reason)


def messages(
    config: KafkaConfig,
    topic: str,
    *,
    from_beginning: bool = False,
    idle_seconds: float | None = None,
    on_idle: Callable[[], None] | None = None,
) -> Iterator[Published]:
    """Committed messages of a topic as they come, of no group; ends after `idle_seconds` without one (None: never).
    `on_idle` is called several times a second while none comes.

    Raises Unavailable where the topic is not there, RightMissing where it may not be read.
    """
    require_topic(config, topic)
    complaints = Complaints()
    consumer = connect(Consumer, {**reader_settings(config), "fetch.min.bytes": 1, "auto.offset.reset": "earliest"})
    try:
        consumer.assign(_everywhere(config, consumer, topic, OFFSET_BEGINNING if from_beginning else OFFSET_END))
        idle = 0.0
        while idle_seconds is None or idle < idle_seconds:
            # Short waits: consume() does not see signals while it waits.
            first = consumer.consume(1, _SLICE_SECONDS)
            found = list(_sound(config, topic, first + consumer.consume(1_000, 0), complaints))
            idle = 0.0 if found else idle + _SLICE_SECONDS
            if not found and on_idle is not None:
                on_idle()
            yield from map(_published, found)
    finally:
        consumer.close()


def _sound(config: KafkaConfig, topic: str, messages: Iterable[Message], complaints: Complaints) -> Iterator[Message]:
    for message in messages:
        if (error := message.error()) is None:
            yield message
        elif lacks_right(error):
            raise _may_not_read(config, topic)
        else:
            complaints.say("kafka reader", error)


def _may_not_read(config: KafkaConfig, topic: str) -> RightMissing:
    user = config.extra.get("sasl.username", "NAME")
    return RightMissing(f"kafka: {topic} may not be read. {how_to_allow('Read', 'topic', topic, user)}")


def _everywhere(config: KafkaConfig, consumer: Consumer, topic: str, offset: int) -> list[At]:
    try:
        known = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    except KafkaException as fault:
        raise Unavailable(f"kafka: {error_of(fault).str()}") from fault
    if known.error is not None and lacks_right(known.error):
        raise _may_not_read(config, topic)
    if known.error is not None:
        raise Unavailable(f"kafka: {topic}: {known.error.str()}")
    return [At(topic, partition, offset) for partition in known.partitions]


def _published(message: Message) -> Published:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers = {str(pair[0]): _text(pair[1]) for pair in message.headers() or []}
    return Published(partition, offset, message.timestamp()[1], message.key(), message.value(), headers)


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)

"""Creates, describes, fills and reads topics, for commands other than `run`."""

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
from stream_worker.core.nearest import nearest
from stream_worker.logs import get_logger

_ANSWER_SECONDS = 10.0  # to wait for an answer; not tuned
_FLUSH_SECONDS = 60.0  # to wait until all records are written; not tuned
_SLICE_SECONDS = 0.2  # longest wait in one consume(), which ignores signals meanwhile; not tuned
_SHOWN_TOPICS = 20  # that a message about an unknown one names; not tuned
_MOCK = "mockCluster"
LIST_LAG_MS = 7 * 86_400_000  # for which every list stays, whatever comes after it
LISTS_POLICY = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(LIST_LAG_MS)}
# Brokers refuse timestamps that are further ahead: message.timestamp.after.max.ms (KIP-937), an hour by default.
_MOST_AHEAD_MS = 3_600_000

_log = get_logger(__name__)


@dataclass(frozen=True)
class Published:
    """A committed message; its headers are decoded as text."""

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
    """Describe brokers and topics in one line, for `check`. Raises Unavailable."""
    known = metadata(config, _ANSWER_SECONDS)
    found = [f"{topic} ({amount(count, 'partition')})" for topic, count in _partitions(config, known).items()]
    missing = missing_topics(config)
    parts = [f"{amount(len(known.brokers), 'broker')} at {config.bootstrap_servers}", *found]
    return ", ".join([*parts, f"missing: {', '.join(missing)}"] if missing else parts)


def partition_counts(config: KafkaConfig) -> dict[str, int]:
    """Return the number of partitions of each configured topic that the cluster has. Raises Unavailable."""
    return _partitions(config, metadata(config, _ANSWER_SECONDS))


def _partitions(config: KafkaConfig, known: ClusterMetadata) -> dict[str, int]:
    return {topic: len(known.topics[topic].partitions) for topic in config.all_topics if topic in known.topics}


def missing_topics(config: KafkaConfig) -> list[str]:
    """Return the configured topics that the cluster does not have. Raises Unavailable."""
    known = metadata(config, _ANSWER_SECONDS)
    hidden = hidden_topics(config, [topic for topic in config.topics if topic not in known.topics])
    return [topic for topic in config.topics if topic not in known.topics and topic not in hidden]


def require_topic(config: KafkaConfig, topic: str) -> None:
    """Raise Unavailable if the topic does not exist. A topic that this user may not see passes: its next use tells
    which right is missing. So does any topic of librdkafka's mock cluster, which creates topics on demand."""
    known = metadata(config, _ANSWER_SECONDS)
    if topic in known.topics or is_mock(known) or hidden_topics(config, [topic]):
        return
    others = sorted(name for name in known.topics if not name.startswith("__"))
    near = nearest(topic, others, most=_SHOWN_TOPICS) if others else "; there are none"
    make = "; `stream-worker topics create` makes the worker's topics" if topic in config.topics else ""
    raise Unavailable(f"kafka: there is no topic {topic} at {config.bootstrap_servers}{near}{make}")


def is_mock(known: ClusterMetadata) -> bool:
    """Return True for the metadata of librdkafka's mock cluster, which has no topic settings."""
    return str(known.cluster_id).startswith(_MOCK)


def create_topics(config: KafkaConfig, names: Sequence[str], partitions: int, replication: int = -1) -> list[str]:
    """Create the topics that do not exist, and return their names. Raises Unavailable.

    names: the topics.
    partitions: of each new topic but that of decisions; librdkafka's mock cluster always makes four.
    replication: copies of each partition; -1: the broker's default.
    """
    known = metadata(config, _ANSWER_SECONDS)
    absent = [name for name in names if name not in known.topics]
    admin = connect(AdminClient, client_settings(config))
    if is_mock(known):
        for name in absent:
            admin.list_topics(name, timeout=_ANSWER_SECONDS)
        return absent
    if not absent:
        return []
    # Decisions have one partition: their order is that of the topic, for all items together.
    counts = {name: 1 if name == config.decisions_topic else partitions for name in absent}
    return _create(admin, [NewTopic(name, counts[name], replication, config=_policy(config, name)) for name in absent])


def _policy(config: KafkaConfig, name: str) -> dict[str, str]:
    """Return a topic's settings. Recorded events have old timestamps, so retention would soon delete them; weights are
    of no use after a few seconds, and only closed segments are deleted; decisions are kept for ever. Of lists the
    newest one of each user stays for ever, and every one for a week, so that their `events` can be summed."""
    if name == config.input_topic:
        return {"retention.ms": "-1"}
    if name == config.weights_topic:
        return {"retention.ms": "60000", "segment.ms": "60000", "segment.bytes": str(64 * 1024**2)}
    if name == config.output_topic:
        return LISTS_POLICY
    if name == config.decisions_topic:
        return {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    of_newest = config.items_topic, config.similar_topic, config.popular_topic
    return {"cleanup.policy": "compact"} if name in of_newest else {}


def _create(admin: AdminClient, topics: list[NewTopic]) -> list[str]:
    """Create the topics, and return the names of those that nobody else has made meanwhile."""
    made = []
    for name, created in admin.create_topics(topics, request_timeout=_ANSWER_SECONDS).items():
        try:
            created.result()
            made.append(name)
        except KafkaException as fault:
            if error_of(fault).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"kafka: topic {name} was not created: {error_of(fault).str()}") from fault
    return made


def produce_records(
    config: KafkaConfig, topic: str, records: Iterable[tuple[str | bytes | None, bytes | None, int]]
) -> int:
    """Write records to a topic and return their number. Raises Unavailable if some were not written.

    records: (key, value, timestamp_ms). A timestamp that brokers refuse (0, or far ahead) becomes now. If the iterator
        raises, the records before are written first.
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
    """Yield the recommendations of the output topic with their messages, as `messages` does. A message that is no
    recommendation is logged and left out."""
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
    """Yield committed messages of a topic as they come, without joining a group.

    Raises Unavailable if the topic does not exist, RightMissing if this user may not read it.

    from_beginning: False: only messages that come from now on.
    idle_seconds: end after so long without a message; None: never end.
    on_idle: called several times a second while no message comes.
    """
    require_topic(config, topic)
    complaints = Complaints()
    consumer = connect(Consumer, {**reader_settings(config), "fetch.min.bytes": 1, "auto.offset.reset": "earliest"})
    try:
        consumer.assign(_everywhere(config, consumer, topic, OFFSET_BEGINNING if from_beginning else OFFSET_END))
        idle = 0.0
        while idle_seconds is None or idle < idle_seconds:
            # Short waits, since consume() ignores signals while it waits.
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
            raise may_not_read(config, topic)
        else:
            complaints.say("kafka reader", error)


def may_not_read(config: KafkaConfig, topic: str) -> RightMissing:
    """Return the error that names the right to read a topic."""
    user = config.extra.get("sasl.username", "NAME")
    return RightMissing(f"kafka: {topic} may not be read. {how_to_allow('Read', 'topic', topic, user)}")


def _everywhere(config: KafkaConfig, consumer: Consumer, topic: str, offset: int) -> list[At]:
    try:
        known = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    except KafkaException as fault:
        raise Unavailable(f"kafka: {error_of(fault).str()}") from fault
    if known.error is not None and lacks_right(known.error):
        raise may_not_read(config, topic)
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

"""Kafka: reading the input topic as a member of a group, publishing in transactions, and topics for other commands."""

from stream_worker.backends.kafka.config import KafkaConfig
from stream_worker.backends.kafka.fitting import dead_letter_headers
from stream_worker.backends.kafka.groups import (
    Group,
    Member,
    delete_group,
    look_at_group,
    member_of,
    others_of,
    require_own_topic,
)
from stream_worker.backends.kafka.heard import KafkaHeard
from stream_worker.backends.kafka.items import KafkaItems
from stream_worker.backends.kafka.rights import require_protocol, require_rights
from stream_worker.backends.kafka.sink import KafkaSink
from stream_worker.backends.kafka.source import KafkaSource
from stream_worker.backends.kafka.topics import (
    Published,
    create_topics,
    describe_cluster,
    messages,
    missing_topics,
    partition_counts,
    produce_records,
    require_topic,
    tail,
)
from stream_worker.backends.kafka.weights import KafkaWeights

__all__ = [
    "Group",
    "KafkaConfig",
    "KafkaHeard",
    "KafkaItems",
    "KafkaSink",
    "KafkaSource",
    "KafkaWeights",
    "Member",
    "Published",
    "create_topics",
    "dead_letter_headers",
    "delete_group",
    "describe_cluster",
    "look_at_group",
    "member_of",
    "messages",
    "missing_topics",
    "others_of",
    "partition_counts",
    "produce_records",
    "require_own_topic",
    "require_protocol",
    "require_rights",
    "require_topic",
    "tail",
]

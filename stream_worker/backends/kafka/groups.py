"""Describes and deletes a consumer group from outside: its members and committed offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.core.errors import Unavailable

_ANSWER_SECONDS = 10.0  # to wait for an answer, in a command that a person watches; not tuned
_NONE_THERE = frozenset({KafkaError.GROUP_ID_NOT_FOUND})
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Group:
    """A consumer group.

    members: the slots of static members, the ids of others.
    offsets: topic -> number of partitions with a committed offset.
    """

    members: tuple[str, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)


def look_at_group(config: KafkaConfig) -> Group:
    """Describe the configured group; it is empty if it does not exist. Raises Unavailable."""
    admin, name = connect(AdminClient, client_settings(config)), config.group_id
    described: Any = _answer(admin.describe_consumer_groups([name], request_timeout=_ANSWER_SECONDS)[name])
    asked = [ConsumerGroupTopicPartitions(name)]
    listed: Any = _answer(admin.list_consumer_group_offsets(asked, request_timeout=_ANSWER_SECONDS)[name])
    members = () if described is None else described.members
    places = [] if listed is None else [at for at in listed.topic_partitions if at.offset >= 0]
    slots = sorted(str(member.group_instance_id or member.member_id) for member in members)
    return Group(tuple(slots), Counter(at.topic for at in places))


def delete_group(config: KafkaConfig) -> None:
    """Delete the group with its offsets. Raises Unavailable, also while it has members."""
    admin = connect(AdminClient, client_settings(config))
    _answer(admin.delete_consumer_groups([config.group_id], request_timeout=_ANSWER_SECONDS)[config.group_id])


def _answer(asked: Future[_Answer]) -> _Answer | None:
    try:
        return asked.result()
    except KafkaException as fault:
        if error_of(fault).code() in _NONE_THERE:
            return None
        raise Unavailable(f"kafka: {error_of(fault).str()}") from fault

"""Describes and deletes a consumer group from outside: its members and committed offsets; refuses a slot of it that
reads another topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.described_group import DescribedGroup
from stream_worker.backends.kafka.faults import connect, error_of
from stream_worker.core.errors import ConfigurationError, Unavailable

_ANSWER_SECONDS = 10.0  # to wait for an answer, in a command that a person watches; not tuned
_START_SECONDS = 2.0  # to wait for an answer at the start of a worker, which goes on without one; not tuned
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


@dataclass(frozen=True)
class Member:
    """The member of a worker slot: a worker that runs, or one that was stopped a session timeout ago at most.

    host: where it runs, as the brokers tell it. topics: those of the partitions that it has now.
    """

    host: str
    topics: Collection[str]


def member_of(config: KafkaConfig, slot: str, group: DescribedGroup | None = None) -> Member | None:
    """Return the group's member of a slot; None where there is none, or where the brokers do not tell.

    group: for one who asks again and again.
    """
    try:
        described = (group or DescribedGroup(config)).ask(_START_SECONDS)
    except KafkaException:
        return None
    for member in described.members:
        if member.group_instance_id == f"{config.group_id}-{slot}":
            places = member.assignment.topic_partitions if member.assignment else []
            return Member(str(member.host).removeprefix("/"), {at.topic for at in places})
    return None


def others_of(config: KafkaConfig, slot: str, group: DescribedGroup | None = None) -> tuple[str, ...]:
    """Return the group's members but for that of this slot: the instance ids of static members, the ids of others. A
    worker that was killed counts until its session has ended. Raises Unavailable.

    group: for one who asks again and again.
    """
    members = _members(group or DescribedGroup(config), _START_SECONDS)
    return tuple(name for name in members if name != f"{config.group_id}-{slot}")


def require_own_topic(config: KafkaConfig, slot: str, topics: Collection[str] | None = None) -> None:
    """Raise ConfigurationError if the group has given the slot partitions of another topic: that is another worker's
    slot, or was until just now. Its partitions would be taken for those of `kafka.input_topic`.

    topics: those of the partitions; None: the brokers are asked.
    """
    if topics is None:
        member = member_of(config, slot)
        topics = member.topics if member else ()
    if others := sorted(set(topics) - {config.input_topic}):
        raise ConfigurationError(
            f"kafka.group_id: slot {slot!r} of group {config.group_id!r} reads {', '.join(others)}, so it can't read "
            f"{config.input_topic}, too: give each topic a group of its own (kafka.group_id); a worker that was "
            f"stopped stays a member for {config.session_timeout_ms / 1000:.0f} s"
        )


def look_at_group(config: KafkaConfig) -> Group:
    """Describe the configured group; it is empty if it does not exist. Raises Unavailable."""
    admin, name = connect(AdminClient, client_settings(config)), config.group_id
    members = _members(DescribedGroup(config), _ANSWER_SECONDS)
    asked = [ConsumerGroupTopicPartitions(name)]
    listed: Any = _answer(admin.list_consumer_group_offsets(asked, request_timeout=_ANSWER_SECONDS)[name].result)
    places = [] if listed is None else [at for at in listed.topic_partitions if at.offset >= 0]
    return Group(members, Counter(at.topic for at in places))


def _members(group: DescribedGroup, seconds: float) -> tuple[str, ...]:
    described: Any = _answer(lambda: group.ask(seconds))
    members = () if described is None else described.members
    return tuple(sorted(str(member.group_instance_id or member.member_id) for member in members))


def delete_group(config: KafkaConfig) -> None:
    """Delete the group with its offsets. Raises Unavailable, also while it has members."""
    admin = connect(AdminClient, client_settings(config))
    _answer(admin.delete_consumer_groups([config.group_id], request_timeout=_ANSWER_SECONDS)[config.group_id].result)


def _answer(ask: Callable[[], _Answer]) -> _Answer | None:
    """Return the answer to a question, None if there is no such group. Raises Unavailable."""
    try:
        return ask()
    except KafkaException as fault:
        if error_of(fault).code() in _NONE_THERE:
            return None
        raise Unavailable(f"kafka: {error_of(fault).str()}") from fault

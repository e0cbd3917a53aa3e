"""Asks which rights this user lacks, without using them.

The description of a topic or group contains the allowed operations. For a transactional id there is no such answer: an
init_transactions with a timeout that no broker allows is sent. The broker checks the right first and refuses the
timeout before it changes anything (KafkaApis and TransactionCoordinator, Kafka 2.0 to 4.3), so a live worker with the
same id is not fenced.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation

from stream_worker.backends.kafka.causes import Causes, metadata
from stream_worker.backends.kafka.config import KafkaConfig, client_settings, transaction_settings
from stream_worker.backends.kafka.faults import NO_CONSUMER_PROTOCOL, connect, error_of, lacks_right
from stream_worker.core.errors import ConfigurationError, RightMissing, Unavailable

_ANSWER_SECONDS = 5.0  # to wait for an answer; not tuned
_MOCK = "mockCluster"
# The longest timeout in Kafka's protocol (int32), above every sensible transaction.max.timeout.ms of a broker.
_NO_TIMEOUT_MS = 2**31 - 1
# In total, for one attempt, and between two: a group's coordinator has to load first. Not tuned.
_PATIENCE_SECONDS, _ATTEMPT_SECONDS, _PAUSE_SECONDS = 6.0, 2.0, 0.5
# The API key of ConsumerGroupHeartbeat (KIP-848).
_HEARTBEAT_OF_KIP_848 = 68
_API = re.compile(r"ApiKey \w+ \((\d+)\) Versions")


@dataclass(frozen=True, order=True)
class Right:
    """An operation on a resource of a kind, by the names that kafka-acls.sh uses."""

    operation: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation.upper()} on {self.kind.replace('-', ' ')} {self.name}"


def how_to_allow(operation: str, kind: str, name: str, user: str = "NAME") -> str:
    """Return the command that gives a user a right."""
    return f"kafka-acls.sh --add --allow-principal User:{user} --operation {operation} --{kind} {name}"


def needed_rights(config: KafkaConfig, slot: str) -> list[Right]:
    """Return the rights that `run` needs."""
    topics = [Right("Read", "topic", name) for name in config.read_topics]
    topics += [Right("Write", "topic", name) for name in config.written]
    group = config.group_id
    return [*topics, Right("Read", "group", group), Right("Write", "transactional-id", f"{group}-{slot}")]


def require_rights(config: KafkaConfig, slot: str | None = None) -> None:
    """Raise RightMissing if a right is missing; it names all of them. Raises Unavailable.

    slot: the worker slot whose transactional id is tried, too; None: only topics and group are asked about.
    """
    if str(metadata(config, _ANSWER_SECONDS).cluster_id).startswith(_MOCK):
        return  # librdkafka's mock cluster has no rights and does not answer about them
    group = _described_group(config)
    reads = Right("Read", "group", config.group_id)
    lacking = [*_lacking_on_topics(config), *([reads] if _lacks(reads, group) else [])]
    # A running worker of the slot proves the right, and would be fenced if the brokers' limit were `_NO_TIMEOUT_MS`.
    if slot is not None and f"{config.group_id}-{slot}" not in _members(group):
        lacking += _lacking_on_transactions(config, slot)
    if lacking:
        raise RightMissing(_sentence(config, lacking))


def _sentence(config: KafkaConfig, lacking: Collection[Right]) -> str:
    user = config.extra.get("sasl.username", "NAME")
    given = "; ".join(how_to_allow(right.operation, right.kind, right.name, user) for right in lacking)
    who = f"the user {user}" if "sasl.username" in config.extra else "this client"
    return f"kafka: {who} lacks {', '.join(map(str, lacking))}. An administrator gives it: {given}"


def hidden_topics(config: KafkaConfig, names: Collection[str]) -> set[str]:
    """Return the topics whose existence the brokers do not tell this user."""
    return {name for name, answer in _described(config, names).items() if _refused(answer)}


def _lacking_on_topics(config: KafkaConfig) -> Iterator[Right]:
    rights = [right for right in needed_rights(config, "") if right.kind == "topic"]
    answers = _described(config, [right.name for right in rights])
    return (right for right in rights if _lacks(right, answers[right.name]))


def _described(config: KafkaConfig, names: Collection[str]) -> dict[str, Any]:
    """Return topic -> its description, or the KafkaError in its place."""
    if not names:
        return {}
    admin = connect(AdminClient, client_settings(config))
    asked = admin.describe_topics(
        TopicCollection(list(names)), include_authorized_operations=True, request_timeout=_ANSWER_SECONDS
    )
    return {name: _answer(future) for name, future in asked.items()}


def _answer(future: Any) -> Any:
    try:
        return future.result()
    except KafkaException as fault:
        return error_of(fault)


def _refused(answer: Any) -> bool:
    return isinstance(answer, KafkaError) and lacks_right(answer)


def _lacks(right: Right, answer: Any) -> bool:
    """Return True if the right is known to be missing. Old brokers, and topics that do not exist, give no answer."""
    allowed = None if isinstance(answer, KafkaError) else answer.authorized_operations
    if not allowed:
        return _refused(answer)
    return not {AclOperation[right.operation.upper()], AclOperation.ALL} & set(allowed)


def _described_group(config: KafkaConfig) -> Any:
    """Describe the group; a KafkaError in its place if no attempt succeeds."""
    admin = connect(AdminClient, client_settings(config))
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        asked = admin.describe_consumer_groups(
            [config.group_id], include_authorized_operations=True, request_timeout=_ATTEMPT_SECONDS
        )
        answer = _answer(asked[config.group_id])
        if not isinstance(answer, KafkaError) or _refused(answer) or time.monotonic() > end:
            return answer
        time.sleep(_PAUSE_SECONDS)


def _members(group: Any) -> set[str]:
    return set() if isinstance(group, KafkaError) else {str(member.group_instance_id) for member in group.members}


def _lacking_on_transactions(config: KafkaConfig, slot: str) -> list[Right]:
    causes = Causes(config)
    settings = {**transaction_settings(config, slot), "transaction.timeout.ms": _NO_TIMEOUT_MS}
    producer = connect(Producer, settings, logger=causes.logger, error_cb=causes.heard)
    try:
        producer.init_transactions(_ANSWER_SECONDS)
    except KafkaException as fault:
        error = error_of(fault)
        if lacks_right(error):
            return [Right("Write", "transactional-id", f"{config.group_id}-{slot}")]
        if error.code() != KafkaError.INVALID_TRANSACTION_TIMEOUT:
            raise Unavailable(f"kafka: transactions: {causes.sentence(error)}") from fault
    return []


def require_protocol(config: KafkaConfig) -> None:
    """Raise ConfigurationError if the brokers don't support the configured group protocol: librdkafka would wait for
    ever and log nothing. Raises Unavailable."""
    if config.group_protocol != "consumer":
        return
    known = _apis(config)
    if known and _HEARTBEAT_OF_KIP_848 not in known:
        raise ConfigurationError(f"kafka.group_protocol: {NO_CONSUMER_PROTOCOL}")


def _apis(config: KafkaConfig) -> set[int]:
    """Return the API keys that the brokers support, from librdkafka's debug log: it shows them nowhere else."""
    causes = Causes(config)
    settings = {**client_settings(config), "debug": "feature"}
    causes.logger.setLevel("DEBUG")
    admin = connect(AdminClient, settings, logger=causes.logger)
    try:
        admin.list_topics(timeout=_ANSWER_SECONDS)
    except KafkaException as fault:
        raise Unavailable(f"kafka: {config.bootstrap_servers}: {error_of(fault).str()}") from fault
    admin.poll(0.1)
    return {int(number) for line in causes.lines for number in _API.findall(line)}

"""What the brokers let this user do, asked without doing any of it.

Topics and groups tell what is allowed. Of a transactional id they don't: it is tried with a transaction timeout that no
broker allows, which is refused after the right has been looked at and before anything is touched (KafkaApis and
TransactionCoordinator, Kafka 2.0 to 4.3). So a live worker of the same id is not fenced.
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

_ANSWER_SECONDS = 5.0
_MOCK = "mockCluster"
_NO_TIMEOUT_MS = 2**31 - 1
# A group's coordinator has to load first.
_PATIENCE_SECONDS, _ATTEMPT_SECONDS, _PAUSE_SECONDS = 6.0, 2.0, 0.5
_HEARTBEAT_OF_KIP_848 = 68
_API = re.compile(r"ApiKey \w+ \((\d+)\) Versions")


@dataclass(frozen=True, order=True)
class Right:
    """What is to be allowed on what, in the words of kafka-acls.sh."""

    operation: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation.upper()} on {self.kind.replace('-', ' ')} {self.name}"


def how_to_allow(operation: str, kind: str, name: str, user: str = "NAME") -> str:
    return f"kafka-acls.sh --add --allow-principal User:{user} --operation {operation} --{kind} {name}"


def needed_rights(config: KafkaConfig, slot: str) -> list[Right]:
    """All that `run` does."""
    topics = [Right("Read", "topic", name) for name in (config.input_topic, config.items_topic) if name]
    topics += [Right("Write", "topic", name) for name in (config.output_topic, config.dead_letter_topic)]
    group = config.group_id
    return [*topics, Right("Read", "group", group), Right("Write", "transactional-id", f"{group}-{slot}")]


def require_rights(config: KafkaConfig, slot: str | None = None) -> None:
    """Raises RightMissing, which names each of them; Unavailable. With a `slot` its transactional id is tried, too."""
    if str(metadata(config, _ANSWER_SECONDS).cluster_id).startswith(_MOCK):
        return  # it knows no rights, and answers nothing about them
    group = _described_group(config)
    reads = Right("Read", "group", config.group_id)
    lacking = [*_lacking_on_topics(config), *([reads] if _lacks(reads, group) else [])]
    # A running worker of the slot shows that it may; brokers whose limit is the longest time of all would fence it.
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
    """Those of the topics that the brokers do not speak of to this user, be they there or not."""
    return {name for name, answer in _described(config, names).items() if _refused(answer)}


def _lacking_on_topics(config: KafkaConfig) -> Iterator[Right]:
    rights = [right for right in needed_rights(config, "") if right.kind == "topic"]
    answers = _described(config, [right.name for right in rights])
    return (right for right in rights if _lacks(right, answers[right.name]))


def _described(config: KafkaConfig, names: Collection[str]) -> dict[str, Any]:
    """A description or a KafkaError for each topic."""
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
    """What is not told (by an old broker, of a topic that is not there) is not known to be missing."""
    allowed = None if isinstance(answer, KafkaError) else answer.authorized_operations
    if not allowed:
        return _refused(answer)
    return not {AclOperation[right.operation.upper()], AclOperation.ALL} & set(allowed)


def _described_group(config: KafkaConfig) -> Any:
    """A description or a KafkaError."""
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
    """Raises ConfigurationError where the brokers are older than the configured protocol of groups: such a member
    waits for ever, without a word. Raises Unavailable."""
    if config.group_protocol != "consumer":
        return
    known = _apis(config)
    if known and _HEARTBEAT_OF_KIP_848 not in known:
        raise ConfigurationError(f"kafka.group_protocol: {NO_CONSUMER_PROTOCOL}")


def _apis(config: KafkaConfig) -> set[int]:
    """The kinds of requests that brokers take: librdkafka tells them only to those who debug it."""
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

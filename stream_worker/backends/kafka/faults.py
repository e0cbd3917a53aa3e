"""Translates librdkafka's errors into the program's own, and bounds retries and repeated log lines."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from stream_worker.backends.kafka.config import LIBRARY_LOG, ClientSettings
from stream_worker.core.errors import ConfigurationError, RestartNeeded, RightMissing, SlotTaken
from stream_worker.logs import get_logger

_log = get_logger(__name__)
_Client = TypeVar("_Client")

# Errors of a client whose group.instance.id or transactional.id another process has taken.
_SLOT_CODES = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNRELEASED_INSTANCE_ID,
    }
)
RIGHTS_CODES = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
LOST_OFFSET_CODES = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


NO_CONSUMER_PROTOCOL = (
    "the brokers do not speak the consumer protocol (KIP-848: Kafka 4.0 and newer, where it is not switched off); "
    "set it to classic"
)


def connect(
    kind: Callable[..., _Client], settings: ClientSettings, logger: logging.Logger = LIBRARY_LOG, **callbacks: Any
) -> _Client:
    """Create a client of librdkafka with the program's logger. Raises ConfigurationError for a refused setting."""
    try:
        return kind({**settings, **callbacks}, logger=logger)
    except (KafkaException, ValueError, TypeError) as fault:
        raise ConfigurationError(f"kafka: {_text(fault)}") from fault


def _text(fault: Exception) -> str:
    """Return librdkafka's text without the refused value: it may be a secret that was set under a wrong name."""
    error = fault.args[0] if fault.args else fault
    text = error.str() if isinstance(error, KafkaError) else str(error)
    return re.sub(r'(Invalid value) ".*"(?= for)|(Unsupported SASL mechanism): .*', r"\1\2", text, flags=re.DOTALL)


def error_of(fault: KafkaException) -> KafkaError:
    error = fault.args[0]
    assert isinstance(error, KafkaError)
    return error


def consumed(
    consumer: Consumer, most: int, timeout_seconds: float, on_error: Callable[[KafkaError], None]
) -> list[Message]:
    """Return at most so many messages; where the call fails, tell `on_error` why and return none."""
    try:
        return consumer.consume(most, timeout_seconds)
    except KafkaException as fault:
        on_error(error_of(fault))
        return []


def says(error: KafkaError, code: int) -> bool:
    """Return True if `code` is the cause of an error. A consumer's fatal error has the code's text only."""
    return error.code() == code or (error.code() == KafkaError._FATAL and KafkaError(code).str() in error.str())


def is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == KafkaError._FATAL


def lacks_right(error: KafkaError) -> bool:
    """Return True if an error comes from a missing right."""
    return any(error.code() == code or KafkaError(code).str() in error.str() for code in RIGHTS_CODES)


def fatal_error(error: KafkaError) -> SlotTaken | RestartNeeded | ConfigurationError:
    """Return the program's error for a fatal error of librdkafka."""
    if lacks_right(error):
        return RightMissing(f"kafka: a right is missing: {error.str()}")
    if says(error, KafkaError.UNSUPPORTED_VERSION):
        return ConfigurationError(f"kafka.group_protocol: {NO_CONSUMER_PROTOCOL}: {error.str()}")
    if any(says(error, code) for code in _SLOT_CODES):
        return SlotTaken(f"another process uses this worker slot: {error.name()}: {error.str()}")
    return RestartNeeded(f"the Kafka client failed: {error.name()}: {error.str()}")


class Backoff:
    """Waiting times between attempts: each failure doubles them, up to `longest_seconds`. Defaults are not tuned."""

    def __init__(
        self,
        first_seconds: float = 0.1,
        longest_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first, self._longest, self._monotonic = first_seconds, longest_seconds, monotonic
        self.reset()

    def reset(self) -> None:
        self._delay, self._until = self._first, float("-inf")

    def ready(self) -> bool:
        """Return True if the waiting time since the last failure is over."""
        return self._monotonic() >= self._until

    def fail(self) -> None:
        self._until = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, self._longest)


class Complaints:
    """Limits log lines by error code: the first at once, the next after 5 s, then ever fewer, to one per minute."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kinds: dict[int, Backoff] = {}

    def say(self, event: str, error: KafkaError) -> None:
        kind = self._kinds.setdefault(error.code(), Backoff(5.0, 60.0, self._monotonic))
        if kind.ready():
            kind.fail()
            _log.warning(event, error=error.name(), reason=error.str())

    def reset(self) -> None:
        self._kinds.clear()

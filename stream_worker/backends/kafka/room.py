"""Learns how large a batch of records a topic takes.

A topic's `max.message.bytes` bounds the batches into which a client puts records. Reading that setting needs a right of
its own, so the bound is learned from refusals.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from stream_worker.core.errors import ConfigurationError
from stream_worker.logs import get_logger

_log = get_logger(__name__)
# librdkafka's default of message.max.bytes; `kafka.extra` may set another.
CLIENT_BYTES = 1_000_000
# Factor by which a refusal lowers the bound. Not tuned.
_LESS = 0.7
# Seconds after which a learned bound is forgotten, since the topic may have been changed. Not tuned.
_FORGOTTEN_SECONDS = 600.0


class Room:
    """The largest batch that one topic takes, as far as is known: `most_bytes`. The records between two flushes are
    counted as one batch.

    If a batch of several records was refused, the batch may have been too large: the bound is then lowered to its
    largest record at most, so that each is sent alone before any is shortened. If a single record was refused, it was
    too large by itself.

    topic: its name, for messages.
    client_bytes: the client's own bound on a batch.
    monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, topic: str, client_bytes: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._topic, self._client_bytes, self._monotonic = topic, client_bytes, monotonic
        self._most_bytes, self._learned_at = client_bytes, 0.0
        self._refused: list[int] = []
        self._pending_bytes = 0

    @property
    def most_bytes(self) -> int:
        if self._monotonic() - self._learned_at > _FORGOTTEN_SECONDS:
            self._most_bytes = self._client_bytes
        return self._most_bytes

    def begin(self) -> None:
        """Begin a transaction, in which nothing is pending."""
        self._pending_bytes = 0
        self._refused = []

    def is_full(self, size_bytes: int) -> bool:
        """Return True if pending records must be flushed before a record of this size, and count it as pending.

        Without a learned bound the answer is False, since the client itself bounds its batches.
        """
        narrow = self.most_bytes < self._client_bytes
        full = narrow and self._pending_bytes > 0 and self._pending_bytes + size_bytes > self.most_bytes
        self._pending_bytes = size_bytes + (0 if full else self._pending_bytes)
        return full

    def on_delivery(self, size_bytes: int) -> Callable[[KafkaError | None, Message], None]:
        """Return a delivery callback that notes if the topic refuses a record of this size."""

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._refused.append(size_bytes)

        return delivered

    def learn(self) -> bool:
        """Lower the bound after an aborted transaction in which records were refused; return False if none were.

        Raises ConfigurationError if the topic has refused the smallest form of a record, alone.
        """
        if not self._refused:
            return False
        largest = max(self._refused)
        if largest > self._most_bytes:
            raise ConfigurationError(
                f"kafka: {self._topic} takes no record of {largest} bytes, the least that has to be written: raise its "
                f"max.message.bytes (kafka-configs.sh --alter --entity-type topics --entity-name {self._topic} "
                "--add-config max.message.bytes=1048588)"
            )
        less = largest if len(self._refused) > 1 else largest - 1
        self._most_bytes = max(1, min(int(_LESS * self._most_bytes), less))
        self._learned_at = self._monotonic()
        _log.warning(
            "a topic takes no records this large: they are made smaller; raise its max.message.bytes",
            topic=self._topic,
            refused_bytes=largest,
            most_bytes=self._most_bytes,
        )
        return True

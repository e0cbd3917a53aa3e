"""How large a record may be, and a batch of them, before a topic refuses it.

A topic's `max.message.bytes` bounds the batches that a client puts records into, and asking for it takes a right of its
own. So it is found out: by what was refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from stream_worker.core.errors import ConfigurationError
from stream_worker.logs import get_logger

_log = get_logger(__name__)
# Of librdkafka (message.max.bytes); `kafka.extra` may set another.
CLIENT_BYTES = 1_000_000
_LESS = 0.7
# A topic may have been changed meanwhile.
_FORGOTTEN_SECONDS = 600.0


class Room:
    """What one topic takes. `most_bytes` is what a batch may hold, as far as is known; a batch is what is produced
    between two flushes, at most.

    A single record that was refused was too large by itself; of several, the batch may have been: then each goes alone
    before any is made smaller.
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
        """A transaction begins: nothing is pending."""
        self._pending_bytes = 0
        self._refused = []

    def is_full(self, size_bytes: int) -> bool:
        """Whether what is pending has to be flushed before a record of this size. It counts as produced. Batches that
        this client bounds need no help."""
        narrow = self.most_bytes < self._client_bytes
        full = narrow and self._pending_bytes > 0 and self._pending_bytes + size_bytes > self.most_bytes
        self._pending_bytes = size_bytes + (0 if full else self._pending_bytes)
        return full

    def on_delivery(self, size_bytes: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._refused.append(size_bytes)

        return delivered

    def learn(self) -> bool:
        """After an abort: whether the topic has refused something for its size. Raises ConfigurationError where it has
        refused the smallest form of a record, alone."""
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

"""A transactional producer whose errors say what to do about them.

Errors are tested in the order that librdkafka documents: does it require an abort, may it be retried, else it is fatal.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from stream_worker.backends.kafka.causes import told
from stream_worker.backends.kafka.config import TRANSACTION_TIMEOUT_SECONDS, ClientSettings
from stream_worker.backends.kafka.faults import Complaints, connect, error_of, fatal_error, lacks_right
from stream_worker.backends.kafka.rights import how_to_allow
from stream_worker.core.errors import (
    ConfigurationError,
    RestartNeeded,
    RightMissing,
    SlotTaken,
    TransactionAborted,
    Unavailable,
)

Delivered = Callable[[KafkaError | None, Message], None]

# For one call of librdkafka, before it is retried. Not tuned.
_CALL_SECONDS = 5.0
# Longest retry. Longer than a transaction may live, so that the coordinator has aborted a transaction that is still
# open then. The margin is not tuned.
_PATIENCE_SECONDS = TRANSACTION_TIMEOUT_SECONDS + 10.0


class OutcomeUnknown(Exception):  # noqa: N818
    """Raised if the brokers have not answered for so long that the outcome of the transaction is unknown."""


class TransactionalProducer:
    """The producer of one worker slot. Creating it fences an older producer of the slot and aborts its transaction.

    The constructor raises Unavailable if the brokers do not answer. The other methods raise TransactionAborted (the
    transaction was aborted), OutcomeUnknown (discard this producer and create another one), SlotTaken, RestartNeeded
    and ConfigurationError.

    settings: librdkafka's; they contain the transactional id.
    monotonic: seconds of a clock that never goes back.
    patient: True: the constructor tries for `_PATIENCE_SECONDS` instead of `_CALL_SECONDS`.
    """

    def __init__(
        self,
        settings: ClientSettings,
        monotonic: Callable[[], float] = time.monotonic,
        patient: bool = True,
    ) -> None:
        self._monotonic = monotonic
        self._name = str(settings.get("transactional.id"))
        self._began = 0.0
        self._complaints = Complaints(monotonic)
        self._heard: list[str] = []
        self._producer = connect(Producer, settings, error_cb=self._on_error)
        try:
            self._call("init_transactions", self._producer.init_transactions, patient)
        except OutcomeUnknown as fault:
            self._producer.poll(0)
            self.discard()
            raise Unavailable(f"kafka: {told(self._heard) or fault}") from fault

    def begin(self) -> None:
        self._began = self._monotonic()
        self._call("begin_transaction", lambda _: self._producer.begin_transaction())

    def produce(self, topic: str, key: bytes | None, value: bytes | None, **more: Any) -> None:
        """Queue a record; wait while the queue is full."""
        end = self._monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._producer.produce(topic, value, key, **more)
            except BufferError:
                if self._monotonic() > end:
                    raise OutcomeUnknown("the producer's queue stays full") from None
                self._producer.poll(0.1)
            except KafkaException as fault:
                self._refused(topic, error_of(fault))

    def _refused(self, topic: str, error: KafkaError) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self.abort()
            raise ConfigurationError(
                f"kafka: the least that has to be written to {topic} is larger than kafka.extra message.max.bytes"
            )
        # produce() only says that the transaction's state is wrong; abort() raises the reason, if it was fatal.
        self.abort()
        raise TransactionAborted(f"produce: {error.str()}")

    def flush(self) -> None:
        """Wait until all queued records were delivered or refused. The next call raises for refused ones."""
        if self._producer.flush(_CALL_SECONDS):
            raise OutcomeUnknown(f"records were not delivered within {_CALL_SECONDS:.0f} s")

    def send_offsets(self, offsets: list[TopicPartition], membership: Any) -> None:
        self._call(
            "send_offsets_to_transaction",
            lambda seconds: _in_time(
                lambda: self._producer.send_offsets_to_transaction(offsets, membership, seconds), 2 * seconds
            ),
        )

    def commit(self) -> None:
        self._call("commit_transaction", self._producer.commit_transaction)
        self._complaints.reset()

    def abort(self) -> None:
        self._call("abort_transaction", self._producer.abort_transaction)

    def discard(self) -> None:
        """Give up the producer without librdkafka's close(), which may wait for brokers for ever. The next producer's
        init_transactions ends an open transaction."""
        self._producer.purge(blocking=False)

    def _call(self, step: str, call: Callable[[float], None], patient: bool = True) -> None:
        retrying = Retrying(
            retry=retry_if_exception(_may_be_retried),
            stop=stop_after_delay(_PATIENCE_SECONDS if patient else _CALL_SECONDS),
            wait=wait_random_exponential(multiplier=0.01, max=1),
            reraise=True,
        )
        try:
            retrying(call, _CALL_SECONDS)
        except KafkaException as fault:
            self._judge(step, error_of(fault), fault)

    def _judge(self, step: str, error: KafkaError, fault: KafkaException) -> None:
        if error.txn_requires_abort():
            self.abort()
            if lacks_right(error):
                raise Unavailable(f"kafka: {step}: {error.str()}") from fault
            raise TransactionAborted(f"{step}: {error.name()}: {error.str()}") from fault
        if error.retriable():
            raise OutcomeUnknown(f"{step}: {error.name()}: {error.str()}") from fault
        raise self._fatal(step, error) from fault

    def _fatal(self, step: str, error: KafkaError) -> SlotTaken | RestartNeeded | ConfigurationError | OutcomeUnknown:
        if lacks_right(error) and not self._began:
            return RightMissing(f"kafka: {error.str()}; {how_to_allow('Write', 'transactional-id', self._name)}")
        if lacks_right(error):
            # A right was taken away during a transaction; the next producer tells whether it is still missing.
            return OutcomeUnknown(f"{step}: {error.str()}")
        if error.code() == KafkaError.INVALID_TXN_STATE:
            # Coordinator and client disagree about a transaction (seen after a right was taken away during it). Another
            # producer ends it, and Y tells its outcome.
            return OutcomeUnknown(f"{step}: {error.str()}")
        open_seconds = self._monotonic() - self._began
        if self._began and open_seconds >= TRANSACTION_TIMEOUT_SECONDS:
            # The coordinator also fences a producer whose transaction it has aborted for its timeout, because the
            # brokers were away or this process was stopped. A new producer continues; should another process own the
            # slot, the sink notices that before it creates one.
            return OutcomeUnknown(f"{step}: {error.name()} after a transaction of {open_seconds:.0f} s: {error.str()}")
        return fatal_error(error)

    def _on_error(self, error: KafkaError) -> None:
        # The next call raises a fatal error.
        if not error.fatal():
            self._heard = [error.str(), *self._heard[:7]]
            self._complaints.say("kafka sink", error)


def _may_be_retried(fault: BaseException) -> bool:
    if not isinstance(fault, KafkaException):
        return False
    error = error_of(fault)
    return error.retriable() and not error.txn_requires_abort()


def _in_time(call: Callable[[], None], seconds: float) -> None:
    """Run a call in a thread, and raise OutcomeUnknown if it takes longer than `seconds`.

    librdkafka sometimes ignores its timeout when the group coordinator is gone (librdkafka #5456, #5511; seen with a
    killed broker). The thread is then abandoned together with its producer.
    """
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            call()
            answers.put(None)
        except BaseException as fault:
            answers.put(fault)

    threading.Thread(target=run, name="transaction", daemon=True).start()
    try:
        fault = answers.get(timeout=seconds)
    except queue.Empty:
        raise OutcomeUnknown(f"librdkafka has not come back within {seconds:.0f} s") from None
    if fault is not None:
        raise fault

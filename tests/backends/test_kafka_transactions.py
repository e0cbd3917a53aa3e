"""What only a real Kafka can show of transactions: lost answers, aborted records, records too large to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_worker.backends.kafka import KafkaConfig, KafkaSink
from stream_worker.backends.kafka.config import transaction_settings
from stream_worker.backends.kafka.producer import TransactionalProducer
from stream_worker.core.errors import RestartNeeded, SlotTaken, TransactionAborted
from stream_worker.core.events import DeadLetter, Outputs, Record
from tests.backends.contracts_topics import Member, list_for, retry
from tests.backends.kafka_broker import KafkaBroker

pytestmark = pytest.mark.kafka


class Faulty:
    """librdkafka's producer, with another function in place of one of its calls."""

    def __init__(self, real: Any, name: str, call: Callable[..., Any]) -> None:
        self._real, self._name, self._call = real, name, call

    def __getattr__(self, name: str) -> Any:
        return self._call if name == self._name else getattr(self._real, name)


def replace_call(sink: KafkaSink, name: str, call: Callable[..., Any]) -> Any:
    """Put `call` in the place of a call of the sink's present producer; returns the real producer."""
    inner: Any = sink._producer
    real = inner._producer
    inner._producer = Faulty(real, name, call)
    return real


def error(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "made by the test", fatal, retriable, abortable))


def no_answer(*_: Any) -> NoReturn:
    raise error(KafkaError._TIMED_OUT, retriable=True)


class TestUnknownOutcome:
    def test_a_commit_whose_answer_was_lost_is_not_published_twice(
        self, kafka_broker: KafkaBroker, kafka_member: Member, impatient: None
    ) -> None:
        """The broker committed and nobody heard of it: Y says so, and commit returns as if it had answered."""
        sink = kafka_broker.sink()
        committed: list[bool] = []

        def commit_unheard(*_: Any) -> NoReturn:
            if not committed:
                real.commit_transaction(10)
                committed.append(True)
            no_answer()

        real = replace_call(sink, "commit_transaction", commit_unheard)
        sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        assert committed
        sink.commit(Outputs([list_for("u", 4)]), {0: 4}, kafka_member.source.membership())
        assert [r.next_offset for r in kafka_broker.lists()] == [3, 4]

    def test_a_commit_that_never_arrived_is_aborted_and_can_be_sent_again(
        self, kafka_broker: KafkaBroker, kafka_member: Member, impatient: None
    ) -> None:
        sink, outputs = kafka_broker.sink(), Outputs([list_for("u", 3)])
        replace_call(sink, "commit_transaction", no_answer)
        with pytest.raises(TransactionAborted):
            sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        assert kafka_broker.lists() == []
        sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 3)]

    def test_a_repeated_commit_that_reaches_further_than_the_doubtful_one_stops_the_worker(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        """Which of its outputs were published can't be told; a new process starts from Y."""
        sink = kafka_broker.sink()
        sink.commit(Outputs(), {0: 3}, kafka_member.source.membership())
        sink._unknown = {0: 3}
        with pytest.raises(RestartNeeded, match="asked to publish up to"):
            sink.commit(Outputs([list_for("u", 4)]), {0: 4}, kafka_member.source.membership())
        assert kafka_broker.lists() == []

    def test_what_another_worker_published_since_says_nothing_about_the_doubtful_one(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        """Its partitions are gone, and Y there has moved on: what is still owned is published."""
        sink = kafka_broker.sink()
        sink.commit(Outputs(), {0: 9}, kafka_member.source.membership())
        sink._unknown = {0: 3}
        sink.commit(Outputs([list_for("u", 4, 1)]), {1: 4}, kafka_member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 4, 1)]

    def test_an_own_init_that_was_answered_late_is_not_taken_for_another_process(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        """A hung broker works off what it was sent: the init of a producer given up fences the present one."""
        sink, outputs = kafka_broker.sink("a"), Outputs([list_for("u", 3)])
        sink._unanswered = True
        late = TransactionalProducer(transaction_settings(kafka_broker.config, "a"))
        with pytest.raises(TransactionAborted):
            sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 3)]
        late.discard()
        kafka_broker.sink("a")
        with pytest.raises(SlotTaken):
            sink.commit(Outputs(), {0: 4}, kafka_member.source.membership())


class TestErrorsByKind:
    def test_an_aborted_transaction_is_invisible(self, kafka_broker: KafkaBroker, kafka_member: Member) -> None:
        """Its records are in the log, and no read_committed reader sees them."""
        sink = kafka_broker.sink()

        def too_late(*_: Any) -> NoReturn:
            real.flush(10)
            raise error(KafkaError.ILLEGAL_GENERATION, abortable=True)

        real = replace_call(sink, "send_offsets_to_transaction", too_late)
        with pytest.raises(TransactionAborted):
            sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        assert written_at_all(kafka_broker.config) >= 1
        assert kafka_broker.lists() == []

    def test_a_retriable_error_is_answered_by_the_same_call(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        sink = kafka_broker.sink()
        calls: list[Any] = []

        def third_time(*arguments: Any) -> None:
            calls.append(arguments)
            if len(calls) < 3:
                no_answer()
            real.send_offsets_to_transaction(*arguments)

        real = replace_call(sink, "send_offsets_to_transaction", third_time)
        sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        assert len(calls) == 3
        assert kafka_broker.lists() == [list_for("u", 3)]

    @pytest.mark.parametrize(
        ("code", "open_seconds", "meaning"),
        [
            (KafkaError._FENCED, 0.1, SlotTaken),
            (KafkaError._FENCED, 25.0, TransactionAborted),
            (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, 0.1, RestartNeeded),
        ],
    )
    def test_a_fatal_error_says_whether_a_new_process_helps(
        self, kafka_broker: KafkaBroker, kafka_member: Member, code: int, open_seconds: float, meaning: type[Exception]
    ) -> None:
        """The coordinator also fences a producer that was late: there is no other process, and another producer goes
        on."""
        now = [100.0]
        sink = KafkaSink(kafka_broker.config, "a", lambda: now[0])

        def fail(*_: Any) -> NoReturn:
            now[0] += open_seconds
            raise error(code, fatal=True)

        replace_call(sink, "commit_transaction", fail)
        with pytest.raises(meaning):
            sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        if meaning is TransactionAborted:
            retry(lambda: sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership()))
            assert kafka_broker.lists() == [list_for("u", 3)]
        sink.close()

    def test_a_full_queue_makes_the_sink_wait(self, kafka_broker: KafkaBroker, kafka_member: Member) -> None:
        sink = kafka_broker.sink(extra={"queue.buffering.max.messages": "10"})
        lists = [list_for(f"u{n}", 1) for n in range(200)]
        sink.commit(Outputs(lists), {0: 1}, kafka_member.source.membership())
        assert sorted(r.user for r in kafka_broker.lists()) == sorted(r.user for r in lists)


class TestDeadLetters:
    def test_a_dead_letter_is_the_record_as_it_came_with_its_reason_beside_it(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        records = [Record(0, 5, 1, b"\xff\x00", b"\xfe no JSON"), Record(2, 6, 1, None, None)]
        letters = [DeadLetter(record, "NotJson", "expected ü") for record in records]
        kafka_broker.sink().commit(Outputs(dead_letters=letters), {0: 6}, kafka_member.source.membership())
        first, second = sorted(
            kafka_broker.read(kafka_broker.config.dead_letter_topic), key=lambda m: m.headers["offset"]
        )
        assert (first.key, first.value) == (b"\xff\x00", b"\xfe no JSON")
        topic = kafka_broker.config.input_topic
        assert first.headers == {
            "topic": topic,
            "partition": "0",
            "offset": "5",
            "error": "NotJson",
            "reason": "expected ü",
        }
        assert (second.key, second.value) == (None, None)
        assert (second.headers["partition"], second.headers["offset"]) == ("2", "6")

    @pytest.mark.parametrize(
        ("key", "value", "want_key", "words"),
        [
            (b"k", b"x" * 2_000_000, b"k", "the value, 2000000 bytes, was dropped"),
            (b"k" * 1_500_000, b"x", None, "key and value, 1500000 and 1 bytes, were dropped"),
        ],
    )
    def test_what_is_too_large_to_send_is_dropped_and_that_is_said(
        self,
        kafka_broker: KafkaBroker,
        kafka_member: Member,
        key: bytes,
        value: bytes,
        want_key: bytes | None,
        words: str,
    ) -> None:
        letter = DeadLetter(Record(0, 5, 1, key, value), "TooLarge", "too large")
        kafka_broker.sink().commit(Outputs(dead_letters=[letter]), {0: 6}, kafka_member.source.membership())
        [message] = kafka_broker.read(kafka_broker.config.dead_letter_topic)
        assert (message.key, message.value) == (want_key, None)
        assert words in message.headers["reason"]


def written_at_all(config: KafkaConfig) -> int:
    """Records of the output topic, aborted ones and markers included."""
    reader = Consumer({"bootstrap.servers": config.bootstrap_servers, "group.id": "all"})
    known = reader.list_topics(config.output_topic, timeout=10).topics[config.output_topic].partitions
    ends = [reader.get_watermark_offsets(TopicPartition(config.output_topic, p), timeout=10) for p in known]
    reader.close()
    return sum(end[1] for end in ends if end)

"""librdkafka at its worst: calls that never come back, and fences that no other process has put up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_worker.backends.kafka import KafkaConfig, KafkaSink, KafkaSource, producer
from stream_worker.backends.kafka.producer import OutcomeUnknown, TransactionalProducer
from stream_worker.core.errors import RestartNeeded, SlotTaken, TransactionAborted, Unavailable
from stream_worker.core.events import Outputs
from tests.backends.contracts_topics import Member, list_for, until, values
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.test_kafka_transactions import error, replace_call
from tests.support.services import free_port

MakeProducer = Callable[..., TransactionalProducer]
OpenSource = Callable[[bool], KafkaSource]

# A broken producer waits for a call of the tests no longer than this.
_HUNG_SECONDS = 10.0


@pytest.fixture
def make_producer(monkeypatch: pytest.MonkeyPatch) -> MakeProducer:
    """`make_producer(monotonic, name=call, ...)`: a producer without brokers, its calls of librdkafka replaced."""

    def make(monotonic: Callable[[], float] = time.monotonic, **calls: Callable[..., Any]) -> TransactionalProducer:
        monkeypatch.setattr(producer, "connect", lambda *_, **__: MagicMock(**calls))
        return TransactionalProducer({}, monotonic)

    return make


class TestCallsInTime:
    def test_what_never_comes_back_is_given_up_after_twice_its_own_timeout(
        self, make_producer: MakeProducer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not tried again, and its thread does not keep the process from ending."""
        monkeypatch.setattr(producer, "_CALL_SECONDS", 0.2)
        end, calls = threading.Event(), []

        def hang(*arguments: Any) -> None:
            calls.append((*arguments, threading.current_thread().daemon))
            end.wait(_HUNG_SECONDS)

        stuck, began = make_producer(send_offsets_to_transaction=hang), time.monotonic()
        with pytest.raises(OutcomeUnknown, match="has not come back"):
            stuck.send_offsets([], "member")
        assert 0.4 <= time.monotonic() - began < _HUNG_SECONDS / 2
        assert calls == [([], "member", 0.2, True)]
        end.set()

    def test_what_comes_back_is_as_if_there_were_no_second_thread(self, make_producer: MakeProducer) -> None:
        """At once, with what it raises."""
        fault = error(KafkaError.ILLEGAL_GENERATION, abortable=True)
        answers: list[KafkaException | None] = [None, fault]

        def answer(*_: Any) -> None:
            if (raised := answers.pop(0)) is not None:
                raise raised

        prompt, began = make_producer(send_offsets_to_transaction=answer), time.monotonic()
        prompt.send_offsets([], "member")
        with pytest.raises(TransactionAborted) as aborted:
            prompt.send_offsets([], "member")
        assert aborted.value.__cause__ is fault
        assert time.monotonic() - began < producer._CALL_SECONDS


class TestFatalErrors:
    @pytest.mark.parametrize(
        ("code", "meaning"),
        [(KafkaError._FENCED, SlotTaken), (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, RestartNeeded)],
    )
    def test_only_of_a_transaction_that_was_open_too_long_they_say_nothing_certain(
        self, make_producer: MakeProducer, code: int, meaning: type[Exception]
    ) -> None:
        """Its own age counts, not the producer's."""
        now = [1_000.0]

        def fail(*_: Any) -> NoReturn:
            raise error(code, fatal=True)

        failing = make_producer(lambda: now[0], commit_transaction=fail)
        for open_seconds, want in [(20.0, OutcomeUnknown), (19.5, meaning)]:
            now[0] += 1_000
            failing.begin()
            now[0] += open_seconds
            with pytest.raises(want):
                failing.commit()

    def test_a_producer_that_is_fenced_before_its_first_transaction_stops(self, make_producer: MakeProducer) -> None:
        """However long the machine has been running."""

        def fail(*_: Any) -> NoReturn:
            raise error(KafkaError._FENCED, fatal=True)

        with pytest.raises(SlotTaken):
            make_producer(lambda: 1e6, init_transactions=fail)


@pytest.mark.kafka
class TestAnotherProducer:
    @pytest.mark.parametrize("arrived", [False, True])
    def test_after_a_call_that_never_came_back_the_same_outputs_are_published_once(
        self, kafka_broker: KafkaBroker, kafka_member: Member, impatient: None, arrived: bool
    ) -> None:
        """Whether or not it had reached the brokers, and though it wakes up when all is done."""
        sink, outputs, end = kafka_broker.sink(), Outputs([list_for("u", 3), list_for("v", 3)]), threading.Event()
        threads: list[threading.Thread] = []

        def hang(*arguments: Any) -> None:
            threads.append(threading.current_thread())
            if arrived:
                real.send_offsets_to_transaction(*arguments)
            end.wait(_HUNG_SECONDS)
            real.send_offsets_to_transaction(*arguments)

        real = replace_call(sink, "send_offsets_to_transaction", hang)
        with pytest.raises(TransactionAborted, match="has not come back"):
            sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        assert kafka_broker.lists() == []
        sink.commit(outputs, {0: 3}, kafka_member.source.membership())
        end.set()
        [thread] = threads
        thread.join(_HUNG_SECONDS)
        assert not thread.is_alive()
        sink.commit(Outputs([list_for("u", 4)]), {0: 4}, kafka_member.source.membership())
        assert sorted((r.user, r.next_offset) for r in kafka_broker.lists()) == [("u", 3), ("u", 4), ("v", 3)]

    def test_who_no_longer_owns_the_slot_makes_none(self, kafka_broker: KafkaBroker, kafka_member: Member) -> None:
        """It would fence the producer of the process that has taken the slot meanwhile."""
        owned = [True]
        sink = KafkaSink(kafka_broker.config, "a", owns=lambda: owned[0])

        def doubt(*_: Any) -> NoReturn:
            raise OutcomeUnknown("made by the test")

        replace_call(sink, "send_offsets_to_transaction", doubt)
        with pytest.raises(TransactionAborted):
            sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        replace_call(sink, "send_offsets_to_transaction", doubt)
        owned[0], newer = False, kafka_broker.sink("a")
        for _ in range(2):
            with pytest.raises(SlotTaken, match="another process uses the worker slot 'a'"):
                sink.commit(Outputs([list_for("u", 3)]), {0: 3}, kafka_member.source.membership())
        newer.commit(Outputs([list_for("u", 4)]), {0: 4}, kafka_member.source.membership())
        assert kafka_broker.lists() == [list_for("u", 4)]
        sink.close()


@pytest.fixture
def open_source(kafka_broker: KafkaBroker) -> Iterator[OpenSource]:
    """`open_source(owns)`: a source of the slot "a" that hears `owns` where it asks whether the slot is its own."""
    with ExitStack() as opened:

        def make(owns: bool) -> KafkaSource:
            source = KafkaSource(kafka_broker.config, "a", owns=lambda: owns)
            opened.callback(source.close)
            return source

        yield make


def fatal(code: int) -> KafkaError:
    """As a consumer hears it: what is behind it stands in the text only."""
    return KafkaError(KafkaError._FATAL, f"Fatal consumer error: {KafkaError(code).str()}", True)


def fetched(member: Member) -> None:
    """Have the source hold records that it has not given out."""
    while not member.source._stash:  # type: ignore[attr-defined]
        member.poll(0)


class FencedByItself:
    def test_a_new_member_reads_on_from_where_the_owner_claims(
        self, kafka_broker: KafkaBroker, open_source: OpenSource
    ) -> None:
        """Nothing is lost or repeated, nor stays paused when it happened while serving."""
        kafka_broker.send(0, *values("a", "b"))
        kafka_broker.send(1, b"x")
        source = open_source(True)
        member, everything = Member(source), tuple(range(kafka_broker.partitions))
        member.poll_until(lambda: len(member.records) == 3 and len(member.owner.owned) == kafka_broker.partitions)
        kafka_broker.send(0, *values("c", "d"))
        fetched(member)
        source.serve()
        source._on_error(fatal(KafkaError.FENCED_INSTANCE_ID))
        source.serve()
        assert member.owner.diary[-1][1:] == ("drop", everything)
        member.owner.floors = {0: 1, 1: 1}
        kafka_broker.send(1, b"y")
        member.poll_until(lambda: len(member.records) == 7)
        assert member.values(0) == values("a", "b", "b", "c", "d")
        assert member.values(1) == values("x", "y")
        assert member.owner.owned == set(everything)
        kafka_broker.sink("a").commit(Outputs([list_for("u", 4)]), {0: 4}, source.membership())
        assert kafka_broker.lists() == [list_for("u", 4)]


@pytest.mark.kafka
class TestFencedByItself(FencedByItself):
    protocol = "classic"

    def test_of_two_sources_the_one_that_owns_the_slot_goes_on(
        self, kafka_broker: KafkaBroker, open_source: OpenSource
    ) -> None:
        """The fence is a real one here, and so is what librdkafka makes of it."""
        kafka_broker.send(0, *values("a", "b"))
        older = Member(open_source(True))
        older.poll_until(lambda: len(older.records) == 2 and len(older.owner.owned) == kafka_broker.partitions)
        older.owner.floors = {0: 1}
        younger = Member(open_source(False))
        with pytest.raises(SlotTaken):
            until(lambda: False, older, younger)
        with pytest.raises(SlotTaken):
            younger.poll()
        kafka_broker.send(0, b"c")
        older.poll_until(lambda: b"c" in older.values(0) and len(older.owner.owned) == kafka_broker.partitions)
        assert older.values(0) == values("a", "b", "b", "c")
        dropped = [entry for entry in older.owner.diary if entry[1] != "claim"]
        assert dropped == [("", "drop", tuple(range(kafka_broker.partitions)))]


@pytest.mark.kafka
class TestFencedByItselfByTheNewProtocol(FencedByItself):
    protocol = "consumer"


@pytest.mark.parametrize(
    ("code", "owns", "meaning"),
    [
        (KafkaError.FENCED_INSTANCE_ID, False, SlotTaken),
        (KafkaError.INVALID_CONFIG, True, RestartNeeded),
    ],
)
def test_a_fence_of_another_and_any_other_fatal_error_stop_the_source(
    code: int, owns: bool, meaning: type[Exception]
) -> None:
    """For good, and without a word to the owner: who comes next has it from there."""
    source = KafkaSource(KafkaConfig(f"127.0.0.1:{free_port()}"), "a", owns=lambda: owns)
    member = Member(source)
    before = source._consumer
    source._on_error(fatal(code))
    for act in (member.poll, source.serve, member.poll):
        with pytest.raises(meaning):
            act()
    assert source._consumer is before
    assert member.owner.diary == []
    source.close()


def test_a_fence_waits_while_nobody_can_say_whose_the_slot_is() -> None:
    """Neither a poll nor a serve says anything else than that, until somebody answers."""
    answers: list[bool] = []

    def owns() -> bool:
        if not answers:
            raise Unavailable("made by the test")
        return answers[0]

    source = KafkaSource(KafkaConfig(f"127.0.0.1:{free_port()}"), "a", owns=owns)
    member, before = Member(source), source._consumer
    source._on_error(fatal(KafkaError.FENCED_INSTANCE_ID))
    member.poll()
    source.serve()
    assert source._consumer is before
    answers.append(True)
    source.serve()
    assert source._consumer is not before
    assert source._patient_until > time.monotonic()
    source.close()

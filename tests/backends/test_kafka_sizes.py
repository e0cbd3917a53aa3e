"""A topic that takes only small records gets small ones: fewer items, fewer request ids, no value; and it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.backends.kafka import KafkaSink
from stream_worker.backends.kafka.fitting import fitting_letter, fitting_list, fitting_shared_list
from stream_worker.backends.kafka.room import CLIENT_BYTES, Room
from stream_worker.core.codec import decode_recommendation, encode_recommendation
from stream_worker.core.errors import ConfigurationError, TransactionAborted
from stream_worker.core.events import DeadLetter, NamedList, Outputs, Reason, Recommendation, Record
from tests.backends.contracts_topics import Member, list_for, retry, shared_list
from tests.backends.kafka_broker import KafkaBroker

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
Message: Any = None


def full_list(user: str, next_offset: int, items: int = 20, ids: int = 1, size: int = 200) -> Recommendation:
    """A list of large ids, its best first."""
    names = tuple(f"{n:0>{size}}" for n in range(items))
    scores = tuple(round(1 / (n + 2), 6) for n in range(items))
    request_ids = tuple(f"request-{n}" for n in range(ids))
    return replace(list_for(user, next_offset), items=names, scores=scores, request_ids=request_ids)


def fitted(whole: Recommendation, most_bytes: int) -> tuple[Recommendation, int]:
    fitting = fitting_list(whole, encode_recommendation(whole, "events"), "events", most_bytes)
    return decode_recommendation(fitting.value or b""), fitting.size_bytes


class TestFitting:
    def test_what_fits_is_left_as_it_is(self) -> None:
        whole = full_list("u", 3)
        value = encode_recommendation(whole, "events")
        fitting = fitting_list(whole, value, "events", 10_000)
        assert (fitting.value, fitting.shortened) == (value, False)

    @given(st.integers(0, 30), st.integers(0, 60), st.integers(1, 250), st.integers(400, 9_000))
    def test_a_list_is_the_beginning_of_the_whole_one_and_fits(
        self, items: int, ids: int, size: int, most_bytes: int
    ) -> None:
        """The best items, the newest ids; all else is as it was."""
        whole = full_list("u", 3, items, ids, size)
        short, size_bytes = fitted(whole, most_bytes)
        assert size_bytes <= most_bytes
        assert short.items == whole.items[: len(short.items)]
        assert short.scores == whole.scores[: len(short.items)]
        assert short.request_ids == whole.request_ids[len(whole.request_ids) - len(short.request_ids) :]
        assert (short.user, short.events, short.next_offset, short.ts) == ("u", whole.events, 3, whole.ts)

    @given(st.integers(0, 30), st.integers(1, 250), st.integers(400, 9_000))
    def test_items_keep_their_reasons(self, items: int, size: int, most_bytes: int) -> None:
        reasons: list[Reason] = [{"kind": "follows", "item": "c" * n, "weight": n / 100} for n in range(items)]
        whole = replace(full_list("u", 3, items, 1, size), because=reasons)
        short, size_bytes = fitted(whole, most_bytes)
        assert size_bytes <= most_bytes
        assert list(short.because) == reasons[: len(short.items)]

    @pytest.mark.parametrize(("most_bytes", "scenarios"), [(40_000, True), (9_500, True), (7_000, False), (600, False)])
    def test_other_scenarios_go_before_items_where_they_take_more_than_half(
        self, most_bytes: int, scenarios: bool
    ) -> None:
        whole = full_list("u", 3)
        whole = replace(whole, scenarios={"mail": NamedList(whole.items[:18], whole.scores[:18])})
        short, size_bytes = fitted(whole, most_bytes)
        assert size_bytes <= most_bytes
        assert bool(short.scenarios) == scenarios

    @pytest.mark.parametrize(("most_bytes", "items"), [(10_000, 20), (2_000, 7), (300, 0)])
    def test_a_shared_list_keeps_its_best_items(self, most_bytes: int, items: int) -> None:
        whole = full_list("u", 3)
        made = replace(shared_list("cup", 3), items=whole.items, scores=whole.scores)
        fitting = fitting_shared_list(made, "item", "events", most_bytes)
        found = json.loads(fitting.value or b"")
        assert [entry["item"] for entry in found["items"]] == list(whole.items[:items])
        assert (fitting.key, found["item"], fitting.shortened) == (b"cup", "cup", items < 20)
        assert fitting.size_bytes <= max(most_bytes, 320)

    def test_no_more_is_left_out_than_has_to_be(self) -> None:
        """One item more would not fit, and the one request id stays."""
        short, size_bytes = fitted(full_list("u", 3), 1_500)
        assert 0 < len(short.items) < 20
        assert size_bytes + 240 > 1_500
        assert short.request_ids == ("request-0",)

    def test_a_flood_of_ids_costs_no_item(self) -> None:
        short, _ = fitted(full_list("u", 3, items=5, ids=10_000, size=20), 10_000)
        assert len(short.items) == 5
        assert 100 < len(short.request_ids) < 10_000
        assert short.request_ids[-1] == "request-9999"

    def test_where_nothing_fits_the_empty_list_is_tried(self) -> None:
        short, size_bytes = fitted(full_list("u", 3), 100)
        assert (short.items, short.request_ids) == ((), ())
        assert size_bytes > 100

    @pytest.mark.parametrize(
        ("most_bytes", "key", "value"), [(9_000, b"k", b"x" * 5_000), (2_000, b"k", None), (10, None, None)]
    )
    def test_a_dead_letter_loses_its_value_first(self, most_bytes: int, key: bytes | None, value: bytes | None) -> None:
        letter = DeadLetter(Record(0, 5, 1, b"k", b"x" * 5_000), "NotJson", "no JSON")
        fitting = fitting_letter(letter, "events", most_bytes)
        assert (fitting.key, fitting.value, fitting.shortened) == (key, value, value is None)
        assert ("dropped" in dict(fitting.headers)["reason"].decode()) == (value is None)


class TestRoom:
    def refuse(self, room: Room, *sizes: int) -> bool:
        """A transaction in which these records were refused."""
        room.begin()
        for size in sizes:
            room.on_delivery(size)(TOO_LARGE, Message)
        return room.learn()

    def test_several_that_were_refused_together_go_alone_first(self) -> None:
        """Each may have been small enough."""
        room = Room("lists", CLIENT_BYTES)
        assert self.refuse(room, 900, 800)
        assert room.most_bytes == 900
        room.begin()
        assert [room.is_full(size) for size in (800, 900, 400, 400, 400)] == [False, True, True, False, True]

    def test_one_that_was_refused_was_too_large(self) -> None:
        room = Room("lists", CLIENT_BYTES)
        self.refuse(room, 900)
        assert room.most_bytes == 899
        self.refuse(room, 899)
        assert room.most_bytes == int(0.7 * 899)

    def test_the_smallest_form_of_a_record_that_was_refused_alone_ends_the_worker(self) -> None:
        room = Room("lists", CLIENT_BYTES)
        self.refuse(room, 300)
        with pytest.raises(ConfigurationError, match=r"lists takes no record of 350 bytes.*max\.message\.bytes"):
            self.refuse(room, 350)

    def test_other_refusals_teach_nothing(self) -> None:
        room = Room("lists", CLIENT_BYTES)
        room.begin()
        room.on_delivery(300)(KafkaError(KafkaError._PURGE_QUEUE), Message)
        room.on_delivery(300)(None, Message)
        assert not room.learn()
        assert room.most_bytes == CLIENT_BYTES

    def test_what_this_client_bounds_itself_is_never_waited_for(self) -> None:
        room = Room("lists", 1_000)
        room.begin()
        assert not any(room.is_full(900) for _ in range(100))

    def test_after_ten_minutes_it_is_tried_again(self) -> None:
        now = 5_000.0
        room = Room("lists", CLIENT_BYTES, lambda: now)
        self.refuse(room, 900)
        now += 599
        assert room.most_bytes == 899
        now += 2
        assert room.most_bytes == CLIENT_BYTES


@pytest.mark.kafka
class TestNarrowTopics:
    def commit(self, sink: KafkaSink, member: Member, outputs: Outputs, offset: int) -> int:
        """Until it is through; returns how many transactions were aborted: what was refused leaves a gap in
        librdkafka's sequence numbers, for which it aborts the next good one, too."""
        said: list[str] = []

        def attempt() -> None:
            try:
                sink.commit(outputs, {0: offset}, member.source.membership())
            except TransactionAborted as fault:
                said.append(str(fault))
                raise

        retry(attempt, member.source.serve)
        assert all("max.message.bytes" in words for words in said[:1]), said
        return len(said)

    def test_lists_get_shorter_until_they_fit_and_are_counted(
        self, kafka_broker: KafkaBroker, kafka_member: Member, make_topic: Callable[..., str]
    ) -> None:
        """Within few aborts; once that is known, without any."""
        narrow = make_topic("lists", 1, max_message_bytes="1500")
        sink = kafka_broker.sink(output_topic=narrow)
        small = list_for("small", 3)
        outputs = Outputs([full_list("a", 3), small, full_list("b", 3)])
        assert 1 <= self.commit(sink, kafka_member, outputs, 3) <= 9
        found = {r.user: r for r in map(decode_recommendation, (m.value or b"" for m in kafka_broker.read(narrow)))}
        assert found["small"] == small
        assert [len(found[user].items) for user in "ab"] == [len(found["a"].items)] * 2
        assert 2 <= len(found["a"].items) < 20
        assert found["a"].request_ids == ("request-0",)
        assert sink.shortened == 2
        assert self.commit(sink, kafka_member, Outputs([full_list("a", 4)]), 4) == 0
        assert sink.shortened == 3

    def test_lists_that_are_only_together_too_large_stay_whole(
        self, kafka_broker: KafkaBroker, kafka_member: Member, make_topic: Callable[..., str]
    ) -> None:
        """The bound is one of batches."""
        narrow = make_topic("lists", 1, max_message_bytes="1500")
        sink = kafka_broker.sink(output_topic=narrow)
        lists = [full_list(f"u{n}", 3, items=3) for n in range(12)]
        assert self.commit(sink, kafka_member, Outputs(lists), 3) in (1, 2)
        assert sorted(m.value or b"" for m in kafka_broker.read(narrow)) == sorted(
            encode_recommendation(made, kafka_broker.config.input_topic) for made in lists
        )
        assert sink.shortened == 0

    def test_a_topic_that_takes_not_even_an_empty_list_ends_the_worker_with_its_name(
        self, kafka_broker: KafkaBroker, kafka_member: Member, make_topic: Callable[..., str]
    ) -> None:
        narrow = make_topic("lists", 1, max_message_bytes="150")
        sink = kafka_broker.sink(output_topic=narrow)
        with pytest.raises(ConfigurationError, match=rf"{narrow} takes no record .* max\.message\.bytes"):
            self.commit(sink, kafka_member, Outputs([full_list("a", 3)]), 3)
        assert kafka_broker.read(narrow) == []

    def test_a_dead_letter_goes_without_its_value(
        self, kafka_broker: KafkaBroker, kafka_member: Member, make_topic: Callable[..., str]
    ) -> None:
        narrow = make_topic("dead", 1, max_message_bytes="2000")
        sink = kafka_broker.sink(dead_letter_topic=narrow)
        letter = DeadLetter(Record(0, 5, 1, b"k", b"x" * 5_000), "NotJson", "no JSON")
        assert self.commit(sink, kafka_member, Outputs(dead_letters=[letter]), 6) in (1, 2)
        [message] = kafka_broker.read(narrow)
        assert message.value is None
        assert "5000 bytes, was dropped" in message.headers["reason"]

    def test_a_flood_of_request_ids_costs_none_of_the_items(
        self, kafka_broker: KafkaBroker, kafka_member: Member
    ) -> None:
        """What this client would not send is made smaller before it is tried."""
        flood = list_for("u", 3, request_ids=tuple(f"{n:0>250}" for n in range(8_000)))
        sink = kafka_broker.sink()
        assert self.commit(sink, kafka_member, Outputs([flood]), 3) == 0
        [found] = kafka_broker.lists()
        assert found.items == flood.items
        assert found.request_ids == flood.request_ids[-len(found.request_ids) :]
        assert 1_000 < len(found.request_ids) < 8_000

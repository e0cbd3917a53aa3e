"""A record becomes several events, one, none or a dead letter, as `[events]` says; nothing of it is lost or mixed."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stream_worker.core.decoder import Decoder
from stream_worker.core.events import ELEMENTS_HEADER, Alias, DeadLetter, Events, Record
from stream_worker.core.mapping.config import EventsConfig

NOW = 1_700_000_000.0
ORDERS = {
    "user": ["userId", "anonymousId"],
    "item": [".product_id", "properties.product_id"],
    "type": ["event", "type"],
    "ts": ["timestamp", "record_time"],
    "value": [".price", "properties.price"],
    "id": "messageId",
    "alias": "anonymousId",
    "each": "properties.products",
    "types": {
        "Product Viewed": "view",
        "Order Completed": "purchase",
        "identify": "alias",
        "page": "ignore",
    },
}


def config(**keys: Any) -> EventsConfig:
    return TypeAdapter(EventsConfig).validate_python({**ORDERS, **keys})


def record(value: Any, offset: int = 0, headers: tuple[tuple[str, bytes], ...] = (), key: bytes = b"u") -> Record:
    return Record(3, offset, int(NOW * 1000), key, orjson.dumps(value), headers=headers)


def order(*products: Any, **fields: Any) -> dict[str, Any]:
    given = {"userId": "u", "event": "Order Completed", "timestamp": NOW, "properties": {"products": list(products)}}
    return given | fields


def decode(*records: Record, decoder: Decoder | None = None) -> tuple[Events, list[DeadLetter]]:
    return (decoder or Decoder(config())).decode(records)


def test_the_elements_of_a_record_are_events_of_one_offset_and_one_set() -> None:
    first = record(order({"product_id": 1, "price": "2.5"}, {"product_id": "b"}, {"product_id": "c"}), 7)
    second = record({"userId": "v", "event": "Product Viewed", "timestamp": NOW, "properties": {"product_id": 9}}, 8)
    events, dead = decode(first, second)
    assert dead == []
    assert (events.users, events.items) == (["u", "u", "u", "v"], ["1", "b", "c", "9"])
    assert events.offset_B.tolist() == [7, 7, 7, 8]
    assert events.within_B.tolist() == [0, 1, 2, 0]
    assert events.value_B[0] == 2.5
    assert math.isnan(events.value_B[1])
    assert [list(config().named)[code] for code in events.type_B] == ["purchase"] * 3 + ["view"]


def test_elements_with_times_of_their_own_come_in_the_order_of_these() -> None:
    """They are a sequence: none of them is `within` a set."""
    timed = config(each="eventList", item=".itemId", ts=".sentAt", user="userId", type=".eventType", types={"view": {}})
    value = {
        "userId": "u",
        "eventList": [{"eventType": "view", "itemId": item, "sentAt": NOW + at} for item, at in (("b", 5), ("a", 1))],
    }
    events, dead = decode(record(value), decoder=Decoder(timed))
    assert (events.items, events.within_B.tolist(), dead) == (["a", "b"], [0, 0], [])


def test_an_array_of_objects_is_a_record_of_several_events() -> None:
    values = [{"user": "u", "item": item, "type": "view", "ts": NOW + at} for item, at in (("b", 2), ("a", 1))]
    events, dead = decode(record([*values, 7]), decoder=Decoder(EventsConfig()))
    assert (events.items, events.within_B.tolist()) == (["a", "b"], [0, 0])
    assert [(letter.error, list(letter.elements)) for letter in dead] == [("NotAnObject", [2])]


def test_good_elements_count_and_bad_ones_are_one_dead_letter_that_names_them() -> None:
    broken = order({"product_id": "a"}, {"sku": 1}, {"product_id": "c"}, {"product_id": True})
    events, [letter] = decode(record(broken))
    assert (events.items, events.within_B.tolist()) == (["a", "c"], [0, 1])
    assert list(letter.elements) == [1, 3]
    assert letter.reason.startswith("element 1: .product_id or properties.product_id: expected a string")


def test_a_dead_letter_that_is_mended_and_sent_again_counts_nothing_twice() -> None:
    mended = order({"product_id": "a"}, {"product_id": "b"}, {"product_id": "c"}, {"product_id": "d"})
    events, dead = decode(record(mended, headers=((ELEMENTS_HEADER, b"1,3"),)))
    assert (events.items, dead) == (["b", "d"], [])
    assert decode(record(mended, headers=((ELEMENTS_HEADER, b"what"),)))[0].items == ["a", "b", "c", "d"]


def test_a_record_without_a_good_element_is_a_dead_letter_as_a_whole() -> None:
    events, [letter] = decode(record(order({"sku": 1}, {"sku": 2})))
    assert len(events) == 0
    assert list(letter.elements) == []


def test_an_empty_array_is_no_event_and_no_fault() -> None:
    decoder = Decoder(config())
    events, dead = decode(record(order()), decoder=decoder)
    assert (len(events), dead, decoder.ignored) == (0, [], {"(no elements)": 1})


def test_more_elements_than_allowed_are_a_dead_letter() -> None:
    products = [{"product_id": number} for number in range(5)]
    assert len(decode(record(order(*products)), decoder=Decoder(config(most_each=5)))[0]) == 5
    _, [letter] = decode(record(order(*products)), decoder=Decoder(config(most_each=4)))
    assert (letter.error, letter.reason) == ("TooManyElements", "expected at most 4 elements, got 5")


def test_an_each_that_is_no_array_is_told_and_an_object_is_one_element() -> None:
    one, other = order(), order()
    one["properties"]["products"] = {"product_id": "a"}
    other["properties"]["products"] = "a,b"
    events, [letter] = decode(record(one), record(other))
    assert events.items == ["a"]
    assert letter.reason == "each: expected an array, got 'a,b'"


def test_elements_may_be_the_items_themselves() -> None:
    plain = EventsConfig(item=".", each="items", type="kind", types=EventsConfig().types)
    value = {"user": "u", "items": ["a", 2], "kind": "view", "ts": NOW}
    assert decode(record(value), decoder=Decoder(plain))[0].items == ["a", "2"]


def test_the_first_value_that_is_there_counts() -> None:
    values = [{"userId": user, "anonymousId": "anon"} for user in (None, "", "u")]
    records = [record(order({"product_id": 1}, **value)) for value in values]
    assert decode(*records)[0].users == ["anon", "anon", "u"]


def test_what_is_ignored_is_counted_by_its_type_and_no_dead_letter() -> None:
    decoder = Decoder(config())
    events, dead = decode(record({"type": "page"}), record({"event": "Chat Opened"}), decoder=decoder)
    assert (len(events), decoder.ignored) == (0, {"page": 1})
    assert [letter.error for letter in dead] == ["MissingField"]
    every = Decoder(config(types={**ORDERS["types"], "*": "ignore"}))  # type: ignore[dict-item]
    events, dead = decode(record({"type": "page"}), record({"event": "Chat Opened"}), record({"x": 1}), decoder=every)
    assert (len(events), dead, every.ignored.total()) == (0, [], 3)


def test_the_types_that_are_counted_apart_are_bounded() -> None:
    decoder = Decoder(config(types={**ORDERS["types"], "*": "ignore"}))  # type: ignore[dict-item]
    decode(*(record({"event": f"e{number}"}) for number in range(1_000)), decoder=decoder)
    assert len(decoder.ignored) <= 201
    assert decoder.ignored.total() == 1_000


def test_an_alias_names_the_user_and_the_id_before() -> None:
    decoder = Decoder(config())
    found = record({"type": "identify", "userId": "u", "anonymousId": "a"}, 5)
    events, dead = decode(found, record({"type": "identify", "userId": "u"}, 6), decoder=decoder)
    assert (len(events), dead, decoder.aliases) == (0, [], [Alias(3, 5, "u", "a")])
    assert decoder.ignored == {"(alias)": 1}


def test_types_may_forgive_case_and_blanks() -> None:
    value = order({"product_id": 1}, event="order_completed")
    assert len(decode(record(value))[0]) == 0
    assert len(decode(record(value), decoder=Decoder(config(fold_types=True)))[0]) == 1


def test_a_record_that_fails_a_condition_is_ignored() -> None:
    decoder = Decoder(config(keep={"context.bot": "null", "properties.total": ">= 0"}))
    good = order({"product_id": 1})
    good["properties"]["total"] = 5
    events, dead = decode(record(good), record({**good, "context": {"bot": True}}), decoder=decoder)
    assert (len(events), dead, decoder.ignored) == (1, [], {"(keep)": 1})


def test_key_headers_and_time_of_the_record_are_sources() -> None:
    cloud = EventsConfig(user="key", type="header:ce_type", ts=("header:ce_time", "record_time"), item="sku")
    headers = (("ce_type", b"view"), ("ce_time", b"2023-11-14T22:13:19Z"))
    values = [record({"sku": 1}, headers=headers, key=b"k"), record({"sku": 2}, headers=headers[:1], key=b"\xff")]
    events, dead = decode(*values, decoder=Decoder(cloud))
    assert (events.users, events.ts_B.tolist(), dead) == (["k", "\\xff"], [NOW - 1, NOW], [])


def test_a_stated_format_of_times_is_read() -> None:
    stated = EventsConfig(ts_format="%d.%m.%Y %H:%M:%S")
    value = {"user": "u", "item": "i", "type": "view", "ts": "14.11.2023 22:13:20"}
    assert decode(record(value), decoder=Decoder(stated))[0].ts_B.tolist() == [NOW]


def test_ids_of_events_and_sessions_are_hashes_that_tell_them_apart() -> None:
    values = [record(order({"product_id": 1}, messageId=given, session="s")) for given in ("a", "b", "a", None, ["a"])]
    decoder = Decoder(config(session="session"))
    events, _ = decode(*values, decoder=decoder)
    a, b, again, *nothing = events.id_B.tolist()
    assert (a, nothing) == (again, [0, 0])
    assert 0 < a != b > 0
    assert len(set(events.session_B.tolist())) == 1
    assert [dropped.part for dropped in decoder.dropped] == ["id"]


def test_of_a_key_that_stands_twice_further_in_the_last_one_counts() -> None:
    """In an object of an array of events, and in an inner one; docs/formats.md says so."""
    event = b'{"user":"u","type":"view","ts":1700000000,"item":"a","item":"b"}'
    order = b'{"userId":"u","type":"view","timestamp":1700000000,"properties":{"product_id":"a","product_id":"b"}}'
    for value, mapping in ((b"[" + event + b"]", EventsConfig()), (order, config(types={"view": {}}, alias=""))):
        events, dead = Decoder(mapping).decode([Record(0, 0, int(NOW * 1000), b"u", value)])
        assert (events.items, dead) == (["b"], [])


def test_only_keys_that_are_read_may_not_stand_twice() -> None:
    nested = b'{"user":"u","item":"i","type":"view","ts":1700000000,"x":{"user":1,"a":2},"junk":1,"junk":{"item":2}}'
    decoder = Decoder(EventsConfig())
    events, dead = decoder.decode([Record(0, 0, int(NOW * 1000), b"u", nested)])
    assert (len(events), dead) == (1, [])
    twice = nested[:-1] + b',"item":"j"}'
    assert [letter.error for letter in decoder.decode([Record(0, 0, int(NOW * 1000), b"u", twice)])[1]] == ["NotJson"]


@given(st.lists(st.sampled_from([{"product_id": 1}, {"product_id": None}, 5, {}]), max_size=6), st.booleans())
def test_every_element_is_an_event_or_named_by_the_dead_letter(products: list[Any], again: bool) -> None:
    events, dead = decode(record(order(*products)))
    named = [list(letter.elements) or list(range(len(products))) for letter in dead]
    assert len(events) + sum(map(len, named)) == len(products)
    good = [index for index, product in enumerate(products) if product == {"product_id": 1}]
    assert sorted(good + [index for indexes in named for index in indexes]) == list(range(len(products)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"user": "a..b"}, "events.user: must be names joined by dots"),
        ({"each": "a["}, "events.each: must be names"),
        ({"most_each": 0}, "most_each"),
        ({"types": {"x": "buy"}}, r"events.types.x: must be a table or one of view, click, .*, got 'buy'"),
        ({"types": {"x": "purchse"}}, r"got 'purchse'; did you mean 'purchase'\?"),
        ({"default_type": "clik"}, r"got 'clik'; did you mean 'click'\?"),
        ({"alias": ""}, "events.alias: must name the user's id before"),
        ({"keep": {"a": "about 5"}}, "events.keep.a: must be"),
        ({"ts_format": "%H"}, "events.ts_format: must be s, ms, us, ns or a format"),
        ({"types": {"view": {"role": "stare"}}}, "role"),
    ],
)
def test_a_key_that_means_nothing_is_refused_by_name(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**keys)


def test_roles_follow_from_names_and_what_was_only_shown_is_no_target() -> None:
    types = {"click": {}, "buy": {"role": "purchase"}, "remove": {}, "shown": {"role": "impression"}}
    made = TypeAdapter(EventsConfig).validate_python({"types": types}).event_types
    assert [(kind.role, kind.target) for kind in made] == [
        ("view", True),
        ("purchase", True),
        ("remove", False),
        ("impression", False),
    ]


@pytest.mark.parametrize("levels", [100, 250, 300, 900])
def test_deep_nesting_ends_nothing(levels: int) -> None:
    """A parser that reads deeper than it writes, or than Python's own stack reaches, must not end the worker."""
    inner = b"[" * levels + b"]" * levels
    event = b'{"user":"u","item":"i","type":"view","ts":1700000000,"ctx":{"a":' + inner + b',"kind":' + inner + b"}}"
    kept = EventsConfig(keep={"ctx.kind": "!= bot"}, category="ctx[kind=page].a")
    for value in (event, b"[" + event + b"]"):
        events, dead = Decoder(kept).decode([Record(0, 0, int(NOW * 1000), b"u", value)])
        assert (len(events), dead) == (1, [])


def test_the_objects_of_an_array_meet_the_conditions_one_by_one() -> None:
    decoder = Decoder(EventsConfig(keep={"bot": "null"}))
    good = {"user": "u", "item": "i", "type": "view", "ts": NOW}
    events, dead = decode(record([good, {**good, "bot": 1}]), decoder=decoder)
    assert (len(events), dead, decoder.ignored) == (1, [], {"(keep)": 1})
    with pytest.raises(ValueError, match=r"events\.keep: must be a path from the record"):
        EventsConfig(keep={".qty": "> 0"})


def test_orders_in_an_array_are_sets_in_the_order_of_their_times() -> None:
    first, second = order({"product_id": "c"}, {"product_id": "d"}), order({"product_id": "a"}, timestamp=NOW - 5)
    events, dead = decode(record([first, second]))
    assert (events.items, events.within_B.tolist(), dead) == (["a", "c", "d"], [0, 0, 1], [])


def test_objects_without_times_of_their_own_are_one_set() -> None:
    timeless = EventsConfig(ts="record_time")
    values = [{"user": "u", "item": item, "type": "view"} for item in "abc"]
    assert decode(record(values), decoder=Decoder(timeless))[0].within_B.tolist() == [0, 1, 2]


def test_a_mending_that_fails_keeps_the_elements_that_it_is_about() -> None:
    """Else its next mending would count the good elements a second time."""
    torn = Record(3, 0, int(NOW * 1000), b"u", b'{"userId"', headers=((ELEMENTS_HEADER, b"1,3"),))
    _, [letter] = decode(torn)
    assert list(letter.elements) == [1, 3]


@pytest.mark.parametrize("given", [7, 7.0, "7", "x" * 250])
def test_mended_elements_have_an_id_of_their_own(given: object) -> None:
    products = [{"product_id": number} for number in range(3)]
    whole = record(order(*products, messageId=given))
    mended = record(order(*products, messageId=given), headers=((ELEMENTS_HEADER, b"0,1,2"),))
    events, _ = decode(whole, mended)
    assert 0 < events.id_B[0] != events.id_B[3] > 0

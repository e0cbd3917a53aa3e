"""Every record ends as one event or one dead letter with a reason, by its bytes and its broker's time alone."""

from __future__ import annotations

import gzip
import math
import random
import sys
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stream_worker.core.codec import (
    decode_recommendation,
    encode_event,
    encode_prediction,
    encode_recommendation,
)
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import InvalidEvent, Unavailable
from stream_worker.core.event_fields import ERRORS
from stream_worker.core.events import Alias, DeadLetter, Events, EventType, Prediction, Reason, Recommendation, Record
from stream_worker.core.json_object import json_object
from stream_worker.core.mapping.config import EventsConfig, TypeConfig
from tests.core.hostile import good_value, hostile_records

NOW = 1_700_000_000.0
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64) | st.integers(-(2**63), 2**64 - 1)
TIMES = st.floats(631_152_000, NOW + 86_400)
NUMBERS = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | IDS.map(str),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["user", "item", "ts", "type", "value"]), inner),
)


def record(value: bytes | None, offset: int = 0, key: bytes | None = None, at: float = NOW) -> Record:
    return Record(3, offset, int(at * 1000), key, value)


def decode(*values: bytes | None, config: EventsConfig | None = None) -> tuple[Events, list[DeadLetter]]:
    return Decoder(config or EventsConfig()).decode([record(value, offset) for offset, value in enumerate(values)])


def event(**fields: object) -> bytes:
    return orjson.dumps({"user": "u", "item": "i", "type": "click", "ts": NOW} | fields)


def test_valid_records_become_columns_in_their_order() -> None:
    first = encode_event("u", 7, "purchase", NOW - 5, value=2.5, request_id="r1")
    second = encode_event(8, "j", "view", NOW, session="s")
    events, dead = decode(first, b"{", second)
    assert events.users == ["u", "8"]
    assert events.items == ["7", "j"]
    assert events.request_ids == ["r1", None]
    assert events.offset_B.tolist() == [0, 2]
    assert events.partition_B.tolist() == [3, 3]
    assert events.ts_B.tolist() == [NOW - 5, NOW]
    assert events.type_B.tolist() == [3, 0]
    assert events.value_B[0] == 2.5
    assert math.isnan(events.value_B[1])
    assert [letter.record.offset for letter in dead] == [1]


def test_no_records_are_no_events() -> None:
    """Columns keep their kinds when they are empty, so that arithmetic on them goes on."""
    events, dead = decode()
    assert len(events) == 0
    assert dead == []
    assert events.ts_B.dtype == "float64"
    assert events.type_B.dtype == "int16"


def test_one_as_a_number_and_as_a_text_are_the_same_user() -> None:
    events, _ = decode(event(user=1), event(user="1"))
    assert events.users == ["1", "1"]


@pytest.mark.parametrize(
    "ts",
    [
        1_400_000_000,
        1_400_000_000.0,
        1_400_000_000_000,
        "2014-05-13T16:53:20",
        "2014-05-13 16:53:20Z",
        "2014-05-13T18:53:20.000+02:00",
        "20140513T165320",
    ],
)
def test_a_time_is_read_in_every_form_that_the_contract_names(ts: object) -> None:
    events, dead = decode(event(ts=ts))
    assert dead == []
    assert events.ts_B.tolist() == [1_400_000_000.0]


@pytest.mark.parametrize(
    "ts", ["2014-05-13x16:53:20", "2014-05-13T24:00:00", "2014-05-13T16:53:20+02:60", "2014-05", "\u0662014-05-13", ""]
)
def test_what_only_some_version_of_the_language_reads_as_a_time_is_none(ts: str) -> None:
    """Whether an event is valid may not depend on it."""
    assert [letter.error for letter in decode(event(ts=ts))[1]] == ["BadTimestamp"]


def test_the_bounds_of_time_are_1990_and_a_day_past_the_broker() -> None:
    """The broker's time decides, so a record is as valid in a replay in ten years as it is now."""
    oldest, newest = 631_152_000, int(NOW) + 86_400
    events, dead = decode(*(event(ts=ts) for ts in (oldest, newest, oldest - 1, newest + 1)))
    assert events.ts_B.tolist() == [oldest, newest]
    assert [letter.error for letter in dead] == ["BadTimestamp", "BadTimestamp"]
    late = [record(event(ts=newest + 1), at=NOW + 1)]
    assert len(Decoder(EventsConfig()).decode(late)[0]) == 1


def test_ids_are_1_to_256_bytes() -> None:
    events, dead = decode(event(user="ü" * 128), event(user="x" * 256), event(user="ü" * 128 + "x"), event(item=""))
    assert len(events) == 2
    assert [letter.error for letter in dead] == ["BadId", "BadId"]


@pytest.mark.parametrize(
    "spaced", [b'"user" : "u"', b'"user"\n:"u"', b'"no:te":{"user":1,"a":[{"user":2}]},"user":"u"']
)
def test_colons_elsewhere_do_not_make_a_key_stand_twice(spaced: bytes) -> None:
    value = b'{"item":"a\\":b","type":"click","ts":"2014-05-13T16:53:20",' + spaced + b"}"
    events, dead = decode(value)
    assert dead == []
    assert events.users == ["u"]


def test_hostile_records_are_dead_letters_with_the_class_of_their_fault() -> None:
    hostile = hostile_records(1000, seed=1)
    events, dead = decode(*(value for value, _ in hostile))
    assert len(events) == 0
    got = [(letter.record.offset, letter.error) for letter in dead]
    assert got == [(offset, error) for offset, (_, error) in enumerate(hostile)]
    assert {letter.error for letter in dead} == set(ERRORS)


def test_every_reason_is_short_and_says_what_was_expected_and_what_came() -> None:
    """Reasons go into a header: they must be text that UTF-8 can hold."""
    _, dead = decode(*(value for value, _ in hostile_records(200, seed=2)))
    for letter in dead:
        assert "expected " in letter.reason
        assert "got " in letter.reason
        assert len(letter.reason) <= 200
        letter.reason.encode()


def test_a_reason_does_not_depend_on_how_deep_the_caller_is() -> None:
    """Python's recursion limit must not decide about a record: nested values are never walked."""
    value = b'{"user":' + b"[" * 1000 + b"]" * 1000 + b"}"
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len_of_stack() + 60)
    try:
        _, dead = decode(value)
    finally:
        sys.setrecursionlimit(limit)
    assert dead[0].reason == "user: expected a string or an integer, got an array"


def len_of_stack() -> int:
    frame, depth = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        depth += 1
    return depth


def test_good_records_between_hostile_ones_all_count() -> None:
    hostile = [value for value, _ in hostile_records(300, seed=3)]
    good = [event(user=number) for number in range(300)]
    events, dead = decode(*(value for pair in zip(hostile, good, strict=True) for value in pair))
    assert events.users == [str(number) for number in range(300)]
    assert len(dead) == 300


@given(st.lists(st.binary() | JSON.map(orjson.dumps) | st.dictionaries(IDS.map(str), JSON).map(orjson.dumps)))
def test_any_bytes_are_one_event_or_one_dead_letter(values: list[bytes]) -> None:
    events, dead = decode(*values)
    offsets = events.offset_B.tolist() + [letter.record.offset for letter in dead]
    assert sorted(offsets) == list(range(len(values)))
    assert {letter.error for letter in dead} <= set(ERRORS)


@given(st.data())
def test_spoiling_one_byte_of_an_event_never_raises(data: st.DataObject) -> None:
    value = bytearray(event(value=1.5, request_id="r"))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    events, dead = decode(bytes(value))
    assert len(events) + len(dead) == 1


@given(st.tuples(IDS, IDS), st.sampled_from(list(EventsConfig().types)), TIMES, NUMBERS, st.none() | IDS.map(str))
def test_what_was_encoded_is_decoded(
    ids: tuple[str | int, str | int], kind: str, ts: float, value: float | None, request_id: str | None
) -> None:
    user, item = ids
    events, dead = decode(encode_event(user, item, kind, ts, value=value, session="s", request_id=request_id))
    assert dead == []
    assert (events.users, events.items, events.request_ids) == ([str(user)], [str(item)], [request_id])
    assert events.ts_B.tolist() == [ts]
    assert list(EventsConfig().types)[events.type_B[0]] == kind
    assert math.isnan(events.value_B[0]) if value is None else events.value_B[0] == value


@given(st.datetimes(datetime(1990, 1, 1), datetime(2023, 1, 1)), st.sampled_from(["", "Z", "+00:00"]))
def test_iso_times_without_a_zone_are_utc(moment: datetime, zone: str) -> None:
    events, _ = decode(event(ts=moment.isoformat() + zone))
    assert events.ts_B[0] == moment.replace(tzinfo=UTC).timestamp()


def test_keys_that_are_not_the_user_are_counted_and_not_refused() -> None:
    decoder = Decoder(EventsConfig())
    records = [record(event(user=5), number, key) for number, key in enumerate([b"5", b"6", None])]
    events, dead = decoder.decode(records)
    assert (len(events), dead, decoder.key_mismatches) == (3, [], 2)


def test_field_names_and_types_come_from_the_configuration() -> None:
    """An existing topic needs no rewrite, and what is configured replaces the default types."""
    raw = {"user": "visitorid", "type": "event", "types": {"addtocart": {"reward": "2.5"}, "seen": {"target": False}}}
    config = TypeAdapter(EventsConfig).validate_python(raw)
    assert config.event_types == (EventType("addtocart", 2.5, True), EventType("seen", 1.0, False))
    mapped = b'{"visitorid":7,"user":"no","item":"i","event":"seen","ts":1400000000}'
    events, dead = decode(mapped, event(visitorid=7, event="click"), config=config)
    assert events.users == ["7"]
    assert events.type_B.tolist() == [1]
    assert [letter.reason for letter in dead] == ["event: expected one of addtocart, seen, got 'click'"]


def test_a_category_is_read_where_its_field_has_a_name() -> None:
    """Equal names have equal codes in every process, others another; without it an event may say what it likes."""
    values = [event(kind=kind) for kind in ("shoes", "hats", "shoes", None, ["shoes"], "")]
    events, dead = decode(*values, config=EventsConfig(category="kind"))
    shoes, hats, again, *nothing = events.category_B.tolist()
    assert shoes == again == zlib.crc32(b"shoes") != hats > 0
    assert (nothing, dead) == ([0, 0, 0], [])
    events, dead = decode(*values)
    assert (events.category_B.tolist(), dead) == ([0] * 6, [])


def test_a_canonical_configuration_reads_what_encode_event_writes() -> None:
    config = EventsConfig(user="visitorid", default_type="like", types={"like": TypeConfig()})
    events, dead = decode(encode_event(1, 2, "like", NOW, category="c"), config=config.canonical())
    assert dead == []
    assert events.users == ["1"]
    assert events.category_B[0] > 0


def test_a_default_type_stands_in_only_where_the_type_is_missing() -> None:
    config = EventsConfig(default_type="view")
    events, dead = decode(event(type=None), event(type="nope"), event(type=3), config=config)
    assert events.type_B.tolist() == [0]
    assert [letter.error for letter in dead] == ["UnknownType", "UnknownType"]
    assert decode(event(type=""), config=config)[0].type_B.tolist() == [0]


def test_an_integer_may_be_the_name_of_a_type() -> None:
    """Some logs number their types."""
    config = TypeAdapter(EventsConfig).validate_python({"types": {"view": {}, "1": {}}})
    events, dead = decode(event(type=1), event(type="1"), event(type=1.0), event(type=2), config=config)
    assert events.type_B.tolist() == [1, 1, 1]
    assert [letter.error for letter in dead] == ["UnknownType"]


def test_ids_that_a_float_holds_are_integers() -> None:
    events, dead = decode(event(user=123.0), event(user=-4.0), event(user=1.5), event(user=2.0**53))
    assert events.users == ["123", "-4"]
    assert [letter.error for letter in dead] == ["WrongType", "WrongType"]


def test_a_byte_order_mark_is_no_fault() -> None:
    mark = b"\xef\xbb\xbf"
    events, dead = decode(mark + event(), mark + mark + event(), mark)
    assert len(events) == 1
    assert [letter.error for letter in dead] == ["NotJson", "Empty"]


def test_a_reason_tells_what_is_often_there_in_place_of_json() -> None:
    _, dead = decode(b"\0\0\0\0\x05" + event(), gzip.compress(gzip.compress(event())))
    assert [letter.error for letter in dead] == ["NotJson", "NotJson"]
    assert "looks like Avro, Protobuf or JSON of a schema registry (registry.url)" in dead[0].reason
    assert "looks like gzip in gzip" in dead[1].reason


def test_gzip_is_read_as_what_was_packed() -> None:
    several = b"[" + event(user="b") + b"," + event(user="c") + b"]"
    events, dead = decode(gzip.compress(b"\xef\xbb\xbf" + event(user="a")), gzip.compress(several), gzip.compress(b""))
    assert events.users == ["a", "b", "c"]
    assert [letter.error for letter in dead] == ["Empty"]


def test_gzip_is_unpacked_to_a_bound() -> None:
    """A megabyte of it can stand for a gigabyte."""
    most = event()[:-1] + b" " * (16 * 1024 * 1024 - len(event())) + b"}"
    events, dead = decode(gzip.compress(most), gzip.compress(most + b" "))
    assert len(events) == 1
    assert dead[0].reason == "expected JSON packed with gzip, got more than 16777216 bytes of it"


def framed(value: bytes) -> Any:
    """A schema registry's reader: the digit after the zero byte says what is there."""
    match value[1:]:
        case b"1":
            return {"user": "u", "item": 7, "type": "click", "ts": 1.4e9}
        case b"2":
            return [{"user": "v", "item": 7, "type": "click", "ts": 1.4e9}]
        case b"3":
            raise Unavailable("the registry does not answer")
        case b"4":
            raise InvalidEvent("UnknownSchema", "expected the id of a schema, got 4")
    return "a text"


def test_a_value_that_begins_with_a_zero_byte_is_what_its_schema_says() -> None:
    decoder = Decoder(EventsConfig(), documents=framed)
    events, dead = decoder.decode(
        [record(value, n) for n, value in enumerate([b"\0001", b"\0002", b"\0004", b"\0005"])]
    )
    assert events.users == ["u", "v"]
    assert [(letter.record.offset, letter.error) for letter in dead] == [(2, "UnknownSchema"), (3, "NotAnObject")]


def test_a_registry_that_is_away_is_no_fault_of_the_record() -> None:
    with pytest.raises(Unavailable):
        Decoder(EventsConfig(), documents=framed).decode([record(b"\0001"), record(b"\0003", 1)])


@pytest.mark.parametrize("part", ["value", "category", "request_id"])
@pytest.mark.parametrize("given", [["x"], {"a": 1}, True, "x" * 300, 1e300])
def test_an_optional_field_never_costs_the_event(part: str, given: object) -> None:
    """It is left out, and that is told with its field, reason and place."""
    decoder = Decoder(EventsConfig(category="category"))
    events, dead = decoder.decode([record(event(**{part: given})), record(event(), 1)])
    assert (len(events), dead) == (2, [])
    assert math.isnan(events.value_B[0])
    assert (events.category_B.tolist(), events.request_ids) == ([0, 0], [None, None])
    [dropped] = decoder.dropped
    assert (dropped.part, dropped.place) == (part, "partition 3, offset 0")
    assert dropped.reason.startswith(f"{part}: expected ")
    decoder.decode([record(event())])
    assert decoder.dropped == []


def test_a_number_may_stand_as_a_text_but_not_with_a_comma() -> None:
    """2,55 is two and a half here and two hundred and fifty-five there."""
    values = ["19.99", "-1e3", " 5 ", "2,55", "EUR 3", "nan", ""]
    decoder = Decoder(EventsConfig())
    events, _ = decoder.decode([record(event(value=value), offset) for offset, value in enumerate(values)])
    assert events.value_B[:3].tolist() == pytest.approx([19.99, -1000.0, 5.0])
    assert all(map(math.isnan, events.value_B[3:]))
    assert [dropped.place for dropped in decoder.dropped] == [f"partition 3, offset {offset}" for offset in (3, 4, 5)]


def test_an_optional_field_without_a_name_is_not_read() -> None:
    decoder = Decoder(EventsConfig(value="", session="", request_id=""))
    odd = {"value": {"amount": 1}, "request_id": {"x": 1}, "": 5}
    events, dead = decoder.decode([record(event(**odd))])
    assert (len(events), dead, decoder.dropped) == (1, [], [])


@pytest.mark.parametrize(
    "ts",
    [
        "1400000000",
        "1400000000.0",
        "1.4e9",
        "1400000000000",
        1_400_000_000_000_000,
        "1400000000000000",
        1_400_000_000_000_000_000,
        1.4e18,
        "1400000000000000000",
        "2014-05-13 16:53:20 UTC",
        "2014-05-13T16:53:20 ",
        "Tue, 13 May 2014 16:53:20 GMT",
        "13 May 2014 18:53:20 +0200",
    ],
)
def test_a_time_that_trackers_and_exports_write_is_read(ts: object) -> None:
    events, dead = decode(event(ts=ts))
    assert dead == []
    assert events.ts_B.tolist() == [1_400_000_000.0]


def test_eight_digits_are_a_date() -> None:
    assert decode(event(ts="20140513"))[0].ts_B.tolist() == [1_399_939_200.0]


def test_a_reason_tells_when_the_unit_of_a_time_is_wrong() -> None:
    """.NET's ticks, of a hundred nanoseconds since the year 1, look like nanoseconds of 1990."""
    _, dead = decode(event(ts=635_355_968_000_000_000), event(ts="635355968000000000"))
    assert all(letter.reason.endswith(" (looks like .NET ticks, which are not read)") for letter in dead)
    assert len(dead) == 2
    _, dead = decode(event(ts=4_070_908_800))
    assert dead[0].reason == (
        "ts: expected a time from 1990-01-01 to one day past the record's own time, got 4070908800 "
        "(which is 2099-01-01T00:00:00Z)"
    )
    _, dead = Decoder(EventsConfig()).decode([record(event(), at=NOW / 1000)])
    assert dead[0].reason.endswith("; the record's own time is 1970-01-20T16:13:20Z")


def test_a_fault_that_a_row_came_with_is_its_reason() -> None:
    came = Record(0, 7, 0, None, event(), "line 3 of a.csv", ("NotARow", "expected 4 columns, got 5"))
    events, [letter] = Decoder(EventsConfig()).decode([came])
    assert len(events) == 0
    assert (letter.error, letter.reason) == ("NotARow", "expected 4 columns, got 5")
    assert letter.record.place == "line 3 of a.csv"


def test_reasons_speak_of_a_logs_own_columns() -> None:
    decoder = Decoder(EventsConfig(ts="event_time", user="user_id"), from_log=True)
    _, dead = decoder.decode([record(event()), record(event(user_id="u", event_time=4_070_908_800))])
    assert dead[0].reason == "user_id: expected a string or an integer, got nothing"
    assert dead[1].reason.startswith("event_time: expected a time from 1990-01-01 to a year past the rows around it")


def test_a_megabyte_of_small_objects_costs_no_more_than_a_few_times_its_parsing() -> None:
    """It took 171 ms to look for a key that is there twice, in an event that a broker takes; parsing takes 20."""
    inner = b",".join([b'{"user":1}'] * 90_000)
    value = b'{"item":"i","type":"click","ts":1400000000,"user":"u","junk":[' + inner + b"]"
    parsing = min(timed(lambda: orjson.loads(value + b"}")) for _ in range(5))
    assert min(timed(lambda: decode(value + b"}")) for _ in range(5)) < 6 * parsing
    events, dead = decode(value + b"}", value + b',"user":"v"}')
    assert events.users == ["u"]
    assert [letter.reason for letter in dead] == ["expected every key once, got 'user' twice"]


def timed(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


NAMES = st.text(st.sampled_from('ab"\\{}[]:, é'), max_size=3)


@given(st.lists(st.tuples(NAMES, st.recursive(NAMES | st.integers(0, 9), st.lists, max_leaves=3))))
def test_a_key_that_is_there_twice_is_found_whatever_the_texts_hold(pairs: list[tuple[str, object]]) -> None:
    parts = [orjson.dumps(name) + b" : " + orjson.dumps([value, {name: value}]) for name, value in pairs]
    value = b"{" + b",".join(parts) + b"}"
    names = [name for name, _ in pairs]
    if len(names) == len(set(names)):
        assert set(json_object(value)) == set(names)
    else:
        with pytest.raises(InvalidEvent, match="expected every key once"):
            json_object(value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user": ""}, "events.user: must be a field name of its own, got ''"),
        ({"category": "item"}, "events.item and events.category: must each be a field name of its own, got 'item'"),
        ({"item": "user"}, "events.user and events.item: must each be a field name of its own, got 'user'"),
        ({"types": {}}, "events.types: must hold at least one type"),
        ({"default_type": "look"}, "events.default_type: must be one of view, click"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventsConfig(**settings)  # type: ignore[arg-type]


def test_a_recommendation_is_written_as_the_contract_has_it() -> None:
    made = Recommendation("u", 2, 42, 3, NOW, ["a", "b"], [0.333333, 0.123457], "0", 17, ["r1"])
    value = encode_recommendation(made, "events")
    assert orjson.loads(value) == {
        "user": "u",
        "items": [{"item": "a", "score": 0.333333}, {"item": "b", "score": 0.123457}],
        "as_of": {"topic": "events", "partition": 2, "offset": 41},
        "events": 3,
        "ts": NOW,
        "model": {"line": "0", "step": 17},
        "request_ids": ["r1"],
    }
    read = decode_recommendation(value)
    assert encode_recommendation(read, "events") == value
    assert (read.next_offset, read.items) == (42, ("a", "b"))


def test_a_recommendation_says_why_each_item_is_in_it() -> None:
    reasons: list[Reason] = [{"kind": "follows", "item": "c", "weight": 0.5}, {"kind": "trending", "weight": 1.0}]
    made = Recommendation("u", 2, 42, 3, NOW, ["a", "b"], [0.3, 0.1], "0", 17, because=reasons)
    value = encode_recommendation(made, "events")
    assert [entry["because"] for entry in orjson.loads(value)["items"]] == reasons
    assert decode_recommendation(value).because == tuple(reasons)


def test_a_list_of_an_earlier_version_has_no_reasons() -> None:
    older = encode_recommendation(Recommendation("u", 2, 42, 3, NOW, ["a"], [0.3], "0", 17), "events")
    assert b"because" not in older
    assert decode_recommendation(older).because == ()


def test_bytes_that_are_no_recommendation_are_refused() -> None:
    for value in (b"", b"[]", b"{}", b'{"as_of":1,"model":2}', event()):
        with pytest.raises(InvalidEvent, match="expected a recommendation"):
            decode_recommendation(value)


def test_a_prediction_is_one_line() -> None:
    assert encode_prediction(Prediction("u", "i", ("a", "b"))) == b'{"user":"u","item":"i","ranked":["a","b"]}\n'


def test_hostile_records_are_the_same_for_the_same_seed() -> None:
    assert hostile_records(100, seed=5) == hostile_records(100, seed=5)
    assert hostile_records(100, seed=5) != hostile_records(100, seed=6)


def test_what_hostile_records_are_made_from_is_good() -> None:
    """Otherwise the hostile ones would be refused for a fault that all of them share."""
    assert len(decode(orjson.dumps(good_value(random.Random(0))))[0]) == 1


def test_a_flat_record_may_be_an_alias() -> None:
    """Which is decoded without looking for elements."""
    decoder = Decoder(EventsConfig(alias="old", types={"view": TypeConfig(), "login": "alias"}))
    events, dead_letters = decoder.decode([record(b'{"type": "login", "user": "ann", "old": 7}', offset=3)])
    assert (len(events), dead_letters) == (0, [])
    assert decoder.aliases == [Alias(3, 3, "ann", "7")]

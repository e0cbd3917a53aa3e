"""Avro records become what JSON would say, and no bytes raise anything but InvalidEvent or take long."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.core.errors import InvalidEvent
from tests.backends.registry.framed import avro, frame, reader_of, record, zigzag

ITEM = {"type": "record", "name": "Item", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "int"}]}
ORDER = record(
    user=["null", "string"], items={"type": "array", "items": ITEM}, gift=["null", "Item"],
    props={"type": "map", "values": ["string", "double", "Item"]},
    kind={"type": "enum", "name": "Kind", "symbols": ["VIEW", "BUY"]},
)  # fmt: skip
CHAIN = {"type": "record", "name": "Chain", "fields": [{"name": "next", "type": ["null", "Chain"]}]}
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
NOON_SECONDS = 1_796_040_000


def of(kind: Any, value: Any) -> Any:
    """What is read of a field of this type."""
    schema = record(field=kind)
    return reader_of(schema)(avro(schema, {"field": value}))["field"]


def logical(kind: str, is_a: str, **more: Any) -> Any:
    return {"type": kind, "logicalType": is_a, **more}


def test_a_nested_record_is_what_json_would_say() -> None:
    order = {
        "user": "u", "items": [{"id": "a", "n": 2}, {"id": "b", "n": -1}], "gift": {"id": "c", "n": 0},
        "props": {"x": 1.5, "y": "z", "w": {"id": "d", "n": 1}}, "kind": "BUY",
    }  # fmt: skip
    assert reader_of(ORDER)(avro(ORDER, order)) == order


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (logical("long", "timestamp-millis"), NOON, NOON_SECONDS * 1_000),
        (logical("long", "timestamp-micros"), NOON, NOON_SECONDS * 1_000_000),
        (logical("long", "timestamp-nanos"), NOON_SECONDS * 10**9 + 1_500, NOON_SECONDS * 1_000_000 + 1),
        (logical("long", "local-timestamp-millis"), NOON.replace(tzinfo=None), NOON_SECONDS * 1_000),
        (logical("int", "date"), date(2026, 11, 30), "2026-11-30"),
        (logical("int", "date"), date(1, 1, 1), "0001-01-01"),
        (logical("int", "time-millis"), time_of_day(1, 2, 3), "01:02:03"),
        (logical("long", "time-micros"), time_of_day(1, 2, 3, 4), "01:02:03.000004"),
        (logical("bytes", "decimal", precision=9, scale=2), Decimal("-12.30"), "-12.30"),
        (logical("bytes", "decimal", precision=40, scale=0), Decimal(10**39), "1" + "0" * 39),
        (logical("fixed", "decimal", precision=9, scale=2, name="D", size=8), Decimal("12.30"), "12.30"),
        (logical("string", "uuid"), UUID(int=7), str(UUID(int=7))),
        (logical("fixed", "uuid", name="U", size=16), UUID(int=7).bytes, str(UUID(int=7))),
        (logical("string", "of-our-own"), "x", "x"),
        ("bytes", "ü".encode(), "ü"),
        ("bytes", b"\xff\x00", "ff00"),
        ({"type": "fixed", "name": "F", "size": 2}, b"DE", "DE"),
        ("null", None, None),
        ("boolean", True, True),
        ("float", 1.5, 1.5),
        (["null", logical("long", "timestamp-millis")], NOON, NOON_SECONDS * 1_000),
        ({"type": "string", "avro.java.string": "String"}, "x", "x"),
    ],
)
def test_values_are_plain(kind: Any, value: Any, plain: Any) -> None:
    found = of(kind, value)
    assert (found, type(found)) == (plain, type(plain))


def test_a_schema_without_a_record_around_it_is_read_too() -> None:
    """Several kinds of event in one topic are a union of records, and their document is a record all the same."""
    union = [record(user="string"), {**record(item="string"), "name": "Other"}]
    assert reader_of(union)(avro(union, {"item": "i"})) == {"item": "i"}
    assert reader_of("string")(avro("string", "x")) == "x"


def test_a_record_that_holds_itself_is_read_to_a_depth_and_never_ends_the_process() -> None:
    """The compiled reader recurses without a bound: ten thousand levels were a segmentation fault."""
    read = reader_of(CHAIN)
    assert read(frame(1, b"\2\2\0")) == {"next": {"next": {"next": None}}}
    assert str(read(frame(1, b"\2" * 32 + b"\0"))).count("next") == 33
    for depth in (33, 10_000, 1_000_000):
        with pytest.raises(InvalidEvent, match="NotAvro"):
            read(frame(1, b"\2" * depth + b"\0"))


@pytest.mark.parametrize("nothing", ["null", {"type": "fixed", "name": "F", "size": 0}, record(a="null", b="null")])
def test_an_array_of_what_takes_no_bytes_is_no_schema(nothing: Any) -> None:
    """Eight bytes would stand for 2^60 values."""
    with pytest.raises(ValueError, match="take no bytes"):
        reader_of(record(values={"type": "array", "items": nothing}) | {"name": "Outer"})


@pytest.mark.parametrize(
    "kind", ["string", "bytes", {"type": "array", "items": "int"}, {"type": "map", "values": "int"}]
)
@pytest.mark.parametrize("length", [4, 2**31, 2**40, 2**62, 2**63 - 1, -1, -(2**40), 2**70])
def test_a_length_beyond_the_record_costs_no_memory_and_no_time(kind: Any, length: int) -> None:
    started = time.process_time()
    with pytest.raises(InvalidEvent, match="NotAvro"):
        reader_of(record(field=kind))(frame(1, zigzag(length) + b"\2\2"))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("kind", ["long", "string", CHAIN])
def test_a_number_without_an_end_takes_no_time(kind: Any) -> None:
    started = time.process_time()
    with pytest.raises(InvalidEvent, match="NotAvro"):
        reader_of(record(field=kind))(frame(1, b"\xff" * 1_000_000))
    assert time.process_time() - started < 5


def test_a_decimal_of_a_megabyte_takes_no_time() -> None:
    kind = logical("bytes", "decimal", precision=4, scale=2)
    started = time.process_time()
    with pytest.raises(InvalidEvent, match="NotAvro"):
        reader_of(record(field=kind))(frame(1, zigzag(900_000) + b"\x74" * 900_000))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("rest", [b"", b"\2", b"\2ab", b"\2a\0", b"\4\xff\xfe"])
def test_bytes_that_are_cut_off_or_go_on_or_are_no_utf8_are_refused(rest: bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        reader_of(record(field="string"))(frame(1, rest))
    assert caught.value.error == "NotAvro"
    assert "expected " in caught.value.reason
    assert "got " in caught.value.reason
    assert len(caught.value.reason) <= 200


READ, GOOD = reader_of(ORDER), avro(ORDER, {"user": "u", "items": [{"id": "a", "n": 2}] * 3, "gift": None,
                                            "props": {"x": 1.5}, "kind": "BUY"})  # fmt: skip


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_a_document_or_refused(rest: bytes) -> None:
    is_read_or_refused(frame(1, rest))


@given(st.integers(5, len(GOOD) - 1), st.binary(max_size=3), st.booleans())
@settings(max_examples=500)
def test_a_spoiled_record_is_a_document_or_refused(at: int, put: bytes, goes_on: bool) -> None:
    is_read_or_refused(GOOD[:at] + put + (GOOD[at + len(put) :] if goes_on else b""))


def is_read_or_refused(value: bytes) -> None:
    try:
        assert isinstance(READ(value), dict)
    except InvalidEvent as fault:
        assert fault.error == "NotAvro"  # noqa: PT017

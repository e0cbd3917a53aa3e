"""Protobuf records become what JSON would say, and no bytes raise anything but InvalidEvent or take long."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.backends.registry.protobuf import protobuf_reader
from stream_worker.backends.registry.protobuf_files import file_of
from stream_worker.core.errors import InvalidEvent
from tests.backends.registry.framed import frame, protobuf, varint

ITEM = (
    "shop/item.proto",
    """syntax = "proto3"; package shop; import "google/type/money.proto";
    message Item { string id = 1; double price = 2; google.type.Money paid = 3; }""",
)
ORDER = """
syntax = "proto3"; package shop;
import "shop/item.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto";
import 'google/protobuf/wrappers.proto'; import "google/protobuf/struct.proto"; import "confluent/type/decimal.proto";
enum Kind { VIEW = 0; BUY = 1; }
message Order {
  string userId = 1; repeated Item items = 2; google.protobuf.Timestamp sent_at = 3; Kind kind = 4;
  message Inner { int64 n = 1; Order order = 2; } Inner inner = 5;
  map<string, int32> counts = 6; map<int32, Item> by_number = 7; optional int32 maybe = 8;
  oneof id { string text_id = 9; uint64 number_id = 10; } bytes raw = 11; google.protobuf.StringValue wrapped = 12;
  google.protobuf.Struct free = 13; repeated Kind kinds = 14; repeated string tags = 15; bool flag = 16;
  google.protobuf.Duration took = 17; confluent.type.Decimal total = 18;
}
message Other { string x = 1; message Deep { string y = 1; } }
"""
FILE = file_of("order.proto", ORDER, [ITEM])
READ = protobuf_reader(ORDER, [ITEM])
UNSET = {"kind": "VIEW", "flag": False}


def message(name: str, file: FileDescriptor = FILE) -> Any:
    return GetMessageClass(file.message_types_by_name[name])


Order = message("Order")


def test_a_nested_message_is_what_json_would_say() -> None:
    order = Order(userId="u", kind="BUY", flag=True, counts={"a": 3}, number_id=2**63, tags=["a", "b"], kinds=[1, 0])
    order.items.add(id="i", price=1.5).paid.units = 4
    order.items.add(id="j")
    order.by_number[4].id = "k"
    order.inner.n = 7
    order.inner.order.userId = "v"
    assert READ(protobuf(order)) == {
        "userId": "u", "kind": "BUY", "flag": True, "counts": {"a": 3}, "number_id": 2**63, "tags": ["a", "b"],
        "kinds": ["BUY", "VIEW"],
        "items": [{"id": "i", "price": 1.5, "paid": {"units": 4, "nanos": 0}}, {"id": "j", "price": 0.0}],
        "by_number": {"4": {"id": "k", "price": 0.0}}, "inner": {"n": 7, "order": {"userId": "v", **UNSET}},
    }  # fmt: skip


def test_values_are_plain() -> None:
    order = Order(raw=b"\xff\x00", wrapped={"value": "w"}, kinds=[5])
    order.sent_at.FromJsonString("2026-11-30T12:00:00.5Z")
    order.took.FromJsonString("1.5s")
    order.free.update({"a": [1, {"b": None}]})
    order.total.value, order.total.scale = (1230).to_bytes(2, "big"), 2
    assert READ(protobuf(order)) == UNSET | {
        "raw": "ff00", "wrapped": "w", "kinds": [5], "sent_at": "2026-11-30T12:00:00.500Z", "took": "1.500s",
        "free": {"a": [1.0, {"b": None}]}, "total": "12.30",
    }  # fmt: skip


def test_what_was_not_set_is_not_there_unless_it_can_be_zero() -> None:
    """A text that was not set must not stand in the way of the next field that may hold the user."""
    assert READ(protobuf(Order())) == UNSET
    assert READ(protobuf(Order(maybe=0, text_id=""))) == UNSET | {"maybe": 0, "text_id": ""}


@pytest.mark.parametrize(
    ("place", "read"), [(b"\0", "userId"), (b"\2\0", "userId"), (b"\2\2", "x"), (b"\4\2\0", "y"), (b"\4\0\0", "n")]
)
def test_the_message_is_found_by_its_place(place: bytes, read: str) -> None:
    other = FILE.message_types_by_name["Other"]
    made: dict[str, Any] = {
        "userId": Order(userId="v"), "x": message("Other")(x="v"),
        "y": GetMessageClass(other.nested_types_by_name["Deep"])(y="v"), "n": Order.Inner(n=5),
    }  # fmt: skip
    assert READ(protobuf(made[read], place=place))[read] in ("v", 5)


@pytest.mark.parametrize("place", [b"", b"\x80", b"\2", b"\x02\x80", b"\1", b"\x8e\x02" + b"\0" * 200, b"\xff" * 9])
def test_a_place_that_is_none_is_a_bad_frame(place: bytes) -> None:
    with pytest.raises(InvalidEvent, match="BadFrame"):
        READ(frame(1, b"", place))


@pytest.mark.parametrize("place", [b"\2\4", b"\2\1", b"\4\2\2", b"\x02\xfe\xff\xff\xff\x0f"])
def test_a_place_without_a_message_is_named(place: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"NotProtobuf: expected .* got message -?[\d.]+, which the schema does not"):
        READ(frame(1, b"", place))


def test_a_schema_that_the_registry_keeps_serialized_is_read_too() -> None:
    """Confluent's client for Python registers it so."""
    serialized = []
    for name in ("shop/item.proto", "order.proto"):
        file = FileDescriptorProto()
        FILE.pool.FindFileByName(name).CopyToProto(file)
        serialized.append(base64.b64encode(file.SerializeToString()).decode())
    read = protobuf_reader(serialized[1], [("shop/item.proto", serialized[0])])
    assert read(protobuf(Order(userId="u"))) == {"userId": "u", **UNSET}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("message {", "Expected message name"),
        ('syntax = "proto3"; import "not/there.proto"; message A {}', "not/there.proto"),
        ('syntax = "proto3"; message A { B b = 1; }', '"B" is not defined'),
    ],
)
def test_a_schema_that_does_not_compile_says_why(schema: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        protobuf_reader(schema, [])


def test_a_file_of_a_schema_stays_in_its_folder() -> None:
    for name in ("../../x.proto", "/tmp/x.proto"):
        with pytest.raises(ValueError, match="a file called"):
            file_of("order.proto", 'syntax = "proto3"; message A {}', [(name, "message B {}")])


def test_messages_without_an_end_are_refused() -> None:
    """A megabyte of empty messages would be a gigabyte of documents; protobuf itself bounds the depth, at 100."""
    deep = b""
    for _ in range(200):
        deep = b"\x12" + varint(len(deep)) + deep  # Inner.order
        deep = b"\x2a" + varint(len(deep)) + deep  # Order.inner
    started = time.process_time()
    for value in (b"\x12\0" * 500_000, deep):
        with pytest.raises(InvalidEvent, match="NotProtobuf"):
            READ(frame(1, value, b"\0"))
    assert time.process_time() - started < 5


def test_a_hostile_decimal_or_time_is_refused() -> None:
    order = Order()
    order.total.value, order.total.scale = b"\1", 2**31 - 1
    with pytest.raises(InvalidEvent, match="NotProtobuf"):
        READ(protobuf(order))
    order = Order()
    order.sent_at.seconds = 2**62
    with pytest.raises(InvalidEvent, match="NotProtobuf"):
        READ(protobuf(order))


def _good() -> bytes:
    order = Order(userId="u", kind="BUY", counts={"a": 3})
    for number in range(3):
        order.items.add(id=str(number), price=1.5)
    order.sent_at.FromJsonString("2026-11-30T12:00:00.5Z")
    return protobuf(order)


GOOD = _good()


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
        assert fault.error in ("NotProtobuf", "BadFrame")  # noqa: PT017

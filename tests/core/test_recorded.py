"""What `record` writes is the same record when it is read: key, headers, time and the bytes of its value."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.errors import InvalidEvent
from stream_worker.core.events import Record
from stream_worker.core.recorded import decode_record, encode_record

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_BYTES = st.none() | st.binary(max_size=30) | st.text(max_size=30).map(str.encode)
_VALUES = _BYTES | _JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "ignore"))
_HEADERS = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=3).map(tuple)


@given(value=_VALUES, key=_BYTES, headers=_HEADERS, offset=st.integers(0, 2**62), time=st.integers(-1, 2**50))
def test_a_record_comes_back_to_the_byte(
    value: bytes | None, key: bytes | None, headers: tuple[tuple[str, bytes], ...], offset: int, time: int
) -> None:
    record = Record(3, offset, time, key, value, headers=headers)
    line = encode_record(record)
    assert line.count(b"\n") == 1
    assert decode_record(line) == record


def test_a_line_can_be_read_by_anybody() -> None:
    record = Record(3, 7, 5, b"alice", b'{"user": "alice"}', headers=(("ce_type", b"view"), ("raw", b"\xff")))
    assert json.loads(encode_record(record)) == {
        "partition": 3, "offset": 7, "timestamp_ms": 5, "key": "alice",
        "headers": [["ce_type", "view"], ["raw", {"base64": "/w=="}]],
        "value": {"user": "alice"},
    }  # fmt: skip


@pytest.mark.parametrize("value", [b'{"a":1,"a":2,"value":3}', b'{"x":"y,\\"value\\":"}', b"12345678901234567890123"])
def test_a_dead_letter_stays_one(value: bytes) -> None:
    record = Record(0, 0, 0, None, value, headers=((',"value":', b',"value":'),))
    assert decode_record(encode_record(record)) == record


def test_a_line_that_other_tools_have_written_has_the_same_meaning() -> None:
    """Members in another order, with blanks, and one that nobody knows."""
    record = Record(3, 7, 5, b"alice", b'{"user":"alice"}', headers=(("a", b"b"),))
    members = orjson.loads(encode_record(record))
    for line in (dict(sorted(members.items())), members | {"zz": 1}, dict(reversed(members.items()))):
        assert decode_record(json.dumps(line).encode()) == record


def test_a_value_in_another_format_is_written_as_its_document() -> None:
    record = Record(0, 0, 0, None, b"\0avro")
    line = encode_record(record, lambda value: b'{"user":"' + value[1:] + b'"}')
    assert decode_record(line).value == b'{"user":"avro"}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"user":"alice","item":"cup"}', "'value' is missing"),
        (b"no JSON", "no JSON"),
        (b"[1]", "[1]"),
        (b'{"partition":"0","offset":1,"timestamp_ms":1,"key":null,"headers":[],"value":{}}', "partition: expected"),
        (b'{"partition":0,"offset":1,"timestamp_ms":1,"key":3,"headers":[],"value":{}}', "key: expected a text"),
        (b'{"partition":0,"offset":1,"timestamp_ms":1,"key":"a","headers":[1],"value":{}}', "expected a line"),
        (b'{"partition":0,"offset":1,"timestamp_ms":1,"key":"a","headers":[],"value_base64":"#"}', "base64"),
    ],
)
def test_what_is_no_recorded_line_is_refused_with_its_reason(line: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode_record(line)
    assert refused.value.error == "NotARow"
    assert said in refused.value.reason

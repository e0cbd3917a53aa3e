"""What stands in a file for a key or a value is the same bytes again when it is read."""

from __future__ import annotations

import doctest

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core import record_parts
from stream_worker.core.record_parts import bytes_of, member, text_bytes_of


def through_json(part: bytes | None, *, json: bool = True) -> bytes:
    return orjson.dumps(member("value", part, json=json))


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(record_parts).failed == 0


@given(st.none() | st.binary() | st.text().map(str.encode))
def test_what_is_no_json_comes_back_to_the_byte(part: bytes | None) -> None:
    read = orjson.loads(through_json(part))
    if "value" not in read or part is None:
        assert bytes_of("value", read) == part
    assert text_bytes_of("value", orjson.loads(through_json(part, json=False))) == part


def test_json_stands_in_the_line_as_it_came() -> None:
    """A key that stands twice makes a dead letter, and a number of twenty digits is an id."""
    part = b'{"user": "a", "user":"b", "item":12345678901234567890123, "ts":1.0}'
    assert through_json(part) == b'{"value":' + part + b"}"


def test_null_and_nothing_are_told_apart() -> None:
    assert orjson.loads(through_json(None)) == {"value": None}
    assert orjson.loads(through_json(b"null")) == {"value_text": "null"}
    assert orjson.loads(through_json(b"")) == {"value_text": ""}


def test_json_over_several_lines_stays_in_one() -> None:
    assert through_json(b'{\n"user":"a"\n}') == b'{"value_text":"{\\n\\"user\\":\\"a\\"\\n}"}'


@pytest.mark.parametrize("wrong", [{"value_base64": "#"}, {"value_base64": 3}, {"value_text": 3}])
def test_what_was_never_written_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="value"):
        bytes_of("value", wrong)


def test_a_member_that_is_missing_is_refused() -> None:
    with pytest.raises(KeyError):
        bytes_of("value", {})

"""A decision is read as it was written; one that lacks anything decides nothing, and says what it lacks."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stream_worker.core.decisions import Decision, decode_decisions, encode_decision
from stream_worker.core.events import Record

WHOLE: dict[str, Any] = {"item": "p7", "decision": "block", "reason": "recalled", "by": "ann", "ts": 1_765_000_000.0}


def record(value: bytes | None, key: bytes | None = b"p7") -> Record:
    return Record(0, 3, 1_765_000_000_000, key, value)


def test_a_decision_is_read_as_it_was_written() -> None:
    decision = Decision("p7", "approve", "looked at", "ben", 1_765_000_000.5)
    assert decode_decisions([record(encode_decision(decision))]) == ([decision], [])


def test_other_members_and_other_forms_of_a_time_are_fine() -> None:
    value = orjson.dumps({**WHOLE, "ts": "2025-12-06T05:46:40Z", "ticket": 5})
    for key in (b"p7", None):
        [decision], _ = decode_decisions([record(value, key)])
        assert decision == Decision(**WHOLE)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"item": None}, "MissingField", "item: expected a string or an integer"),
        ({"item": ""}, "BadId", "item: expected 1 to 256 bytes"),
        ({"decision": None}, "MissingField", "decision: expected block, hold or approve, got nothing"),
        ({"decision": "Block"}, "UnknownType", "decision: expected block, hold or approve, got 'Block'"),
        ({"decision": ["block"]}, "UnknownType", "decision: expected block, hold or approve, got an array"),
        ({"reason": None}, "MissingField", "reason: expected a text"),
        ({"reason": "  "}, "WrongType", "reason: expected a text"),
        ({"reason": "x" * 1_001}, "WrongType", "reason: expected a text of 1 to 1,000 characters"),
        ({"by": 5}, "WrongType", "by: expected a text"),
        ({"ts": None}, "MissingField", "ts: expected"),
        ({"ts": "yesterday"}, "BadTimestamp", "ts: expected"),
    ],
)
def test_a_decision_that_lacks_anything_decides_nothing(changes: dict[str, Any], error: str, reason: str) -> None:
    decisions, [letter] = decode_decisions([record(orjson.dumps({**WHOLE, **changes}))])
    assert decisions == []
    assert letter.error == error
    assert letter.reason.startswith(reason)


@pytest.mark.parametrize("value", [None, b"", b"nonsense", b"[]", b'{"item":"p7","item":"p8"}'])
def test_what_is_no_decision_is_told_and_the_next_one_counts(value: bytes | None) -> None:
    decisions, unreadable = decode_decisions([record(value), record(orjson.dumps(WHOLE))])
    assert [decision.item for decision in decisions] == ["p7"]
    assert len(unreadable) == 1


def test_a_key_of_another_item_is_refused() -> None:
    decisions, [letter] = decode_decisions([record(orjson.dumps(WHOLE), b"p8")])
    assert decisions == []
    assert letter.reason == "key: expected the item, 'p7', or no key, got 'p8'"

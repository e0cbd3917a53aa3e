"""Dead letters of some elements of a record, mended and sent again: the rest counts, and nothing twice."""

from __future__ import annotations

import orjson
import pytest

from stream_worker.core.decoder import Decoder
from stream_worker.core.events import ELEMENTS_HEADER, Events, Record
from stream_worker.core.mapping.config import EventsConfig

NOW_MS = 1_700_000_000_000
CONFIG = EventsConfig(item=".sku", each="lines", id="number")


def order(*skus: object, elements: bytes | None = None, offset: int = 0) -> Record:
    lines = [{"sku": sku} for sku in skus]
    value = orjson.dumps({"user": "u", "type": "purchase", "ts": NOW_MS, "number": "o-1", "lines": lines})
    return Record(0, offset, NOW_MS, b"u", value, headers=() if elements is None else ((ELEMENTS_HEADER, elements),))


def read(record: Record) -> Events:
    events, dead = Decoder(CONFIG).decode([record])
    assert dead == []
    return events


def test_the_mended_rest_counts_and_what_was_good_before_does_not_again() -> None:
    first, [letter] = Decoder(CONFIG).decode([order("a", None, "c", None)])
    assert first.items == ["a", "c"]
    assert list(letter.elements) == [1, 3]
    assert read(order("a", "b", "c", "d", elements=b"1,3", offset=1)).items == ["b", "d"]


def test_the_rest_is_no_duplicate_of_the_record_that_it_was_in() -> None:
    """Sent once more, it is one of itself."""
    whole, rest, again = (read(order("a", "b", elements=elements)).id_B[0] for elements in (None, b"1", b"1"))
    assert whole != rest
    assert rest == again


@pytest.mark.parametrize("header", [b"", b"x", b"1,", b"-1", b"1;2", b"9" * 5000, "²".encode()])
def test_a_header_of_another_program_asks_for_nothing(header: bytes) -> None:
    assert read(order("a", "b", elements=header)).items == ["a", "b"]


def test_elements_that_the_record_does_not_have_are_said() -> None:
    decoder = Decoder(CONFIG)
    events, dead = decoder.decode([order("a", elements=b"5")])
    assert (len(events), dead, decoder.ignored) == (0, [], {"(no elements)": 1})


def test_a_rest_that_is_still_bad_is_a_dead_letter_of_the_same_elements() -> None:
    events, [letter] = Decoder(CONFIG).decode([order("a", None, elements=b"1")])
    assert len(events) == 0
    assert list(letter.elements) == [1]

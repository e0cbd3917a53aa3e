"""What is produced has the names that the worker reads."""

from __future__ import annotations

import doctest

from stream_worker.core import renaming
from stream_worker.core.codec import Decoder, encode_event
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.renaming import renamer

SHOP = EventsConfig(user="visitorid", item="itemid", type="event", ts="timestamp")


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(renaming).failed == 0


def test_a_renamed_event_is_read_by_the_configuration_that_named_it() -> None:
    value = renamer(SHOP)(encode_event("alice", "teapot", "view", 1_700_000_000.0))
    [events, dead] = Decoder(SHOP).decode([Record(0, 0, 1_700_000_000_000, b"alice", value)])
    assert (events.users, events.items, dead) == (["alice"], ["teapot"], [])


def test_default_names_keep_the_bytes() -> None:
    value = encode_event("alice", "teapot", "view", 1_700_000_000.0)
    assert renamer(EventsConfig(category="category"))(value) is value


def test_a_part_that_the_configuration_does_not_read_is_left_out() -> None:
    value = encode_event("alice", "teapot", "view", 1_700_000_000.0, category="pots")
    assert b"pots" not in renamer(EventsConfig())(value)


def test_what_is_no_event_is_sent_as_it_is() -> None:
    assert [renamer(SHOP)(value) for value in (b"nonsense", b"[1]", b"")] == [b"nonsense", b"[1]", b""]

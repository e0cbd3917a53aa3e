"""What is produced has the names that the worker reads."""

from __future__ import annotations

import doctest
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from stream_worker.core import renaming
from stream_worker.core.codec import encode_event
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.renaming import renamer
from stream_worker.presets import names, with_preset

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


@pytest.mark.parametrize("preset", [name for name in names("events") if name not in ("shopify", "personalize")])
def test_what_is_written_for_a_preset_is_read_by_it(preset: str) -> None:
    """Every part that the preset reads in a record's value comes back."""
    config = TypeAdapter(EventsConfig).validate_python(with_preset("events", {"preset": preset}))
    value = renamer(config)(encode_event("alice", "teapot", "view", 1_700_000_000.0, value=2.5, category="pots"))
    decoder = Decoder(config)
    events, dead = decoder.decode([Record(0, 0, 1_700_000_000_000, b"alice", value)])
    assert (events.users, events.items, dead) == (["alice"], ["teapot"], []), (value, decoder.ignored)
    assert events.ts_B.tolist() == [1_700_000_000.0]
    assert [list(config.named)[code] for code in events.type_B] == ["view"]
    assert events.value_B.tolist() == [2.5]


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ({"user": "a.b[c=d].e"}, {"a": {"b": [{"c": "d", "e": "alice"}]}}),
        ({"user": "a[0].e"}, {"a": [{"e": "alice"}]}),
        ({"user": ["header:x", "key", "$.key"]}, {"key": "alice"}),
        ({"user": "key"}, {}),
        ({"user": "ids.*.id"}, {"ids": {"any": {"id": "alice"}}}),
    ],
)
def test_paths_of_every_form_are_written(keys: dict[str, Any], written: dict[str, Any]) -> None:
    config = TypeAdapter(EventsConfig).validate_python(keys)
    value = orjson.loads(renamer(config)(b'{"user":"alice"}'))
    assert value == written


@pytest.mark.parametrize("ts_format", ["ms", "us", "%d.%m.%Y %H:%M:%S"])
def test_times_are_written_in_the_stated_form(ts_format: str) -> None:
    config = EventsConfig(user="who", ts_format=ts_format)
    value = renamer(config)(encode_event("alice", "teapot", "view", 1_700_000_000.0))
    assert Decoder(config).decode([Record(0, 0, 1_700_000_000_000, b"alice", value)])[0].ts_B.tolist() == [1.7e9]

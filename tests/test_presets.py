"""Presets: recorded records of each tracker, in the shapes of its documentation, become the events beside them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream_worker.config import load_settings
from stream_worker.core.decoder import Decoder
from stream_worker.core.event_fields import category_code
from stream_worker.core.events import Record
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.presets import names

TRACKERS = Path(__file__).parent / "data" / "trackers"
PRESETS = names("events")
NOON = "2026-03-04T12:00:00Z"  # the records' own time


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def preset(name: str) -> EventsConfig:
    return load_settings(None, {"STREAM_WORKER__EVENTS__PRESET": name}).events


def records(name: str) -> tuple[list[Record], list[dict[str, Any]]]:
    """Return the recorded records of a tracker, and what is expected of each."""
    [path] = (TRACKERS / name).glob("records.*")
    lines = path.read_bytes().splitlines()
    expected = orjson.loads((TRACKERS / name / "expected.json").read_bytes())
    assert len(lines) == len(expected)
    return [record(n, line, wanted) for n, (line, wanted) in enumerate(zip(lines, expected, strict=True))], expected


def record(offset: int, value: bytes, wanted: dict[str, Any]) -> Record:
    headers = tuple((name, text.encode()) for name, text in wanted.get("headers", {}).items())
    key = wanted["key"].encode() if "key" in wanted else None
    return Record(0, offset, int(seconds(NOON) * 1000), key, value, headers=headers)


def decoded(decoder: Decoder, one: Record) -> dict[str, Any]:
    """Return what a record became, in the form of `expected.json`."""
    before = decoder.ignored.copy()
    events, dead = decoder.decode([one])
    found: dict[str, Any] = {}
    if len(events):
        found["events"] = [event(decoder.config, events, at) for at in range(len(events))]
    if decoder.aliases:
        found["alias"] = [decoder.aliases[0].user, decoder.aliases[0].old]
    if ignored := decoder.ignored - before:
        found["ignored"] = next(iter(ignored))
    for letter in dead:
        found |= {"error": letter.error, **({"elements": list(letter.elements)} if letter.elements else {})}
    if events.within_B.tolist() != list(range(len(events))) and len(events) > 1:
        found["sequence"] = True
    assert not decoder.dropped
    return found


def event(config: EventsConfig, events: Any, at: int) -> dict[str, Any]:
    value = float(events.value_B[at])
    return {
        "user": events.users[at],
        "item": events.items[at],
        "type": config.event_types[events.type_B[at]].name,
        "ts": events.ts_B[at],
        "value": None if math.isnan(value) else value,
        "category": int(events.category_B[at]),
        "session": int(events.session_B[at]),
        "has_id": bool(events.id_B[at]),
    }


def wanted_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of `expected.json` as it is decoded: category and session are checksums."""
    codes = {part: category_code(part, event[part]) if part in event else 0 for part in ("category", "session")}
    value = event.get("value")
    return {
        **{part: event[part] for part in ("user", "item", "type")},
        "ts": seconds(event["ts"]),
        "value": None if value is None else pytest.approx(value),
        **codes,
        "has_id": "id" in event,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_recorded_records_become_the_events_beside_them(name: str) -> None:
    decoder = Decoder(preset(name))
    for one, wanted in zip(*records(name), strict=True):
        found = decoded(decoder, one)
        what: dict[str, Any] = {
            part: wanted[part] for part in ("alias", "ignored", "error", "elements", "sequence") if part in wanted
        }
        if "events" in wanted:
            what["events"] = [wanted_event(event) for event in wanted["events"]]
        assert found == what, one.value


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_sent_twice_has_the_same_ids(name: str) -> None:
    decoder = Decoder(preset(name))
    for one in records(name)[0]:
        first, second = decoder.decode([one])[0], decoder.decode([one])[0]
        assert first.id_B.tolist() == second.id_B.tolist()


def test_every_preset_has_recorded_records() -> None:
    assert sorted(path.name for path in TRACKERS.iterdir()) == PRESETS


def test_a_preset_can_be_changed_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text('[events]\npreset = "ga4"\nuser = "user_id"\n[events.types]\nselect_item = "view"\n')
    changed, given = load_settings(path, {}).events, preset("ga4")
    assert changed.user == "user_id"
    assert changed.item == given.item
    assert changed.values == {**given.values, "select_item": "view"}
    assert changed.event_types == given.event_types


@pytest.mark.parametrize("name", PRESETS)
def test_a_copy_of_a_preset_means_the_same(name: str, tmp_path: Path) -> None:
    """A preset is a page in the words of the configuration, so that it can be copied and changed."""
    text = (Path(__file__).parents[1] / "stream_worker" / "presets" / f"{name}.toml").read_text()
    (tmp_path / "worker.toml").write_text(text)
    copied = load_settings(tmp_path / "worker.toml", {}).events
    assert {**vars(copied), "preset": name} == vars(preset(name))


def test_the_examples_of_the_page_are_configurations(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "trackers.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) > 2
    for text in examples:
        (tmp_path / "worker.toml").write_text(text)
        load_settings(tmp_path / "worker.toml", {})


def test_the_page_names_every_preset() -> None:
    page = (Path(__file__).parents[1] / "docs" / "trackers.md").read_text()
    assert set(re.findall(r"^\|[^|]*\| `([\w-]+)` \|", page, re.MULTILINE)) == set(PRESETS)


def login(**parts: object) -> Record:
    """Return a login of Adobe's XDM, with these parts of its identityMap, and products."""
    items = [{"SKU": "a"}, {"SKU": "b"}]
    document = {"eventType": "userAccount.login", "timestamp": NOON, "productListItems": items, "identityMap": parts}
    return Record(0, 0, int(seconds(NOON) * 1000), None, orjson.dumps(document))


def test_a_login_is_one_however_many_products_its_record_holds() -> None:
    decoder = Decoder(preset("xdm"))
    events, dead = decoder.decode([login(CRMID=[{"id": "c", "primary": True}], ECID=[{"id": "e"}])])
    assert (len(events), dead) == (0, [])
    assert [(alias.user, alias.old) for alias in decoder.aliases] == [("c", "e")]


def test_a_login_that_tells_no_other_id_is_ignored() -> None:
    """Identify calls come from servers, too, and from visitors who have no other id yet."""
    decoder = Decoder(preset("xdm"))
    decoder.decode([login(CRMID=[{"id": "c", "primary": True}]), login(ECID=[{"id": "e", "primary": True}])])
    assert decoder.aliases == []
    assert decoder.ignored == {"(alias)": 4}


@pytest.mark.parametrize("ts_format", ["", "s", "%d.%m.%Y"])
def test_the_records_own_time_stands_in_whatever_the_format_of_the_others_is(ts_format: str) -> None:
    decoder = Decoder(EventsConfig(ts=("ts", "record_time"), ts_format=ts_format))
    value = b'{"user": "u", "item": "i", "type": "view"}'
    events, dead = decoder.decode([Record(0, 0, 1_700_000_000_500, None, value)])
    assert (events.ts_B.tolist(), dead) == ([1_700_000_000.5], [])
    for timestamp_ms in (-1, 2**62):
        [letter] = decoder.decode([Record(0, 0, timestamp_ms, None, value)])[1]
        assert letter.error == "MissingField"

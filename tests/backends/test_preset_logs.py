"""Presets in mapping files: a tracker's records, recorded in a file, are the events that they are in a topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_worker.backends.files import LogReader, load_mapping
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from tests.test_presets import NOON, TRACKERS, preset, records, seconds

# The others read headers, which a file does not have.
WITHOUT_HEADERS = ["ga4", "google-retail", "personalize", "rudderstack", "segment", "snowplow", "xdm"]


@pytest.mark.parametrize("name", WITHOUT_HEADERS)
def test_a_recorded_log_is_read_as_the_topic_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(f'preset = "{name}"\n')
    mapping = load_mapping(path)
    decoder = Decoder(mapping.events(preset(name)), from_log=True)
    rows = LogReader(list((TRACKERS / name).glob("records.*")), mapping)
    events, dead = decoder.decode(
        [
            Record(0, n, row.timestamp_ms, row.key.encode(), row.value, row.place, row.fault)
            for n, row in enumerate(rows)
        ]
    )
    types = [decoder.config.event_types[code].name for code in events.type_B]
    expected = [event for wanted in records(name)[1] for event in wanted.get("events", [])]
    assert list(zip(events.users, events.items, types, strict=True)) == [
        (event["user"], event["item"], event["type"]) for event in expected
    ]
    # A row without a time has that of the row before it.
    assert all(
        at == seconds(event["ts"]) or event["ts"] == NOON
        for at, event in zip(events.ts_B.tolist(), expected, strict=True)
    )
    assert len(dead) == sum("error" in wanted for wanted in records(name)[1])


def test_lines_of_snowplow_are_told_by_the_format_whatever_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text('preset = "snowplow"\n')
    [tsv] = (TRACKERS / "snowplow").glob("*.tsv")
    (tmp_path / "enriched.log").write_bytes(tsv.read_bytes())
    rows = list(LogReader([tmp_path / "enriched.log"], load_mapping(path)))
    assert len(rows) == len(records("snowplow")[0])
    assert rows[1].key == "d-5"

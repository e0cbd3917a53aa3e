"""Small inputs that went wrong once (`tests/data/trials`), each with what is right of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stream_worker.backends.files import FieldNames, FileSource, LogReader, load_mapping
from stream_worker.backends.files import Mapping as LogMapping
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import DeadLetter, Events, Record
from stream_worker.core.mapping.config import EventsConfig, TypeConfig
from stream_worker.exit_codes import ExitCode
from tests.backends.test_file_replay import FakeClock, subscribed
from tests.test_commands import call

TRIALS = Path(__file__).parent.parent / "data" / "trials"
PLAIN = LogMapping(FieldNames(user="user", item="item", ts="ts", type="type"))
CANONICAL = Path(__file__).parents[2] / "examples" / "canonical.toml"


def from_file(name: str, mapping: LogMapping = PLAIN) -> tuple[Events, list[DeadLetter], Decoder]:
    reader = LogReader([TRIALS / name], mapping)
    decoder = Decoder(mapping.events(EventsConfig()), from_log=True)
    rows = [
        Record(0, n, row.timestamp_ms, row.key.encode(), row.value, row.place, row.fault)
        for n, row in enumerate(reader)
    ]
    return *decoder.decode(rows), decoder


def told(dead: list[DeadLetter]) -> list[tuple[str, str, str]]:
    return [(letter.error, letter.record.place, letter.reason) for letter in dead]


def test_two_doors_give_the_same_answers() -> None:
    """A topic takes what a replay took: and both refuse the year 2099."""
    lines = (TRIALS / "two_doors.jsonl").read_bytes().splitlines()
    numbered = EventsConfig(types=EventsConfig().types | {"1": TypeConfig()})
    live, live_dead = Decoder(numbered).decode(
        [Record(0, n, 1_716_400_000_500, b"u", line) for n, line in enumerate(lines)]
    )
    logged, logged_dead, _ = from_file("two_doors.jsonl", load_mapping(TRIALS / "two_doors.toml"))
    for events, dead in ((live, live_dead), (logged, logged_dead)):
        assert events.offset_B.tolist() == [0, 1, 2, 3, 4, 5, 7]
        assert events.users == ["u", "123", "u", "u", "u", "u", "u"]
        assert events.ts_B.tolist() == [1_716_400_000.0] * 7
        assert events.value_B[3] == pytest.approx(19.99)
        assert events.request_ids == [None] * 4 + ["15", None, None]
        assert [(letter.record.offset, letter.error) for letter in dead] == [(6, "BadTimestamp")]
    assert [numbered.event_types[live.type_B[5]].name, EventsConfig().event_types[logged.type_B[5]].name] == [
        "1",
        "view",
    ]


def test_two_doors_through_a_replay() -> None:
    code, out, err = call("replay", str(TRIALS / "two_doors.jsonl"), "-m", str(TRIALS / "two_doors.toml"))
    assert code == ExitCode.DONE, err
    assert "7 events in" in out
    assert "1 BadTimestamp, the first in line 7 of two_doors.jsonl: ts: expected a time from 1990-01-01" in out


def test_times_in_other_forms_are_read_at_both_doors() -> None:
    want = [1_569_888_000.0, 1_569_888_010.0, 1_569_888_020.0, 1_569_888_030.0]
    events, dead, _ = from_file("times.csv")
    assert (events.ts_B.tolist(), dead) == (want, [])
    rows = [
        b'{"user":"a","item":"x","type":"view","ts":%s}' % ts
        for ts in (b'"2019-10-01 00:00:00 UTC"', b"1569888010000000", b'"Tue, 01 Oct 2019 00:00:20 GMT"', b"1569888030")
    ]
    live, dead = Decoder(EventsConfig()).decode(
        [Record(0, n, 1_569_888_040_000, b"a", row) for n, row in enumerate(rows)]
    )
    assert (live.ts_B.tolist(), dead) == (want, [])


def test_an_optional_value_costs_no_event() -> None:
    events, dead, decoder = from_file("value_is_optional.csv", load_mapping(TRIALS / "value_is_optional.toml"))
    assert (len(events), dead) == (3, [])
    assert [math.isnan(value) for value in events.value_B] == [True, True, False]
    assert events.value_B[2] == pytest.approx(3.10)
    assert [(field.part, field.place, field.reason) for field in decoder.dropped] == [
        ("value", "line 2 of value_is_optional.csv", "price: expected a finite number (32 bits), got '2,55'"),
        ("value", "line 3 of value_is_optional.csv", "price: expected a finite number (32 bits), got 'EUR 3'"),
    ]


def test_an_unclosed_quote_costs_its_own_row() -> None:
    events, dead, _ = from_file("unclosed_quote.csv")
    assert list(zip(events.users, events.items, strict=True)) == [
        ("a", "x"), ("a", "y"), ("b", "x"), ("a", "z"), ("b", "y"),
    ]  # fmt: skip
    reason = "item: expected a quote to be closed within 100 lines and 64 KiB, got no end of it"
    assert told(dead) == [("NotARow", "line 3 of unclosed_quote.csv", reason)]
    assert dead[0].record.value == b'b,"5 inch pipe,1600000002,click'


def test_one_field_too_many_is_said_in_the_words_of_a_table() -> None:
    events, dead, _ = from_file("one_field_too_many.csv")
    assert events.ts_B.tolist() == [1_600_000_001.0, 1_600_000_003.0]
    assert told(dead) == [("NotARow", "line 3 of one_field_too_many.csv", "expected 4 columns, got 5")]


def test_every_digit_of_a_decimal_id_counts() -> None:
    events, dead, _ = from_file("decimal_ids.parquet", load_mapping(TRIALS / "ids.toml"))
    assert dead == []
    assert events.users == ["7312345678901234567", "7312345678901234568"] * 2


def test_an_empty_part_does_not_end_a_replay() -> None:
    parts = [str(TRIALS / name) for name in ("unclosed_quote.csv", "empty_part.csv", "one_field_too_many.csv")]
    code, out, err = call("replay", *parts, "-m", str(CANONICAL))
    assert code == ExitCode.DONE, err
    assert "7 events in" in out
    assert "empty_part.csv" in err


def test_nothing_but_empty_parts_is_a_failure() -> None:
    code, _, err = call("replay", str(TRIALS / "empty_part.csv"), "-m", str(CANONICAL))
    assert code == ExitCode.FAILED
    assert "the log has no rows" in err


def test_a_first_time_of_0_does_not_wait_for_fifty_years() -> None:
    clock = FakeClock()
    source = subscribed(FileSource([TRIALS / "first_time_zero.csv"], PLAIN, speed=1, clock=clock, sleep=clock.sleep))
    records: list[Record] = []
    while not source.exhausted():
        records += source.poll(384, 1.0)
    assert clock.time - 50.0 == pytest.approx(60.0)
    events, dead = source.decoder(EventsConfig()).decode(records)
    assert events.items == ["y", "x"]
    assert told(dead)[0][:2] == ("BadTimestamp", "line 2 of first_time_zero.csv")

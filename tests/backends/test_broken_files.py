"""Files that are broken, cut off or oddly written end as a sentence, or cost only the rows that are bad."""

from __future__ import annotations

import gzip
import tracemalloc
import uuid
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_worker.backends.files import FieldNames, LogReader
from stream_worker.backends.files import Mapping as LogMapping
from stream_worker.backends.files.lines import MAX_LINE_BYTES
from stream_worker.backends.files.reading import LogRow
from stream_worker.core.errors import ConfigurationError

T = 1_400_000_000
FIELDS = FieldNames(user="user", item="item", ts="ts", type="type")
PLAIN = LogMapping(FIELDS)
HEADER = "user,item,ts,type\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path, mapping: LogMapping = PLAIN) -> list[LogRow]:
    return list(LogReader([path], mapping))


def good(rows: list[LogRow]) -> list[str]:
    return [orjson.loads(row.value)["item"] for row in rows if row.fault is None]


def faults(rows: list[LogRow]) -> list[tuple[str, str]]:
    return [(row.place, row.fault[1]) for row in rows if row.fault is not None]


@pytest.mark.parametrize("kind", ["none", "text", "truncated"])
def test_what_is_no_parquet_is_said_by_name(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"user": ["a"] * 999, "item": ["x"] * 999, "ts": [T] * 999, "type": ["view"] * 999}), whole)
    contents = {"none": b"PAR1", "text": b"user,item\n" * 9, "truncated": whole.read_bytes()[:-30]}
    path = write(tmp_path / "log.parquet", contents[kind])
    with pytest.raises(ConfigurationError, match=r"log .*log\.parquet: "):
        rows_of(path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.zst"])
def test_a_file_of_nothing_has_no_rows(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert rows_of(write(tmp_path / name, b"")) == []
    if name.endswith(".gz"):
        assert rows_of(write(tmp_path / name, gzip.compress(b""))) == []


def test_text_of_parquet_that_is_no_utf_8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"x", b"\xff\xfe", b"z"]).cast(pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(
        pa.table({"user": ["a"] * 3, "item": bad, "ts": [T] * 3, "type": ["view"] * 3}), tmp_path / "a.parquet"
    )
    rows = rows_of(tmp_path / "a.parquet")
    assert good(rows) == ["x", "z"]
    assert faults(rows) == [("row 2 of a.parquet", "item: expected text in UTF-8, got b'\\xff\\xfe'")]


def test_decimals_and_uuids_of_parquet_are_texts_of_every_digit(tmp_path: Path) -> None:
    """Sixteen bytes are a UUID where the column says so or they are no text; a text of sixteen characters stays one."""
    first, second = uuid.UUID(int=5 << 120 | 7), uuid.UUID("0123abcd-89ab-4def-8123-456789abcdef")
    table = pa.table(
        {
            "user": pa.array([Decimal("123.00"), Decimal("99999999999999999.25")], pa.decimal128(38, 2)),
            "item": pa.array([b"sixteen chars ok", second.bytes], pa.binary(16)),
            "session": pa.array([first.bytes, second.bytes], pa.uuid()),
            "ts": pa.array([Decimal(T), Decimal(T)], pa.decimal128(38, 0)),
            "type": ["view", "view"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    mapping = LogMapping(FieldNames("user", "item", "ts", "type", session="session"))
    events = [orjson.loads(row.value) for row in rows_of(tmp_path / "a.parquet", mapping)]
    assert [event["user"] for event in events] == ["123", "99999999999999999.25"]
    assert [event["item"] for event in events] == ["sixteen chars ok", str(second)]
    assert [event["session"] for event in events] == [str(first), str(second)]
    assert [float(event["ts"]) for event in events] == [T, T]


def test_an_encoding_that_is_none_is_refused_with_the_mapping() -> None:
    for name in ("utf8x", "hex", ""):
        with pytest.raises(ValueError, match="encoding: must be one that Python knows"):
            LogMapping(FIELDS, encoding=name)


def test_a_text_that_is_cut_in_a_character_is_said_by_name(tmp_path: Path) -> None:
    text = (HEADER + f"a,x,{T},view\n").encode("utf-16")
    assert good(rows_of(write(tmp_path / "a.csv", text), LogMapping(FIELDS, encoding="utf-16"))) == ["x"]
    with pytest.raises(ConfigurationError, match=r"log .*a\.csv: .*utf-16"):
        rows_of(write(tmp_path / "a.csv", text[:-1]), LogMapping(FIELDS, encoding="utf-16"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
def test_a_line_without_end_is_one_dead_letter_in_bounded_memory(tmp_path: Path, name: str) -> None:
    """1.5 MB of gzip, one line of JSON, took 3.1 GB."""
    header = b"" if "jsonl" in name else HEADER.encode()
    line = orjson.dumps({"user": "a", "item": "x", "ts": T, "type": "view"}) if "jsonl" in name else b"a,x,%d,view" % T
    path = write(tmp_path / name, gzip.compress(header + b"[" * (5 * MAX_LINE_BYTES) + b"\n" + line + b"\n", 1))
    tracemalloc.start()
    try:
        rows = rows_of(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert good(rows) == ["x"]
    number = 1 + bool(header)
    assert faults(rows) == [(f"line {number} of {name}", "expected a line of at most 16 MiB, got a longer one")]
    assert len(rows[0].value) <= 1 << 16
    assert most < 6 * MAX_LINE_BYTES


def test_a_header_that_was_cut_by_the_wrong_delimiter_hints_at_the_right_one(tmp_path: Path) -> None:
    log = write(tmp_path / "a.csv", f"user;item;ts;type\na;x;{T};view\n")
    with pytest.raises(ConfigurationError, match=r"has no column 'user'; its only column .* delimiter = \";\"\?"):
        rows_of(log)
    assert good(rows_of(log, LogMapping(FIELDS, delimiter=";"))) == ["x"]


class TestQuotes:
    def test_a_record_of_several_lines_is_one_row(self, tmp_path: Path) -> None:
        log = write(tmp_path / "a.csv", HEADER + f'a,"x\r\ny, ""z""",{T},view\n\nb,w,{T},view\n')
        rows = rows_of(log)
        assert good(rows) == ['x\r\ny, "z"', "w"]
        assert [row.place for row in rows] == ["line 2 of a.csv", "line 5 of a.csv"]

    @pytest.mark.parametrize("lines", [3, 98, 300, 5_000])
    def test_a_stray_quote_costs_its_line_however_far_the_next_one_is(self, tmp_path: Path, lines: int) -> None:
        between = "".join(f"a,{n},{T},view\n" for n in range(lines))
        log = write(tmp_path / "a.csv", HEADER + f'b,"5 inch,{T},view\n' + between + f'c,6" pipe,{T},view\n')
        rows = rows_of(log)
        assert good(rows) == [*map(str, range(lines)), '6" pipe']
        assert [place for place, _ in faults(rows)] == ["line 2 of a.csv"]

    def test_stray_quotes_in_many_lines_cost_these(self, tmp_path: Path) -> None:
        lines = [f'a,"{n} inch,{T},view' if n % 3 == 0 else f"a,{n},{T},view" for n in range(300)]
        rows = rows_of(write(tmp_path / "a.csv", HEADER + "\n".join(lines)))
        assert good(rows) == [str(n) for n in range(300) if n % 3]

    def test_a_field_that_is_too_large_costs_its_row(self, tmp_path: Path) -> None:
        """It ended the whole replay."""
        log = write(tmp_path / "a.csv", HEADER + f"a,{'x' * 200_000},{T},view\nb,y,{T},view\n")
        rows = rows_of(log)
        assert good(rows) == ["y"]
        [(place, reason)] = faults(rows)
        assert place == "line 2 of a.csv"
        assert reason.startswith("expected 4 columns, got field larger than field limit")

    @given(st.lists(st.text('a",\n', max_size=8), max_size=12))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_line_is_in_one_row_or_blank(
        self, tmp_path_factory: pytest.TempPathFactory, cells: list[str]
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "quotes.csv"
        text = HEADER + "".join(cell + "\n" for cell in cells)
        rows = rows_of(write(path, text))
        places = [int(row.place.split()[1]) for row in rows]
        assert places == sorted(set(places))
        blank = [line == "" for line in text.split("\n")]
        first = next((n for n, is_blank in enumerate(blank) if n and not is_blank), None)
        assert places[:1] == ([] if first is None else [first + 1])

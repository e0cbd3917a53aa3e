"""A recorded log is read row by row, in a known order and with nothing lost."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_worker.backends.files import FieldNames, LogReader, load_mapping, read_log
from stream_worker.backends.files import Mapping as LogMapping
from stream_worker.core.decoder import Decoder
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.events import DeadLetter, Events, Record
from stream_worker.core.mapping.config import EventsConfig
from tests.core.hostile import hostile_records

T = 1_400_000_000
FIELDS = FieldNames(user="user", item="item", ts="ts", type="type")
PLAIN = LogMapping(FIELDS)
EXAMPLES = Path(__file__).parents[2] / "examples"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def decode(paths: list[Path], mapping: LogMapping) -> tuple[Events, list[DeadLetter]]:
    reader = LogReader(paths, mapping)
    decoder = Decoder(mapping.events(EventsConfig()), from_log=True)
    decoded = decoder.decode(
        [
            Record(0, n, row.timestamp_ms, row.key.encode(), row.value, row.place, row.fault)
            for n, row in enumerate(reader)
        ]
    )
    assert decoder.key_mismatches == 0
    return decoded


def pairs(events: Events) -> list[tuple[str, str]]:
    return list(zip(events.users, events.items, strict=True))


class TestReading:
    def test_a_row_becomes_an_event_of_the_contract_at_its_own_time(self, tmp_path: Path) -> None:
        log = write(tmp_path / "a.csv", f"who,what,when,n,sid,kind\n5,shoe,{T}.25,2.5,s1,7\n")
        fields = FieldNames(user="who", item="what", ts="when", value="n", session="sid", category="kind")
        [(key, value, at)] = read_log([log], LogMapping(fields, default_type="click"))
        assert (key, at) == ("5", T * 1000 + 250)
        want = {"user": "5", "item": "shoe", "ts": T + 0.25, "value": 2.5, "session": "s1", "type": "click"}
        want["category"] = "7"
        assert orjson.loads(value) == want

    @pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
    @pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
    def test_a_format_reads_the_same_plain_and_compressed(self, tmp_path: Path, kind: str, ending: str) -> None:
        rows = [("u1", 'a "b"', "click", T), ("ü2", "c", "view", T + 1)]
        if kind == "jsonl":
            text = "\n".join(
                orjson.dumps(dict(zip(("user", "item", "type", "ts"), r, strict=True))).decode() for r in rows
            )
        elif kind == "csv":
            text = f'user,item,type,ts\nu1,"a ""b""",click,{T}\nü2,c,view,{T + 1}\n'
        else:
            text = f'user\titem\ttype\tts\r\nu1\ta "b"\tclick\t{T}\r\nü2\tc\tview\t{T + 1}'
        log = tmp_path / f"log.{kind}{ending}"
        with pa.output_stream(str(log)) as file:
            file.write(text.encode())
        events, dead = decode([log], PLAIN)
        assert dead == []
        assert pairs(events) == [("u1", 'a "b"'), ("ü2", "c")]
        assert events.ts_B.tolist() == [T, T + 1]

    def test_parquet_columns_of_many_types_are_read(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "user": pa.array([17850.0, None, 3.0]),
                "item": pa.array(["a", "b", "c"]).dictionary_encode(),
                "ts": pa.array([datetime(2014, 5, 13, 16, 53, 20)] * 3, pa.timestamp("ns")),
                "type": pa.array([b"click", b"view", b"click"]),
            }
        )
        pq.write_table(table, tmp_path / "log.parquet")
        reader = LogReader([tmp_path / "log.parquet"], PLAIN)
        assert [row.key for row in reader] == ["17850", "", "3"]
        assert reader.total == 3
        events, dead = decode([tmp_path / "log.parquet"], PLAIN)
        assert pairs(events) == [("17850", "a"), ("3", "c")]
        assert events.ts_B.tolist() == [T, T]
        assert [letter.error for letter in dead] == ["MissingField"]

    def test_sorting_is_by_time_and_keeps_the_order_of_ties(self, tmp_path: Path) -> None:
        first = write(tmp_path / "1.csv", f"user,item,ts,type\na,1,{T + 5}.0004,click\nb,2,{T},click\n")
        second = write(tmp_path / "2.csv", f"user,item,ts,type\nc,3,{T},click\nd,4,{T + 5}.0001,click\n")
        mapping = LogMapping(FIELDS, sort=True)
        assert pairs(decode([first, second], mapping)[0]) == [("b", "2"), ("c", "3"), ("d", "4"), ("a", "1")]
        assert pairs(decode([second, first], mapping)[0])[:2] == [("c", "3"), ("b", "2")]

    def test_many_rows_of_one_time_stay_in_the_files_order(self, tmp_path: Path) -> None:
        """A basket's lines share one time; more of them than a sort may keep in order by chance."""
        lines = "".join(f"u,{n},{T + n % 3},click\n" for n in range(3000))
        log = write(tmp_path / "a.csv", "user,item,ts,type\n" + lines)
        items = decode([log], LogMapping(FIELDS, sort=True))[0].items
        assert items == [str(n) for rest in range(3) for n in range(rest, 3000, 3)]

    def test_rows_that_fail_a_condition_are_no_part_of_the_log_and_are_counted(self, tmp_path: Path) -> None:
        log = write(
            tmp_path / "a.csv", f"user,item,ts,type,n\na,1,{T},click,2\n,2,{T},click,2\nc,3,{T},click,-1\nd,4,{T},x,\n"
        )
        reader = LogReader([log], LogMapping(FIELDS, keep={"user": "not null", "n": "> 0"}))
        assert [row.key for row in reader] == ["a"]
        assert reader.left_out == 3
        kept = LogMapping(FIELDS, keep={"type": "!= x", "n": "<= 2"})
        assert [key for key, _, _ in read_log([log], kept)] == ["a", "", "c"]

    def test_a_list_column_gives_a_row_an_element(self, tmp_path: Path) -> None:
        session = {
            "session": 7,
            "events": [{"aid": 1, "ts": T * 1000, "kind": "clicks"}, {"aid": 2, "ts": T, "kind": 5}],
        }
        log = write(tmp_path / "a.jsonl", orjson.dumps(session) + b'\n{"session":8,"events":[]}\n{"session":9}\n')
        fields = FieldNames(user="session", item="aid", ts="ts", type="kind")
        mapping = LogMapping(fields, explode="events", types={"clicks": "click", "5": "cart"})
        pq.write_table(pa.Table.from_pylist([{**session, "events": session["events"][:1]}]), tmp_path / "b.parquet")  # type: ignore[index]
        events, dead = decode([log, tmp_path / "b.parquet"], mapping)
        assert pairs(events) == [("7", "1"), ("7", "2"), ("7", "1")]
        assert events.type_B.tolist() == [1, 2, 1]
        assert [letter.reason for letter in dead] == ["aid: expected a string or an integer, got nothing"]

    def test_whole_floats_are_integers_and_texts_of_json_stay_as_they_are(self, tmp_path: Path) -> None:
        csv = write(tmp_path / "a.csv", f"user,item,ts,type\n17850.0,1.50,{T}.0,click\n")
        line = orjson.dumps({"user": 17850.0, "item": "1.0", "ts": str(T), "type": "click"})
        assert pairs(decode([csv], PLAIN)[0]) == [("17850", "1.50")]
        assert pairs(decode([write(tmp_path / "a.jsonl", line)], PLAIN)[0]) == [("17850", "1.0")]

    def test_a_file_without_a_header_has_columns_by_number(self, tmp_path: Path) -> None:
        log = write(tmp_path / "u.data", f"u;3;{T}\nv;4;{T}\n")
        mapping = LogMapping(FieldNames("1", "2", "3"), "csv", ";", header=False, default_type="rating")
        assert pairs(decode([log], mapping)[0]) == [("u", "3"), ("v", "4")]

    def test_rows_that_cannot_be_events_come_out_in_their_place_with_a_reason(self, tmp_path: Path) -> None:
        content = (
            b"\xef\xbb\xbfuser,item,ts,type\n"
            + f"a,1,{T},click\n,2,{T + 1},click\nb,3,soon,click\ntoo,few\nd,\xe4,{T + 2},click\n".encode("latin-1")
            + f"e,5,{T + 3},click\n\nf,6,1e300,click\n".encode()
        )
        log = write(tmp_path / "a.csv", content)
        events, dead = decode([log], PLAIN)
        assert events.offset_B.tolist() == [0, 5]
        assert [letter.error for letter in dead] == [
            "MissingField",
            "BadTimestamp",
            "NotARow",
            "NotARow",
            "BadTimestamp",
        ]
        assert [letter.record.place for letter in dead] == [f"line {line} of a.csv" for line in (3, 4, 5, 6, 9)]
        assert [letter.reason for letter in dead][2:4] == [
            "expected 4 columns, got 2",
            "item: expected text in UTF-8, got b'\\xe4'",
        ]
        assert [letter.record.timestamp_ms for letter in dead] == [(T + s) * 1000 for s in (1, 1, 1, 2, 3)]
        assert dead[2].record.value == b"too,few"
        assert b"\xe4" in (dead[3].record.value or b"")

    def test_a_text_file_may_have_another_encoding(self, tmp_path: Path) -> None:
        log = write(tmp_path / "a.csv", f"user,item,ts,type\nä,1,{T},click\n".encode("latin-1"))
        assert pairs(decode([log], LogMapping(FIELDS, encoding="latin-1"))[0]) == [("ä", "1")]

    def test_hostile_lines_are_dead_letters_whatever_they_hold(self, tmp_path: Path) -> None:
        """The same bytes as from the topic, by the same rules."""
        lines = [value for value, _ in hostile_records(400, seed=4) if value and b"\n" not in value and value.strip()]
        log = write(tmp_path / "a.jsonl", b"\n".join(lines))
        every = LogMapping(FieldNames("user", "item", "ts", "type", "value", request_id="request_id"))
        events, dead = decode([log], every)
        assert len(events) == 0
        assert len(dead) == len(lines)

    def test_a_broken_file_is_said_by_name(self, tmp_path: Path) -> None:
        torn = write(
            tmp_path / "torn.csv.gz", gzip.compress(b"user,item,ts,type\n" + b"a,1,1400000000,click\n" * 9999)[:-60]
        )
        with pytest.raises(ConfigurationError, match=r"torn\.csv\.gz"):
            list(read_log([torn], PLAIN))
        with pytest.raises(ConfigurationError, match=r"gone\.csv"):
            list(read_log([tmp_path / "gone.csv"], PLAIN))
        with pytest.raises(ConfigurationError, match=r"has no column 'item'; did you mean 'items'\?"):
            list(read_log([write(tmp_path / "b.csv", "user,items,ts,type\n")], PLAIN))
        with pytest.raises(ConfigurationError, match=r"format: unknown extension of b\.bin"):
            list(read_log([tmp_path / "b.bin"], PLAIN))


class TestMappingFile:
    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
    def test_every_example_loads_and_names_itself_in_its_command(self, path: Path) -> None:
        load_mapping(path)
        assert f"--mapping examples/{path.name}" in path.read_text()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sorted = true", "unknown key sorted; did you mean 'sort'"),
            ("[fields]\nuser='u'\nitme='i'", "unknown key fields.itme; did you mean 'item'"),
            ("[fields]\nuser='u'\nitem='i'", "fields.ts: must name a column"),
            ("sort = true", "fields"),
            ("sort = 'often'\n[fields]\nuser='u'\nitem='i'\nts='t'", "sort: .* got .often."),
            ("format='xml'\n[fields]\nuser='u'\nitem='i'\nts='t'", "format: must be one of jsonl, .* got 'xml'"),
            ("[fields]\nuser='u'\nitem='i'\nts='t'\n[keep]\nq='about 5'", "keep.q: must be .* got 'about 5'"),
            ("[fields]\nuser='u'\nitem='i'\nts='t'\n[keep]\nq='> five'", "keep.q: > must be followed by a number"),
            ("[fields", "mapping.toml"),
        ],
    )
    def test_a_mistake_is_refused_by_name(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            load_mapping(write(tmp_path / "mapping.toml", text))

    def test_a_missing_mapping_file_is_a_configuration_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"none\.toml: No such file"):
            load_mapping(tmp_path / "none.toml")

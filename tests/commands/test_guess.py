"""`stream-worker guess`: TOML that the other commands accept, and that reads the records it was guessed from."""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from stream_worker.config import load_settings
from stream_worker.core.events import Record
from stream_worker.core.recorded import encode_record
from stream_worker.exit_codes import ExitCode
from stream_worker.presets import names
from tests.core.guessing.shops import documents, flat, nested, order
from tests.test_commands import call

TRACKERS = Path(__file__).parent.parent / "data" / "trackers"
_SHOPS = {"flat": flat, "order": order, "nested": nested}


def write(path: Path, values: list[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    return path


def guessed(source: object, *more: str, **settings: str) -> str:
    code, out, err = call("guess", str(source), *more, **settings)
    assert code == ExitCode.DONE, err
    return out


@pytest.mark.parametrize("shop", _SHOPS)
def test_a_guess_from_a_file_is_a_mapping_that_replays_it(shop: str, tmp_path: Path) -> None:
    values = documents(_SHOPS[shop], 200)
    log, mapping = write(tmp_path / "log.jsonl", values), tmp_path / "mapping.toml"
    assert call("guess", str(log), "--out", str(mapping))[0] == ExitCode.DONE
    letters = tmp_path / "letters.jsonl"
    code, out, err = call("replay", str(log), "-m", str(mapping), "--dead-letters", str(letters))
    assert code == ExitCode.DONE, err
    assert ", 0 dead letters, " in out


@pytest.mark.kafka
@pytest.mark.parametrize("shop", _SHOPS)
def test_a_guess_from_a_topic_is_a_configuration_that_checks_well(
    shop: str, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic, path = make_topic(partitions=2), tmp_path / "worker.toml"
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for value in documents(_SHOPS[shop], 300):
        producer.produce(topic, orjson.dumps(value), str(value.get("visitorid", "x")).encode())
    assert producer.flush(30) == 0
    settings = {"KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "KAFKA__OUTPUT_TOPIC": f"{topic}.lists"}
    text = guessed(topic, **settings)
    path.write_text(text)
    assert f"# {'300' if shop == 'flat' else 'warning: 0'} of " in text
    assert load_settings(path, {}).kafka.dead_letter_topic == f"{topic}.dead"
    assert call("topics", "create", "-c", str(path))[0] == ExitCode.DONE
    code, out, _ = call("check", "-c", str(path), CHECKPOINT__PATH=str(tmp_path / "checkpoints"))
    assert code == ExitCode.DONE, out
    assert "0 dead letters\n" in out


@pytest.mark.parametrize("name", names("events"))
def test_the_records_of_a_tracker_are_told_by_its_preset(name: str, tmp_path: Path) -> None:
    """As they would be in a topic, with their headers."""
    [values] = (TRACKERS / name).glob("records.*")
    expected = orjson.loads((TRACKERS / name / "expected.json").read_bytes())
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        for number, (value, wanted) in enumerate(zip(values.read_bytes().splitlines(), expected, strict=True)):
            headers = [(header, text.encode()) for header, text in wanted.get("headers", {}).items()]
            file.write(encode_record(Record(0, number, 1_772_712_000_000, b"k", value, headers=headers)))
    assert tomllib.loads(guessed(path)) == {"events": {"preset": name}}


def test_the_configuration_s_own_topic_keeps_its_dead_letters(tmp_path: Path) -> None:
    from stream_worker.backends.kafka import KafkaConfig
    from stream_worker.commands.guess import _kafka_section

    own = KafkaConfig(input_topic="clicks", dead_letter_topic="bad", extra={"sasl.password": "hush"})
    text = "\n".join(_kafka_section(own, "clicks"))
    assert tomllib.loads(text)["kafka"]["dead_letter_topic"] == "bad"
    assert "hush" not in text
    assert "[kafka.extra]" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [("log.csv", None), ("log.tsv", None), ("log.txt", 'format = "csv"'), ("semi.csv", 'delimiter = ";"')],
)
def test_files_with_columns_are_read_by_their_header(name: str, said: str | None, tmp_path: Path) -> None:
    sign = {"log.tsv": "\t", "semi.csv": ";"}.get(name, ",")
    rows = [
        ["visitorid", "itemid", "event", "timestamp"],
        *([*map(str, value.values())] for value in documents(flat, 50)),
    ]
    log, mapping = tmp_path / name, tmp_path / "mapping.toml"
    log.write_text("".join(sign.join(row) + "\n" for row in rows))
    text = guessed(log)
    assert said is None or said in text
    mapping.write_text(text)
    code, out, err = call("replay", str(log), "-m", str(mapping))
    assert code == ExitCode.DONE, err
    assert "50 events in" in out


def test_parquet_and_compressed_lines_are_read(tmp_path: Path) -> None:
    values = documents(flat, 50)
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "log.parquet")
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(write(tmp_path / "log.jsonl", values).read_bytes()))
    for name in ("log.parquet", "log.jsonl.gz"):
        assert tomllib.loads(guessed(tmp_path / name))["fields"]["user"] == "visitorid"


def test_what_record_wrote_gets_the_section_of_a_topic(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [
        encode_record(Record(0, n, 2_000_000_000_000, b"k", orjson.dumps(value)))
        for n, value in enumerate(documents(flat, 50))
    ]
    path.write_bytes(b"".join(lines))
    text = guessed(path)
    assert tomllib.loads(text)["events"]["user"] == "visitorid"
    assert "0 of 50 records with events are keyed by their user" in text


def test_bytes_from_outside_can_not_break_the_text(tmp_path: Path) -> None:
    """Names and values that end a comment, a text or a line, or that a terminal would obey."""
    nasty = 'a"\n[x]\x1b\x9b\u202e\\'
    values = [
        {'user"\nid': f"{nasty}{n % 7}", "itemid": f"{nasty}{n % 9}", "event": f"view{nasty}", "ts": 1_772_445_803 + n}
        for n in range(60)
    ]
    text = guessed(write(tmp_path / "log.jsonl", [value | {"userid": f"u{n}"} for n, value in enumerate(values)]))
    assert tomllib.loads(text)["fields"]["item"] == "itemid"
    assert all(line.isprintable() for line in text.splitlines())


def _visits(timed: bool) -> list[dict[str, Any]]:
    """Half of the visitors are logged in; some records are logins."""
    values: list[dict[str, Any]] = [
        {"event": "view", "productId": f"p{n % 7}", "anonymousId": f"a{n % 11}"}
        | ({"userId": f"u{n % 5}"} if n % 2 else {})
        for n in range(60)
    ]
    values += [{"event": "identify", "userId": f"u{n}", "anonymousId": f"a{n}"} for n in range(4)]
    return [value | ({"timestamp": 1_772_445_803 + n} if timed else {}) for n, value in enumerate(values)]


def test_visitors_who_log_in_are_read_by_both_ids(tmp_path: Path) -> None:
    log, mapping = write(tmp_path / "log.jsonl", _visits(timed=True)), tmp_path / "mapping.toml"
    text = guessed(log)
    found = tomllib.loads(text)
    assert found["fields"]["user"] == ["userId", "anonymousId"]
    assert "in 100% of the records: 53% have userId, 100% have anonymousId\n" in text
    assert (found["fields"]["alias"], found["types"]) == ("anonymousId", {"identify": "alias"})
    mapping.write_text(text)
    code, out, err = call("replay", str(log), "-m", str(mapping))
    assert code == ExitCode.DONE, err
    assert "60 events in" in out
    assert ", 0 dead letters, " in out


def test_a_file_without_a_time_is_told_so(tmp_path: Path) -> None:
    """Its rows have none of their own, as the records of a topic do."""
    code, out, err = call("guess", str(write(tmp_path / "log.jsonl", _visits(timed=False))))
    assert (code, out) == (ExitCode.FAILED, "")
    assert "nothing looks like a time" in err
    lines = [encode_record(Record(0, n, 2_000_000_000_000, b"k", orjson.dumps(value)))
             for n, value in enumerate(_visits(timed=False))]  # fmt: skip
    (tmp_path / "recorded.jsonl").write_bytes(b"".join(lines))
    assert tomllib.loads(guessed(tmp_path / "recorded.jsonl"))["events"]["ts"] == "record_time"


def test_no_shop_is_an_error_that_names_the_fields(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", [{"temperature": n / 7} for n in range(50)])
    code, out, err = call("guess", str(log))
    assert (code, out) == (ExitCode.FAILED, "")
    assert "temperature" in err


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", documents(flat, 20))
    code, _, err = call("guess", str(log), "--out", str(log))
    assert code == ExitCode.CONFIGURATION
    assert "is there already" in err


@pytest.mark.kafka
def test_an_empty_topic_and_an_empty_file_say_so(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    for source in (make_topic(), str(tmp_path / "empty.jsonl")):
        code, _, err = call("guess", source, KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap)
        assert code == ExitCode.FAILED
        assert "nothing to guess from" in err


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_answered_with_the_nearest_one(
    kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic("quince-clicks")
    code, _, err = call("guess", topic.replace("quince", "qince"), KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap)
    assert code == ExitCode.FAILED
    assert err.endswith(f"; did you mean {topic!r}?\n")

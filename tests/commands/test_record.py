"""`stream-worker record`: a topic's records in a file, nothing lost, partitions mixed by time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Producer

from stream_worker import assembly
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.core.errors import InvalidEvent
from stream_worker.core.recorded import decode_record
from stream_worker.exit_codes import ExitCode
from tests.support.services import free_port
from tests.test_commands import call

_MS = 1_700_000_000_000


def filled(bootstrap: str, topic: str, count: int = 40) -> None:
    """Records of four kinds, a second apart, in the two partitions by turns."""
    producer = Producer({"bootstrap.servers": bootstrap})
    values = [b'{"user":"alice","user":"bob"}', b"no JSON", b"\0\xff", None]
    for number in range(count):
        headers: dict[str, str | bytes | None] = {"ce_type": b"view", "raw": b"\xff"} if number == 0 else {}
        value, stamp = values[number % 4], _MS + 1_000 * number
        producer.produce(topic, value, b"u%d" % number, number % 2, timestamp=stamp, headers=headers)
    assert producer.flush(30) == 0


def lines(path: Path) -> Iterator[dict[str, object]]:
    with pa.input_stream(str(path)) as stream:
        for line in stream.read().splitlines():
            yield json.loads(line)


@pytest.fixture
def topic(kafka_bootstrap: str, make_topic: Callable[..., str]) -> str:
    name = make_topic(partitions=2)
    filled(kafka_bootstrap, name)
    return name


def record(bootstrap: str, *arguments: object) -> tuple[int, str, str]:
    return call("record", *map(str, arguments), KAFKA__BOOTSTRAP_SERVERS=bootstrap)


@pytest.mark.kafka
@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.jsonl.zst"])
def test_everything_is_there_by_time(kafka_bootstrap: str, topic: str, tmp_path: Path, name: str) -> None:
    code, out, err = record(kafka_bootstrap, topic, tmp_path / name)
    assert code == ExitCode.DONE, err
    assert out.startswith(f"40 records of {topic} to {tmp_path / name} in ")
    with pa.input_stream(str(tmp_path / name)) as stream:
        found = [decode_record(line) for line in stream.read().splitlines()]
    assert [r.timestamp_ms for r in found] == [_MS + 1_000 * number for number in range(40)]
    assert [(r.partition, r.offset) for r in found[:4]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [r.value for r in found[:4]] == [b'{"user":"alice","user":"bob"}', b"no JSON", b"\0\xff", None]
    assert (found[0].key, tuple(found[0].headers)) == (b"u0", (("ce_type", b"view"), ("raw", b"\xff")))


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("moments", "numbers"),
    [
        (("--from", "18"), range(36, 40)),
        (("--to", "2"), range(4)),
        (("--from", "2023-11-14T22:13:30Z", "--to", "2023-11-14T22:13:33Z"), range(10, 13)),
        (("--from", "-3650d", "--to", "2023-11-14T22:13:25"), range(5)),
    ],
)
def test_a_part_is_cut_out_by_offset_or_time(
    kafka_bootstrap: str, topic: str, tmp_path: Path, moments: tuple[str, ...], numbers: range
) -> None:
    code, _, err = record(kafka_bootstrap, topic, tmp_path / "log.jsonl", *moments)
    assert code == ExitCode.DONE, err
    assert [line["key"] for line in lines(tmp_path / "log.jsonl")] == [f"u{number}" for number in numbers]


@pytest.mark.kafka
def test_a_part_without_records_is_said_and_leaves_no_file(kafka_bootstrap: str, topic: str, tmp_path: Path) -> None:
    code, out, err = record(kafka_bootstrap, topic, tmp_path / "log.jsonl", "--from", "-1h")
    assert (code, out) == (ExitCode.FAILED, "")
    assert "no record" in err
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.kafka
def test_a_file_that_is_there_is_not_overwritten(kafka_bootstrap: str, topic: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("mine")
    code, _, err = record(kafka_bootstrap, topic, tmp_path / "log.jsonl")
    assert code == ExitCode.CONFIGURATION
    assert "is there already" in err
    assert (tmp_path / "log.jsonl").read_text() == "mine"


@pytest.mark.kafka
def test_records_of_an_aborted_transaction_are_none(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = make_topic(partitions=1)
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "transactional.id": f"t-{topic}"})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number)
        producer.flush(30)
        producer.commit_transaction(30) if number % 2 == 0 else producer.abort_transaction(30)
    code, _, err = record(kafka_bootstrap, topic, tmp_path / "log.jsonl")
    assert code == ExitCode.DONE, err
    assert [line["value"] for line in lines(tmp_path / "log.jsonl")] == [0, 2, 4]
    reader = SpanReader(KafkaConfig(kafka_bootstrap), topic)
    assert [found.value for found in reader.newest(2)] == [b"2", b"4"]
    assert [found.value for found in reader.newest(100)] == [b"0", b"2", b"4"]
    reader.close()


@pytest.mark.kafka
def test_a_partition_with_many_records_waits_for_the_others(
    kafka_bootstrap: str, make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are fetched, dropped and fetched again meanwhile; each comes once, in order."""
    from stream_worker.backends.kafka import spans

    monkeypatch.setattr(spans, "_MOST_WAITING", 200)
    monkeypatch.setattr(spans, "_FEW_WAITING", 20)
    monkeypatch.setattr(spans, "_AT_ONCE", 50)
    topic = make_topic(partitions=2)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for number in range(3_000):
        producer.produce(topic, b"%d" % number, partition=0, timestamp=_MS + number)
    for number in range(3_000):
        producer.produce(topic, b"%d" % number, partition=1, timestamp=_MS + number)
    assert producer.flush(60) == 0
    reader = SpanReader(KafkaConfig(kafka_bootstrap), topic)
    found = list(reader.read(reader.span()))
    reader.close()
    assert [int(record.value or b"") for record in found] == [number for number in range(3_000) for _ in range(2)]


@pytest.mark.kafka
def test_ctrl_c_leaves_whole_lines(kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path) -> None:
    topic, path = make_topic(partitions=1), tmp_path / "log.jsonl.gz"
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 50})
    for number in range(300_000):
        producer.produce(topic, b'{"user":"u%d"}' % number, timestamp=_MS)
        producer.poll(0) if number % 50_000 else producer.flush(60)
    assert producer.flush(60) == 0
    arguments = [sys.executable, "-m", "stream_worker", "record", topic, str(path)]
    process = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, env={"STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap}
    )
    end = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    found = list(lines(path))
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert 0 < len(found) < 300_000
    assert f"holds the first {len(found):,} records of {topic}" in err.decode()


def test_a_moment_that_is_none_is_usage(tmp_path: Path) -> None:
    code, _, err = call("record", "clicks", str(tmp_path / "log.jsonl"), "--from", "yesterday")
    assert code == ExitCode.USAGE
    assert "--from" in err
    assert "-1h" in err


def test_a_kafka_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    code, _, err = record(f"127.0.0.1:{free_port()}", "clicks", tmp_path / "log.jsonl")
    assert code == ExitCode.FAILED
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.kafka
def test_values_that_name_a_schema_are_written_as_their_documents(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the registry can't read stays as it is, so that it is a dead letter again."""

    def read(value: bytes) -> object:
        if value == b"\0bad":
            raise InvalidEvent("UnknownSchema", "no such schema")
        return {"user": value[1:].decode()}

    monkeypatch.setattr(assembly, "documents_of", lambda settings: read)
    topic = make_topic(partitions=1)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for value in (b"\0alice", b"\0bad", b'{"user": "bob"}'):
        producer.produce(topic, value)
    assert producer.flush(30) == 0
    path = tmp_path / "log.jsonl"
    code, _, err = call(
        "record", topic, str(path), KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap, REGISTRY__URL="http://127.0.0.1:1"
    )
    assert code == ExitCode.DONE, err
    found = [decode_record(line).value for line in path.read_bytes().splitlines()]
    assert found == [b'{"user":"alice"}', b"\0bad", b'{"user": "bob"}']

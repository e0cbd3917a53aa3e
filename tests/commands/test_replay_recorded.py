"""What `record` wrote is replayed without a mapping: the same events, dead letters and lists as from the topic."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from stream_worker.backends.files.recorded_log import RecordedLog, is_recorded
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.spans import SpanReader
from stream_worker.config import load_settings
from stream_worker.core.decoder import Decoder
from stream_worker.core.events import Record
from stream_worker.core.recorded import encode_record
from stream_worker.exit_codes import ExitCode
from tests.support.fleet import Fleet, committed, read_all
from tests.test_commands import call
from tests.test_replay import shoppers, write_log

_SECONDS = 1_700_000_000
_EVENTS = {
    "EVENTS__USER": '["user.id", "key"]',
    "EVENTS__ITEM": '[".sku", "sku"]',
    "EVENTS__EACH": "lines",
    "EVENTS__TYPE": '["header:ce_type", "type"]',
    "EVENTS__TS": '["at", "record_time"]',
    "EVENTS__TYPES": '{"page": "ignore", "view": {}, "purchase": {}}',
}


def values(count: int) -> list[tuple[bytes, bytes | None, dict[str, bytes]]]:
    """Key, value and headers of orders, views, pages, and of what is no event."""
    draw = random.Random(3)
    made: list[tuple[bytes, bytes | None, dict[str, bytes]]] = []
    for number in range(count):
        key, at = b"u%d" % draw.randrange(12), _SECONDS + number
        kind = number % 8
        if kind == 0:
            lines = [{"sku": f"i{draw.randrange(40)}"} for _ in range(draw.randrange(1, 4))] + [{}] * (number % 16 == 0)
            made.append(
                (key, orjson.dumps({"user": {"id": key.decode()}, "lines": lines, "at": at}), {"ce_type": b"purchase"})
            )
        elif kind == 1:
            made.append((key, b'{"sku":"a","sku":"b","type":"view"}', {}))
        elif kind == 2:
            made.append((key, (None, b"no JSON", b"\0\xff", b"")[number // 8 % 4], {}))
        elif kind == 3:
            made.append((key, orjson.dumps({"type": "page"}), {}))
        else:
            made.append((key, orjson.dumps({"sku": f"i{draw.randrange(40)}", "type": "view"}), {}))
    return made


@pytest.fixture
def topic(kafka_bootstrap: str, make_topic: Callable[..., str]) -> str:
    name = make_topic(partitions=2)
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "partitioner": "murmur2_random"})
    for number, (key, value, headers) in enumerate(values(400)):
        stamp = (_SECONDS + number) * 1_000
        producer.produce(name, value, key, timestamp=stamp, headers={**headers})
    assert producer.flush(30) == 0
    return name


@pytest.mark.kafka
def test_the_decoder_gives_the_same_of_a_topic_and_of_its_file(
    kafka_bootstrap: str, topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl.zst"
    code, _, err = call("record", topic, str(path), KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap)
    assert code == ExitCode.DONE, err
    config = load_settings(None, {f"STREAM_WORKER__{key}": value for key, value in _EVENTS.items()}).events
    with closing(SpanReader(KafkaConfig(kafka_bootstrap), topic)) as reader:
        events, letters = Decoder(config).decode(list(reader.read(reader.span())))
    events_again, letters_again = Decoder(config).decode(list(RecordedLog([path])))
    assert len(events) > 250
    for name in ("users", "items", "request_ids"):
        assert getattr(events_again, name) == getattr(events, name)
    for name in ("partition_B", "offset_B", "ts_B", "type_B", "within_B", "id_B", "session_B"):
        assert getattr(events_again, name).tolist() == getattr(events, name).tolist()
    assert [(one.error, one.reason, list(one.elements), one.record.value) for one in letters_again] == [
        (one.error, one.reason, list(one.elements), one.record.value) for one in letters
    ]


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_a_replay_does_what_a_worker_did(
    kafka_bootstrap: str, topic: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The same users have the same number of events in lists, and the same records are dead letters."""
    output, dead, group = make_topic(partitions=1), make_topic(partitions=1), f"group-{topic}"
    settings = {
        **_EVENTS,
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "KAFKA__INPUT_TOPIC": topic, "KAFKA__OUTPUT_TOPIC": output,
        "KAFKA__DEAD_LETTER_TOPIC": dead, "KAFKA__GROUP_ID": group, "CHECKPOINT__PATH": str(tmp_path / "checkpoints"),
    }  # fmt: skip
    with Fleet(tmp_path, **settings) as fleet:
        fleet.start("0")
        fleet.wait_for(lambda: committed(kafka_bootstrap, group, topic, 2) >= 400, "all records", timeout=400)
        assert fleet.stop("0") == ExitCode.DONE
    path, lists, letters = (tmp_path / name for name in ("log.jsonl", "lists.jsonl", "letters.jsonl"))
    assert call("record", topic, str(path), **settings)[0] == ExitCode.DONE
    files = ["--recommendations", str(lists), "--dead-letters", str(letters)]
    code, out, err = call("replay", str(path), *files, **settings)
    assert code == ExitCode.DONE, err
    replayed, published = Counter[str](), Counter[str]()
    for line in lists.read_bytes().splitlines():
        found = json.loads(line)
        replayed[found["user"]] += found["events"]
    for message in read_all(kafka_bootstrap, output):
        found = json.loads(message.value())
        published[found["user"]] += found["events"]
    assert replayed == published
    errors = Counter(json.loads(line)["error"] for line in letters.read_bytes().splitlines())
    assert errors == Counter(dict(message.headers())["error"].decode() for message in read_all(kafka_bootstrap, dead))
    assert f"{replayed.total():,} events in" in out


def test_an_order_of_rows_is_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(encode_record(Record(n % 3, n, 9 - n, None, b"%d" % n)) for n in range(9)))
    assert [record.value for record in RecordedLog([path, path])] == [b"%d" % n for n in range(9)] * 2


def test_a_bad_line_is_a_dead_letter_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(encode_record(Record(0, 0, 5, None, b"{}")) + b"\nnonsense\n")
    [_, bad] = RecordedLog([path])
    assert (bad.place, bad.value) == ("line 3 of log.jsonl", b"nonsense")
    assert bad.fault is not None
    assert bad.fault[0] == "NotARow"


def test_a_log_of_another_kind_needs_a_mapping(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", shoppers(3))
    assert not is_recorded(log)
    code, _, err = call("replay", str(log))
    assert code == ExitCode.USAGE
    assert "--mapping" in err

"""`stream-worker tail --dead`: records that are no event, with place, error and reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from stream_worker.backends.kafka import KafkaConfig, Published, dead_letter_headers
from stream_worker.commands import tail
from stream_worker.commands.dead_letters import letter_json, letter_line
from stream_worker.core.events import ELEMENTS_HEADER, DeadLetter, Record
from stream_worker.exit_codes import ExitCode
from tests.test_commands import call


def a_letter(offset: int, key: bytes | None = b"alice", value: bytes | None = b'{"user":"alice"}') -> Published:
    letter = DeadLetter(Record(3, offset, 0, key, value), "MissingField", "item: expected a string, got nothing")
    headers = {name: text.decode() for name, text in dead_letter_headers(letter, "clicks")}
    return Published(0, offset, 1_700_000_000_000, key, value, headers)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's, Bob's, and one without a key, by turns and without end."""

    def come(_: KafkaConfig, topic: str, *, from_beginning: bool, on_idle: Callable[[], None]) -> Iterator[Published]:
        assert topic == "events.dead"
        for offset in range(10_000):
            yield a_letter(offset, (b"alice", b"bob", None)[offset % 3])
        raise AssertionError("read on after what was asked for")

    monkeypatch.setattr(tail, "messages", come)


def test_a_line_says_when_where_what_why_and_how_the_record_begins() -> None:
    assert letter_line(a_letter(1041)) == (
        "2023-11-14 22:13:20  clicks 3:1041  MissingField  item: expected a string, got nothing  "
        '{"user":"alice"}'
    )  # fmt: skip


def test_a_long_value_is_cut_and_a_missing_one_is_said() -> None:
    assert letter_line(a_letter(1, value=b"x" * 1_000)).endswith("x" * 79 + "…")
    assert letter_line(a_letter(1, value=None)).endswith("(no value)")


def test_the_elements_that_are_bad_are_named() -> None:
    letter = a_letter(1)
    letter.headers[ELEMENTS_HEADER] = "1,4"
    assert "got nothing (elements 1,4)  {" in letter_line(letter)


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    shown = letter_line(a_letter(1, value=b"\x1b]0;owned\x07\n\xff" + "\u202ecup".encode()))
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07\\n\\xff\\u202ecup" in shown


def test_json_has_headers_key_and_value_whatever_the_bytes() -> None:
    assert json.loads(letter_json(a_letter(5))) == {
        "topic": "clicks", "partition": "3", "offset": "5", "error": "MissingField",
        "reason": "item: expected a string, got nothing", "timestamp_ms": 1_700_000_000_000,
        "key": "alice", "value": {"user": "alice"},
    }  # fmt: skip
    assert json.loads(letter_json(a_letter(5, None, b"\0\xff")))["value_base64"] == "AP8="


@pytest.mark.usefixtures("letters")
def test_count_and_user_hold_of_dead_letters_too() -> None:
    code, out, _ = call("tail", "--dead", "--count", "3")
    assert (code, [line.split()[3] for line in out.splitlines()]) == (ExitCode.DONE, ["3:0", "3:1", "3:2"])
    code, out, _ = call("tail", "--dead", "--user", "bob", "--count", "2", "--json")
    assert [json.loads(line)["offset"] for line in out.splitlines()] == ["1", "4"]


def test_items_are_no_part_of_a_dead_letter() -> None:
    code, _, err = call("tail", "--dead", "--items", "3")
    assert code == ExitCode.USAGE
    assert "--items" in err


@pytest.mark.kafka
def test_what_a_worker_set_aside_is_shown(kafka_bootstrap: str, make_topic: Callable[..., str]) -> None:
    topic, dead = make_topic(), make_topic()
    letter = DeadLetter(Record(2, 7, 0, b"alice", b"no JSON"), "NotJson", "expected a JSON object")
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(dead, letter.record.value, letter.record.key, headers=dict(dead_letter_headers(letter, topic)))
    assert producer.flush(30) == 0
    settings = {"KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "KAFKA__DEAD_LETTER_TOPIC": dead}
    code, out, err = call("tail", "--dead", "--from-beginning", "--count", "1", **settings)
    assert code == ExitCode.DONE, err
    assert out.endswith(f"  {topic} 2:7  NotJson  expected a JSON object  no JSON\n")

"""`stream-worker check`: every part with what to change where it fails, the newest records and a verdict; with --print
every key with its value."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka import KafkaConfig, KafkaSource
from stream_worker.commands import check
from stream_worker.config import load_settings
from stream_worker.core.errors import Unavailable
from stream_worker.exit_codes import ExitCode
from tests.backends.contracts_topics import Member
from tests.test_commands import call


def _down(_: object) -> str:
    raise Unavailable("kafka: 127.0.0.1:1: no broker")


def test_what_it_prints_is_the_configuration_as_a_file(tmp_path: Path) -> None:
    """Read again, it is the same in all keys."""
    path, printed = tmp_path / "worker.toml", tmp_path / "printed.toml"
    path.write_text(
        '[events]\npreset = "ga4"\nkeep = {"event_params[key=page].value" = "!= \\"a\\\\b\\""}\n'
        '[events.types."Order Completed"]\nrole = "purchase"\n'
        "[kafka.extra]\nsocket.timeout.ms = 2000\n[model]\nseed = 3\n"
    )
    code, out, _ = call("check", "--print", "-c", str(path))
    assert code == ExitCode.DONE
    printed.write_text(out)
    assert load_settings(printed, {}) == load_settings(path, {})
    assert '# types."Order Completed".target is not set\n' in out
    assert set(out.splitlines()) >= {"[kafka]", "[debug]", "seed = 3", 'extra."socket.timeout.ms" = "2000"'}


def test_it_prints_no_secret() -> None:
    extra = {"sasl.username": "me", "sasl.password": "hush", "ssl.key.password": "hush"}
    code, out, err = call("check", "--print", KAFKA__EXTRA=json.dumps(extra), MEMORY__REDIS_URL="redis://:hush@h/0")
    assert code == ExitCode.DONE
    assert tomllib.loads(out)["kafka"]["extra"] == {**dict.fromkeys(extra, "****"), "sasl.username": "me"}
    assert tomllib.loads(out)["memory"]["redis_url"] == "redis://:****@h/0"
    assert "hush" not in out + err


def test_a_part_that_fails_names_the_key_to_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line a part; a part that fails does not keep the others from being tried."""
    monkeypatch.setattr(check, "describe_cluster", _down)
    (tmp_path / "file").write_text("in the way")
    code, out, err = call("check", CHECKPOINT__PATH=str(tmp_path / "file"), WORKER__DEVICE="tpu")
    assert code == ExitCode.FAILED
    kafka, memory, checkpoint, device, empty, verdict = out.splitlines()
    assert kafka == "FAIL  kafka: 127.0.0.1:1: no broker ([kafka])"
    assert memory.startswith("ok    memory: in memory")
    assert checkpoint.startswith("FAIL  checkpoint: ")
    assert checkpoint.endswith("(checkpoint.path)")
    assert device.startswith("FAIL  device: worker.device: must be auto, cpu or a device of this machine, got 'tpu'")
    assert (empty, verdict) == ("", "check: failed: kafka, checkpoint, device")
    assert "Traceback" not in err


@pytest.mark.kafka
def test_topics_that_are_missing_fail(kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path) -> None:
    """The worker could not publish. What the input topic holds is shown all the same."""
    topic = make_topic(partitions=1)
    _sent(kafka_bootstrap, topic, [(b"ann", b'{"user":"ann","item":"cup","type":"view","ts":1700000000}')])
    code, out, _ = call(
        "check",
        CHECKPOINT__PATH=str(tmp_path),
        KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
        KAFKA__INPUT_TOPIC=topic,
        KAFKA__OUTPUT_TOPIC=f"{topic}.lists",
        KAFKA__DEAD_LETTER_TOPIC=f"{topic}.dead",
    )
    assert code == ExitCode.FAILED
    [line] = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert f"missing: {topic}.lists, {topic}.dead" in line
    assert "topics create" in line
    assert out.splitlines()[-3:] == [
        "      1 of 1 record with events are keyed by their user",
        "",
        "check: failed: kafka",
    ]
    assert "      ann  view  cup  " in out


@pytest.mark.kafka
def test_a_missing_input_topic_has_no_records_to_show(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = make_topic(partitions=1)
    settings = {"KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "CHECKPOINT__PATH": str(tmp_path)}
    code, out, _ = call("check", KAFKA__INPUT_TOPIC=f"{topic}.none", KAFKA__OUTPUT_TOPIC=topic, **settings)
    assert code == ExitCode.FAILED
    assert " events: " not in out
    assert out.endswith("check: failed: kafka\n")


@pytest.mark.kafka
def test_a_worker_that_has_the_slot_is_told(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """It is no fault, unless that worker reads another topic."""
    topic, other, group = make_topic(partitions=2), make_topic(partitions=1), f"group-{make_topic()}"
    config = KafkaConfig(kafka_bootstrap, input_topic=topic, group_id=group)

    def line(topic: str, slot: str) -> str:
        out = _output(kafka_bootstrap, topic, tmp_path, KAFKA__GROUP_ID=group, WORKER__SLOT=slot)
        return next(line for line in out.splitlines() if " group: " in line)

    assert line(topic, "0") == f"ok    group: no worker has slot '0' of group '{group}'"
    with closing(KafkaSource(config, "0")) as source:
        member = Member(source)
        member.poll_until(lambda: len(member.owner.owned) == 2)
        assert line(topic, "0") == (
            f"ok    group: a worker at 127.0.0.1 has slot '0' of group '{group}': it runs, or was stopped less than 45 "
            "s ago; a worker beside it needs a slot of its own (worker.slot)"
        )
        assert line(topic, "1") == f"ok    group: no worker has slot '1' of group '{group}'"
        free = f" of group '{group}'; the next start takes a free one (worker.slot)"
        assert line(topic, "auto") == f"ok    group: workers have slots 0{free}"
        assert line(other, "0").startswith(f"FAIL  group: kafka.group_id: slot '0' of group '{group}' reads {topic}, ")


@pytest.mark.kafka
def test_a_group_of_several_without_hearing_is_warned_of(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic, group = make_topic(partitions=2), f"group-{make_topic()}"
    config = KafkaConfig(kafka_bootstrap, input_topic=topic, group_id=group)

    def said(enabled: str) -> list[str]:
        out = _output(kafka_bootstrap, topic, tmp_path, KAFKA__GROUP_ID=group, HEARING__ENABLED=enabled)
        return [line.strip() for line in out.splitlines() if "hearing" in line or line.startswith("check: ")]

    assert said("true")[0].startswith("hearing: on, ")
    assert said("false")[0].startswith("hearing: off, which is good for one worker alone")
    with closing(KafkaSource(config, "7")) as source:
        member = Member(source)
        member.poll_until(lambda: len(member.owner.owned) == 2)
        assert said("true")[1:] == ["check: all good"]
        warned, verdict = said("false")
    assert warned.startswith("warning: hearing is off, and the group has 1 other worker: ")
    assert verdict == "check: all good, with 1 warning"


def _sent(bootstrap: str, topic: str, values: list[tuple[bytes, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number, (key, value) in enumerate(values):
        producer.produce(topic, value, key, timestamp=1_700_000_000_000 + number)
    assert producer.flush(30) == 0


def _output(bootstrap: str, topic: str, folder: Path, **more: str) -> str:
    return _check(bootstrap, topic, folder, **more)[1]


def _check(bootstrap: str, topic: str, folder: Path, **more: str) -> tuple[int, str]:
    """The exit code and the output, once all topics are there."""
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap, "KAFKA__INPUT_TOPIC": topic, "KAFKA__OUTPUT_TOPIC": f"{topic}.lists",
        "KAFKA__DEAD_LETTER_TOPIC": f"{topic}.dead", "CHECKPOINT__PATH": str(folder), **more,
    }  # fmt: skip
    assert call("topics", "create", **settings)[0] == ExitCode.DONE
    code, out, _ = call("check", **settings)
    return code, out


def _checked(bootstrap: str, topic: str, folder: Path, **more: str) -> tuple[int, str]:
    """The exit code, and what is said of the topic's records and the whole."""
    code, out = _check(bootstrap, topic, folder, **more)
    return code, out[out.index("  events: ") - 4 :]


@pytest.mark.kafka
class TestTheNewestRecords:
    """They are decoded as a worker would, without joining its group."""

    def test_are_shown_as_they_were_understood(
        self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
    ) -> None:
        topic = make_topic(partitions=1)
        value = b'{"user":"u%d","item":"cup","type":"view","ts":%d}'
        good = [(b"u%d" % n, value % (n, 1_700_000_000 + n)) for n in range(97)]
        page = (b"x", b'{"user":"u","type":"page"}')
        bad = [(b"x", b'{"user":"u7","type":"view","ts":1}'), (b"x", good[0][1])]
        old = [(b"old", b"no JSON")] * 50
        _sent(kafka_bootstrap, topic, [*old, page, *bad, *good])
        types = '{"page": "ignore", "view": {}, "rating": {}}'
        code, said = _checked(kafka_bootstrap, topic, tmp_path, EVENTS__TYPES=types)
        assert code == ExitCode.DONE
        assert [line.strip() for line in said.splitlines()] == [
            f"ok    events: the newest 100 records of {topic}: 98 with 98 events, 1 ignored, 1 dead letter",
            "u94  view  cup  2023-11-14 22:14:54 UTC",
            "u95  view  cup  2023-11-14 22:14:55 UTC",
            "u96  view  cup  2023-11-14 22:14:56 UTC",
            "1 MissingField, the first in partition 0, offset 51: item: expected a string or an integer, got nothing",
            "ignored: 1 page",
            "warning: 97 of 98 records with events are keyed by their user: events of a user whose records have "
            "several keys can change their order, and one with records in several partitions has a memory in each; let "
            "the producer send the user's id as the record's key (docs/contracts.md)",
            "warning: event types that none of them has: rating",
            "",
            "check: all good, with 2 warnings",
        ]

    def test_an_empty_topic_says_so(self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path) -> None:
        topic = make_topic()
        code, said = _checked(kafka_bootstrap, topic, tmp_path)
        assert (code, said) == (
            ExitCode.DONE,
            f"ok    events: {topic} is empty: no record to show\n\ncheck: all good\n",
        )

    def test_a_configuration_that_reads_none_of_them_fails(
        self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
    ) -> None:
        topic = make_topic()
        _sent(kafka_bootstrap, topic, [(b"u", b'{"visitor":"u\x1b[31m","item":"cup"}')] * 3)
        code, said = _checked(kafka_bootstrap, topic, tmp_path)
        assert code == ExitCode.FAILED
        assert said.startswith(f"FAIL  events: the newest 3 records of {topic}: 0 with 0 events, ")
        assert "3 NotJson" in said
        assert "\x1b" not in said

    def test_no_group_is_made(self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path) -> None:
        topic = make_topic()
        _sent(kafka_bootstrap, topic, [(b"u", b"{}")])
        _checked(kafka_bootstrap, topic, tmp_path, KAFKA__GROUP_ID=f"group-{topic}")
        listed = AdminClient({"bootstrap.servers": kafka_bootstrap}).list_consumer_groups().result(30)
        assert f"group-{topic}" not in {group.group_id for group in listed.valid}

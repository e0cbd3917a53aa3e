"""`stream-worker produce`: topics that it makes, a pace that it keeps, and a topic of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka import KafkaConfig
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.commands import produce
from stream_worker.exit_codes import ExitCode
from tests.support.fleet import read_all
from tests.support.services import free_port
from tests.test_commands import call
from tests.test_replay import MAPPING, shoppers, write_log


class Clock:
    """`sleep` is all that lets time pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


def test_rows_go_out_at_the_pace_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as fast as they happened; one that is older than the row before it does not wait."""
    clock = Clock(monkeypatch)
    rows = [("u", b"", ms) for ms in (1_000_000, 1_004_000, 1_003_000, 1_010_000)]
    assert [clock.now - 100 for _ in produce._paced(iter(rows), speed=2.0)] == [0.0, 2.0, 2.0, 5.0]


def test_a_first_row_without_a_time_is_no_beginning_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next one would wait for the fifty years since 1970."""
    clock = Clock(monkeypatch)
    rows = [("", b"no event", 0), ("u", b"", 1_700_000_000_000), ("u", b"", 1_700_000_003_000)]
    assert [clock.now - 100 for _ in produce._paced(iter(rows), speed=1.0)] == [0.0, 0.0, 3.0]


@pytest.mark.parametrize("topic", ["no spaces", "recommendations", ""])
def test_a_topic_that_cannot_be_is_usage(topic: str, tmp_path: Path) -> None:
    """No name of a topic, or the one that lists are published to."""
    log = write_log(tmp_path / "log.csv", shoppers(3))
    code, _, err = call("produce", str(log), "--mapping", str(MAPPING), "--topic", topic)
    assert code == ExitCode.USAGE
    assert "--topic" in err


@pytest.mark.kafka
def test_topics_are_created_where_they_are_missing(
    kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The one of --topic, in which old events must not expire, beside those of the lists, dead letters and weights."""
    name = make_topic()
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "KAFKA__OUTPUT_TOPIC": f"{name}.lists",
        "KAFKA__DEAD_LETTER_TOPIC": f"{name}.dead",
        "KAFKA__WEIGHTS_TOPIC": f"{name}.weights",
    }
    log = write_log(tmp_path / "log.csv", shoppers(50))
    arguments = ["produce", str(log), "--mapping", str(MAPPING), "--topic", f"{name}.in", "--create"]
    for count in (1, 2):  # the second time all of them are there
        code, out, err = call(*arguments, "--partitions", "3", "--limit", "20", **settings)
        assert code == ExitCode.DONE, err
        assert out.startswith(f"20 records to {name}.in in ")
        assert len(list(read_all(kafka_bootstrap, f"{name}.in"))) == 20 * count
    topics = AdminClient({"bootstrap.servers": kafka_bootstrap}).list_topics(timeout=10).topics
    assert [len(topics[f"{name}.{part}"].partitions) for part in ("in", "lists", "dead", "weights")] == [3] * 4
    first = next(read_all(kafka_bootstrap, f"{name}.in"))
    assert first.timestamp()[1] // 1000 in {row[2] for row in shoppers(50)}


@pytest.mark.kafka
class TestATopicThatIsThereAlready:
    """Records carry their own old times, by which a topic deletes them before anybody has read them."""

    def call(self, kafka: str, topic: str, folder: Path, *more: str) -> tuple[int, str, str]:
        log = write_log(folder / "log.csv", shoppers(20))
        settings = {"KAFKA__BOOTSTRAP_SERVERS": kafka, "KAFKA__OUTPUT_TOPIC": f"{topic}.lists"}
        settings["KAFKA__DEAD_LETTER_TOPIC"], settings["KAFKA__WEIGHTS_TOPIC"] = f"{topic}.dead", f"{topic}.weights"
        return call("produce", str(log), "--mapping", str(MAPPING), "--topic", topic, *more, **settings)

    @pytest.mark.parametrize("more", [["--create"], []])
    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ({"retention_ms": "604800000"}, "retention.ms keeps 7 days"),
            ({"retention_bytes": "10"}, "retention.bytes is 10 a partition"),
            ({"cleanup_policy": "compact"}, "only the newest event stays"),
        ],
    )
    def test_is_refused_where_it_would_delete_the_log(
        self, more: list[str], setting: dict[str, str], said: str,
        kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path,
    ) -> None:  # fmt: skip
        topic = make_topic(**setting)
        code, out, err = self.call(kafka_bootstrap, topic, tmp_path, *more)
        assert (code, out) == (ExitCode.CONFIGURATION, "")
        assert said in err
        assert "--keep-all" in err
        assert list(read_all(kafka_bootstrap, topic)) == []

    def test_keeps_everything_once_that_was_asked_for(
        self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
    ) -> None:
        topic = make_topic(retention_ms="604800000", retention_bytes="10")
        code, _, err = self.call(kafka_bootstrap, topic, tmp_path, "--create", "--keep-all")
        assert code == ExitCode.DONE, err
        found = retention_of(KafkaConfig(kafka_bootstrap, topic), topic)
        assert found == Retention()
        assert self.call(kafka_bootstrap, topic, tmp_path)[0] == ExitCode.DONE

    def test_is_left_as_it_is_where_it_keeps_the_log(
        self, kafka_bootstrap: str, make_topic: Callable[..., str], tmp_path: Path
    ) -> None:
        topic = make_topic(retention_ms=str(100 * 365 * 86_400_000))
        assert self.call(kafka_bootstrap, topic, tmp_path, "--create", "--keep-all")[0] == ExitCode.DONE
        found = retention_of(KafkaConfig(kafka_bootstrap, topic), topic)
        assert found is not None
        assert found.ms == 100 * 365 * 86_400_000

    def test_is_asked_for_before_anything_is_sent(self, kafka_bootstrap: str, tmp_path: Path) -> None:
        code, _, err = self.call(kafka_bootstrap, "nobody-has-made-this", tmp_path)
        assert code == ExitCode.FAILED
        assert "there is no topic nobody-has-made-this" in err
        assert "`stream-worker topics create`" in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [["tail"], ["produce", "LOG", "--mapping", str(MAPPING)]])
def test_a_kafka_that_does_not_answer_is_said_in_one_line(command: list[str], tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", shoppers(3))
    arguments = [str(log) if word == "LOG" else word for word in command]
    code, _, err = call(*arguments, KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert code == ExitCode.FAILED
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("retention", "lost"),
    [
        (Retention(), False),
        (Retention(ms=1_000), True),
        (Retention(ms=50_000), False),
        (Retention(ms=0), True),
        (Retention(ms=1_000, by_append_time=True), False),
        (Retention(bytes=99), True),
        (Retention(bytes=100), False),
        (Retention(compact=True), True),
    ],
)
def test_a_log_is_lost_by_age_size_or_compaction(retention: Retention, lost: bool) -> None:
    """A log of 100 bytes that began 10 seconds ago."""
    assert bool(retention.loses(oldest_ms=10_000, size_bytes=100, now_ms=20_000)) is lost

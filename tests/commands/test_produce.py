"""`stream-worker produce`: topics that it makes, a pace that it keeps, and a topic of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from stream_worker.commands import produce
from stream_worker.exit_codes import ExitCode
from tests.fleet import read_all
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
    """The one of --topic, in which old events must not expire, beside those of the lists and dead letters."""
    name = make_topic()
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "KAFKA__OUTPUT_TOPIC": f"{name}.lists",
        "KAFKA__DEAD_LETTER_TOPIC": f"{name}.dead",
    }
    log = write_log(tmp_path / "log.csv", shoppers(50))
    arguments = ["produce", str(log), "--mapping", str(MAPPING), "--topic", f"{name}.in", "--create"]
    for count in (1, 2):  # the second time all of them are there
        code, out, err = call(*arguments, "--partitions", "3", "--limit", "20", **settings)
        assert code == ExitCode.DONE, err
        assert out.startswith(f"20 records to {name}.in in ")
        assert len(list(read_all(kafka_bootstrap, f"{name}.in"))) == 20 * count
    topics = AdminClient({"bootstrap.servers": kafka_bootstrap}).list_topics(timeout=10).topics
    assert [len(topics[f"{name}.{part}"].partitions) for part in ("in", "lists", "dead")] == [3, 3, 3]
    first = next(read_all(kafka_bootstrap, f"{name}.in"))
    assert first.timestamp()[1] // 1000 in {row[2] for row in shoppers(50)}

"""`stream-worker topics create`: every topic of the configuration, without a log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_worker.backends.kafka import KafkaConfig, create_topics
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.exit_codes import ExitCode
from tests.support.services import free_port
from tests.test_commands import call


@pytest.mark.kafka
def test_it_says_which_topics_it_made_and_which_were_there(
    kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    lists = make_topic(partitions=2)
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "KAFKA__INPUT_TOPIC": f"{lists}.in",
        "KAFKA__OUTPUT_TOPIC": lists,
        "KAFKA__DEAD_LETTER_TOPIC": f"{lists}.dead",
        "KAFKA__WEIGHTS_TOPIC": f"{lists}.weights",
    }
    code, out, err = call("topics", "create", "--partitions", "3", **settings)
    assert code == ExitCode.DONE, err
    assert out.splitlines() == [
        f"made   {lists}.in (3 partitions)",
        f"there  {lists} (2 partitions)",
        f"made   {lists}.dead (3 partitions)",
        f"made   {lists}.weights (3 partitions)",
    ]
    code, out, _ = call("topics", "create", **settings)
    assert (code, [line.split()[0] for line in out.splitlines()]) == (ExitCode.DONE, ["there"] * 4)
    assert retention_of(KafkaConfig(kafka_bootstrap, f"{lists}.in"), f"{lists}.in") == Retention()


@pytest.mark.kafka
def test_an_items_topic_is_compacted(kafka_bootstrap: str, make_topic: Callable[..., str]) -> None:
    name = make_topic()
    config = KafkaConfig(kafka_bootstrap, name, f"{name}.items", f"{name}.lists", f"{name}.dead")
    assert create_topics(config, config.topics, 1) == [f"{name}.items", f"{name}.lists", f"{name}.dead"]
    found = retention_of(config, f"{name}.items")
    assert found is not None
    assert found.compact


def test_a_kafka_that_does_not_answer_is_said_in_one_line() -> None:
    code, out, err = call("topics", "create", KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (code, out) == (ExitCode.FAILED, "")
    assert len(err.splitlines()) == 1


def test_what_to_do_with_topics_must_be_said() -> None:
    code, _, err = call("topics")
    assert code == ExitCode.USAGE
    assert "create" in err

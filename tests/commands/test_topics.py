"""`stream-worker topics create`: every topic of the configuration, without a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from stream_worker.backends.kafka import KafkaConfig, create_topics
from stream_worker.backends.kafka.retention import Retention, retention_of
from stream_worker.commands.check_lists import lists_line
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
    assert retention_of(config, f"{name}.items") == Retention(compact=True)


@pytest.mark.kafka
def test_lists_are_compacted_after_a_week(kafka_bootstrap: str, make_topic: Callable[..., str]) -> None:
    """Who starts later has everybody's list. A topic that is there keeps its policy."""
    name = make_topic(retention_ms="3600000")
    made = KafkaConfig(kafka_bootstrap, name, output_topic=f"{name}.lists", dead_letter_topic=f"{name}.dead")
    there = replace(made, input_topic=f"{name}.in", output_topic=name)
    create_topics(made, made.topics, 1)
    create_topics(there, there.topics, 1)
    assert retention_of(made, made.output_topic) == Retention(compact=True, lag_ms=7 * 86_400_000)
    assert "everybody's newest list, and every list for 7 days" in lists_line(made)
    assert retention_of(there, there.output_topic) == Retention(ms=3_600_000)
    assert "a consumer that starts later has not everybody's list" in lists_line(there)


def test_a_kafka_that_does_not_answer_is_said_in_one_line() -> None:
    code, out, err = call("topics", "create", KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (code, out) == (ExitCode.FAILED, "")
    assert len(err.splitlines()) == 1


def test_what_to_do_with_topics_must_be_said() -> None:
    code, _, err = call("topics")
    assert code == ExitCode.USAGE
    assert "create" in err

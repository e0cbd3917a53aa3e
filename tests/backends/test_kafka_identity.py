"""Clusters that know no ids of topics: the name has to do, and that is said once."""

from __future__ import annotations

import re
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Uuid
from structlog.testing import capture_logs

from stream_worker.backends.kafka import KafkaConfig, KafkaSource, create_topics
from stream_worker.backends.kafka.identity import TopicIdentity
from stream_worker.core.errors import RestartNeeded
from stream_worker.core.source_id import SourceId

NAME_ALONE = SourceId("events", group="stream-worker")


class Cluster:
    """In place of the consumer that names the cluster, and of what describes the topic: an id or an error."""

    cluster_id = "c1"

    def __init__(self, *answers: Uuid | int) -> None:
        self.answers = list(answers)

    @property
    def consumer(self) -> Consumer:
        """The cluster as the consumer whose one method, `list_topics`, is called."""
        return cast(Consumer, self)

    def list_topics(self, topic: str, timeout: float) -> Cluster:
        return self

    def describe(self) -> Cluster:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        self.topic_id = answer
        return self


def identity_of(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> TopicIdentity:
    identity = TopicIdentity(KafkaConfig())
    monkeypatch.setattr(identity, "_describe", cluster.describe)
    return identity


@pytest.mark.parametrize("answer", [Uuid(0, 0), KafkaError._UNSUPPORTED_FEATURE, KafkaError._TIMED_OUT])
def test_a_cluster_without_ids_is_named_alone_and_that_is_said_once(
    answer: Uuid | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old broker gives the id zero; another kind of broker does not know the question, or never answers it."""
    cluster = Cluster(answer)
    identity = identity_of(cluster, monkeypatch)
    with capture_logs() as logs:
        for _ in range(8):
            known = identity.learn(cluster.consumer)
    assert known == SourceId("events", "", "c1", "stream-worker")
    assert [(entry["log_level"], entry["topic"]) for entry in logs] == [("warning", "events")]


def test_an_answer_that_is_late_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once an id has been known, it is waited for."""
    cluster = Cluster(KafkaError._TIMED_OUT, Uuid(1, 2), KafkaError._TIMED_OUT)
    identity = identity_of(cluster, monkeypatch)
    assert identity.learn(cluster.consumer) == NAME_ALONE
    identity.learn(cluster.consumer)
    assert identity.known.topic_id == str(Uuid(1, 2))
    for _ in range(8):
        with pytest.raises(KafkaException):
            identity.ask(cluster.consumer)


class Asked:
    """A topic that is asked about ahead of its records: counts the questions and answers at once; its own clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.questions, self.topic_id = 100.0, 0, Uuid(1, 2)
        self.fault: Exception | None = None
        self.identity = TopicIdentity(KafkaConfig(), lambda: self.now)
        self.identity.known = replace(NAME_ALONE, topic_id=str(self.topic_id))
        monkeypatch.setattr(self.identity, "_describing", self.describing)

    def describing(self) -> Future[Any]:
        self.questions += 1
        answer: Future[Any] = Future()
        answer.set_exception(self.fault) if self.fault else answer.set_result(self)
        return answer

    def tick(self, seconds: float) -> None:
        """Records, and their commit."""
        self.now += seconds
        self.identity.ask_ahead()
        self.identity.answer()


@pytest.mark.parametrize(("tick_seconds", "questions"), [(0.0625, 40), (0.25, 40), (2.0, 5)])
def test_beside_records_it_is_asked_at_most_four_times_a_second(
    tick_seconds: float, questions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast ticks are: here for ten seconds."""
    asked = Asked(monkeypatch)
    for _ in range(int(10 / tick_seconds)):
        asked.tick(tick_seconds)
    assert asked.questions == questions


def test_nothing_is_asked_ahead_of_commits_where_there_is_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.identity.known = NAME_ALONE
    asked.tick(1.0)
    assert asked.questions == 0


def test_another_topic_is_noticed_before_its_records_are_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second after it was made, at the latest. Until there is an answer the old one counts."""
    asked = Asked(monkeypatch)
    asked.tick(0.25)
    asked.fault = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    asked.tick(0.25)
    asked.topic_id, asked.fault = Uuid(3, 4), None
    with pytest.raises(RestartNeeded, match=re.escape(f"its id is {Uuid(3, 4)}, it was {Uuid(1, 2)}")):
        asked.tick(0.25)


def test_a_topic_that_is_not_there_has_no_id_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(KafkaError.UNKNOWN_TOPIC_OR_PART, Uuid(1, 2))
    identity = identity_of(cluster, monkeypatch)
    with capture_logs() as logs:
        assert identity.learn(cluster.consumer).topic_id == ""
        assert identity.learn(cluster.consumer).topic_id == str(Uuid(1, 2))
    assert logs == []


def test_the_mock_cluster_is_not_asked(mock_kafka_bootstrap: str) -> None:
    """It would never answer."""
    config = KafkaConfig(bootstrap_servers=mock_kafka_bootstrap)
    create_topics(config, config.topics, 1)
    source = KafkaSource(config, "0")
    with capture_logs() as logs:
        assert [source.identity() for _ in range(3)] == [NAME_ALONE] * 3
    assert len(logs) == 1
    source.close()

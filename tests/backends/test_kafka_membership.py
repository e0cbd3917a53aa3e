"""The member under which a worker commits: the one whose partitions its loop knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_worker.backends.kafka import KafkaConfig, KafkaSource
from stream_worker.backends.kafka import source as source_module


class Rejoining:
    """A consumer that librdkafka lets join again by itself: the epoch rises though no callback has run."""

    epoch = 1

    def consumer_group_metadata(self) -> str:
        return f"epoch {self.epoch}"

    def incremental_assign(self, partitions: Any) -> None: ...


@pytest.fixture
def consumer() -> Rejoining:
    return Rejoining()


@pytest.fixture
def source(consumer: Rejoining, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    source = KafkaSource(KafkaConfig("127.0.0.1:1"), "a")
    real, source._consumer = source._consumer, consumer  # type: ignore[assignment]
    monkeypatch.setattr(source, "_keep", lambda messages: None)
    monkeypatch.setattr(source._identity, "answer", lambda: None)
    yield source
    real.close()


def _look(monkeypatch: pytest.MonkeyPatch, source: Any, messages: int, meanwhile: Callable[[], None]) -> None:
    """Look at the queue for two messages; `meanwhile` runs before they come."""

    def consumed(*_: Any) -> list[object]:
        meanwhile()
        return [object()] * messages

    monkeypatch.setattr(source_module, "consumed", consumed)
    source._consume(2, 0.0)


def _nothing() -> None: ...


def test_a_look_that_empties_the_queue_has_served_what_was_said_before_it(
    monkeypatch: pytest.MonkeyPatch, source: Any, consumer: Rejoining
) -> None:
    """What the consumer becomes while it looks, or after that, is not known yet."""

    def joins_again() -> None:
        consumer.epoch += 1

    _look(monkeypatch, source, 1, joins_again)
    assert source.membership() == "epoch 1"
    consumer.epoch = 7
    assert source.membership() == "epoch 1"
    _look(monkeypatch, source, 0, _nothing)
    assert source.membership() == "epoch 7"


def test_behind_a_full_look_a_loss_may_still_wait(
    monkeypatch: pytest.MonkeyPatch, source: Any, consumer: Rejoining
) -> None:
    _look(monkeypatch, source, 0, _nothing)
    consumer.epoch = 2
    _look(monkeypatch, source, 2, _nothing)
    assert source.membership() == "epoch 1"


def test_a_callback_tells_the_member_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch, source: Any, consumer: Rejoining
) -> None:
    """Else the first commit after each rebalance would be refused."""

    def given() -> None:
        consumer.epoch = 3
        source._on_assign(consumer, [])

    _look(monkeypatch, source, 1, given)
    assert source.membership() == "epoch 3"

"""The twins of source and sink keep the contract of the real ones."""

from __future__ import annotations

import pytest

from stream_worker.backends.in_memory import InMemoryHeard, InMemorySink, InMemorySource, InMemoryTopic
from stream_worker.core.errors import Unavailable
from stream_worker.core.events import Outputs, Recommendation
from stream_worker.core.interfaces import HeardSource, Sink, Source
from tests.backends.contracts_heard import HeardContract
from tests.backends.contracts_topics import Member, SinkContract, SourceContract, list_for


class InMemoryBroker:
    partitions = 4
    younger_wins = True

    def __init__(self) -> None:
        self.topic = InMemoryTopic(self.partitions)

    def send(self, partition: int, *values: bytes) -> None:
        for value in values:
            self.topic.append(b"key", value, 1, partition)

    def source(self, slot: str = "a", start: str = "earliest") -> Source:
        return InMemorySource(self.topic, slot, start)

    def sink(self, slot: str = "a") -> Sink:
        return InMemorySink(self.topic, slot)

    def send_in_transaction(self, partition: int, *values: bytes) -> None:
        self.send(partition, *values)
        self.topic.append_marker(partition)

    def heard(self, slot: str = "a") -> HeardSource:
        return InMemoryHeard(self.topic)

    def grow(self, partitions: int) -> None:
        self.topic.grow(partitions)

    def trim(self, partition: int, before: int) -> None:
        self.topic.trim(partition, before)

    def make_again(self, partitions: int = 4) -> None:
        self.topic.make_again(partitions)

    def vanish(self, source: Source) -> None:
        source.close()

    def lists(self) -> list[Recommendation]:
        return self.topic.outputs.recommendations

    def shared(self) -> list[tuple[str, list[str]]]:
        outputs = self.topic.outputs
        return [(one.key, list(one.items)) for one in outputs.similar + outputs.popular]

    def dead_letters(self) -> list[tuple[int, int, str]]:
        return [(d.record.partition, d.record.offset, d.error) for d in self.topic.outputs.dead_letters]


@pytest.fixture
def broker() -> InMemoryBroker:
    return InMemoryBroker()


class TestInMemorySource(SourceContract):
    pass


class TestInMemoryHeard(HeardContract):
    @pytest.fixture
    def topic(self) -> InMemoryBroker:
        return InMemoryBroker()


class TestInMemorySink(SinkContract):
    pass


def test_a_record_without_a_partition_goes_where_its_key_says() -> None:
    """One user's records stay in one partition, in order; different users are spread."""
    topic = InMemoryTopic(4)
    places = {n: {topic.append(b"u%d" % n, b"x", 1).partition for _ in range(3)} for n in range(40)}
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len(set.union(*places.values())) == 4


def test_a_lost_partition_is_dropped_and_not_released() -> None:
    topic = InMemoryTopic(2)
    first, second = InMemorySource(topic, "a"), InMemorySource(topic, "b")
    one, two = Member(first), Member(second)
    one.poll(), two.poll(), one.poll(), two.poll()
    topic.lose(first, second)
    two.poll()
    assert two.owner.owned == {0, 1}
    one.poll()
    assert one.owner.owned == set()
    assert [what for _, what, _ in one.owner.diary][-1] == "drop"


def test_partitions_can_be_moved_by_hand() -> None:
    topic = InMemoryTopic(2)
    first, second = InMemorySource(topic, "a"), InMemorySource(topic, "b")
    one, two = Member(first), Member(second)
    topic.rebalance({0: second, 1: first})
    one.poll(), two.poll()
    assert (one.owner.owned, two.owner.owned) == ({1}, {0})


def test_a_source_is_exhausted_when_the_topic_has_ended_and_all_is_read() -> None:
    topic = InMemoryTopic(1)
    topic.append(b"u", b"x", 1)
    member = Member(InMemorySource(topic))
    topic.ended = True
    assert not member.source.exhausted()
    member.poll()
    assert member.source.exhausted()


def test_a_failure_put_into_the_sink_is_raised_once_and_publishes_nothing() -> None:
    topic = InMemoryTopic(1)
    member, sink = Member(InMemorySource(topic)), InMemorySink(topic)
    member.poll()
    sink.failures = [Unavailable("kafka is down")]
    with pytest.raises(Unavailable):
        sink.commit(Outputs([list_for("u", 1)]), {0: 1}, member.source.membership())
    assert not sink.outputs
    sink.commit(Outputs([list_for("u", 1)]), {0: 1}, member.source.membership())
    assert topic.committed == {0: 1}

"""Partitions that nobody reads: a worker dies while its partitions are on their way to another one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, TopicPartition

from stream_worker.backends.kafka import KafkaConfig, unread_partitions
from stream_worker.backends.kafka import source as kafka_source
from stream_worker.backends.kafka.unread_partitions import UnreadPartitions
from tests.backends.contracts_topics import Member, until
from tests.backends.kafka_broker import KafkaBroker

STABLE, SHARING = ConsumerGroupState.STABLE, ConsumerGroupState.PREPARING_REBALANCING


def group(state: ConsumerGroupState = STABLE, topic: str = "events", **owned: Sequence[int]) -> Any:
    """A group as confluent-kafka describes it, by slot."""
    members = [
        SimpleNamespace(
            group_instance_id=f"g-{slot}",
            assignment=SimpleNamespace(topic_partitions=[TopicPartition(topic, partition) for partition in partitions]),
        )
        for slot, partitions in owned.items()
    ]
    return SimpleNamespace(state=state, members=members)


class Looks:
    """One member's looks at a group, at seconds of its clock; the topic has four partitions."""

    def __init__(self, slot: str, **settings: Any) -> None:
        config = KafkaConfig(input_topic="events", group_id="g", **settings)
        self.instance, self._found = f"g-{slot}", None
        self._unread = UnreadPartitions(config, self)

    def at(self, seconds: float, found: Any) -> list[int]:
        self._found = found
        return self._unread.overdue(4, seconds)

    def group(self) -> Any:
        return self._found


class TestLooks:
    def test_partitions_that_stay_without_an_owner_are_late_after_40_seconds(self) -> None:
        looks = Looks("a")
        assert [looks.at(now, group(a=[], c=[2, 3])) for now in (100, 110, 139.9, 140)] == [[], [], [], [0, 1]]

    def test_the_patience_begins_anew_once_the_member_has_joined_again(self) -> None:
        looks = Looks("a")
        assert [bool(looks.at(now, group(a=[], c=[2, 3]))) for now in (0, 40, 50, 89.9, 90)] == [
            False, True, False, False, True,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("between", "why"),
        [
            (group(a=[0, 1], c=[2, 3]), "they had an owner"),
            (group(SHARING, a=[], c=[2, 3]), "the group was sharing them out"),
        ],
    )
    def test_it_begins_anew_too_where(self, between: Any, why: str) -> None:
        looks, unread = Looks("a"), group(a=[], c=[2, 3])
        looks.at(0, unread)
        looks.at(30, between)
        assert not looks.at(45, unread), why
        assert looks.at(85, unread) == [0, 1]

    def test_a_look_without_an_answer_changes_nothing(self) -> None:
        looks, unread = Looks("a"), group(a=[], c=[2, 3])
        looks.at(0, unread)
        assert not looks.at(45, None)
        assert looks.at(46, unread) == [0, 1]

    def test_a_group_that_reads_all_of_the_topic_is_left_alone(self) -> None:
        looks = Looks("a")
        assert [looks.at(now, group(a=[0, 1], b=[], c=[2, 3])) for now in (0, 100)] == [[], []]

    def test_with_kip_848_it_is_left_to_the_brokers(self) -> None:
        looks = Looks("a", group_protocol="consumer")
        assert [looks.at(now, group(a=[], c=[2, 3])) for now in (0, 100)] == [[], []]

    def test_partitions_of_another_topic_do_not_count(self) -> None:
        looks = Looks("a")
        assert [looks.at(now, group(topic="others", a=[0, 1, 2, 3])) for now in (0, 100)] == [[], [0, 1, 2, 3]]

    @pytest.mark.parametrize(
        ("owned", "joins"),
        [
            ({"a": [0, 1], "b": [], "c": [2]}, "b"),
            ({"a": [], "b": [], "c": [2, 3]}, "a"),
            ({"a": [0, 1], "b": [2]}, "b"),
        ],
    )
    def test_one_member_joins_again_the_one_with_the_fewest(self, owned: dict[str, Any], joins: str) -> None:
        """Of several the first by name: all members come to the same answer."""
        for slot in owned:
            looks = Looks(slot)
            looks.at(0, group(**owned))
            assert bool(looks.at(60, group(**owned))) == (slot == joins)

    def test_members_that_are_no_workers_are_not_waited_for(self) -> None:
        found = group(a=[0, 1])
        other = SimpleNamespace(group_instance_id=None, assignment=SimpleNamespace(topic_partitions=[]))
        found.members.append(other)
        looks = Looks("a")
        looks.at(0, found)
        assert looks.at(60, found) == [2, 3]


@pytest.mark.kafka
def test_a_worker_killed_between_the_two_rounds_leaves_no_partition_unread(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner of all is busy when another one joins: the group has taken partitions from it, and it has not given
    them up yet. It dies, and its next start gets what was left to it."""
    monkeypatch.setattr(kafka_source, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(unread_partitions, "_PATIENCE_SECONDS", 1.0)
    busy = Member(kafka_broker.source("c", session_timeout_ms=6_000))
    busy.poll_until(lambda: len(busy.owner.owned) == kafka_broker.partitions)
    joining = Member(kafka_broker.source("a", session_timeout_ms=6_000))
    joining.poll_until(lambda: joining.source.standing().ready)
    successor = Member(kafka_broker.source("c", session_timeout_ms=6_000))
    successor.poll_until(lambda: bool(successor.owner.owned))
    assert not joining.owner.owned
    until(lambda: len(joining.owner.owned | successor.owner.owned) == kafka_broker.partitions, joining, successor)
    assert not joining.owner.owned & successor.owner.owned
    assert "the group has given partitions to nobody" in capsys.readouterr().out

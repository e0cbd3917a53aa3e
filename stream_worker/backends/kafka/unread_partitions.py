"""Notices partitions that the group has given to nobody, which stay unread until a member comes or goes.

A partition moves in two rounds: its owner gives it up in the first one, and its next owner gets it in the second, which
the former owner begins. If that one dies between them, its slot's next start gets its place back without a round, and
the second one never comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from confluent_kafka import ConsumerGroupState

from stream_worker.backends.kafka.config import KafkaConfig

# Seconds that a partition may have no owner: more than librdkafka takes to notice that the topic has grown
# (`topic.metadata.refresh.interval.ms`). Not tuned.
_PATIENCE_SECONDS = 40.0


class Described(Protocol):
    """A member's id in the group, and the group as the brokers describe it, None if they do not."""

    instance: str

    def group(self) -> Any: ...


class UnreadPartitions:
    """The partitions of the topic that no member of the group has, and since when, as far as they were looked for."""

    def __init__(self, config: KafkaConfig, described: Described) -> None:
        self._config, self._described = config, described
        self._since: dict[int, float] = {}

    def overdue(self, partitions: int, now: float) -> list[int]:
        """Return those that have been unread for too long, if this is the member that has to join the group anew.

        With the protocol of KIP-848 there are none: the brokers share partitions out themselves.

        partitions: how many the topic has.
        now: seconds of a clock that never goes back.
        """
        if self._config.group_protocol != "classic" or (group := self._described.group()) is None:
            return []
        self._since = {partition: self._since.get(partition, now) for partition in self._unread(group, partitions)}
        late = sorted(partition for partition, since in self._since.items() if now - since >= _PATIENCE_SECONDS)
        if not late or self._next_to_join(group.members) != self._described.instance:
            return []
        self._since = {}
        return late

    def _unread(self, group: Any, partitions: int) -> set[int]:
        """Return the partitions without an owner; none while the group is sharing them out."""
        if group.state != ConsumerGroupState.STABLE:
            return set()
        return set(range(partitions)) - {partition for member in group.members for partition in self._of(member)}

    def _next_to_join(self, members: Sequence[Any]) -> str:
        """Return the slot with the fewest partitions, since they are given up and taken again."""
        slots = {str(member.group_instance_id): len(self._of(member)) for member in members}
        ours = [(count, slot) for slot, count in slots.items() if slot.startswith(f"{self._config.group_id}-")]
        return min(ours, default=(0, ""))[1]

    def _of(self, member: Any) -> list[int]:
        places = member.assignment.topic_partitions if member.assignment else []
        return [at.partition for at in places if at.topic == self._config.input_topic]

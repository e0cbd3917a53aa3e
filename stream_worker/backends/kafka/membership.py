"""Keeps track of a member's state in its group, and of the last error that keeps it from reading."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from stream_worker.backends.kafka.causes import told
from stream_worker.backends.kafka.config import KafkaConfig
from stream_worker.backends.kafka.described_group import DescribedGroup
from stream_worker.backends.kafka.faults import lacks_right
from stream_worker.backends.kafka.rights import require_rights
from stream_worker.core.errors import RightMissing, Unavailable
from stream_worker.core.status import Standing

_ANSWER_SECONDS = 2.0  # to wait for an answer; not tuned


class Membership:
    """The state of one member of the group.

    instance: the static member's id.

    `metadata` is the member as the loop knows it, for commits: taken in callbacks of the group, and before each
    read that empties the queue. After a lost session librdkafka joins again by itself (KIP-848: with a new epoch),
    before the loop has served the loss; brokers would accept a commit under the new member, and refuse one under
    this. If the epoch rises without a callback while every read is full, one commit is refused, and tried again.

    `trouble` is the last error since reading worked; empty: none. A missing right stays the trouble until the brokers
    say that the right is there, since librdkafka reports it only once.

    With the protocol of KIP-848 a member without partitions gets no callback, so the group is asked whether it has
    the member.
    """

    def __init__(self, config: KafkaConfig, slot: str) -> None:
        self._config, self.instance = config, f"{config.group_id}-{slot}"
        self._described = DescribedGroup(config)
        self._heard = self._lost = self._denied = False
        self.trouble = ""
        self.metadata: Any = None
        self.closes = False

    def heard(self, consumer: Consumer | None = None) -> None:
        """Note that the group has given or taken partitions (perhaps none) in good order, and the member's metadata.

        A consumer that closes calls back, too, and refuses to tell. An error in the callback would leave it half
        closed: a thread of librdkafka would spin, and hang the process when the consumer is deleted.
        """
        self._heard, self._lost = True, False
        if consumer is not None and not self.closes:
            self.metadata = consumer.consumer_group_metadata()
        self.reads()

    def lost(self) -> None:
        """Note that the group has given the partitions to others without waiting for this member."""
        self._heard, self._lost = False, True

    def reads(self) -> None:
        """Note that records have come, or a callback of the group: there is no trouble."""
        self._denied, self.trouble = False, ""

    def answered(self) -> None:
        """Note that the brokers answer. After a missing right, ask them for it before the trouble is over."""
        if self._denied and (lacking := self._lacking()):
            self.trouble = lacking
        else:
            self.reads()

    def wrong(self, words: str, error: KafkaError) -> None:
        """Note an error; `words` say where it came from."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self.trouble:
            return  # the error before says why they are down
        self._denied = self._denied or lacks_right(error)
        self.trouble = f"{words}: {told([error.str()]) or error.str()}"

    def _lacking(self) -> str:
        try:
            require_rights(self._config)
        except RightMissing as fault:
            return str(fault)
        except Unavailable:
            return self.trouble
        return ""

    def joined(self) -> bool:
        """Return True if the group has this member. With the protocol of KIP-848 the brokers are asked until it has."""
        if not self._heard and self._config.group_protocol == "consumer" and self._is_known():
            self.heard()
        return self._heard

    def standing(self, claiming: bool) -> Standing:
        """Return the standing of a member that owns no partition. `claiming`: the group has given it partitions."""
        if claiming:
            return Standing(False, "claiming its partitions")
        if self._lost:
            return Standing(False, "its partitions were lost to others; joining the group again")
        if self._heard:
            return Standing(True, "standing by: the group is sharing out partitions, or has fewer of them than members")
        return Standing(False, "joining the group")

    def group(self) -> Any:
        """Return the group as the brokers describe it, None if they do not answer."""
        try:
            return self._described.ask(_ANSWER_SECONDS)
        except KafkaException:
            return None

    def _is_known(self) -> bool:
        group = self.group()
        return group is not None and any(member.group_instance_id == self.instance for member in group.members)

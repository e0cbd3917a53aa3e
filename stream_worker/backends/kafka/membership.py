"""Where a member of the group stands, and what keeps it from reading, as far as group and brokers have said."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.backends.kafka.causes import told
from stream_worker.backends.kafka.config import KafkaConfig, client_settings
from stream_worker.backends.kafka.faults import connect, lacks_right
from stream_worker.backends.kafka.rights import require_rights
from stream_worker.core.errors import RightMissing, Unavailable
from stream_worker.core.status import Standing

_ANSWER_SECONDS = 2.0


class Membership:
    """`trouble` is the last thing that went wrong since something went well; empty: nothing. Rights that were missed
    are asked for before they are believed to be back: who may not read hears of it once.

    A group of the new protocol says nothing to a member that gets no partitions: it is asked whether it has the member.
    """

    def __init__(self, config: KafkaConfig, slot: str) -> None:
        self._config, self._instance = config, f"{config.group_id}-{slot}"
        self._heard = self._lost = self._denied = False
        self.trouble = ""

    def heard(self) -> None:
        """The group has given or taken partitions in good order, be it none."""
        self._heard, self._lost = True, False
        self.reads()

    def lost(self) -> None:
        """The group has given the partitions to others, without waiting for this member."""
        self._heard, self._lost = False, True

    def reads(self) -> None:
        """Records have come, or the group has spoken."""
        self._denied, self.trouble = False, ""

    def answered(self) -> None:
        """The brokers have, if nothing more."""
        if self._denied and (lacking := self._lacking()):
            self.trouble = lacking
        else:
            self.reads()

    def wrong(self, words: str, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self.trouble:
            return  # why was said before
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
        """Whether the group knows this member. Asks it, in a group of the new protocol, until it does."""
        if not self._heard and self._config.group_protocol == "consumer" and self._is_known():
            self.heard()
        return self._heard

    def standing(self, claiming: bool) -> Standing:
        """Of a member that owns no partition; `claiming`: the group has given it some."""
        if claiming:
            return Standing(False, "claiming its partitions")
        if self._lost:
            return Standing(False, "its partitions were lost to others; joining the group again")
        if self._heard:
            return Standing(True, "standing by: its group has more members than partitions")
        return Standing(False, "joining the group")

    def _is_known(self) -> bool:
        admin, group = connect(AdminClient, client_settings(self._config)), self._config.group_id
        try:
            described = admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)[group].result()
        except KafkaException:
            return False
        return any(member.group_instance_id == self._instance for member in described.members)

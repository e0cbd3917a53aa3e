"""What every source of heard partitions promises, as a suite that the twin and the real Kafka pass.

The suite gets a fixture `topic` (see `HeardTopic`): one fresh topic of four partitions, which may have a group.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from stream_worker.core.events import Record
from stream_worker.core.interfaces import HeardSource, Source
from tests.backends.contracts_topics import Member, retry, until, values

PATIENCE_SECONDS = 30.0
# As long as a test looks for records that must not come.
QUIET_SECONDS = 0.7


class HeardTopic(Protocol):
    partitions: int

    def send(self, partition: int, *values: bytes) -> None: ...

    def send_in_transaction(self, partition: int, *values: bytes) -> None:
        """Committed: the offset behind the last record holds the transaction's marker."""
        ...

    def heard(self, slot: str = "a") -> HeardSource: ...

    def source(self, slot: str = "a") -> Source: ...

    def trim(self, partition: int, before: int) -> None: ...

    def grow(self, partitions: int) -> None: ...

    def make_again(self, partitions: int = 4) -> None: ...


class Listener:
    """A heard source, where it began, and what it has given out."""

    def __init__(self, source: HeardSource, *starts: int) -> None:
        self.source = source
        self.records: list[Record] = []
        self.begun = retry(lambda: source.listen(dict(enumerate(starts))))

    def poll(self, max_records: int = 100) -> list[Record]:
        records = self.source.poll(max_records, 0.05)
        self.records += records
        return records

    def poll_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < end, f"still not so: {self.records[-3:]}, {self.source.trouble()}"
            self.poll()

    def poll_in_vain(self) -> None:
        """Nothing more comes."""
        end = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < end:
            assert self.poll() == []

    def values(self, partition: int) -> list[bytes | None]:
        return [record.value for record in self.records if record.partition == partition]

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records if record.partition == partition]


class HeardContract:
    def test_records_of_a_partition_come_in_order_and_none_is_missing(self, topic: HeardTopic) -> None:
        for partition in range(topic.partitions):
            topic.send(partition, *[f"{partition}:{n}".encode() for n in range(50)])
        listener, sizes = Listener(topic.heard(), 0, 0, 0, 0), set()
        while len(listener.records) < 50 * topic.partitions:
            sizes.add(len(listener.poll(7)))
        assert max(sizes) <= 7
        for partition in range(topic.partitions):
            assert listener.offsets(partition) == list(range(50))
            assert listener.values(partition) == [f"{partition}:{n}".encode() for n in range(50)]

    def test_only_what_is_listened_to_comes_and_from_its_start(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b", "c"))
        topic.send(1, *values("x"))
        listener = Listener(topic.heard(), 1)
        listener.poll_until(lambda: len(listener.records) == 2)
        listener.poll_in_vain()
        assert listener.values(0) == values("b", "c")

    def test_more_partitions_are_listened_to_beside_the_first_ones(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b"))
        topic.send(1, *values("x", "y"))
        listener = Listener(topic.heard(), 1)
        listener.poll_until(lambda: listener.values(0) == values("b"))
        listener.source.listen({1: 1})
        topic.send(0, b"c")
        listener.poll_until(lambda: len(listener.records) == 3)
        assert listener.values(0) == values("b", "c")
        assert listener.values(1) == values("y")

    def test_partitions_are_known_before_any_is_read(self, topic: HeardTopic) -> None:
        """And as long as none is: a worker that owns all has nothing to hear, until another one comes."""
        source = topic.heard()
        source.listen({})
        assert set(source.partitions()) == set(range(4))
        topic.grow(6)
        end = time.monotonic() + PATIENCE_SECONDS
        while set(source.partitions()) != set(range(6)):
            assert time.monotonic() < end, source.trouble()
            time.sleep(0.05)

    def test_bounds_are_those_of_every_partition(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b", "c"))
        topic.send(1, *values("x"))
        topic.trim(0, 2)
        source = topic.heard()
        assert source.bounds() == {0: (2, 3), 1: (0, 1), 2: (0, 0), 3: (0, 0)}
        assert set(source.partitions()) == {0, 1, 2, 3}

    def test_a_start_below_the_first_offset_is_raised_to_it(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b", "c", "d"))
        topic.trim(0, 2)
        listener = Listener(topic.heard(), 1, 0)
        assert listener.begun == {0: 2, 1: 0}
        listener.poll_until(lambda: len(listener.records) == 2)
        assert listener.values(0) == values("c", "d")
        assert listener.source.begun_anew() == set()

    def test_markers_at_the_end_do_not_hide_the_end(self, topic: HeardTopic) -> None:
        topic.send_in_transaction(0, *values("a", "b"))
        listener = Listener(topic.heard(), 0)
        listener.poll_until(lambda: len(listener.records) == 2)
        listener.poll_until(lambda: listener.source.lag({0: 2}) == {0: 0})
        assert listener.source.stood({0: 2}) == {0: 3}
        assert listener.source.bounds()[0] == (0, 3)
        assert listener.source.stood({0: 1}) == {0: 1}

    def test_a_start_on_a_marker_at_the_end_has_no_lag(self, topic: HeardTopic) -> None:
        """As a worker begins that had heard everything before."""
        topic.send_in_transaction(0, *values("a", "b"))
        listener = Listener(topic.heard(), 2)
        listener.poll_until(lambda: listener.source.stood({0: 2}) == {0: 3})
        assert listener.source.lag({0: 2}) == {0: 0}
        topic.send(0, b"c")
        listener.poll_until(lambda: bool(listener.records))
        assert listener.offsets(0) == [3]

    def test_what_is_left_to_read_counts_as_lag(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b", "c"))
        listener = Listener(topic.heard(), 0)
        assert listener.source.lag({0: 0, 1: 0}) == {0: 3}
        listener.poll_until(lambda: len(listener.records) == 3)
        assert listener.source.lag({0: 1}) == {0: 2}
        topic.send(0, *values("d", "e"))
        listener.poll_until(lambda: len(listener.records) == 5)
        assert listener.source.lag({0: 3}) == {0: 2}
        assert listener.source.lag({0: 5}) == {0: 0}

    def test_a_source_that_is_closed_has_no_lag(self, topic: HeardTopic) -> None:
        """A worker looks at it once more when it has left."""
        topic.send(0, *values("a", "b"))
        listener = Listener(topic.heard(), 0)
        assert listener.source.lag({0: 0}) == {0: 2}
        listener.source.close()
        assert listener.source.lag({0: 0}) == {}

    def test_a_partition_that_is_left_gives_nothing_more_and_begins_where_it_is_told_to(
        self, topic: HeardTopic
    ) -> None:
        """Nothing of what had been fetched of it comes any more."""
        topic.send(0, *[b"%d" % n for n in range(30)])
        topic.send(1, *[b"%d" % n for n in range(30)])
        listener = Listener(topic.heard(), 0, 0)
        listener.poll_until(lambda: bool(listener.values(0)))
        listener.source.leave([0, 3])
        before = len(listener.values(0))
        listener.poll_until(lambda: len(listener.values(1)) == 30)
        listener.poll_in_vain()
        assert len(listener.values(0)) == before
        assert listener.source.lag({0: 0, 1: 30}) == {1: 0}
        listener.records = []
        listener.source.listen({0: 5})
        listener.poll_until(lambda: len(listener.records) == 25)
        assert listener.offsets(0) == list(range(5, 30))

    def test_partitions_on_hold_give_nothing_out_and_lose_nothing(self, topic: HeardTopic) -> None:
        for partition in range(3):
            topic.send(partition, *[b"%d" % n for n in range(30)])
        listener = Listener(topic.heard(), 0, 0, 0)
        listener.source.hold([0, 1])
        listener.poll_until(lambda: len(listener.values(2)) == 30)
        listener.poll_in_vain()
        listener.source.hold([0])
        listener.poll_until(lambda: len(listener.values(1)) == 30)
        listener.poll_in_vain()
        listener.source.hold([])
        listener.poll_until(lambda: len(listener.values(0)) == 30)
        listener.poll_in_vain()
        assert [listener.offsets(partition) for partition in range(3)] == [list(range(30))] * 3

    def test_a_partition_that_was_left_on_hold_is_read_when_it_is_listened_to_again(self, topic: HeardTopic) -> None:
        topic.send(0, *values("a", "b"))
        listener = Listener(topic.heard(), 0)
        listener.source.hold([0])
        listener.source.leave([0])
        listener.source.listen({0: 1})
        listener.poll_until(lambda: listener.values(0) == values("b"))

    def test_a_topic_that_grows_has_more_partitions_to_hear(self, topic: HeardTopic) -> None:
        listener = Listener(topic.heard(), 0)
        topic.grow(6)
        listener.poll_until(lambda: set(listener.source.partitions()) == set(range(6)))
        topic.send(5, *values("a", "b"))
        assert listener.source.bounds()[5] == (0, 2)
        listener.source.listen({5: 0})
        listener.poll_until(lambda: listener.values(5) == values("a", "b"))

    def test_a_topic_that_is_made_again_is_said_once_and_read_only_when_it_is_listened_to(
        self, topic: HeardTopic
    ) -> None:
        topic.send(0, *values("a", "b", "c"))
        listener = Listener(topic.heard(), 0, 0)
        listener.poll_until(lambda: len(listener.records) == 3)
        topic.make_again()
        topic.send(0, *values("n", "o", "p", "q", "r"))
        said: set[int] = set()

        def all_said() -> bool:
            said.update(listener.source.begun_anew())
            return said == {0, 1}

        listener.records = []
        listener.poll_until(all_said)
        listener.poll_in_vain()
        assert listener.source.begun_anew() == set()
        assert listener.source.bounds()[0] == (0, 5)
        listener.records = []
        listener.source.listen({0: 0})
        listener.poll_until(lambda: len(listener.records) == 5)
        assert listener.values(0) == values("n", "o", "p", "q", "r")
        assert listener.source.begun_anew() == set()

    def test_a_partition_whose_next_offset_is_gone_begins_anew_and_the_others_go_on(self, topic: HeardTopic) -> None:
        listener = Listener(topic.heard(), 0, 0)
        listener.source.hold([0])
        topic.send(0, *values("a", "b", "c"))
        topic.trim(0, 2)
        listener.source.hold([])
        said: set[int] = set()

        def zero_said() -> bool:
            said.update(listener.source.begun_anew())
            return bool(said)

        listener.poll_until(zero_said)
        assert said == {0}
        topic.send(1, b"x")
        listener.poll_until(lambda: listener.values(1) == values("x"))
        listener.source.listen({0: 0})
        listener.poll_until(lambda: listener.values(0) == values("c"))

    def test_a_group_without_other_members_leaves_a_worker_alone(self, topic: HeardTopic) -> None:
        source = topic.heard("a")
        assert retry(source.alone)
        member = Member(topic.source("b"))
        until(lambda: bool(member.owner.owned), member)
        assert not retry(source.alone)

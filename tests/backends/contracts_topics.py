"""What every source and sink of the worker promises, as suites that the twin and the real Kafka both pass.

A suite class gets a fixture `broker` (see `Broker`): one fresh topic, read by one group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import pytest

from stream_worker.core.errors import OffsetLost, SlotTaken, TransactionAborted, Unavailable
from stream_worker.core.events import DeadLetter, Outputs, Reason, Recommendation, Record, SharedList
from stream_worker.core.interfaces import Sink, Source
from stream_worker.core.offsets import Committed, Kept
from stream_worker.core.source_id import SourceId

PATIENCE_SECONDS = 30.0
_Answer = TypeVar("_Answer")


class Broker(Protocol):
    """One input topic with `partitions` partitions and all that the suites need to know about what became of it."""

    partitions: int
    younger_wins: bool

    def send(self, partition: int, *values: bytes) -> None: ...

    def source(self, slot: str = "a", start: str = "earliest") -> Source: ...

    def sink(self, slot: str = "a") -> Sink: ...

    def trim(self, partition: int, before: int) -> None:
        """Remove all records before an offset, as retention does."""
        ...

    def make_again(self, partitions: int = 4) -> None:
        """Delete the input topic and make one of the same name."""
        ...

    def vanish(self, source: Source) -> None:
        """The process of this source dies without a word."""
        ...

    def lists(self) -> list[Recommendation]:
        """Every committed list."""
        ...

    def shared(self) -> list[tuple[str, list[str]]]:
        """(key, items) of every committed shared list, of items before those of categories."""
        ...

    def dead_letters(self) -> list[tuple[int, int, str]]:
        """(partition, offset, error) of every committed dead letter."""
        ...


class Owner:
    """A partition owner that keeps a diary. `floors` is M where it is not Y; `failures` come out of the next claims;
    `later` are partitions that it leaves out of them."""

    def __init__(self, name: str = "", diary: list[tuple[str, str, tuple[int, ...]]] | None = None) -> None:
        self.name = name
        self.diary = [] if diary is None else diary
        self.published: dict[int, int] = {}
        self.floors: dict[int, int] = {}
        self.memories: dict[int, Kept] = {}
        self.owned: set[int] = set()
        self.later: set[int] = set()
        self.failures: list[Exception] = []
        self.release_failures: list[Exception] = []

    def kept(self, partitions: Collection[int]) -> Mapping[int, Kept]:
        return {partition: self.memories.get(partition, Kept()) for partition in partitions}

    def claim(self, committed: Mapping[int, Committed]) -> Mapping[int, int]:
        published = {partition: at.next_offset for partition, at in committed.items() if partition not in self.later}
        if self.failures:
            raise self.failures.pop(0)
        self._note("claim", published)
        self.published |= published
        self.owned |= published.keys()
        return {p: self.floors.get(p, y) for p, y in published.items()}

    def release(self, partitions: Collection[int]) -> None:
        self._note("release", partitions)
        self.owned -= set(partitions)
        if self.release_failures:
            raise self.release_failures.pop(0)

    def drop(self, partitions: Collection[int]) -> None:
        self._note("drop", partitions)
        self.owned -= set(partitions)

    def _note(self, what: str, partitions: Collection[int]) -> None:
        self.diary.append((self.name, what, tuple(sorted(partitions))))


class Member:
    """A source with its owner, and what it has given out."""

    def __init__(self, source: Source, owner: Owner | None = None) -> None:
        self.source, self.owner = source, owner or Owner()
        self.records: list[Record] = []
        source.subscribe(self.owner)

    def poll(self, max_records: int = 100) -> list[Record]:
        records = self.source.poll(max_records, 0.05)
        self.records += records
        return records

    def poll_until(self, done: Callable[[], bool]) -> None:
        until(done, self)

    def values(self, partition: int) -> list[bytes | None]:
        return [record.value for record in self.records if record.partition == partition]

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records if record.partition == partition]


def until(done: Callable[[], bool], *members: Member) -> None:
    """Poll the members in turn until `done`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < end, f"still not so: {[(m.owner.diary, m.records[-3:]) for m in members]}"
        for member in members:
            member.poll()


def retry(call: Callable[[], _Answer], between: Callable[[], None] = lambda: None) -> _Answer:
    """As the loop does it: serve the source, then the same again."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except (Unavailable, TransactionAborted):
            assert time.monotonic() < end
            between()


def known_identity(source: Source) -> SourceId:
    """A young topic may need a moment to be there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not source.identity().topic_id:
        assert time.monotonic() < end, "the topic has no id"
        time.sleep(0.05)
    return source.identity()


def list_for(user: str, next_offset: int, partition: int = 0, **more: Any) -> Recommendation:
    return Recommendation(user, partition, next_offset, 1, 1.0, ("x", "y"), (0.5, 0.25), "line", 7, **more)


def shared_list(key: str, next_offset: int) -> SharedList:
    return SharedList(key, 0, 0, next_offset, 1.0, ("x", "y"), (0.5, 0.25), "line", 7)


def values(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


class SourceContract:
    """Order, starts and ownership."""

    def test_records_of_a_partition_come_in_order_and_none_is_missing(self, broker: Broker) -> None:
        """Within each partition, offsets go up by one, whatever the size of the batches."""
        for partition in range(broker.partitions):
            broker.send(partition, *[f"{partition}:{n}".encode() for n in range(50)])
        member = Member(broker.source())
        sizes = set()
        while len(member.records) < 50 * broker.partitions:
            sizes.add(len(member.poll(7)))
        assert max(sizes) <= 7
        for partition in range(broker.partitions):
            assert member.offsets(partition) == list(range(50))
            assert member.values(partition) == [f"{partition}:{n}".encode() for n in range(50)]

    def test_a_source_tells_its_ids_before_it_is_read(self, broker: Broker) -> None:
        """A topic that is made again keeps its name, and is another one in the same cluster."""
        before = known_identity(broker.source("a"))
        assert before.cluster_id
        broker.make_again()
        after = known_identity(broker.source("b"))
        assert after == replace(before, topic_id=after.topic_id)
        assert not after.is_same(before)

    def test_a_first_start_begins_with_the_oldest_record_and_makes_that_the_published_offset(
        self, broker: Broker
    ) -> None:
        """From then on an offset is missing only if something is wrong, and the next start says the same Y."""
        broker.send(0, *values("a", "b", "c"))
        broker.trim(0, 1)
        first = Member(broker.source())
        first.poll_until(lambda: first.values(0) == values("b", "c"))
        assert first.owner.published[0] == 1
        broker.vanish(first.source)
        again = Member(broker.source())
        again.poll_until(lambda: again.values(0) == values("b", "c"))
        assert again.owner.published[0] == 1

    def test_a_first_start_at_the_end_reads_only_what_comes_later(self, broker: Broker) -> None:
        broker.send(0, *values("old", "older"))
        member = Member(broker.source(start="latest"))
        member.poll_until(lambda: 0 in member.owner.published)
        broker.send(0, b"new")
        member.poll_until(lambda: bool(member.records))
        assert member.owner.published[0] == 2
        assert member.values(0) == [b"new"]

    def test_reading_starts_where_the_owner_says(self, broker: Broker) -> None:
        """M lies before Y: memories are caught up with records that have long been published."""
        broker.send(0, *values("a", "b", "c", "d"))
        self._publish_up_to(broker, 3)
        member = Member(broker.source())
        member.owner.floors = {0: 1}
        member.poll_until(lambda: len(member.records) == 3)
        assert member.owner.published[0] == 3
        assert member.values(0) == values("b", "c", "d")

    def test_a_restart_resumes_at_the_published_offset(self, broker: Broker) -> None:
        broker.send(0, *values("a", "b", "c"))
        self._publish_up_to(broker, 2)
        member = Member(broker.source())
        member.poll_until(lambda: bool(member.records))
        assert member.owner.published[0] == 2
        assert member.values(0) == [b"c"]

    def test_two_members_share_the_partitions_and_hand_over_in_good_order(self, broker: Broker) -> None:
        """The former owner is told to release before the new one claims, and keeps what it is not asked for."""
        diary: list[tuple[str, str, tuple[int, ...]]] = []
        first = Member(broker.source("a"), Owner("a", diary))
        first.poll_until(lambda: len(first.owner.owned) == broker.partitions)
        second = Member(broker.source("b"), Owner("b", diary))
        until(lambda: len(second.owner.owned) == broker.partitions // 2, first, second)
        assert first.owner.owned | second.owner.owned == set(range(broker.partitions))
        assert not first.owner.owned & second.owner.owned
        for partition in second.owner.owned:
            release, claim = [
                at
                for at, (who, what, which) in enumerate(diary)
                if partition in which and (who, what) in {("a", "release"), ("b", "claim")}
            ]
            assert diary[release][1] == "release"
            assert diary[claim][1] == "claim"

    def test_only_the_owner_of_a_partition_gets_its_records(self, broker: Broker) -> None:
        first, second = Member(broker.source("a")), Member(broker.source("b"))
        until(lambda: bool(first.owner.owned) and bool(second.owner.owned), first, second)
        until(lambda: len(first.owner.owned | second.owner.owned) == broker.partitions, first, second)
        for partition in range(broker.partitions):
            broker.send(partition, *values("a", "b"))
        until(lambda: len(first.records) + len(second.records) == 2 * broker.partitions, first, second)
        for member in (first, second):
            assert {record.partition for record in member.records} == member.owner.owned

    def test_the_partitions_of_a_dead_member_go_to_the_others(self, broker: Broker) -> None:
        first, second = Member(broker.source("a")), Member(broker.source("b"))
        until(lambda: len(first.owner.owned) == len(second.owner.owned) == broker.partitions // 2, first, second)
        broker.vanish(first.source)
        second.poll_until(lambda: len(second.owner.owned) == broker.partitions)
        broker.send(min(first.owner.owned), b"x")
        second.poll_until(lambda: second.records != [])

    def test_serving_gives_out_nothing_and_loses_nothing(self, broker: Broker) -> None:
        broker.send(0, *[b"%d" % n for n in range(30)])
        member = Member(broker.source())
        member.poll_until(lambda: len(member.records) >= 1)
        for _ in range(20):
            member.source.serve()
        member.poll_until(lambda: len(member.records) == 30)
        assert member.offsets(0) == list(range(30))

    def test_serving_lets_partitions_go(self, broker: Broker) -> None:
        """A worker that waits for something else does not hold up the group, and reads nothing it no longer owns."""
        first = Member(broker.source("a"))
        first.poll_until(lambda: len(first.owner.owned) == broker.partitions)
        second = Member(broker.source("b"))
        end = time.monotonic() + PATIENCE_SECONDS
        while len(second.owner.owned) < broker.partitions // 2 and time.monotonic() < end:
            first.source.serve()
            second.poll()
        assert len(first.owner.owned) == len(second.owner.owned) == broker.partitions // 2
        for partition in range(broker.partitions):
            broker.send(partition, b"x")
        until(lambda: len(first.records) + len(second.records) == broker.partitions, first, second)
        assert {record.partition for record in first.records} == first.owner.owned

    def test_a_partition_that_went_while_serving_is_read_when_it_comes_back(self, broker: Broker) -> None:
        """Serving pauses partitions; one that is taken away meanwhile may not stay paused for ever."""
        first = Member(broker.source("a"))
        first.poll_until(lambda: len(first.owner.owned) == broker.partitions)
        second = Member(broker.source("b"))
        end = time.monotonic() + PATIENCE_SECONDS
        while len(first.owner.owned) == broker.partitions and time.monotonic() < end:
            first.source.serve()
            second.poll()
        broker.vanish(second.source)
        first.poll_until(lambda: len(first.owner.owned) == broker.partitions)
        for partition in range(broker.partitions):
            broker.send(partition, b"x")
        first.poll_until(lambda: {record.partition for record in first.records} == set(range(broker.partitions)))

    def test_what_was_dropped_and_is_still_owned_is_claimed_and_read_again(self, broker: Broker) -> None:
        """From the floor, without what had been fetched of it; the other partitions go on."""
        broker.send(0, *values("a", "b", "c"))
        broker.send(1, *values("x"))
        member = Member(broker.source())
        member.poll_until(lambda: len(member.records) == 4)
        member.owner.floors = {0: 1}
        member.owner.drop([0])
        member.source.reclaim([0])
        broker.send(0, *values("d"))
        member.poll_until(lambda: member.values(0)[3:] == values("b", "c", "d"))
        assert member.values(1) == values("x")
        assert member.owner.diary[-1][1:] == ("claim", (0,))

    def test_what_the_owner_raises_reaches_the_caller_and_the_claim_is_made_again(self, broker: Broker) -> None:
        broker.send(0, *values("a", "b"))
        member = Member(broker.source())
        member.owner.failures = [Unavailable("redis is down")]
        with pytest.raises(Unavailable, match="redis is down"):
            member.poll_until(lambda: bool(member.records))
        member.poll_until(lambda: member.values(0) == values("a", "b"))

    def test_a_partition_that_the_owner_leaves_out_is_claimed_later_and_the_others_are_read(
        self, broker: Broker
    ) -> None:
        broker.send(0, *values("a", "b"))
        broker.send(1, *values("x"))
        member = Member(broker.source())
        member.owner.later = {0}
        member.poll_until(lambda: member.values(1) == values("x"))
        for _ in range(3):
            member.poll()
        assert member.owner.owned == set(range(1, broker.partitions))
        assert member.values(0) == []
        member.owner.later = set()
        member.poll_until(lambda: member.values(0) == values("a", "b"))
        assert member.owner.published[0] == 0

    def test_a_partition_that_was_left_out_and_goes_to_another_member_is_claimed_there(self, broker: Broker) -> None:
        first = Member(broker.source("a"))
        first.owner.later = set(range(broker.partitions))
        for _ in range(3):
            first.poll()
        second = Member(broker.source("b"))
        until(lambda: len(second.owner.owned) == broker.partitions // 2, first, second)
        first.owner.later = set()
        until(lambda: len(first.owner.owned) == broker.partitions // 2, first, second)
        assert not first.owner.owned & second.owner.owned

    def test_what_a_release_raises_reaches_the_caller_and_the_partition_is_gone(self, broker: Broker) -> None:
        first = Member(broker.source("a"))
        first.poll_until(lambda: len(first.owner.owned) == broker.partitions)
        first.owner.release_failures = [Unavailable("disk full")]
        second = Member(broker.source("b"))
        with pytest.raises(Unavailable, match="disk full"):
            until(lambda: len(second.owner.owned) == broker.partitions // 2, first, second)
        until(lambda: len(second.owner.owned) == broker.partitions // 2, first, second)
        assert not first.owner.owned & second.owner.owned

    def test_a_member_without_partitions_stands_by_and_takes_over(self, broker: Broker) -> None:
        """It has its place: there are more members than partitions."""
        members = [Member(broker.source(slot)) for slot in "abcde"]
        assert not any(member.source.standing().ready for member in members)
        until(lambda: sum(bool(member.owner.owned) for member in members) == 4, *members)
        [spare] = [member for member in members if not member.owner.owned]
        until(lambda: spare.source.standing().ready, *members)
        assert "standing by" in spare.source.standing().words
        assert not any(member.source.trouble() for member in members)

    def test_lag_counts_what_stands_after_the_next_offset(self, broker: Broker) -> None:
        broker.send(0, *values("a", "b", "c", "d"))
        member = Member(broker.source())
        member.poll_until(lambda: len(member.records) == 4)
        assert member.source.lag({0: 1}) == {0: 3}
        assert member.source.lag({0: 4}) == {0: 0}

    def test_of_two_sources_of_a_slot_one_is_told_to_stop_and_the_other_goes_on(self, broker: Broker) -> None:
        """Which one is the protocol's choice: the older by the classic one, the younger by the new one."""
        older = Member(broker.source("a"))
        older.poll_until(lambda: len(older.owner.owned) == broker.partitions)
        younger = Member(broker.source("a"))
        loser, winner = (older, younger) if broker.younger_wins else (younger, older)
        with pytest.raises(SlotTaken):
            until(lambda: False, winner, loser)
        with pytest.raises(SlotTaken):
            loser.poll()
        broker.send(0, b"x")
        winner.poll_until(lambda: winner.values(0) == [b"x"])

    def test_a_published_offset_that_retention_has_overtaken_stops_the_worker(self, broker: Broker) -> None:
        """Never silence: the error names the offset that is needed and what is left."""
        broker.send(0, *values("a", "b", "c", "d"))
        self._publish_up_to(broker, 1)
        broker.trim(0, 3)
        member = Member(broker.source())
        with pytest.raises(OffsetLost, match=r"\b3\b.*\b1\b|\b1\b.*\b3\b"):
            member.poll_until(lambda: bool(member.records))

    def test_a_floor_that_retention_has_overtaken_only_makes_memories_begin_later(self, broker: Broker) -> None:
        """Nothing that is owed is missing: all before Y was published."""
        broker.send(0, *values("a", "b", "c", "d"))
        self._publish_up_to(broker, 3)
        broker.trim(0, 2)
        member = Member(broker.source())
        member.owner.floors = {0: 0}
        member.poll_until(lambda: len(member.records) == 2)
        assert member.values(0) == values("c", "d")

    def _publish_up_to(self, broker: Broker, next_offset: int) -> None:
        member = Member(broker.source())
        member.poll_until(lambda: 0 in member.owner.owned)
        sink = broker.sink()
        sink.commit(Outputs(), {0: next_offset}, member.source.membership())
        sink.close()
        broker.vanish(member.source)


class SinkContract:
    """All or nothing, once, and only by the slot's newest process."""

    @pytest.fixture
    def member(self, broker: Broker) -> Member:
        broker.send(0, *[b"%d" % n for n in range(10)])
        member = Member(broker.source())
        member.poll_until(lambda: len(member.records) == 10 and len(member.owner.owned) == broker.partitions)
        return member

    def published(self, broker: Broker, member: Member) -> dict[int, int]:
        """Y, as the next start hears it."""
        broker.vanish(member.source)
        again = Member(broker.source())
        again.poll_until(lambda: len(again.owner.owned) == broker.partitions)
        broker.vanish(again.source)
        return again.owner.published

    def test_lists_dead_letters_and_the_published_offset_come_together(self, broker: Broker, member: Member) -> None:
        outputs = Outputs([list_for("u", 4), list_for("v", 5)], [DeadLetter(member.records[2], "NotJson", "no JSON")])
        broker.sink().commit(outputs, {0: 5}, member.source.membership())
        assert broker.lists() == [list_for("u", 4), list_for("v", 5)]
        assert broker.dead_letters() == [(0, 2, "NotJson")]
        assert self.published(broker, member)[0] == 5

    def test_a_list_says_why_each_item_is_in_it(self, broker: Broker, member: Member) -> None:
        reasons: tuple[Reason, ...] = (
            {"kind": "follows", "item": "z", "weight": 0.5},
            {"kind": "trending", "weight": 1.0},
        )
        broker.sink().commit(Outputs([list_for("u", 4, because=reasons)]), {0: 5}, member.source.membership())
        assert [made.because for made in broker.lists()] == [reasons]

    def test_shared_lists_come_with_the_transaction_or_not_at_all(self, broker: Broker, member: Member) -> None:
        """Sent under a membership that is over, none is seen; sent again, each is there once."""
        outputs = Outputs([list_for("u", 4)], similar=[shared_list("cup", 4)], popular=[shared_list("", 4)])
        over = member.source.membership()
        second = Member(broker.source("b"))
        until(lambda: bool(second.owner.owned) and bool(member.owner.owned), member, second)
        sink, own, moved = broker.sink(), min(member.owner.owned), min(second.owner.owned)
        with pytest.raises(TransactionAborted):
            sink.commit(outputs, {own: 5, moved: 1}, over)
        assert (broker.lists(), broker.shared()) == ([], [])
        retry(lambda: sink.commit(outputs, {own: 5}, member.source.membership()), member.source.serve)
        assert broker.lists() == [list_for("u", 4)]
        assert broker.shared() == [("cup", ["x", "y"]), ("", ["x", "y"])]

    def test_offsets_without_outputs_are_published(self, broker: Broker, member: Member) -> None:
        """A batch of nothing but known events still moves Y."""
        broker.sink().commit(Outputs(), {0: 7, 1: 0}, member.source.membership())
        assert broker.lists() == []
        assert self.published(broker, member)[0] == 7

    def test_one_transaction_after_the_other(self, broker: Broker, member: Member) -> None:
        sink = broker.sink()
        for n in range(1, 6):
            sink.commit(Outputs([list_for("u", n)]), {0: n}, member.source.membership())
        assert [r.next_offset for r in broker.lists()] == [1, 2, 3, 4, 5]
        assert self.published(broker, member)[0] == 5

    def test_nothing_to_say_is_no_transaction(self, broker: Broker, member: Member) -> None:
        broker.sink().commit(Outputs(), {}, member.source.membership())
        assert self.published(broker, member)[0] == 0

    def test_outputs_without_offsets_are_refused(self, broker: Broker, member: Member) -> None:
        with pytest.raises(ValueError, match="without input offsets"):
            broker.sink().commit(Outputs([list_for("u", 1)]), {}, member.source.membership())
        assert broker.lists() == []

    def test_a_partition_that_has_moved_on_is_refused_and_what_is_left_goes_through(
        self, broker: Broker, member: Member
    ) -> None:
        """Whoever slept through a rebalance publishes nothing; after serving the source, what is still owned goes."""
        stale = member.source.membership()
        sink, other = broker.sink(), Member(broker.source("b"))
        until(lambda: bool(other.owner.owned), member, other)
        mine, moved = min(member.owner.owned), min(other.owner.owned)
        with pytest.raises(TransactionAborted):
            sink.commit(Outputs([list_for("u", 3, mine), list_for("v", 1, moved)]), {mine: 3, moved: 1}, stale)
        assert broker.lists() == []
        member.source.serve()
        sink.commit(Outputs([list_for("u", 3, mine)]), {mine: 3}, member.source.membership())
        assert broker.lists() == [list_for("u", 3, mine)]

    def test_a_newer_sink_of_the_slot_fences_the_older_one(self, broker: Broker, member: Member) -> None:
        older = broker.sink("a")
        older.commit(Outputs([list_for("u", 1)]), {0: 1}, member.source.membership())
        newer = broker.sink("a")
        with pytest.raises(SlotTaken):
            older.commit(Outputs([list_for("u", 2)]), {0: 2}, member.source.membership())
        newer.commit(Outputs([list_for("u", 2)]), {0: 2}, member.source.membership())
        assert [r.next_offset for r in broker.lists()] == [1, 2]
        older.close()

    def test_sinks_of_different_slots_do_not_disturb_each_other(self, broker: Broker, member: Member) -> None:
        one, two = broker.sink("a"), broker.sink("b")
        one.commit(Outputs([list_for("u", 1)]), {0: 1}, member.source.membership())
        two.commit(Outputs([list_for("v", 1, 1)]), {1: 0}, member.source.membership())
        one.commit(Outputs([list_for("u", 2)]), {0: 2}, member.source.membership())
        assert sorted(r.user for r in broker.lists()) == ["u", "u", "v"]

    def test_a_checkpoint_keeps_nothing_of_the_sink(self, broker: Broker, member: Member) -> None:
        """The broker keeps it; a state of another run does no harm."""
        sink = broker.sink()
        assert sink.state_dict() == {}
        sink.load_state_dict({})
        sink.commit(Outputs([list_for("u", 1)]), {0: 1}, member.source.membership())
        assert len(broker.lists()) == 1

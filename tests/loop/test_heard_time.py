"""When heard records wait: while own records lag, none of them runs ahead of these in time, and none waits for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from stream_worker.core.codec import encode_event
from stream_worker.core.events import Record
from tests.support.two_workers import close, hearing_world, tick, two
from tests.support.worker_world import Run, World

NOW = 1_700_000_000
HOUR = 3_600


@pytest.fixture
def world() -> World:
    return hearing_world()


@pytest.fixture
def first(world: World) -> Iterator[Run]:
    """It owns partition 0, and hears partition 1; the other worker does nothing more."""
    world.send_many(40)
    first, second = two(world)
    tick(20, first, second)
    yield first
    close(first, second)


def send(world: World, partition: int, *seconds: float) -> None:
    """Records of these seconds."""
    for second in seconds:
        value = encode_event(f"u{int(second) % 5}", f"i{int(second) % 13}", "view", NOW)
        world.topic.append(b"u", value, int(1000 * (NOW + second)), partition)


def unheard(world: World, run: Run) -> int:
    return len(world.topic.partitions[1]) - run.worker.line.offsets[1]


def joined(run: Run, own: Sequence[Record] = (), *, behind: bool = True) -> list[float]:
    """The seconds of the heard records that a tick with these own ones may learn."""
    records = run.worker._hearing.joined(own, behind=behind, most=100)
    return [record.timestamp_ms / 1000 - NOW for record in records if record.partition == 1]


def own(second: float) -> list[Record]:
    return [Record(0, 10_000, int(1000 * (NOW + second)), b"u", b"")]


def test_without_a_lag_no_heard_record_waits(world: World, first: Run) -> None:
    send(world, 1, 100, 50, 100_000)
    assert joined(first, own(10), behind=False) == [100, 50, 100_000]


def test_while_own_records_lag_later_heard_ones_wait_until_these_have_come_as_far(world: World, first: Run) -> None:
    world.clock.sleep(HOUR)
    send(world, 1, 10, 20, 15, 30)
    assert joined(first, own(12)) == [10]
    assert joined(first, own(19)) == []
    assert joined(first, own(20)) == [20, 15]
    assert joined(first, own(21), behind=False) == [30]


def test_each_partition_waits_for_itself(world: World, first: Run) -> None:
    """One that is ahead keeps none back that is not."""
    world.topic.grow(4)
    tick(2, first)
    world.clock.sleep(HOUR)
    assert {1, 3} <= set(first.worker._hearing.learned())
    send(world, 1, 20)
    send(world, 3, 10, 11, 30)
    records = first.worker._hearing.joined(own(12), behind=True, most=100)
    assert [(r.partition, r.timestamp_ms // 1000 - NOW) for r in records if r.partition] == [(3, 10), (3, 11)]
    assert joined(first, own(20)) == [20]


def test_heard_records_do_not_wait_for_own_ones_that_do_not_come(world: World, first: Run) -> None:
    """A partition whose broker is away lags as long as that lasts, and this worker can't work its lag off."""
    world.clock.sleep(HOUR)
    send(world, 1, 20, 21)
    assert joined(first, own(12)) == []
    world.clock.sleep(9)
    assert joined(first) == []
    world.clock.sleep(1.1)
    assert joined(first) == [20, 21]
    send(world, 1, 30)
    assert joined(first) == [30]


def test_own_records_that_come_again_are_waited_for_again(world: World, first: Run) -> None:
    world.clock.sleep(HOUR)
    joined(first, own(12))
    world.clock.sleep(11)
    assert joined(first) == []
    send(world, 1, 20)
    assert joined(first, own(13)) == []
    assert joined(first, own(20)) == [20]


def test_a_lag_that_begins_long_after_the_last_own_record_is_waited_for(world: World, first: Run) -> None:
    """At rest there may be no own record for minutes."""
    joined(first, own(12))
    world.clock.sleep(600)
    assert joined(first, behind=False) == []
    send(world, 1, 20)
    assert joined(first) == []


def test_a_record_that_is_dated_ahead_waits_until_own_ones_come_to_the_moment_at_which_it_came(
    world: World, first: Run
) -> None:
    """A producer with a wrong clock would else keep its partition unheard for as long as the worker lags."""
    world.clock.sleep(100)
    send(world, 1, 10 * 365 * 24 * HOUR, 101)
    assert joined(first, own(50)) == []
    world.clock.sleep(100)
    assert joined(first, own(99)) == []
    assert joined(first, own(100)) == [10 * 365 * 24 * HOUR, 101]


def test_own_records_without_a_time_keep_none_back(world: World, first: Run) -> None:
    send(world, 1, 20)
    assert joined(first, [Record(0, 10_000, -1, b"u", b"")]) == [20]


def test_a_claim_that_was_given_up_does_not_let_its_records_run_ahead(world: World, first: Run) -> None:
    hearing = first.worker._hearing
    world.clock.sleep(HOUR)
    send(world, 1, 20)
    assert not hearing.has_reached(1, first.worker.line.offsets[1] + 5)
    assert joined(first, own(12)) == [20]
    world.clock.sleep(60)
    send(world, 1, 30)
    assert joined(first, own(13)) == []


def test_a_worker_with_a_backlog_learns_it_before_what_was_heard_later(world: World, first: Run) -> None:
    """The whole loop: own records of an hour ago, and heard ones of now."""
    world.clock.sleep(HOUR)
    send(world, 0, *range(100))
    first.tick()  # it knows its lag after a tick
    send(world, 1, *range(HOUR, HOUR + 20))
    before = first.worker.line.learner.clock_ts
    for _ in range(5):
        first.tick()
        assert unheard(world, first) == 20
    first.tick(12)
    assert unheard(world, first) == 0
    assert first.worker.line.learner.clock_ts >= before

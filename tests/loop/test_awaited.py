"""How long a claim waits for a partition to be heard."""

from __future__ import annotations

from stream_worker.backends.in_memory import ManualClock
from stream_worker.loop.awaited import Awaited


def test_a_claim_waits_for_a_minute_while_reading_goes_on() -> None:
    clock = ManualClock()
    awaited = Awaited(clock)
    for second in range(0, 60, 5):
        assert awaited.ask(1, at=second)
        clock.sleep(5)
    assert not awaited.ask(1, at=60)


def test_it_waits_for_ten_seconds_where_nothing_is_read() -> None:
    clock = ManualClock()
    awaited = Awaited(clock)
    assert awaited.ask(1, at=7)
    clock.sleep(9)
    assert awaited.ask(1, at=7)
    clock.sleep(1)
    assert not awaited.ask(1, at=7)


def test_one_that_was_given_up_begins_again() -> None:
    clock = ManualClock()
    awaited = Awaited(clock)
    assert awaited.ask(1, at=7)
    assert 1 in awaited
    assert 2 not in awaited
    clock.sleep(21)
    assert 1 not in awaited
    assert awaited.ask(1, at=7)
    awaited.forget([1])
    assert 1 not in awaited

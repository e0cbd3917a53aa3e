"""Decisions are in force in the next list: at a start, at a takeover, and tick by tick."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from stream_worker.backends.in_memory import InMemoryTopic
from stream_worker.core.decisions import Decision, encode_decision
from stream_worker.core.errors import Unavailable
from tests.support.worker_world import Run, World


@pytest.fixture(params=[False, True], ids=["decisions alone", "beside an items topic"])
def world(request: pytest.FixtureRequest) -> World:
    world = World()
    world.decisions = InMemoryTopic(1, "decisions")
    world.items = InMemoryTopic(2, "items") if request.param else None
    return world


def decide(world: World, item: str, word: str) -> None:
    assert world.decisions is not None
    value = encode_decision(Decision(item, word, "a reason", "ann", 1.7e9))
    world.decisions.append(item.encode(), value, 1_700_000_000_000)


def lists(world: World, since: int = 0) -> list[set[str]]:
    return [set(made.items) for made in world.topic.outputs.recommendations[since:]]


def known(world: World, **more: Any) -> Run:
    """A worker that has published lists of i0 to i12."""
    world.send_many(26)
    run = world.worker(**more)
    run.tick(5)
    assert any("i5" in made for made in lists(world))
    return run


def test_a_decision_is_in_force_in_the_tick_that_reads_it(world: World) -> None:
    run = known(world)
    since = len(lists(world))
    decide(world, "i5", "block")
    world.send_many(8)
    run.tick()
    assert lists(world, since)
    assert all("i5" not in made for made in lists(world, since))
    decide(world, "i5", "approve")
    world.send_many(26)
    run.tick(5)
    assert any("i5" in made for made in lists(world, since))
    reading = run.worker.status.decisions
    assert (reading.records, reading.changes, reading.lag) == (2, 2, 0)
    assert reading.in_force == {"block": 0, "hold": 0, "approve": 1}


def test_no_list_is_made_before_the_decisions_are_read_to_their_end_at_a_start(world: World) -> None:
    for n in range(2_500):
        decide(world, f"j{n}", "approve")
    decide(world, "i5", "block")
    world.send_many(26)
    run = world.worker()
    run.to_the_end()
    assert all("i5" not in made for made in lists(world))
    assert run.worker.status.decisions.records == 2_501
    world.check_contract_1()


def test_a_takeover_reads_decisions_to_their_end_before_it_makes_lists(world: World) -> None:
    """While more was decided than a tick has time for, the last of it the one that matters."""
    run = known(world)
    for n in range(10_000):
        decide(world, f"j{n}", "approve")
    decide(world, "i5", "hold")
    world.clock.monotonic = map(float, count()).__next__  # type: ignore[method-assign]  # every look takes a second
    world.topic.grow(3)
    since = len(lists(world))
    world.send("u1", "i1", partition=2)
    run.tick()
    assert len(lists(world, since)) == 1
    assert run.worker.status.decisions.records == 10_001
    assert "i5" not in lists(world, since)[0]


def test_a_restart_goes_on_where_the_checkpoint_ends(world: World) -> None:
    run = known(world)
    decide(world, "i5", "block")
    run.tick()
    run.close()  # without an end: as if it was killed
    decide(world, "i6", "hold")
    again = world.worker()
    assert again.worker.status.decisions.records == 1, "only what is new is read"
    assert again.worker.status.decisions.in_force == {"block": 1, "hold": 1, "approve": 0}
    since = len(lists(world))
    world.send_many(26)
    again.to_the_end()
    assert lists(world, since)
    assert all(not made & {"i5", "i6"} for made in lists(world, since))


def test_a_topic_that_is_made_again_replaces_all_that_was_decided(world: World) -> None:
    assert world.decisions is not None
    run = known(world)
    decide(world, "i5", "block")
    run.tick()
    world.decisions.make_again(1)
    decide(world, "i6", "block")
    run.tick()
    assert run.worker.status.decisions.in_force == {"block": 1, "hold": 0, "approve": 0}
    assert run.worker.line.learner.decisions is not None
    assert run.worker.line.learner.decisions.of(["i5", "i6"]) == ["", "block"]


def test_a_start_waits_for_its_decisions(world: World) -> None:
    run = known(world)
    run.finish()
    decide(world, "i5", "block")
    again = world.worker()
    assert again.decisions is not None
    again.decisions.away = "there is no topic of decisions"
    with pytest.raises(Unavailable, match="there is no topic of decisions"):
        again.worker.start(again.checkpoints.load_newest())
    again.decisions.away = ""
    again.worker.start(again.checkpoints.load_newest())
    assert again.worker.status.decisions.in_force["block"] == 1


def test_what_is_no_decision_is_counted_told_and_skipped(world: World) -> None:
    assert world.decisions is not None
    run = known(world)
    world.decisions.append(b"i5", b'{"item":"i5","decision":"block"}', 1)
    world.decisions.append(b"i6", b"nonsense", 1)
    decide(world, "i7", "block")
    with capture_logs() as logs:
        run.tick()
    reading = run.worker.status.decisions
    assert reading.unreadable.by_name() == {"MissingField": 1, "NotJson": 1}
    assert reading.in_force == {"block": 1, "hold": 0, "approve": 0}
    said = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert said == ["a decision can't be read"] * 2


def test_a_worker_that_reads_no_decisions_any_more_says_so_and_hides_nothing(world: World) -> None:
    run = known(world)
    decide(world, "i5", "block")
    run.tick()
    run.finish()
    world.decisions = None
    with capture_logs() as logs:
        again = world.worker()
    assert "no decisions topic is read, unlike before" in str(logs)
    since = len(lists(world))
    world.send_many(26)
    again.to_the_end()
    assert any("i5" in made for made in lists(world, since))

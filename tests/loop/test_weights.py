"""Workers of a group bring their weights together; each rule about who takes what, from whom and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from model.state import array_of
from model.weights.gift import MOST_SAY
from stream_worker.backends.in_memory import InMemoryTopic
from stream_worker.core.weights_codec import GivenWeights, Parts, encode_weights
from stream_worker.loop.line import Line
from stream_worker.loop.weights import FRESH_SECONDS, WeightsOfOthers
from tests.support.worker_world import SETTINGS, Durable, Run, World


def _world(weights: bool = True, partitions: int = 2) -> World:
    world = World(Durable, partitions)
    world.weights = InMemoryTopic(2, "weights") if weights else None
    return world


def _together(world: World, runs: list[Run], rounds: int = 6, seconds: float = 0.3) -> None:
    """Rounds of new events; each worker ticks, then time goes on."""
    for _ in range(rounds):
        world.send_many(32)
        for run in runs:
            run.tick(2)
        world.clock.sleep(seconds)


def _weights(run: Run) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return array_of(run.worker.line.learner.encoder_trainer.optimizer.vector).copy()


def _apart(one: Run, other: Run) -> float:
    return float(np.abs(_weights(one) - _weights(other)).max())


def _pair(world: World) -> tuple[Run, Run]:
    one, other = world.worker("one"), world.worker("two")
    _together(world, [one, other])
    return one, other


def _end(*runs: Run) -> None:
    for run in runs:
        run.close()


def _gifts(world: World) -> list[GivenWeights]:
    assert world.weights is not None
    parts, found = Parts(), []
    for records in world.weights.partitions:
        found += [parts.add(record.key or b"", record.value or b"") for record in records]
    return sorted((gift for gift in found if gift is not None), key=lambda gift: gift.at)


def _put(world: World, given: GivenWeights) -> None:
    assert world.weights is not None
    for value in encode_weights(given, 10**6):
        world.weights.append(given.slot.encode(), value, 1)


def test_two_workers_that_begin_cold_at_the_same_time_stay_together() -> None:
    """They have one seed and configuration, so they are one family with the same first weights."""
    world, apart = _world(), _world(weights=False)
    one, other = _pair(world)
    lonely, lonelier = _pair(apart)
    assert _apart(one, other) < _apart(lonely, lonelier) / 2
    for run in (one, other):
        sharing = run.worker.status.sharing
        assert (sharing.lines, sharing.refused.total()) == (1, 0)
        assert min(sharing.given, sharing.taken) > 3
        assert world.clock.now() - sharing.oldest_ts < 2
    _end(one, other, lonely, lonelier)


def test_a_worker_that_hears_no_other_does_as_without_the_topic_to_the_byte() -> None:
    found = []
    for weights in (True, False):
        world = _world(weights)
        run = world.worker("one")
        _together(world, [run])
        arrays, meta = run.worker.line.learner.state_dict()
        lists = world.topic.outputs.recommendations
        found.append(({name: array.tobytes() for name, array in arrays.items()}, meta, lists))
        if weights:
            assert all(not gift.columns for gift in _gifts(world))
            assert 1 <= len(_gifts(world)) <= 4  # a sign of life in two seconds
            assert run.worker.status.sharing.given == 0
        _end(run)
    assert found[0] == found[1]


def test_a_worker_gives_at_most_five_times_a_second() -> None:
    world = _world()
    one, other = world.worker("one"), world.worker("two")
    _together(world, [one, other], seconds=0.05, rounds=14)
    for slot in ("one", "two"):
        times = [gift.at for gift in _gifts(world) if gift.slot == slot and gift.columns]
        assert len(times) > 1
        assert min(np.diff(times)) > 0.19
    _end(one, other)


def _spoilt_family(given: GivenWeights) -> GivenWeights:
    return replace(given, family="another")


def _of_yesterday(given: GivenWeights) -> GivenWeights:
    return replace(given, at=given.at - FRESH_SECONDS - 5)


def _ahead(given: GivenWeights) -> GivenWeights:
    return replace(given, at=given.at + FRESH_SECONDS + 5)


def _narrow(given: GivenWeights) -> GivenWeights:
    return replace(given, columns=dict(given.columns) | {"ranker": np.zeros(3, np.float32)})


def _infinite(given: GivenWeights) -> GivenWeights:
    return replace(given, columns={"encoder": np.full(3, np.inf, np.float32)})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_spoilt_family, "family"),
        (_of_yesterday, "late"),
        (_ahead, "late"),
        (_narrow, "shape"),
        (_infinite, "not_finite"),
    ],
)
def test_weights_that_can_not_be_taken_are_counted_and_said_once(
    spoil: Callable[[GivenWeights], GivenWeights], reason: str
) -> None:
    world = _world()
    one, other = _pair(world)
    given = replace(_gifts(world)[-1], slot="stranger", at=world.clock.now())
    sharing, before = one.worker.status.sharing, _weights(one)
    taken = sharing.taken
    with capture_logs() as logs:
        for _ in range(3):
            _put(world, spoil(given))
            one.tick()
    assert sharing.refused == {reason: 3}
    assert [(log["slot"], log["reason"]) for log in logs if "not taken" in log["event"]] == [("stranger", reason)]
    assert sharing.taken <= taken + 1  # what the other worker gave last
    assert np.isfinite(before).all()
    _end(one, other)


def test_a_record_that_is_no_gift_is_counted_and_the_worker_goes_on() -> None:
    world = _world()
    assert world.weights is not None
    one, other = _pair(world)
    (record,) = encode_weights(replace(_gifts(world)[-1], slot="x"), 1)
    for value in (b"", b"no weights", record[:-1], record[:3] + b"\2" + record[4:], None):
        world.weights.append(b"stranger", value, 1, 0)
    world.weights.append(None, record[:30], 1, 0)
    one.tick()
    assert one.worker.status.sharing.refused == {"unreadable": 3, "torn": 2, "version": 1}
    _together(world, [one, other], rounds=3)
    _end(one, other)


def test_a_record_with_more_ids_than_rows_does_not_stop_the_worker() -> None:
    world = _world()
    one, other = _pair(world)
    given = replace(_gifts(world)[-1], slot="stranger", at=world.clock.now())
    _put(world, replace(given, ids=[*given.ids, *given.ids, "item-1"]))
    _together(world, [one], rounds=3)
    assert one.worker.status.sharing.refused == {"shape": 1}
    _end(one, other)


def test_a_worker_without_a_step_keeps_the_newest_weights_of_64_lines_at_the_most() -> None:
    world = _world()
    one, other = _pair(world)
    given = replace(_gifts(world)[-1], at=world.clock.now())
    for number in range(80):
        _put(world, replace(given, slot=f"line-{number}"))
        one.tick()
    kept = one.worker._weights._waiting
    assert len(kept) == 64
    assert "line-79" in kept
    _end(one, other)


def test_two_versions_of_the_program_take_nothing_from_each_other() -> None:
    """During an upgrade the lines of each version go on with each other."""
    world = _world()
    assert world.weights is not None
    one, other = _pair(world)
    (record,) = encode_weights(replace(_gifts(world)[-1], slot="newer"), 1)
    with capture_logs() as logs:
        world.weights.append(b"newer", record[:3] + b"\7" + record[4:], 1)
        one.tick()
    assert [log["detail"] for log in logs if log.get("reason") == "version"] == [
        "it has version 7, this worker reads version 1"
    ]
    _end(one, other)


def test_a_family_is_kept_in_the_checkpoint_and_goes_to_lines_that_begin_from_it() -> None:
    world = _world()
    run = world.worker("one")
    run.worker.line.learner.family = "ours"
    _together(world, [run], rounds=2)
    run.finish()
    assert world.worker("one").worker.line.learner.family == "ours"
    world.checkpoints["two"] = world.checkpoints["one"]
    assert world.worker("two", own=False).worker.line.learner.family == "ours"


def test_lines_of_another_order_of_event_types_are_of_another_family() -> None:
    world = _world()
    run = world.worker("one")
    families = set()
    for kinds in (["view", "buy"], ["buy", "view"]):
        families.add(WeightsOfOthers(run.worker._outside, run.worker.line, run.worker.status.sharing, kinds)._family())
    assert len(families) == 2
    _end(run)


def test_a_line_that_comes_back_after_a_day_takes_over_what_the_others_have() -> None:
    world = _world()
    one, other = _pair(world)
    other.finish()
    one.worker._weights._shared._began -= 2 * MOST_SAY
    _together(world, [one], rounds=6)
    world.clock.sleep(86_400)
    back = world.worker("two")
    assert back.worker.line.learner.steps > 0  # from its own checkpoint of yesterday
    before, apart = _weights(one), _apart(one, back)
    assert apart > 0
    _together(world, [one, back], rounds=5)
    assert np.abs(_weights(one) - _weights(back)).max() < apart
    assert back.worker.status.sharing.taken > 0
    assert np.isfinite(before).all()
    _end(one, back)


def _falls_back(line: Line) -> None:
    """Make eight steps in a row impossible, as weights that are no numbers do."""
    line.learner.guards["encoder"].in_a_row = line.recovery.answers.config.collapse_skips


def test_a_line_that_fell_back_takes_none_and_gives_none_until_it_has_recovered() -> None:
    settings = replace(SETTINGS, drift=replace(SETTINGS.drift, rollback_rest_events=100))
    world = World(Durable, 2, settings=settings)
    world.weights = InMemoryTopic(2, "weights")
    one, other = _pair(world)
    one.worker._weights._shared._began -= 2 * MOST_SAY
    _falls_back(one.worker.line)
    with capture_logs() as logs:
        _together(world, [one, other], rounds=1)
    assert one.worker.line.recovery.rests()
    assert any("fell back" in log["event"] for log in logs)
    sharing = one.worker.status.sharing
    before, at = (sharing.given, sharing.taken), world.clock.now()
    _together(world, [one, other], rounds=2)
    assert one.worker.line.recovery.rests()
    assert (sharing.given, sharing.taken) == before
    assert not [gift for gift in _gifts(world) if gift.slot == "one" and gift.at > at]
    assert other.worker.status.sharing.taken > 0
    _together(world, [one, other], rounds=12)
    assert not one.worker.line.recovery.rests()
    assert sharing.taken > before[1]
    assert one.worker._weights._shared.say < MOST_SAY
    _end(one, other)


def test_all_lines_fall_back_by_themselves_and_come_together_again() -> None:
    settings = replace(SETTINGS, drift=replace(SETTINGS.drift, rollback_rest_events=60))
    world = World(Durable, 2, settings=settings)
    world.weights = InMemoryTopic(2, "weights")
    one, other = _pair(world)
    for run in (one, other):
        _falls_back(run.worker.line)
    _together(world, [one, other], rounds=1)
    assert one.worker.line.recovery.rests()
    assert other.worker.line.recovery.rests()
    taken = one.worker.status.sharing.taken
    _together(world, [one, other], rounds=14)
    assert one.worker.status.sharing.taken > taken
    _end(one, other)


def test_a_worker_without_others_stops_giving_after_ten_seconds() -> None:
    world = _world()
    one, other = _pair(world)
    other.finish()
    _together(world, [one], rounds=4, seconds=4.0)
    given = one.worker.status.sharing.given
    _together(world, [one], rounds=4, seconds=4.0)
    assert one.worker.status.sharing.given == given
    _end(one)


def test_a_topic_that_does_not_answer_is_said_once_and_changes_nothing() -> None:
    world = _world()
    run = world.worker("one")
    assert run.weights is not None
    run.weights.away = "there is no topic weights"
    with capture_logs() as logs:
        _together(world, [run], rounds=3)
    assert [log["reason"] for log in logs if "own events alone" in log["event"]] == ["there is no topic weights"]
    assert run.learned > 0
    _end(run)

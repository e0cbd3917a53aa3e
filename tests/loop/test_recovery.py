"""What a worker does about drift and broken weights: visible, the same after a restart, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.learner_config import LearnerConfig
from stream_worker.core.drift import Alarm
from stream_worker.core.drift_answers import ANSWERS
from stream_worker.core.source_id import SourceId
from tests.support.worker_world import Run, Twin, World

_ALARM = Alarm("all", 50, 0.5, 0.2)


@pytest.fixture
def world() -> World:
    world = World(Twin, partitions=2)
    world.send_many(400, users=7)
    return world


def _start(world: World) -> Run:
    run = world.worker()
    answers = run.worker.line.recovery.answers
    answers.config = replace(answers.config, answers=ANSWERS, rate_factor=4.0, rate_events=2_000, collapse_skips=10)
    return run


def _tick_with_alarm(run: Run) -> None:
    monitor = run.worker.line.monitor
    update = monitor.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "update", lambda *columns: [*update(*columns), _ALARM])
        run.tick()


def _poison(run: Run) -> None:
    with torch.no_grad():
        run.worker.line.learner.encoder.output.weight.fill_(torch.nan)


def test_an_alarm_is_answered_and_every_answer_can_be_seen(world: World) -> None:
    run = _start(world)
    run.tick(5)
    status = run.worker.status
    assert status.learning.rate_factor == 1.0
    _tick_with_alarm(run)
    run.tick()
    assert dict(status.drift.answers) == dict.fromkeys(ANSWERS, 1)
    assert [note.kind for note in status.notes] == ["alarm", *["answer"] * len(ANSWERS)]
    assert 3.9 < status.learning.rate_factor <= 4.0
    assert status.learning.rate == pytest.approx(status.learning.rate_factor * LearnerConfig().encoder_learning_rate)
    run.to_the_end()
    world.check_contract_1()


def test_states_are_made_anew_at_each_users_next_event_and_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _start(world)
    run.tick(12)
    _tick_with_alarm(run)
    learner, recovery = run.worker.line.learner, run.worker.line.recovery
    told: list[int] = []
    rebuild = learner.rebuild

    def noted_rebuild(slots: NDArray[np.int64], ids: Callable[[Sequence[int]], Sequence[str | None]]) -> None:
        told.extend(slots.tolist())
        rebuild(slots, ids)

    monkeypatch.setattr(learner, "rebuild", noted_rebuild)
    run.tick(4)
    users = set(learner.users.keys_of(np.array(sorted(told))))
    assert len(users) == len(told) == recovery.rebuilt > 0
    assert run.worker.status.learning.users_rebuilt == len(told)
    run.to_the_end()
    assert recovery.rebuilt <= len({(user, partition) for user, partition in world.valid()})


def _outputs(world: World) -> list[tuple[str, int, list[str], list[float]]]:
    return [(r.user, r.next_offset, list(r.items), list(r.scores)) for r in world.topic.outputs.recommendations]


@pytest.mark.parametrize("later", [0, 1, 3])
def test_a_worker_that_is_started_again_after_an_alarm_publishes_the_same(world: World, later: int) -> None:
    """Users are on the device or not, states made anew or not yet: it makes no difference."""
    whole = World(Twin, partitions=2)
    whole.send_many(400, users=7)
    run, first = _start(whole), _start(world)
    for each in (run, first):
        each.tick(10)
        _tick_with_alarm(each)
        each.tick(later)
    run.to_the_end()
    first.finish()
    second = _start(world)
    assert second.worker.line.recovery.stale_below == first.worker.line.recovery.stale_below != {}
    second.to_the_end()
    ours, theirs = _outputs(world), _outputs(whole)
    assert ours == theirs


def test_broken_weights_end_no_worker_and_are_rolled_back_when_they_persist(world: World) -> None:
    """Lists go on all the while; in the end all that was learned and remembered is finite."""
    run = _start(world)
    run.tick(20)
    _poison(run)
    run.tick(4)
    status = run.worker.status
    assert (status.learning.steps_skipped["encoder"], status.drift.answers["rollback"]) == (4, 0)
    run.tick(7)
    assert (status.learning.steps_skipped["encoder"], status.drift.answers["rollback"]) == (10, 1)
    assert [(note.kind, note.text) for note in status.notes] == [
        ("rollback", "encoder: 10 steps in a row could not be taken")
    ]
    run.to_the_end()
    world.check_contract_1()
    assert all(made.items and np.isfinite(made.scores).all() for made in world.topic.outputs.recommendations[20:])
    arrays = run.worker.line.snapshot(SourceId("events"), {}, {}).arrays
    assert [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()] == []
    assert run.learned == 400


def test_what_was_skipped_is_counted_from_this_start(world: World) -> None:
    run = _start(world)
    run.tick(10)
    _poison(run)
    run.tick(2)
    run.finish()
    again = _start(world)
    again.tick()
    assert again.worker.line.learner.guards["encoder"].skipped == 3
    assert again.worker.status.learning.steps_skipped["encoder"] == 1
    again.close()


def test_what_was_learned_from_another_source_leaves_no_stale_offsets(world: World) -> None:
    run = _start(world)
    run.tick(10)
    _tick_with_alarm(run)
    run.finish()
    world.topic.name = "another"
    again = world.worker()
    assert again.worker.line.recovery.stale_below == {} == again.worker.line.offsets
    again.close()

"""Each guard of hearing is removed once: the check that watches it fails, and says what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from model.counting.walk import Counting, WalkedEvents
from stream_worker.backends.in_memory import InMemoryHeard
from stream_worker.core import offsets as four_offsets
from stream_worker.core.codec import encode_event
from stream_worker.core.events import Record
from stream_worker.core.offsets import Offsets
from stream_worker.loop import worker as loop
from stream_worker.loop.heard_users import HeardUsers
from stream_worker.loop.hearing import Hearing
from stream_worker.loop.ownership import Ownership
from stream_worker.loop.recalling import Recalling
from tests.loop.test_remembered_unheard import claimed_after_another_one
from tests.model import test_hearing as of_the_model
from tests.support.two_workers import check_counts, close, hearing_world, owned, silence, tick, two
from tests.support.worker_world import BATCH, Run, World

NOW = 1_700_000_000
Removal = Callable[[pytest.MonkeyPatch], None]


# -- stories, each with its checks -----------------------------------------------------------------------------


def claimed_behind() -> None:
    """The other one has published what this one could not hear yet, and leaves: L < Y."""
    world = hearing_world()
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    silent = silence(first)
    world.send_many(40)
    tick(10, second)
    second.finish()
    tick(3, first)
    silent.undo()
    _check(world, _to_the_end(world, first))


def claimed_ahead() -> None:
    """The other one stands still, and this one hears what it has not published; then it takes over: L > Y."""
    world = hearing_world()
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    world.send_many(40)
    tick(10, first)
    assert first.worker.line.offsets[1] > world.topic.committed[1]
    world.topic.lose(second.source, first.source)
    second.close()
    tick(10, first)
    assert owned(first) == [0, 1]
    _check(world, _to_the_end(world, first))


def heard_again() -> None:
    """Hearing begins anew: what stands before L is read again, so that rings are filled."""
    world = hearing_world()
    world.send_many(60)
    first, second = two(world)
    tick(20, first, second)
    first.worker._hearing.leave({1})
    world.send_many(20)
    tick(10, first, second)
    _check(world, first)
    close(first, second)


def given_out_twice() -> None:
    """A source gives out what came before, and what is owned."""
    world = hearing_world()
    first, second = world.worker("a", heard=_Everything(world.topic)), world.worker("b")
    tick(4, first, second)
    for _ in range(3):
        world.send_many(20)
        tick(1, first, second)
    tick(10, first, second)
    _check(world, first)
    close(first, second)


def dated_ahead() -> None:
    """An event of another's partition is dated a day ahead; its record is of now."""
    world = hearing_world()
    world.send_many(20)
    first, second = two(world)
    tick(10, first, second)
    world.topic.append(b"u", encode_event("u", "i1", "view", NOW + 80_000), NOW * 1000 + 500, 1)
    tick(3, first, second)
    assert first.worker.line.learner.clock_ts <= NOW + 20, "another's event has moved the clock"
    assert second.worker.line.learner.clock_ts == NOW + 80_000
    close(first, second)


def of_several_times() -> None:
    """Records of both partitions come at once, in the order of their times."""
    world = hearing_world()
    first, second = two(world)
    seen: list[float] = []
    learn = first.worker.line.learner.learn

    def noting(batch: Any, *more: Any) -> Any:
        seen.extend(batch.ts_B.tolist())
        return learn(batch, *more)

    for k in range(6):
        value = encode_event(f"u{k}", f"i{k}", "view", NOW + k)
        world.topic.append(b"u", value, 1000 * (NOW + k), (1, 0, 0, 1, 1, 0)[k])
    first.worker.line.learner.learn = noting  # type: ignore[assignment, method-assign]
    tick(3, first)
    assert seen == [NOW + k for k in range(6)], "the events were not in the order of their times"
    close(first, second)


class _Everything(InMemoryHeard):
    def leave(self, partitions: Any) -> None:
        """Stop nothing."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        again = [record for records in self._topic.partitions for record in records[-BATCH:]]
        return super().poll(max_records, timeout_seconds) + again


def _to_the_end(world: World, run: Run) -> Run:
    world.send_many(20)
    tick(20, run)
    run.to_the_end()
    world.check_contract_1()
    world.check_memories(run.store)
    return run


def _check(world: World, run: Run) -> None:
    check_counts(world, run)
    takeovers, users = run.worker.status.takeovers, run.worker.line.learner.users
    assert takeovers.listed_again == 0, "lists were said to be published again"
    assert takeovers.unlearned == takeovers.overlap == 0, "events were remembered that were not learned"
    keys = [key for key in users.keys_of(np.flatnonzero(users.heard_S)) if key[0] in owned(run)]
    assert not keys, f"heard users of owned partitions: {keys}"
    assert not users.dirty_S[users.heard_S].any(), "what is only heard is to be written"


# -- guards ----------------------------------------------------------------------------------------------------


def counted_first(patch: pytest.MonkeyPatch) -> None:
    """All events are counted, then examined."""
    walk = Counting.walk

    def walked(self: Counting, users: Any, events: WalkedEvents, *more: Any) -> Any:
        self.count(users, events)
        return walk(self, users, events._replace(learn_B=np.zeros_like(events.learn_B)), *more)

    patch.setattr(Counting, "walk", walked)


def rows_kept(patch: pytest.MonkeyPatch) -> None:
    """The rows of heard users stay when their partition is claimed."""
    patch.setattr(HeardUsers, "drop", lambda self, partitions: None)


def rows_as_owned(patch: pytest.MonkeyPatch) -> None:
    """Rows of heard users are as those of owned ones."""
    find = HeardUsers.recall

    def recall(self: HeardUsers, keys: Any) -> Any:
        slots = find(self, keys)
        self._users.heard_S[slots] = False
        return slots

    patch.setattr(HeardUsers, "recall", recall)


def claimed_at_once(patch: pytest.MonkeyPatch) -> None:
    """A claim waits for nothing."""
    patch.setattr(Hearing, "has_reached", lambda self, partition, published: True)


def memories_ahead_of_l(patch: pytest.MonkeyPatch) -> None:
    """A claim does not ask what is remembered."""
    patch.setattr(Hearing, "lacks", lambda self, partition, claim: False)


def heard_on(patch: pytest.MonkeyPatch) -> None:
    """What is claimed is heard, too, and what came before counts as new."""
    patch.setattr(Hearing, "_new", lambda self, polled: list(polled))


def l_of_heard_ignored(patch: pytest.MonkeyPatch) -> None:
    """What is read again to fill rings is learned."""
    learned = Hearing.learned
    patch.setattr(Hearing, "learned", lambda self: dict.fromkeys(learned(self), 0))


def published_for_others(patch: pytest.MonkeyPatch) -> None:
    """Y of heard partitions is 0."""
    patch.setattr(four_offsets, "_NEVER", 0)


def _claims(**others: Callable[[dict[str, Any]], Any]) -> Removal:
    """Let a claim see other offsets than there are."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        claim = Offsets.claim

        def claimed(self: Offsets, partition: int, **seen: Any) -> int:
            return claim(self, partition, **seen | {name: of(seen) for name, of in others.items()})

        patch.setattr(Offsets, "claim", claimed)

    return remove


published_as_heard = _claims(published=lambda seen: max(seen["published"], seen["learned"]))
learned_again = _claims(learned=lambda seen: 0)
l_says_what_was_published = _claims(heard=lambda seen: False)


def clock_of_all(patch: pytest.MonkeyPatch) -> None:
    """A heard event moves the clock as an own one does."""
    patch.setattr(Recalling, "_clock", lambda self, piece, events, own_B: events.ts_B)


def heard_in_front(patch: pytest.MonkeyPatch) -> None:
    """All heard records of a tick come before the own ones."""
    make = loop.Worker.__init__
    in_front: Any = lambda heard, own: [*heard, *own]  # noqa: E731
    patch.setattr(loop.Worker, "__init__", lambda self, *a, **more: make(self, *a, **more | {"in_order": in_front}))


def not_left(patch: pytest.MonkeyPatch) -> None:
    """A partition that is claimed is heard on."""
    patch.setattr(Hearing, "leave", lambda self, partitions: None)


def starts_from_l(patch: pytest.MonkeyPatch) -> None:
    """Reading starts at L where that is past M: what was heard counts as remembered."""
    start = Ownership._start

    def started(self: Ownership, partition: int, at: Any, claim: Any) -> int:
        return max(start(self, partition, at, claim), self._line.offsets.get(partition, 0))

    patch.setattr(Ownership, "_start", started)


@dataclass(frozen=True)
class Control:
    """Without `guard`, this check of `story` fails; `check`: the name of a function, or words of its message."""

    guard: Removal
    story: Callable[[], None]
    check: str
    name: str = ""


CONTROLS = (
    Control(counted_first, of_the_model.test_an_examined_heard_event_does_not_see_its_own_count, "own_count"),
    Control(rows_kept, claimed_behind, "check_memories"),
    Control(rows_kept, claimed_ahead, "check_memories"),
    Control(rows_as_owned, claimed_behind, "published again"),
    Control(claimed_at_once, claimed_behind, "check_counts"),
    Control(memories_ahead_of_l, claimed_after_another_one, "check_counts"),
    Control(heard_on, given_out_twice, "check_counts"),
    Control(l_of_heard_ignored, heard_again, "check_counts"),
    Control(published_for_others, claimed_behind, "check_contract_1"),
    Control(published_as_heard, claimed_ahead, "check_contract_1", "published_as_heard"),
    Control(learned_again, claimed_ahead, "check_counts", "learned_again"),
    Control(l_says_what_was_published, claimed_ahead, "published again", "l_says_what_was_published"),
    Control(clock_of_all, dated_ahead, "moved the clock"),
    Control(heard_in_front, of_several_times, "order of their times"),
    Control(not_left, claimed_behind, "check_contract_1"),
    Control(starts_from_l, claimed_ahead, "check_contract_1"),
)


@pytest.mark.parametrize("story", dict.fromkeys(control.story for control in CONTROLS), ids=lambda s: s.__name__)
def test_with_all_guards_the_checks_hold(story: Callable[[], None]) -> None:
    story()


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: f"{c.name or c.guard.__name__}-{c.story.__name__}")
def test_without_a_guard_its_check_fails(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    control.guard(monkeypatch)
    with pytest.raises(AssertionError) as failed:
        control.story()
    said = [str(failed.value), *(entry.name for entry in failed.traceback)]
    assert any(control.check in words for words in said), f"it failed for another reason: {said}"

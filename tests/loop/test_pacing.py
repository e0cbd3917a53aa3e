"""What the effort of a worker follows: the lag of what it owns and hears, as far as this worker can work it off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stream_worker.core.effort import Effort, EffortConfig
from stream_worker.core.offsets import Offsets
from stream_worker.core.status import Status
from stream_worker.loop.pacing import Pacing

_BATCH = 100


class _Scene:
    """A worker that owns partition 0, and hears partition 1 from offset 70 on."""

    def __init__(self) -> None:
        self.status, self.offsets = Status(), Offsets()
        self.offsets.claim(0, published=0, learned=0, floor=0)
        hearing: Any = SimpleNamespace(more=False, learned=lambda: {1: 70})
        self.recovery = SimpleNamespace(stale_below={0: 5})
        line: Any = SimpleNamespace(recovery=self.recovery, learner=SimpleNamespace(events=0))
        self.effort = Effort(EffortConfig(calm_seconds=1), follows=True)
        self.hearing, self.pacing = hearing, Pacing(self.effort, _BATCH, line, hearing, self.offsets, self.status)

    def follow(self, own: int = 0, heard: int = 0, *, more: bool = False, waited: float = 0.0) -> tuple[int, int]:
        self.status.consuming.lag, self.status.hearing.lag = {0: own}, {1: heard}
        self.hearing.more = more
        self.status.stage_seconds = {"poll": waited}
        self.pacing.follow(_BATCH, 1.0)
        return self.effort.thinning, self.effort.heard_one_in


def test_a_lag_of_hearing_counts_as_lag() -> None:
    assert _Scene().follow(heard=10_000, more=True) == (1, 2)
    assert _Scene().follow(own=10_000) == (1, 2)


def test_heard_records_that_do_not_come_are_no_reason_to_learn_less() -> None:
    """A broker holds them back, or they wait for own ones."""
    assert _Scene().follow(heard=10_000) == (1, 1)


def test_states_that_stood_still_are_rebuilt_once_heard_events_are_examined_again() -> None:
    scene = _Scene()
    assert [scene.follow(heard=10_000, more=True)[1] for _ in range(5)][-1] == 0
    assert scene.recovery.stale_below == {0: 5}
    assert 16 in [scene.follow(waited=1.0)[1] for _ in range(2)]
    assert scene.recovery.stale_below == {0: 5, 1: 70}


def test_it_is_behind_if_more_than_a_batch_of_owned_records_is_unread() -> None:
    scene = _Scene()
    scene.follow(own=_BATCH, heard=10_000, more=True)
    assert not scene.pacing.behind()
    scene.follow(own=_BATCH + 1)
    assert scene.pacing.behind()

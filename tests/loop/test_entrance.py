"""When a worker joins its group: at once, or once it has heard what the others have read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream_worker.loop.entrance import Entrance


class _Scene:
    def __init__(self, *, alone: bool = False, is_awaited: bool = False) -> None:
        self.now, self.caught_up, self.began = 0.0, False, False
        heard: Any = SimpleNamespace(alone=lambda: alone, is_awaited=lambda: is_awaited)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        source = SimpleNamespace(subscribe=lambda owner: None)
        outside: Any = SimpleNamespace(heard=heard, clock=clock, source=source)
        hearing: Any = SimpleNamespace(begin=self._begin, has_caught_up=lambda: self.caught_up)
        owner: Any = object()
        self.entrance = Entrance(outside, hearing, owner)
        self.entrance.begin()

    def _begin(self) -> None:
        self.began = True


@pytest.mark.parametrize("why", [{"alone": True}, {"is_awaited": True}])
def test_nobody_waits_where_there_is_nothing_to_hear_or_where_partitions_wait(why: dict[str, bool]) -> None:
    scene = _Scene(**why)
    assert (scene.entrance.passed, scene.began) == (True, False)


def test_a_new_worker_of_a_group_joins_once_it_has_caught_up() -> None:
    scene = _Scene()
    scene.entrance.keep()
    assert (scene.entrance.passed, scene.began) == (False, True)
    scene.caught_up = True
    scene.entrance.keep()
    assert scene.entrance.passed


def test_it_joins_after_a_minute_however_far_it_is() -> None:
    scene = _Scene()
    scene.now = 59.9
    scene.entrance.keep()
    assert not scene.entrance.passed
    scene.now = 60.0
    scene.entrance.keep()
    assert scene.entrance.passed

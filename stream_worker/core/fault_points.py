"""Fault points: named places in the order of writing at which a test ends or stops the process. Off by default.

`[debug] fault` names the point, and the count at which the process acts:

fault = "transaction.offsets_sent:3"         kill -9 the third time this point is reached
fault = "transaction.offsets_sent:3:stop"    SIGSTOP there instead
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from pydantic import dataclasses as checked

POINTS = {
    "transaction.before": "loop: a batch has been taken through all effects in memory",
    "transaction.begun": "loop: the transaction is open and empty",
    "transaction.produced": "loop: its lists and dead letters are queued",
    "transaction.offsets_sent": "loop: Y is in it",
    "transaction.after": "loop: it is committed",
    "checkpoint.before": "background: nothing of L is written",
    "checkpoint.arrays": "background: the arrays of L are written, its manifest is not",
    "checkpoint.written": "background: L is whole beside its place",
    "checkpoint.published": "background: L is in its place, older ones are not removed",
    "checkpoint.cleaned": "background: older checkpoints are removed",
    "records.chunk": "background: a chunk of memory records is in the store",
    "records.written": "background: all records of a partition are, M is not",
    "floor.written": "background: M of a partition is in the store",
    "written": "background: everything that was due is written",
}
_ACTIONS = ("kill", "stop")

Reached = Callable[[str], None]


def no_fault(point: str) -> None:
    """Do nothing at a fault point: the default."""


@checked.dataclass(frozen=True, config={"extra": "forbid"})
class DebugConfig:
    """`[debug]`: faults on purpose, for tests alone."""

    #: `point[:count[:kill|stop]]`: the process is killed, or stopped, the `count`-th time that it reaches the point.
    #: Empty: never.
    fault: str = ""

    def __post_init__(self) -> None:
        point, count, action = self._parts()
        if point and point not in POINTS:
            near = difflib.get_close_matches(point, POINTS, n=1, cutoff=0)[0]
            raise ValueError(f"debug.fault: unknown point {point!r}; did you mean {near!r}?")
        if not count.isdecimal() or int(count) < 1 or action not in _ACTIONS:
            raise ValueError(f"debug.fault: must be point, point:count or point:count:kill|stop, got {self.fault!r}")

    def _parts(self) -> tuple[str, str, str]:
        point, _, rest = self.fault.partition(":")
        count, _, action = rest.partition(":")
        return point, count or "1", action or "kill"

    def reached(self, act: Callable[[str], None]) -> Reached:
        """Return the function to call at every fault point. `act`: is called with "kill" or "stop" at the set one."""
        point, count, action = self._parts()
        return FaultPoint(point, int(count), lambda: act(action)) if point else no_fault


class FaultPoint:
    """A function that calls `act` the `count`-th time that `point` is reached."""

    def __init__(self, point: str, count: int, act: Callable[[], None]) -> None:
        self._point, self._left, self._act = point, count, act

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self._act()

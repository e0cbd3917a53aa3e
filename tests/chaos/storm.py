"""Scenario 4: workers join and leave all the time, and the group makes progress all the same.

One worker stays. Every three seconds another is started or made to leave: by SIGTERM and by `kill -9` in turn, slots
that come back (within their session, or after it) and new ones. They are processes of their own, forked so that a start
means a join (see `nursery`). A static member that leaves is dropped by the group when its session ends, 6 seconds
later, and one that is back by then has never left. So what counts is the group's word: its members are read twice a
second, and a join or a leave is a member id that is new there, or gone.

Progress: the sum of committed offsets grows in every window of 15 seconds, from the first second of the storm to the
last. A partition by itself may wait longer, for the open transaction of a killed owner, which the coordinator ends
after 20 seconds: how long is in the table.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from tests.chaos.counts import Manifests
from tests.chaos.onlooker import Onlooker
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.supervisor import Supervisor
from tests.chaos.under_load import Play
from tests.chaos.witness import CLAIMED, GIVEN_UP, STARTING, Published, logged, owned, paced

RATE, MOST_AHEAD = 200, 1_000
EVERY_SECONDS = 3.0
STORM_SECONDS, SHORT_SECONDS = 120.0, 18.0
STANDSTILL_SECONDS = 15.0
# Of one change in three seconds, how many the group has to have seen: some are made and undone between two looks, and
# what was begun last is seen after the storm.
SHARE_SEEN = 0.6
_STABLE, _FIRST = "stable", ("v0", "v1")
_MOST_WORKERS = 6
_LOOK_SECONDS = 0.5


@dataclass
class Clock:
    """How long something has not grown, at most."""

    value: int = -1
    since: float = field(default_factory=time.monotonic)
    longest_seconds: float = 0.0

    def see(self, value: int) -> None:
        now = time.monotonic()
        self.longest_seconds = max(self.longest_seconds, now - self.since)
        if value > self.value:
            self.value, self.since = value, now


class Watch(Onlooker):
    """Looks at the group from outside, from a thread of its own."""

    def __init__(self, play: Play, published: Published) -> None:
        self._play, self._published = play, published
        self._members = {member for member, _ in play.members().values()}
        self._before = self._now = published()
        self.joins = self.leaves = 0
        self._whole, self._parts = Clock(), {partition: Clock() for partition in self._before}
        super().__init__("watch", _LOOK_SECONDS)

    @property
    def committed(self) -> int:
        return sum(self._now.values()) - sum(self._before.values())

    @property
    def standstill_seconds(self) -> tuple[float, float]:
        """The longest without progress: of the group, and of one partition."""
        return self._whole.longest_seconds, max(part.longest_seconds for part in self._parts.values())

    def _look(self) -> None:
        members = {member for member, _ in self._play.members().values()}
        self.joins += len(members - self._members)
        self.leaves += len(self._members - members)
        self._members = members
        self._now = self._published()
        self._whole.see(sum(self._now.values()))
        for partition, offset in self._now.items():
            self._parts[partition].see(offset)


class Storm:
    """Starts a worker, or makes one leave, every three seconds."""

    def __init__(self, play: Play, rng: Random) -> None:
        self._play, self._rng = play, rng
        self.supervisor = Supervisor(play)
        self._new = (f"v{number}" for number in count(len(_FIRST)))
        self._known = list(_FIRST)
        self.kills = self.terminations = 0

    def run(self, seconds: float) -> None:
        for change in range(round(seconds / EVERY_SECONDS)):
            end = time.monotonic() + EVERY_SECONDS
            if change % 2:
                self._leave()
            else:
                self._join()
            self.supervisor.wait_for(partial(_is_over, end), "time to pass")

    def calm(self) -> None:
        """Those that were started last have joined."""
        self.supervisor.wait_for(lambda: all(map(self._has_joined, self._play.fleet.processes)), "the last to join")

    def moves(self) -> tuple[int, int]:
        """How often partitions were claimed, and given up, by the workers' logs."""
        slots = [_STABLE, *self._known]
        claimed, given_up = (sum(logged(self._play, slot, event) for slot in slots) for event in (CLAIMED, GIVEN_UP))
        return claimed, given_up

    def _join(self) -> None:
        if len(self._play.fleet.processes) < _MOST_WORKERS:
            self._play.fleet.start(self._slot())

    def _slot(self) -> str:
        """One that comes back, or a new one."""
        away = [slot for slot in self._known if slot not in self._play.fleet.processes]
        if away and self._rng.random() < 0.6:
            return self._rng.choice(away)
        self._known.append(next(self._new))
        return self._known[-1]

    def _leave(self) -> None:
        """The one that has been here longest, first of those that have a share for others to take over."""
        here = [slot for slot in self._play.fleet.processes if slot not in self.supervisor.leaving | {_STABLE}]
        staying = sorted(filter(self._has_joined, here), key=lambda slot: not owned(self._play, slot))
        if not staying:
            return
        if self.kills > self.terminations:
            self.supervisor.leave(staying[0])
            self.terminations += 1
        else:
            self._play.fleet.kill(staying[0])
            self.kills += 1

    def _has_joined(self, slot: str) -> bool:
        return logged(self._play, slot, "started") == logged(self._play, slot, STARTING) > 0


def storm(stage: Stage) -> Seen:
    seconds = SHORT_SECONDS if stage.short else STORM_SECONDS
    with stage.scene(forked=True) as scene, Manifests(scene) as manifests:
        play = Play(stage, scene)
        play.start(_STABLE, *_FIRST)
        published = Published(play.scene)
        play.events = paced(play.events, published.total, MOST_AHEAD)
        storm = Storm(play, Random(stage.seed))
        with play.stream(RATE):
            before = storm.moves()
            with Watch(play, Published(play.scene)) as watch:
                storm.run(seconds)
            claims, given_up = (now - then for now, then in zip(storm.moves(), before, strict=True))
            storm.calm()
        _check_weather(watch, seconds)
        seen = storm.supervisor.judged(**_seen(storm, watch), rebalances=f"{claims} claims {given_up} revocations")
        return seen | manifests.check(scene.sent)


def _check_weather(watch: Watch, seconds: float) -> None:
    needed = SHARE_SEEN * seconds / EVERY_SECONDS
    changes = watch.joins + watch.leaves
    if changes < needed:
        raise NotShown(f"no storm: the group has seen {changes} changes in {seconds:.0f} s, expected {needed:.0f}")
    standstill, _ = watch.standstill_seconds
    assert standstill <= STANDSTILL_SECONDS, f"no progress for {standstill:.1f} s, expected {STANDSTILL_SECONDS:.0f}"


def _seen(storm: Storm, watch: Watch) -> Seen:
    group, partition = watch.standstill_seconds
    return {
        "joins": watch.joins,
        "leaves": watch.leaves,
        "by kill -9": storm.kills,
        "by SIGTERM": storm.terminations,
        "committed in the storm": watch.committed,
        "longest standstill": f"{group:.1f} s",
        "of a partition": f"{partition:.1f} s",
    }


STORM = Scenario(4, "rebalance storm", storm, ("classic", "consumer"))


def _is_over(end_seconds: float) -> bool:
    return time.monotonic() >= end_seconds

"""Scenario 6: a worker is killed at every step of the order of writing, and its slot's next start, or another slot's
after the session timeout, goes on.

One chain of *lives*: each catches up with what the last one left, is then fed until it reaches its own fault point, and
dies there. What stands outside at every death has to be in the order that the rule of offsets asks for, and says what
the next life has to learn again or has lost.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from stream_worker.core.codec import encode_event
from stream_worker.core.fault_points import POINTS
from tests.chaos.logs import START_TS
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.standing import Standing, learned_at_start, look
from tests.core.hostile import hostile_records
from tests.support.fleet import Event
from tests.support.scene import Scene

USERS = 2_400  # in two partitions: in each more than one chunk of 1,000 records
# Without thinning, which makes batches larger where the machine is slow: a death waits for a number of them.
SETTINGS = {
    "KAFKA__SESSION_TIMEOUT_MS": "3000",
    "CHECKPOINT__INTERVAL_SECONDS": "0.3",
    "EFFORT__MOST_THINNING": "1",
}
_OWNED, _POLLED = "stream_worker_partitions_owned", "stream_worker_records_polled_total"
# A worker that hears what it will own may come to an L past Y, and has no gap: other scenarios play that.
_ALONE = {"HEARING__ENABLED": "false"}
_OVERLAP, _GAP = "stream_worker_events_overlap_total", "stream_worker_events_gap_total"
_BAD = 20
_MOST_MEALS = 15
_CHAINS = 2
# What the deaths are chosen for.
_EXPECTED = {
    "half-written partitions": "no death was between two chunks of records",
    "overlap": "nothing was ever learned after it had been published",
    "gap": "nothing was ever remembered that its next owner's line lacked",
}
_PATIENCE_SECONDS = 120.0

Metrics = dict[str, float]


@dataclass(frozen=True)
class Death:
    """Where a life ends. `leaving`: in the write with which a worker leaves, the only one of its life."""

    point: str
    count: int
    leaving: bool = False
    takeover: bool = False

    def settings(self) -> dict[str, str]:
        fault = {"DEBUG__FAULT": f"{self.point}:{self.count}"}
        return fault | ({"CHECKPOINT__INTERVAL_SECONDS": "3600"} if self.leaving else {})


# Counts that catching up does not reach: a meal is some ten batches, and a write or three.
_COUNTS = {"transaction": 25, "checkpoint": 6, "records": 12, "floor": 12, "written": 6}
SHORT = [
    Death("transaction.offsets_sent", 25),
    Death("transaction.after", 25, takeover=True),
    Death("checkpoint.written", 1, leaving=True),
    Death("checkpoint.published", 6, takeover=True),
    Death("records.chunk", 1, leaving=True),
    Death("floor.written", 1, leaving=True, takeover=True),
]


def full() -> list[Death]:
    """Every point at work, those of the background also while leaving; each once with a restart, once a takeover."""
    at_work = [Death(point, _COUNTS[point.partition(".")[0]]) for point in POINTS]
    leaving = [Death(point, 1, leaving=True) for point in POINTS if not point.startswith("transaction")]
    chunks = [Death("records.chunk", number, leaving=True) for number in (2, 3)]
    once = at_work + leaving + chunks
    return [replace(death, count=death.count + 1 - death.leaving, takeover=True) for death in once] + once


class Meals:
    """Events in portions: each has one of every user, in random order, and some records that are no events."""

    def __init__(self, seed: int, users: int = USERS) -> None:
        self._rng, self._seconds, self._seed, self._users = np.random.default_rng(seed), count(START_TS), seed, users

    def next(self) -> list[Event]:
        events = [self._event(int(user)) for user in self._rng.permutation(self._users)]
        for number, (value, _) in enumerate(hostile_records(_BAD, self._seed)):
            ts = next(self._seconds)
            events.insert(int(self._rng.integers(len(events))), (f"u{number}", value, ts * 1000, False))
        return events

    def _event(self, user: int) -> Event:
        ts = next(self._seconds)
        return f"u{user}", encode_event(f"u{user}", f"i{self._rng.integers(500)}", "view", ts), ts * 1000, True


class Chain:
    """Lives in two partitions, one after another, of slots "a" and "b" by turns where a death asks for a takeover."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.meals, self.slot = scene, Meals(seed), "a"
        self.seen: Counter[str] = Counter()
        self.points: set[str] = set()

    def live(self, death: Death | None) -> None:
        """Catch up, and then die; without a death, leave in good order."""
        scene = self.scene
        before, learned = look(scene), learned_at_start(scene, self.slot)
        scene.fleet.start(self.slot, **(death.settings() if death else {}))
        if found := self._caught_up(before):
            self._check_learned(found, before.to_learn(learned, scene.sent))
        if death is None:
            assert scene.fleet.stop(self.slot) == 0
            return
        self._feed(death)
        assert (code := scene.fleet.ended(self.slot)) == -signal.SIGKILL, f"{death}: exit code {code}"
        self._check_standing(death)
        if death.takeover:
            self.slot = "b" if self.slot == "a" else "a"

    def _caught_up(self, before: Standing) -> Metrics:
        """What it tells when it has come to the end of the log; nothing: it reached its fault before."""
        to_read, end = before.to_read(self._ends()), time.monotonic() + _PATIENCE_SECONDS
        while self._alive():
            found = self.scene.fleet.metrics(self.slot)
            owned, polled = found.get(_OWNED, 0), found.get(_POLLED, 0)
            if owned == self.scene.partitions and polled >= to_read:
                return found
            self._wait(end, "catching up")
        return {}

    def _check_learned(self, found: Metrics, expected: tuple[int, int]) -> None:
        """Overlap and gap of this life so far are what the rule says of what it began with."""
        got = int(found[_OVERLAP]), int(found[_GAP])
        assert got == expected, f"overlap and gap: expected {expected}, got {got}"
        self.seen["learned sides"] += 1
        self.seen["overlap"] += got[0]
        self.seen["gap"] += got[1]

    def _feed(self, death: Death) -> None:
        """Meals until it is dead; a leaving one gets one, and SIGTERM after it."""
        for _ in range(_MOST_MEALS):
            if not self._alive():
                return
            self.scene.produce(self.meals.next())
            end = time.monotonic() + _PATIENCE_SECONDS
            while self._alive() and not self.scene.done():
                self._wait(end, f"{death}: a meal")
            if death.leaving and self._alive():
                return self.scene.fleet.signal(self.slot, signal.SIGTERM)
        raise AssertionError(f"{death}: not reached in {_MOST_MEALS} meals\n{self.scene.fleet.log(self.slot)[-2000:]}")

    def _check_standing(self, death: Death) -> None:
        standing = look(self.scene)
        standing.check(self.scene.sent)
        self.points.add(death.point)
        self.seen["kills"] += 1
        self.seen["takeovers" if death.takeover else "restarts"] += 1
        self.seen["half-written partitions"] += standing.half_written(self.scene.sent)

    def _ends(self) -> dict[int, int]:
        places = list(self.scene.sent.bad)
        places += [(partition, offsets[-1]) for (_, partition), offsets in self.scene.sent.valid.items() if offsets]
        return {p: 1 + max((offset for at, offset in places if at == p), default=-1) for p in range(2)}

    def _alive(self) -> bool:
        return self.scene.fleet.processes[self.slot].poll() is None

    def _wait(self, end: float, what: str) -> None:
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: too long\n{self.scene.fleet.log(self.slot)[-2000:]}")
        time.sleep(0.15)


def killed_at_every_step(stage: Stage) -> Seen:
    """Two chains at a time: a life waits most of the time. In the short form workers are forked, see `nursery`."""
    deaths = SHORT if stage.short else full()
    with ThreadPoolExecutor(_CHAINS) as threads:
        chains = list(threads.map(lambda k: _chain(stage, f"chain-{k}", deaths[k::_CHAINS]), range(_CHAINS)))
    seen = sum((chain.seen for chain in chains), Counter())
    points = {point for chain in chains for point in chain.points}
    assert points == {death.point for death in deaths}
    for name, why in _EXPECTED.items():
        assert seen[name] > 0, f"{name}: {why}"
    return {"points": f"{len(points)} of {len(POINTS)}", **seen}


def _chain(stage: Stage, name: str, deaths: Sequence[Death]) -> Chain:
    with stage.scene(name, SETTINGS | _ALONE, partitions=2) as scene:
        chain = Chain(scene, stage.seed)
        for death in [*deaths, None]:
            chain.live(death)
        chain.seen.update(lists=scene.check(), memories=scene.check_memories(), bad=len(scene.sent.bad))
        return chain


SCENARIO = Scenario(6, "a kill at every step of writing", killed_at_every_step)

"""Scenario 3: a worker stands still for longer than its session, loses its partitions to another, and wakes up.

SIGSTOP stops all threads of a process wherever they are. So it wakes in the middle of what is no longer its own: a
batch, a transaction that holds Y and is not committed, a set of memory records of which some are written. Of the one
that wakes it is asked that it goes on or ends with 75, that nothing is published twice, and that Redis refuses what it
still writes under its old tokens.

A transaction that is open when its owner stops keeps the next owner waiting until it is ended: by the one that wakes
in time, who may still commit it, or by the coordinator after 20 seconds, which fences the one that wakes too late.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from subprocess import Popen

from stream_worker.backends.kafka.config import TRANSACTION_TIMEOUT_SECONDS
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.supervisor import Supervisor
from tests.chaos.under_load import Play, playing
from tests.chaos.witness import CLAIMED, REFUSED, Published, logged, owned, paced
from tests.core.hostile import hostile_records

RATE, MOST_AHEAD = 250, 1_000
_OFFSETS_SENT, _CHUNK, _WRITTEN = "transaction.offsets_sent", "records.chunk", "records.written"
# The how-manieth time, some seconds after the start.
_COUNTS = {_OFFSETS_SENT: (8, 40), _CHUNK: (6, 15), _WRITTEN: (6, 15)}
_TRIES = 3  # on a machine that is so busy that a session takes 20 s to end
_SETTLED_SECONDS = 0.3  # what the stopped worker had asked of the brokers is done


@dataclass(frozen=True)
class Stall:
    """`point`: where the worker stops itself; empty: SIGSTOP at a random moment. `in_time`: it is woken as soon as the
    group has given its partitions away, before the coordinator ends its transaction; else when their new owner has
    published from each of them."""

    slot: str
    point: str = ""
    in_time: bool = False

    @property
    def writes_memories(self) -> bool:
        return self.point in (_CHUNK, _WRITTEN)


SHORT = (Stall("a", _CHUNK), Stall("b"), Stall("a", _OFFSETS_SENT, in_time=True))
FULL = (
    *SHORT,
    Stall("b", _WRITTEN),
    Stall("b", _OFFSETS_SENT),
    Stall("a"),
    Stall("a", _OFFSETS_SENT),
    Stall("b", _OFFSETS_SENT, in_time=True),
    Stall("b"),
    Stall("a"),
)


class Stalls:
    """Plays one stall after the other, and counts."""

    def __init__(self, play: Play, published: Published, rng: Random) -> None:
        self._play, self._published, self._rng = play, published, rng
        self.supervisor = Supervisor(play)
        self.stops = self.takeovers = 0
        self.longest_seconds = 0.0

    def run(self, stall: Stall) -> None:
        for _ in range(_TRIES):
            asleep = self._play_once(stall)
            self.longest_seconds = max(self.longest_seconds, asleep)
            if not stall.in_time or asleep < TRANSACTION_TIMEOUT_SECONDS - 1:
                return
        raise AssertionError(f"{stall}: the group took {asleep:.0f} s to give its partitions away: no waking in time")

    def _play_once(self, stall: Stall) -> float:
        """1. the worker stops  2. another takes over  3. it is woken  4. its stale write is refused, and it goes on.
        Returns how many seconds it stood still."""
        self._stop(stall)  # 1.
        start = time.monotonic()
        process, lost = self._play.fleet.processes[stall.slot], owned(self._play, stall.slot)
        self._play.scene.produce([("bad", value, None, False) for value, _ in hostile_records(5, self.stops)])
        self._taken_over(stall, lost)  # 2.
        asleep = time.monotonic() - start
        claims, refused = self._logged(stall, CLAIMED), self._logged(stall, REFUSED)
        process.send_signal(signal.SIGCONT)  # 3.
        if stall.writes_memories:  # 4.
            self._wait(lambda: self._logged(stall, REFUSED) > refused, f"{stall}: its stale write to be refused")
            self._wait(lambda: self._counted(stall, process), f"{stall}: the refusal to be counted")
        self._wait(lambda: self._logged(stall, CLAIMED) > claims, f"{stall}: going on")
        return asleep

    def refused(self) -> int:
        """Stale writes that the store refused, by the log lines of both."""
        return sum(logged(self._play, slot, REFUSED) for slot in "ab")

    def _stop(self, stall: Stall) -> None:
        """1. Both have a share; then one stops itself at the point, or is stopped at a random moment."""
        if stall.point:
            self._restart(stall.slot, f"{stall.point}:{self._rng.randint(*_COUNTS[stall.point])}:stop")
        else:
            self._wait(lambda: all(owned(self._play, slot) for slot in "ab"), "a share for each")
            time.sleep(self._rng.uniform(0, 2))
            self._play.fleet.signal(stall.slot, signal.SIGSTOP)
        self._wait(lambda: self._play.fleet.stands_still(stall.slot), f"{stall}: standing still")
        self.stops += 1

    def _restart(self, slot: str, fault: str) -> None:
        if slot in self._play.fleet.processes:
            self.supervisor.leave(slot)
            self._wait(lambda: slot not in self._play.fleet.processes, f"{slot} to leave")
        self._play.fleet.start(slot, DEBUG__FAULT=fault)

    def _taken_over(self, stall: Stall, lost: set[int]) -> None:
        """2. By the group's word, or by what was published since."""
        time.sleep(_SETTLED_SECONDS)
        before = self._published()
        if stall.in_time:
            self._wait(lambda: self._others(stall) >= lost, f"{stall}: {lost} to be given to another")
        else:
            self._wait(lambda: self._advanced(before) >= lost, f"{stall}: another to publish from {lost}")
        self.takeovers += 1

    def _others(self, stall: Stall) -> set[int]:
        """What the other worker has by the group's word."""
        members = self._play.members()
        return {p for instance, (_, has) in members.items() for p in has if not instance.endswith(f"-{stall.slot}")}

    def _advanced(self, before: dict[int, int]) -> set[int]:
        return {partition for partition, offset in self._published().items() if offset > before[partition]}

    def _counted(self, stall: Stall, process: Popen[bytes]) -> bool:
        """A worker that has ended since then took its metrics with it."""
        ended = self._play.fleet.processes[stall.slot] is not process
        return ended or self._play.metric("stale_writes_refused_total", stall.slot) > 0

    def _logged(self, stall: Stall, event: str) -> int:
        return logged(self._play, stall.slot, event)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self.supervisor.wait_for(condition, what, 180)


def stalls(stage: Stage) -> Seen:
    with playing(stage, ("b",)) as play:
        published = Published(play.scene)
        play.events = paced(play.events, published.total, MOST_AHEAD)
        stalls = Stalls(play, published, Random(stage.seed))
        with play.stream(RATE):
            for stall in SHORT if stage.short else FULL:
                stalls.run(stall)
        return stalls.supervisor.judged(
            stops=stalls.stops,
            takeovers=stalls.takeovers,
            **{"longest stop": f"{stalls.longest_seconds:.0f} s", "stale writes refused": stalls.refused()},
        )


STALLS = Scenario(3, "stalled past the session, woken", stalls, ("classic", "consumer"))

"""Scenario 1: kill -9, again and again, while three workers share eight partitions and events keep coming.

Killed is only who has committed since its start, by what is seen from outside: the partitions that it says it has
claimed, and the group's offsets of these when it said so and now. A third of the starts kill themselves at a named
point: inside a transaction, or with half of the memories or of a checkpoint written. Every third who was killed stays
down until others have claimed all its partitions; the rest is started again at once. Events are sent as slowly as
there are kills left, so that every kill meets some.

All hear each other: every checkpoint that one of them writes has counted each event once, and the last one of each has
counted all of them (see `counts`).
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_worker.exit_codes import ExitCode
from tests.chaos.counts import Manifests
from tests.chaos.scenario import NotShown, Scenario, Seen, Stage
from tests.chaos.states import FIXED, check_states, moved_users
from tests.core.hostile import hostile_records
from tests.support.fleet import Event
from tests.support.scene import Scene

SLOTS = ("a", "b", "c")
IN_TRANSACTION, HALF_WRITTEN = "in a transaction", "half-written"
# How many times a start may pass the point, from and to.
_POINTS = {
    IN_TRANSACTION: {f"transaction.{step}": (20, 60) for step in ("begun", "produced", "offsets_sent")},
    HALF_WRITTEN: {"records.chunk": (6, 16), "records.written": (6, 16), "checkpoint.arrays": (2, 5)},
}
_FAULTS = (IN_TRANSACTION, HALF_WRITTEN, "", "", "", "")  # of one start after the other
_BAD_EVERY = 97
_LOOK_SECONDS = 0.1
_STUCK_SECONDS = 300.0
# Less than the workers of a run have users, so that they come back from Redis, too.
_SETTINGS = {"MEMORY__DEVICE_USERS": "1000"}


@dataclass(frozen=True)
class Form:
    """How long a run is. `seconds_a_kill` paces the events; where kills take longer, events come more slowly."""

    events: int
    kills: int
    seconds_a_kill: float


SHORT = Form(8_000, 4, 8.0)
FULL, FULL_FIXED = Form(100_000, 30, 12.0), Form(30_000, 9, 12.0)


@dataclass
class Life:
    """One start of a worker. `owned`: what it has claimed and not given up, with the group's offset when that was
    first seen. `moved`: one of those offsets has moved since."""

    slot: str
    fault: str
    log_from: int
    owned: dict[int, int] = field(default_factory=dict)
    started: bool = False
    moved: bool = False

    def look(self, log: str, published: dict[int, int]) -> None:
        lines = log[self.log_from :].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # else it is still being written
                self.log_from += len(line)
                self._read(line, published)
        self.moved = self.moved or any(published.get(p, 0) > before for p, before in self.owned.items())

    def _read(self, line: str, published: dict[int, int]) -> None:
        entry = json.loads(line) if line.startswith("{") else {}
        event = entry.get("event")
        self.started = self.started or event == "started"
        if event == "partitions claimed":
            self.owned |= {int(partition): published.get(int(partition), 0) for partition in entry["start"]}
        elif event == "partitions given up":
            for partition in entry["partitions"]:
                self.owned.pop(partition, None)


class Kills:
    """Keeps three workers running, kills them, and counts. With `manifests` it waits until all have heard all."""

    def __init__(self, scene: Scene, form: Form, rng: Random, manifests: Manifests | None = None) -> None:
        self.scene, self.fleet, self._form, self._rng, self._manifests = scene, scene.fleet, form, rng, manifests
        self.lives: dict[str, Life] = {}
        self.deaths: Counter[str] = Counter()
        self.takeovers = self.restarts = self.too_early = 0
        self._down: dict[str, set[int]] = {}
        self._starts = 0
        self._published: dict[int, int] = {}
        self._kill_at = self._progress_at = time.monotonic()
        self._paced = True
        self._consumer = Consumer(
            # What a dead worker's open transaction holds is not waited for.
            {"bootstrap.servers": scene.bootstrap, "group.id": scene.group, "isolation.level": "read_uncommitted"},
            logger=logging.getLogger("tests.kafka"),
        )

    def run(self, events: list[Event]) -> None:
        """Send the events, and kill meanwhile; at the end all is committed, and the workers stop in good order."""
        with ThreadPoolExecutor(1) as thread:
            for slot in SLOTS:
                self._start(slot)
            sending = thread.submit(self.scene.produce, self._as_slowly_as_needed(events))
            try:
                self._wait(lambda: self._left() == 0 or sending.done(), "all kills")
                if sending.done():
                    raise NotShown("all events were sent before the last kill")
            finally:
                self._paced = False
            sending.result()
        self._wait(lambda: all(life.started for life in self.lives.values()) and not self._down, "all workers up")
        self._wait(self.scene.done, "all of it")
        if (manifests := self._manifests) is not None:
            all_events = self.scene.sent.events
            self._wait(
                lambda: manifests.all_counted(SLOTS, all_events),
                f"all {all_events} counted by all",
                lambda: "\n".join(str(manifests.newest(slot)) for slot in SLOTS),
            )
        for slot in SLOTS:
            code = self.fleet.stop(slot)
            assert code == ExitCode.DONE, f"worker {slot} ended with {code}:\n{self.fleet.log(slot)[-3000:]}"
        self._consumer.close()

    @property
    def kills(self) -> int:
        return self.deaths.total()

    def _left(self) -> int:
        """Kills still to come; whoever is to kill itself is waited for."""
        return max(self._form.kills - self.kills, self._doomed())

    def _doomed(self) -> int:
        return sum(bool(life.fault) for slot, life in self.lives.items() if slot not in self._down)

    def _as_slowly_as_needed(self, events: list[Event]) -> Iterator[Event]:
        for number, event in enumerate(events):
            if self._paced:
                # As if there were one more after the last: it is looked for only now and then.
                time.sleep(min(1.0, max(1, self._left()) * self._form.seconds_a_kill / (len(events) - number)))
            yield event

    def _wait(self, condition: Callable[[], bool], what: str, details: Callable[[], str] = str) -> None:
        self._progress_at = time.monotonic()
        while not condition():
            self._look()
            if time.monotonic() > self._progress_at + _STUCK_SECONDS:
                raise TimeoutError(f"{what}: stuck\n{details()}\n{self.fleet.last_words(*SLOTS)}")
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        self._ask_published()
        for slot, process in list(self.fleet.processes.items()):
            code = process.poll()
            self.lives[slot].look(self.fleet.log(slot), self._published)
            if code is not None:
                del self.fleet.processes[slot]
                self._ended(self.lives[slot], code)
        if self._paced and self.kills < self._form.kills and time.monotonic() >= self._kill_at:
            self._kill_one()
        owned = {partition for slot in self.fleet.processes for partition in self.lives[slot].owned}
        for slot in [slot for slot, lost in self._down.items() if lost <= owned]:
            del self._down[slot]
            self.takeovers += 1
            self._start(slot)

    def _ask_published(self) -> None:
        """What is in an open transaction keeps its last known offset; a young broker has no coordinator to ask."""
        asked = [TopicPartition(self.scene.topic, partition) for partition in range(self.scene.partitions)]
        try:
            answers = self._consumer.committed(asked, timeout=30)
        except KafkaException:
            return
        self._published |= {at.partition: at.offset for at in answers if at.offset >= 0}

    def _start(self, slot: str) -> None:
        kind = _FAULTS[self._starts % len(_FAULTS)]
        self._starts += 1
        fault = kind if self._form.kills > self.kills + self._doomed() else ""
        log = self.fleet.log_path(slot)
        self.lives[slot] = Life(slot, fault, len(log.read_text()) if log.exists() else 0)
        self.fleet.start(slot, **({"DEBUG__FAULT": self._point(fault)} if fault else {}))

    def _point(self, kind: str) -> str:
        point, counts = self._rng.choice(list(_POINTS[kind].items()))
        return f"{point}:{self._rng.randint(*counts)}"

    def _kill_one(self) -> None:
        """One of those that have committed since their start and will not kill themselves."""
        ready = [slot for slot in self.fleet.processes if self.lives[slot].moved and not self.lives[slot].fault]
        if ready:
            slot = self._rng.choice(ready)
            self.fleet.kill(slot)
            self._killed(self.lives[slot])

    def _ended(self, life: Life, code: int) -> None:
        if code == -signal.SIGKILL and life.fault:
            self._killed(life)
            return
        log = self.fleet.log(life.slot)[-3000:]
        assert code == ExitCode.RESTART, f"worker {life.slot} ended with {code}:\n{log}"
        self.restarts += 1
        self._start(life.slot)

    def _killed(self, life: Life) -> None:
        self._progress_at = time.monotonic()
        self._kill_at = self._progress_at + self._rng.uniform(0.5, 3)
        if not life.moved:  # it reached its point before anything was seen of it
            self.too_early += 1
            self._start(life.slot)
            return
        self.deaths[life.fault or "at random"] += 1
        if self.kills % 3 == 0:
            self._down[life.slot] = set(life.owned)
        else:
            self._start(life.slot)


def _run(stage: Stage, form: Form, name: str, fixed: bool) -> Seen:
    """One run, judged. `fixed`: nobody learns and item vectors are hashes, so that states can be foretold."""
    events = list(_with_bad_ones(stage.log[: form.events], stage.seed))
    with stage.scene(name, _SETTINGS | (FIXED if fixed else {})) as scene:
        with Manifests(scene) as manifests:
            kills = Kills(scene, form, Random(stage.seed), manifests)
            kills.run(events)
        moved = moved_users(scene)
        if moved == 0:
            raise NotShown("no user has moved")
        return {
            "events": scene.sent.events,
            "kills": kills.kills,
            IN_TRANSACTION: kills.deaths[IN_TRANSACTION],
            HALF_WRITTEN: kills.deaths[HALF_WRITTEN],
            "too early to count": kills.too_early,
            "takeovers": kills.takeovers,
            "restarts by 75": kills.restarts,
            "lists": scene.check(),
            "dead letters": len(scene.sent.bad),
            "memories": scene.check_memories(),
            **manifests.check(scene.sent),
            "users moved": moved,
            **(check_states(scene) if fixed else {}),
        }


def _with_bad_ones(events: list[Event], seed: int) -> Iterator[Event]:
    bad = iter(hostile_records(len(events) // _BAD_EVERY + 1, seed))
    for number, event in enumerate(events):
        yield event
        if number % _BAD_EVERY == 0:
            yield event[0], next(bad)[0], event[2], False


def kills(stage: Stage) -> Seen:
    """The short form is one run that does not learn: what is written, in which order and under which guards is the
    same, without the gradient steps between."""
    if stage.short:
        return _run(stage, SHORT, "fixed", fixed=True)
    seen = _run(stage, FULL, "learning", fixed=False)
    return seen | {f"fixed: {name}": value for name, value in _run(stage, FULL_FIXED, "fixed", fixed=True).items()}


KILLS = Scenario(1, "kill -9 of workers", kills, ("classic", "consumer"))

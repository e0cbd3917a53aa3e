"""Scenario 9: every check of the other scenarios fails where the guard that it watches is removed.

A *story* is what happens to a worker: it is killed, stopped or aborted at a fault point, so that it is the same story
every time. It is told once to the real program, where all checks hold, and then to the program without one guard
(`sabotage`), where the check has to fail, and to say what it is for. A check that does not fail is the failure here.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stream_worker.backends.checkpoint import newest_in, slots_below
from stream_worker.exit_codes import ExitCode
from tests.chaos.counts import Manifests
from tests.chaos.replays import Replay, compare_checkpoints, compare_files, write_log
from tests.chaos.scenario import Scenario, Seen, Stage
from tests.chaos.states import FIXED, check_states
from tests.chaos.steps import Meals
from tests.support.scene import Scene

ROOT = Path(__file__).parents[2]
USERS = 700
REPLAYED = 6_000  # events
# A meal is several batches: what dies in its second transaction has more to do.
_SETTINGS = {
    "KAFKA__SESSION_TIMEOUT_MS": "3000",
    "CHECKPOINT__INTERVAL_SECONDS": "0.3",
    "EFFORT__MOST_THINNING": "1",
}
_PATIENCE_SECONDS = 120.0
_AT_ONCE = 2


class Tale:
    """One telling: a scene of two partitions, and what was sent to it."""

    def __init__(self, scene: Scene, seed: int, manifests: Manifests) -> None:
        self.scene, self.fleet, self._meals, self.manifests = scene, scene.fleet, Meals(seed, USERS), manifests

    def send(self, meals: int = 1) -> None:
        self.scene.produce([event for _ in range(meals) for event in self._meals.next()])

    def start(self, slot: str = "a", fault: str = "", **settings: str) -> None:
        self.fleet.start(slot, DEBUG__FAULT=fault, **settings)

    def processed(self) -> None:
        self.fleet.wait_for(self.scene.done, "all of it")

    def owns(self, slot: str) -> int:
        return int(self.fleet.metrics(slot).get("stream_worker_partitions_owned", 0))

    def dead(self) -> None:
        code = self.fleet.ended("a", _PATIENCE_SECONDS)
        assert code == -signal.SIGKILL, f"ended with {code}, not at its fault:\n{self.fleet.log('a')[-2000:]}"

    def written(self) -> None:
        """M of every partition has come to the end: all is in the store."""
        self.fleet.wait_for(self._is_written, "all of it written")

    def _is_written(self) -> bool:
        floors = self.scene.floors()
        return all(floors.get(partition, 0) >= end for partition, end in self.scene.sent.ends().items())

    def leave(self, slot: str = "a") -> None:
        assert (code := self.fleet.stop(slot)) == 0, f"{slot} ended with {code}:\n{self.fleet.log(slot)[-2000:]}"

    def woken(self) -> None:
        """Slot a finds out that it has lost its partitions, and leaves: by itself where its transaction was ended."""
        end = time.monotonic() + _PATIENCE_SECONDS
        process = self.fleet.processes["a"]
        while process.poll() is None and "partitions given up" not in self.fleet.log("a"):
            if time.monotonic() > end:
                raise TimeoutError(f"still there:\n{self.fleet.log('a')[-2000:]}")
            time.sleep(0.1)
        code = self.fleet.stop("a") if process.poll() is None else self.fleet.ended("a")
        assert code in (ExitCode.DONE, ExitCode.RESTART), f"ended with {code}:\n{self.fleet.log('a')[-2000:]}"


# -- stories ---------------------------------------------------------------------------------------------------


def killed_in_its_last_write(tale: Tale) -> None:
    """L is written, and the records of one partition; those of the other are not, nor any M."""
    tale.send()
    tale.start(fault="records.chunk:1", CHECKPOINT__INTERVAL_SECONDS="3600")
    tale.processed()
    tale.fleet.signal("a", signal.SIGTERM)
    tale.dead()
    tale.send()  # so that a batch holds what is read again beside what is new
    tale.start()
    tale.processed()
    tale.leave()


def killed_in_a_transaction(tale: Tale) -> None:
    """Outputs and Y are in it; it is not committed."""
    tale.send(meals=2)  # so that what is lost of the first is missing in a later list
    tale.start(fault="transaction.offsets_sent:2")
    tale.dead()
    tale.start()
    tale.processed()
    tale.leave()


def undisturbed(tale: Tale) -> None:
    tale.send(meals=2)
    tale.start()
    tale.processed()
    tale.leave()


def stopped_in_a_write(tale: Tale) -> None:
    """L is written, memories are not; another worker takes over, goes on, writes and leaves; then the first wakes up
    and writes what it has."""
    tale.send()
    tale.start(fault="checkpoint.published:1:stop")
    tale.fleet.wait_for(lambda: tale.fleet.stands_still("a"), "stopped")
    tale.start("b")
    tale.send()
    tale.processed()
    tale.leave("b")
    tale.fleet.signal("a", signal.SIGCONT)
    tale.woken()


def taken_over(tale: Tale) -> None:
    """Each of two workers hears what the other one owns. One is killed, once all is written; what comes then, the other
    one hears before it may claim it."""
    tale.send()
    tale.start()
    tale.start("b")
    tale.fleet.wait_for(lambda: all(tale.owns(slot) == 1 for slot in ("a", "b")), "a partition for each")
    tale.send()
    tale.processed()
    tale.written()
    tale.fleet.kill("a")
    tale.send()
    tale.fleet.wait_for(lambda: tale.owns("b") == 2, "taken over")
    tale.send()
    tale.processed()
    tale.leave("b")


@dataclass(frozen=True)
class Story:
    """`always`: what is done to the program with or without the guard."""

    tell: Callable[[Tale], None]
    always: str = ""


LAST_WRITE, TRANSACTION = Story(killed_in_its_last_write), Story(killed_in_a_transaction)
STALL, ABORTS = Story(stopped_in_a_write), Story(undisturbed, always="aborts")
TAKEN, TAKEN_LATE = Story(taken_over), Story(taken_over, always="hears_late")


# -- checks ----------------------------------------------------------------------------------------------------


def lists(tale: Tale) -> object:
    return tale.scene.check()


def memories(tale: Tale) -> object:
    return tale.scene.check_memories()


def states(tale: Tale) -> object:
    return check_states(tale.scene)


def learned_once(tale: Tale) -> None:
    """Slot a's newest weights have learned as many events as there are. (Only where it was never without them.)"""
    slots = slots_below(tale.scene.folder / "checkpoints")
    snapshot = next((newest_in(slot) for slot in slots if slot.name == "a"), None)
    assert snapshot is not None
    learned, events = snapshot.meta["learner"]["events"], tale.scene.sent.events
    assert learned == events, f"{learned} events learned, {events} in the log"


def counted_once(tale: Tale) -> object:
    """Every checkpoint of every worker has counted each event once, owned or heard."""
    return tale.manifests.check(tale.scene.sent)


def stale_write_refused(tale: Tale) -> None:
    # The loop says the same of a read.
    refused = [line for line in tale.fleet.log("a").splitlines() if "memories refused" in line]
    assert any("loop.checkpointer" in line for line in refused), "no stale write was refused"


Check = Callable[[Tale], object]
CHECKS: dict[Story, Sequence[Check]] = {
    LAST_WRITE: (lists, memories, states, learned_once, counted_once),
    TRANSACTION: (lists, memories, states, learned_once),
    ABORTS: (lists, memories, states, learned_once),
    STALL: (lists, memories, states, stale_write_refused, counted_once),
    TAKEN: (lists, memories, states, counted_once),
    TAKEN_LATE: (lists, memories, states, counted_once),
}


@dataclass(frozen=True)
class Control:
    """Without `guard`, `check` has to fail of `story`, with one of `says` in its message."""

    guard: str
    story: Story
    check: Check
    says: str | tuple[str, ...]
    in_short: bool = False


CONTROLS = (
    # The other, where a list of the second time counts new events, too.
    Control("publish_again", LAST_WRITE, lists, ("as_of went from", "in the log up to"), in_short=True),
    Control("dead_letters_again", LAST_WRITE, lists, "dead", in_short=True),
    Control("remember_again", LAST_WRITE, memories, "memories differ", in_short=True),
    Control("learn_again", LAST_WRITE, learned_once, "events learned"),
    Control("skip_to_published", LAST_WRITE, memories, "memories differ"),
    Control("floor_first", LAST_WRITE, memories, "memories differ"),
    Control("forget_states", LAST_WRITE, states, "(h, c) of"),
    Control("outputs_first", TRANSACTION, lists, "as_of went from"),
    Control("offsets_first", TRANSACTION, lists, "in the log up to"),
    Control("written_first", TRANSACTION, lists, "in the log up to"),
    Control("abort_forgets", ABORTS, lists, "in the log up to"),
    Control("shared_outside", ABORTS, lists, ("came twice", "no list of a user"), in_short=True),
    Control("any_token", STALL, stale_write_refused, "no stale write was refused", in_short=True),
    Control("any_write", STALL, memories, "memories differ"),
    Control("owned_and_heard", TAKEN, counted_once, "events counted", in_short=True),
    Control("claimed_unheard", TAKEN_LATE, counted_once, "in the gap"),
    Control("heard_again", TAKEN, counted_once, "events counted"),
    Control("learn_again", TAKEN, counted_once, "events counted"),
    Control("published_for_others", TAKEN, lists, ("as_of went from", "in the log up to")),
    Control("published_as_heard", TAKEN, lists, ("in the log up to", "expected")),
)


# -- telling ---------------------------------------------------------------------------------------------------


def fails(check: Callable[..., object], *arguments: object) -> str:
    """What the check says when it fails; where it has no words of its own, the line that failed. Empty: it holds."""
    try:
        check(*arguments)
    except AssertionError as fault:
        return str(fault) or str(traceback.extract_tb(fault.__traceback__)[-1].line)
    return ""


def program(names: Sequence[str]) -> list[str]:
    module = ["tests.chaos.sabotage", ",".join(names)] if names else ["stream_worker"]
    return [sys.executable, "-m", *module]


def told(stage: Stage, story: Story, guard: str, check: Callable[[Tale], str]) -> str:
    """Tell the story to the program without the guard ("": to the whole one), and check what came of it."""
    names = [name for name in (story.always, guard) if name]
    scene_of = stage.scene("-".join([story.tell.__name__, *names]), _SETTINGS | FIXED, forked=False, partitions=2)
    with scene_of as scene, Manifests(scene) as manifests:
        scene.fleet.environment["PYTHONPATH"] = str(ROOT)
        scene.fleet.program = program(names)
        tale = Tale(scene, stage.seed, manifests)
        story.tell(tale)
        scene.fleet.program = program([])
        return check(tale)


def _name(control: Control) -> str:
    return f"{control.guard} ({control.story.tell.__name__})" if control.guard == "learn_again" else control.guard


def held(stage: Stage, story: Story) -> None:
    """All checks of the whole program."""
    faults = told(stage, story, "", lambda tale: "; ".join(filter(None, (fails(c, tale) for c in CHECKS[story]))))
    assert not faults, f"{story.tell.__name__}, all guards in place: {faults}"


def removed(stage: Stage, control: Control) -> str:
    said = told(stage, control.story, control.guard, lambda tale: fails(control.check, tale))
    return _judged(control.guard, said, control.says)


def _judged(guard: str, said: str, expected: str | tuple[str, ...]) -> str:
    assert said, f"without its guard ({guard}) the check still held"
    expected = (expected,) if isinstance(expected, str) else expected
    assert any(words in said for words in expected), (
        f"without its guard ({guard}) the check failed for another reason: {said}"
    )
    return said


# -- replays ---------------------------------------------------------------------------------------------------


def replayed(stage: Stage, guard: str) -> Replay:
    """Without a guard (none: the whole program), in two lives: the first dies in its third checkpoint, when the files
    hold more than the second one knows of."""
    folder = stage.folder / f"replay-{guard or 'held'}"
    replay = Replay(stage.folder / "log.csv", folder, program([guard] if guard else []), {"PYTHONPATH": str(ROOT)})
    replay.start(DEBUG__FAULT="checkpoint.arrays:3")
    replay.process.communicate(timeout=_PATIENCE_SECONDS)
    assert replay.process.returncode == -signal.SIGKILL, f"it did not die:\n{replay.said()}"
    replay.start()
    replay.finish()
    return replay


def replays(stage: Stage) -> dict[str, str]:
    """What the comparisons with an uninterrupted replay say of the two guards that make a restart invisible."""
    write_log(stage.folder / "log.csv", stage.log[:REPLAYED])
    whole = Replay(stage.folder / "log.csv", stage.folder / "replay-whole")
    whole.start()
    whole.finish()
    same = replayed(stage, "")
    assert compare_files(whole, same) > 0
    assert compare_checkpoints(whole, same) > 0
    tails, dice = replayed(stage, "keep_tails"), replayed(stage, "fresh_dice")
    return {
        "keep_tails": _judged("keep_tails", fails(compare_files, whole, tails), "bytes expected"),
        "fresh_dice": _judged("fresh_dice", fails(compare_checkpoints, whole, dice), "differ"),
    }


def controls(stage: Stage) -> Seen:
    """Two stories at a time: most of each is waiting, for starts, for sessions to end, for the brokers."""
    chosen = [control for control in CONTROLS if control.in_short or not stage.short]
    stories = dict.fromkeys(control.story for control in chosen)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        whole = [threads.submit(held, stage, story) for story in stories]
        said = {_name(control): threads.submit(removed, stage, control) for control in chosen}
        more = [] if stage.short else [threads.submit(replays, stage)]
        for future in whole:
            future.result()
        words = {guard: future.result() for guard, future in said.items()}
        for comparison in more:
            words |= comparison.result()
    return {"guards removed": len(words)} | {guard: f'"{text[:40]}"' for guard, text in words.items()}


SCENARIO = Scenario(9, "without its guard, each check fails", controls)

"""What is written, in which order, and what is left of it when a step fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore, ManualClock
from stream_worker.core.errors import Unavailable
from stream_worker.core.interfaces import Snapshot
from stream_worker.loop.checkpointer import Checkpointer, Written, save_memories
from stream_worker.loop.memories import Owed

Step = tuple[Any, ...]
SNAPSHOT = Snapshot(meta={"n": 1})


class Diary:
    """Both stores write what they do into `steps`; `failures` is raised in the place of a step, by its beginning."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.failures: dict[Step, Exception] = {}
        self.first_chunk = threading.Event()

    def note(self, *step: Any) -> None:
        for beginning, fault in self.failures.items():
            if step[: len(beginning)] == beginning:
                raise fault
        self.steps.append(step)


class Checkpoints(InMemoryCheckpoints):
    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def save(self, snapshot: Snapshot) -> None:
        assert self.may_go_on.wait(10)
        self.diary.note("L")
        super().save(snapshot)


class Store(InMemoryMemoryStore):
    durable = True

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary

    def save(self, partition: int, token: int, records: Sequence[tuple[str, bytes]]) -> int:
        self.diary.note("records", partition, len(records))
        try:
            return super().save(partition, token, records)
        finally:
            self.diary.first_chunk.set()

    def set_floor(self, partition: int, token: int, floor: int, stood: int = 0) -> None:
        self.diary.note("M", partition, floor)
        super().set_floor(partition, token, floor, stood)


class Scene:
    def __init__(self) -> None:
        self.diary, self.clock = Diary(), ManualClock()
        self.checkpoints, self.store = Checkpoints(self.diary), Store(self.diary)
        self.tokens = {p: claim.token for p, claim in self.store.claim([0, 1, 2]).items()}
        self.checkpointer = Checkpointer(self.checkpoints, self.store, self.clock, interval_seconds=5.0)

    def start(self, owed: Owed, floors: dict[int, int]) -> None:
        self.checkpointer.start(SNAPSHOT, owed, self.tokens, floors)

    def write(self, owed: Owed, floors: dict[int, int]) -> Written:
        self.start(owed, floors)
        written = self.checkpointer.finished(10)
        assert written is not None
        return written

    def stored(self) -> set[tuple[int, str]]:
        return {(partition, user) for partition, user, _ in self.store.scan()}

    def floors(self) -> dict[int, int | None]:
        return {p: claim.floor for p, claim in self.store.claim([0, 1, 2]).items()}


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.checkpoints.may_go_on.set()
    scene.checkpointer.close()


def records(*users: str, next_offset: int = 5) -> list[tuple[str, bytes]]:
    return [(user, b"\x01" + next_offset.to_bytes(8, "big")) for user in users]


class TestOrder:
    def test_the_checkpoint_then_the_records_then_the_floor(self, scene: Scene) -> None:
        """So that M and every n <= L, whatever dies in between; within a partition no floor before its records."""
        owed = {0: records("a", "b"), 1: records("c")}
        written = scene.write(owed, {0: 10, 1: 20, 2: 30})
        assert scene.diary.steps[0] == ("L",)
        for partition, count, floor in ((0, 2, 10), (1, 1, 20)):
            place = scene.diary.steps.index(("records", partition, count))
            assert place < scene.diary.steps.index(("M", partition, floor))
        assert scene.floors() == {0: 10, 1: 20, 2: 30}
        assert scene.stored() == {(0, "a"), (0, "b"), (1, "c")}
        assert (written.records, written.floors) == (owed | {2: []}, {0: 10, 1: 20, 2: 30})
        assert (written.checkpoint_ts, written.stale, written.failed) == (scene.clock.now(), [], "")

    def test_many_records_go_in_chunks_of_a_thousand(self, scene: Scene) -> None:
        scene.write({0: records(*(f"u{n}" for n in range(2_500)))}, {0: 9})
        assert scene.diary.steps == [
            ("L",), ("records", 0, 1000), ("records", 0, 1000), ("records", 0, 500), ("M", 0, 9),
        ]  # fmt: skip
        assert len(scene.stored()) == 2_500

    @pytest.mark.parametrize("ending", ["waited for", "closed"])
    def test_many_records_are_spread_until_somebody_waits_for_them(
        self, scene: Scene, ending: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The loop that looks in without waiting finds one chunk there, and the next one minutes later."""
        monkeypatch.setattr("stream_worker.loop.checkpointer._MOST_SECONDS", 6_000.0)
        scene.checkpointer = Checkpointer(scene.checkpoints, scene.store, scene.clock, interval_seconds=6_000.0)
        scene.start({0: records(*(f"u{n}" for n in range(2_500)))}, {0: 9})
        assert scene.diary.first_chunk.wait(10)
        assert scene.checkpointer.finished() is None
        assert scene.diary.steps == [("L",), ("records", 0, 1000)]
        if ending == "waited for":
            assert scene.checkpointer.finished(10) is not None
        else:
            scene.checkpointer.close()
        assert len(scene.stored()) == 2_500

    def test_what_it_took_is_told_without_the_pauses_and_the_checkpoint_is_as_old_as_it_is(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock, save = scene.clock, scene.checkpoints.save
        pauses: list[float] = []

        class Hurry(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                assert timeout is not None
                clock.sleep(timeout)
                pauses.append(timeout)
                return False

        def slow(snapshot: Snapshot) -> None:
            clock.sleep(0.25)
            save(snapshot)

        monkeypatch.setattr("stream_worker.loop.checkpointer.Event", Hurry)
        monkeypatch.setattr(scene.checkpoints, "save", slow)
        scene.checkpointer = Checkpointer(scene.checkpoints, scene.store, clock, interval_seconds=5.0)
        began = clock.now()
        written = scene.write({0: records(*(f"u{n}" for n in range(2_500)))}, {0: 9})
        assert sum(pauses) == pytest.approx(2.5 * 1_500 / 2_500)
        assert written.seconds == pytest.approx(0.25)
        assert written.checkpoint_ts == began + 0.25

    def test_a_store_that_is_not_durable_is_in_the_checkpoint_and_not_written_again(self, scene: Scene) -> None:
        scene.store.durable = False
        written = scene.write({0: records("a")}, {0: 10})
        assert scene.diary.steps == [("L",)]
        assert (written.records, written.floors) == ({}, {})
        assert written.checkpoint_ts is not None

    def test_the_snapshot_that_was_given_is_the_one_that_is_saved(self, scene: Scene) -> None:
        scene.write({}, {})
        found = scene.checkpoints.load_newest()
        assert found is not None
        assert found.meta == {"n": 1}


class TestFailures:
    def test_without_the_checkpoint_no_record_is_written(self, scene: Scene) -> None:
        """An n above L would never be learned by this line."""
        scene.diary.failures = {("L",): Unavailable("disk full")}
        written = scene.write({0: records("a")}, {0: 10})
        assert scene.diary.steps == []
        assert scene.stored() == set()
        assert scene.floors() == {0: None, 1: None, 2: None}
        assert (written.checkpoint_ts, written.records, written.floors) == (None, {}, {})
        assert "disk full" in written.failed

    def test_without_all_records_there_is_no_floor(self, scene: Scene) -> None:
        """The checkpoint counts all the same, and so does a partition that was done before."""
        scene.diary.failures = {("records", 1): Unavailable("Redis")}
        written = scene.write({0: records("a"), 1: records("b"), 2: records("c")}, {0: 10, 1: 20, 2: 30})
        assert scene.floors() == {0: 10, 1: None, 2: None}
        assert written.checkpoint_ts is not None
        assert written.floors == {0: 10}
        assert set(written.records) == {0}
        assert "Redis" in written.failed

    def test_a_second_chunk_that_fails_leaves_the_first_and_no_floor(self, scene: Scene) -> None:
        scene.diary.failures = {("records", 0, 500): Unavailable("Redis")}
        written = scene.write({0: records(*(f"u{n}" for n in range(1_500)))}, {0: 9})
        assert len(scene.stored()) == 1_000
        assert (scene.floors()[0], written.records, written.floors) == (None, {}, {})

    def test_a_floor_that_fails_leaves_its_records_owed(self, scene: Scene) -> None:
        scene.diary.failures = {("M", 0): Unavailable("Redis")}
        written = scene.write({0: records("a")}, {0: 10})
        assert (written.records, written.floors) == ({}, {})

    @pytest.mark.parametrize("refused", ["records", "floor"])
    def test_a_stale_partition_ends_only_itself(self, scene: Scene, refused: str) -> None:
        """Its new owner's memories are left alone, and the other partitions are written."""
        owed = {0: records("a"), 2: records("c")}
        if refused == "records":
            owed[1] = records("b")
        scene.store.claim([1])
        written = scene.write(owed, {0: 10, 1: 20, 2: 30})
        assert scene.stored() == {(0, "a"), (2, "c")}
        assert scene.floors() == {0: 10, 1: None, 2: 30}
        assert (written.stale, written.failed, written.floors) == ([1], "", {0: 10, 2: 30})
        assert set(written.records) == {0, 2}

    def test_records_that_are_behind_the_store_count_as_written(self, scene: Scene) -> None:
        """Another start of this worker has written more: nothing is owed any longer."""
        scene.store.save(0, scene.tokens[0], records("a", next_offset=9))
        written = scene.write({0: records("a", next_offset=5)}, {0: 5})
        assert set(written.records) == {0}
        assert list(scene.store.scan()) == [(0, *records("a", next_offset=9)[0])]

    def test_what_nobody_expected_is_raised_where_the_result_is_asked_for(self, scene: Scene) -> None:
        scene.diary.failures = {("L",): ZeroDivisionError("a fault of ours")}
        scene.start({}, {})
        with pytest.raises(ZeroDivisionError):
            scene.checkpointer.finished(10)
        assert not scene.checkpointer.busy()

    def test_the_next_write_goes_through(self, scene: Scene) -> None:
        scene.diary.failures = {("L",): Unavailable("disk full")}
        scene.write({0: records("a")}, {0: 10})
        scene.diary.failures = {}
        assert scene.write({0: records("a")}, {0: 10}).floors == {0: 10}


class TestInTheBackground:
    def test_the_loop_goes_on_while_it_writes_and_has_the_result_once(self, scene: Scene) -> None:
        scene.checkpoints.may_go_on.clear()
        scene.start({}, {0: 10})
        assert scene.checkpointer.busy()
        assert scene.checkpointer.finished() is None
        scene.checkpoints.may_go_on.set()
        written = scene.checkpointer.finished(10)
        assert written is not None
        assert written.floors == {0: 10}
        assert scene.checkpointer.finished(10) is None
        assert not scene.checkpointer.busy()

    def test_tokens_and_floors_are_those_of_the_moment_it_began(self, scene: Scene) -> None:
        """The loop changes its own afterwards."""
        scene.checkpoints.may_go_on.clear()
        tokens, floors = dict(scene.tokens), {0: 10}
        scene.checkpointer.start(SNAPSHOT, {}, tokens, floors)
        tokens.clear()
        floors[0] = 99
        floors[1] = 99
        scene.checkpoints.may_go_on.set()
        assert scene.checkpointer.finished(10) is not None
        assert scene.floors() == {0: 10, 1: None, 2: None}

    def test_it_is_due_an_interval_after_the_last_one_began(self, scene: Scene) -> None:
        assert not scene.checkpointer.due()
        scene.clock.sleep(5)
        assert scene.checkpointer.due()
        scene.checkpoints.may_go_on.clear()
        scene.start({}, {})
        scene.clock.sleep(9)
        assert not scene.checkpointer.due(), "one at a time"
        scene.checkpoints.may_go_on.set()
        scene.checkpointer.finished(10)
        assert scene.checkpointer.due()

    def test_closing_waits_for_what_is_being_written(self, scene: Scene) -> None:
        scene.start({0: records("a")}, {0: 10})
        scene.checkpointer.close()
        assert scene.diary.steps == [("L",), ("records", 0, 1), ("M", 0, 10)]


def test_save_memories_raises_what_is_unavailable_after_noting_what_was_done() -> None:
    scene = Scene()
    scene.diary.failures = {("M", 1): Unavailable("Redis")}
    written = Written()
    with pytest.raises(Unavailable):
        save_memories(scene.store, {}, scene.tokens, {0: 1, 1: 2}, {0: 1, 1: 2}, written)
    assert written.floors == {0: 1}
    assert written.stale == []
    scene.checkpointer.close()

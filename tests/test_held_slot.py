"""The slot of a start: named, a pod's ordinal, or the first that nobody has, on a real Redis and by real processes."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from stream_worker import held_slot
from stream_worker.assembly import make_store, start_of
from stream_worker.backends.checkpoint import start_lock
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.config import Settings, load_settings
from stream_worker.core.errors import SlotTaken, Unavailable
from stream_worker.core.interfaces import Slots
from stream_worker.held_slot import HeldSlot, ordinal

_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
Start = Callable[..., HeldSlot]


def settings_of(path: Path, slot: str = "auto", **more: str) -> Settings:
    named = {"CHECKPOINT__PATH": str(path), "WORKER__SLOT": slot, **more}
    return load_settings(environ={f"STREAM_WORKER__{key}": value for key, value in named.items()})


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("recommender-0", "0"),
        ("stream-worker-12", "12"),
        ("worker-7d9f8b6c5-24689", None),  # a Deployment's pod, by chance all digits
        ("worker-7d9f8b6c5-x2k4p", None),
        ("worker-007", None),
        ("worker", None),
        ("3", None),
    ],
)
def test_a_pod_of_a_stateful_set_has_its_ordinal(host: str, found: str | None) -> None:
    assert ordinal(_POD, host) == found
    assert ordinal({}, host) is None, "outside of Kubernetes a machine may be named after its address"


def test_a_named_slot_is_refused_while_another_process_of_this_machine_has_it(tmp_path: Path) -> None:
    store, settings = InMemoryMemoryStore(), settings_of(tmp_path, "shop")
    with closing(HeldSlot(settings, store, "a")) as first:
        assert first.take() == "shop"
        with pytest.raises(SlotTaken, match="'shop'"):
            HeldSlot(settings, store, "b")


def test_without_redis_the_only_worker_has_slot_0_and_a_second_one_is_refused(tmp_path: Path) -> None:
    store, settings = InMemoryMemoryStore(), settings_of(tmp_path)
    with closing(HeldSlot(settings, store, "a")) as first, closing(HeldSlot(settings, store, "b")) as second:
        assert first.take() == "0"
        with pytest.raises(SlotTaken, match="'0'"):
            second.take()


def test_a_pod_s_ordinal_goes_before_the_first_free_slot_and_needs_no_redis(tmp_path: Path) -> None:
    with closing(HeldSlot(settings_of(tmp_path), InMemoryMemoryStore(), "a", environ=_POD, host="shop-3")) as held:
        assert held.take() == "3"
        assert not held.is_free_choice


def test_reset_is_refused_while_a_worker_lives_that_chose_its_slot(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with (
        closing(HeldSlot(settings, InMemoryMemoryStore(), "a")),
        pytest.raises(SlotTaken),
    ):
        start_lock(*start_of(settings))
    with closing(start_lock(*start_of(settings))), pytest.raises(SlotTaken):
        HeldSlot(settings, InMemoryMemoryStore(), "a")


# --- with Redis

redis = pytest.mark.redis


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    group = f"slots-{uuid.uuid4().hex[:8]}"
    return settings_of(tmp_path / "here", MEMORY__REDIS_URL=redis_url, KAFKA__GROUP_ID=group)


@pytest.fixture
def store(settings: Settings) -> Iterator[Slots]:
    with closing(make_store(settings)) as store:
        yield store


@pytest.fixture
def start(settings: Settings, store: Slots) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(nonce: str, members: tuple[str, ...] = (), path: Path | None = None) -> HeldSlot:
            mine = settings if path is None else settings_of(path, **_redis_of(settings))
            names = [f"{settings.kafka.group_id}-{slot}" for slot in members]
            held = HeldSlot(mine, store, nonce, lambda: names, environ={})
            stack.callback(held.close)
            return held

        yield begin


def _redis_of(settings: Settings) -> dict[str, str]:
    return {"MEMORY__REDIS_URL": settings.memory.redis_url, "KAFKA__GROUP_ID": settings.kafka.group_id}


@redis
def test_starts_take_the_first_slots_that_nobody_has(start: Start, tmp_path: Path) -> None:
    assert [start("a").take(), start("b").take()] == ["0", "1"]
    assert start("c", members=("2",)).take() == "3", "the group has a member of slot 2, of an older version"
    assert start("d", path=tmp_path / "there").take() == "2", "another machine, which the group's 2 has left"


@redis
def test_a_slot_that_was_given_back_goes_to_the_next_start(start: Start, tmp_path: Path) -> None:
    """Also to one on another machine, while the group still has the static member."""
    first, second = start("a"), start("b")
    assert [first.take(), second.take()] == ["0", "1"]
    first.close()
    assert start("c", members=("0", "1"), path=tmp_path / "there").take() == "0"


@redis
def test_a_named_slot_is_held_and_no_start_that_chooses_takes_it(
    settings: Settings, store: Slots, start: Start, tmp_path: Path
) -> None:
    named = settings_of(tmp_path / "there", "0", **_redis_of(settings))
    with closing(HeldSlot(named, store, "named")) as held:
        held.hold()
        assert start("a").take() == "1"
        assert store.slot_owner("0") == "named"


@redis
def test_the_slot_is_held_on_while_the_process_lives(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_slot, "_HELD_SECONDS", 0.5)
    monkeypatch.setattr(held_slot, "_KEPT_EVERY_SECONDS", 0.05)
    assert start("a").take() == "0"
    time.sleep(1.0)
    assert start("b", path=tmp_path / "there").take() == "1"


@redis
def test_a_group_that_does_not_answer_is_asked_again(settings: Settings, store: Slots) -> None:
    faults = iter([Unavailable("kafka: away")])

    def members() -> tuple[str, ...]:
        for fault in faults:
            raise fault
        return ()

    with closing(HeldSlot(settings, store, "a", members, environ={})) as held:
        with pytest.raises(Unavailable):
            held.take()
        assert held.take() == "0"
        assert held.take() == "0", "a second call changes nothing"


_PROCESS = """
import sys, time
from pathlib import Path
from stream_worker.assembly import make_store
from stream_worker.held_slot import HeldSlot
from tests.test_held_slot import settings_of
url, group, path, nonce = sys.argv[1:]
settings = settings_of(Path(path), MEMORY__REDIS_URL=url, KAFKA__GROUP_ID=group)
held = HeldSlot(settings, make_store(settings), nonce, lambda: (), environ={})
print("ready", flush=True)
sys.stdin.readline()
print(held.take(), flush=True)
time.sleep(600)
"""


def _process(settings: Settings, path: Path, nonce: str) -> subprocess.Popen[str]:
    names = [settings.memory.redis_url, settings.kafka.group_id, str(path), nonce]
    command = [sys.executable, "-c", _PROCESS, *names]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert _line(process) == "ready"
    return process


def _line(process: subprocess.Popen[str]) -> str:
    """The next line that is no log line."""
    assert process.stdout is not None
    return next(line.strip() for line in process.stdout if not line.startswith("{") and "slot chosen" not in line)


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@redis
def test_processes_that_start_at_the_same_instant_get_slots_of_their_own_and_a_killed_one_s_is_taken_at_once(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    """Two share a checkpoint folder, the others have their own, as replicas on other machines do."""
    paths = [tmp_path / "here", tmp_path / "here", tmp_path / "b", tmp_path / "c"]
    processes = [_process(settings, path, f"p{number}") for number, path in enumerate(paths)]
    try:
        for process in processes:
            _go(process)
        slots = [_line(process) for process in processes]
        assert sorted(slots) == ["0", "1", "2", "3"]
        processes[0].kill()
        processes[0].wait()
        # Its lock in the folder is free, so it is dead, though it is still held in Redis and a member of the group.
        assert start("next", members=tuple(slots), path=paths[0]).take() == slots[0]
        processes[2].kill()
        processes[2].wait()
        # Nobody on another machine can know that: its slot stays until it expires.
        assert start("other", members=tuple(slots), path=tmp_path / "elsewhere").take() == "4"
    finally:
        for process in processes:
            process.kill()
            process.wait()

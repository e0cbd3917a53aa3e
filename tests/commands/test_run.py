"""`stream-worker run` before there is a worker: what it waits for, what ends it, and which fault it names first."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stream_worker.assembly import start_of
from stream_worker.backends.checkpoint import start_lock
from stream_worker.backends.in_memory import InMemoryMemoryStore, ManualClock
from stream_worker.backends.kafka import KafkaConfig, KafkaSource, require_own_topic
from stream_worker.backends.metrics import Health
from stream_worker.commands import run
from stream_worker.config import load_settings
from stream_worker.core.errors import RestartNeeded, SlotTaken, Unavailable
from stream_worker.exit_codes import ExitCode
from stream_worker.held_slot import HeldSlot
from tests.backends.contracts_topics import Member
from tests.conftest import MakeTopic
from tests.support.services import free_port
from tests.test_commands import call


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "warm_up", lambda settings: None)
    monkeypatch.setattr(run, "_RETRY_SECONDS", 0.01)
    for first in ("require_protocol", "require_rights"):
        monkeypatch.setattr(run, first, lambda kafka: None)
    monkeypatch.setattr(run, "require_own_topic", lambda kafka, slot: None)


def stopping_at(count: int, number: signal.Signals) -> Callable[..., list[str]]:
    """Kafka that does not answer; at the `count`th question a signal comes."""
    asked = iter(range(1, count + 1))

    def missing_topics(_: object) -> list[str]:
        if next(asked) == count:
            signal.raise_signal(number)
        raise Unavailable("kafka: 127.0.0.1:1: no broker")

    return missing_topics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_kafka_that_does_not_answer_is_waited_for_until_a_signal_comes(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It says each time why; the end is a clean one, and the signal handlers are what they were."""
    monkeypatch.setattr(run, "missing_topics", stopping_at(4, number))
    before = signal.getsignal(number)
    code, _, err = call("run", CHECKPOINT__PATH=str(tmp_path), METRICS__PORT="0")
    assert code == ExitCode.DONE, err
    assert err.count("kafka: 127.0.0.1:1: no broker") == 3
    assert "stopped before it had started" in err
    assert "Traceback" not in err
    assert signal.getsignal(number) is before


def test_a_redis_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The slot is asked for again and again, and no producer fences an earlier one before it is taken."""
    failures = iter([Unavailable("Redis: down"), Unavailable("Redis: down")])

    def take_slot(*_: object) -> None:
        _raise(next(failures, None))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("stream_worker.backends.redis.RedisMemoryStore.take_slot", take_slot)
    monkeypatch.setattr(run, "missing_topics", lambda _: [])
    monkeypatch.setattr(run, "KafkaSink", None)
    url = f"redis://127.0.0.1:{free_port()}/0"
    code, _, err = call("run", CHECKPOINT__PATH=str(tmp_path), METRICS__PORT="0", MEMORY__REDIS_URL=url)
    assert code == ExitCode.DONE, err
    assert err.count("Redis: down") == 2


def _raise(fault: Exception | None) -> None:
    if fault is not None:
        raise fault


@pytest.mark.parametrize(
    ("owner", "meaning"),
    [("ours", RestartNeeded), ("theirs", SlotTaken), (Unavailable("Redis: down"), RestartNeeded)],
)
def test_who_is_fenced_and_still_owns_the_slot_asks_to_be_started_again(
    owner: str | Exception, meaning: type[Exception], tmp_path: Path
) -> None:
    """After an outage Kafka fences a member for what it did itself before; that is no second process."""

    class Store(InMemoryMemoryStore):
        durable = True

        def slot_owner(self, slot: str) -> str | None:
            if isinstance(owner, Exception):
                raise owner
            return owner

    with closing(_held(Store(), tmp_path)) as held:
        assert isinstance(run._meaning(SlotTaken("fenced"), Store(), held, "ours"), meaning)


def _held(store: InMemoryMemoryStore, path: Path, slot: str = "0") -> HeldSlot:
    environ = {"STREAM_WORKER__CHECKPOINT__PATH": str(path), "STREAM_WORKER__WORKER__SLOT": slot}
    return HeldSlot(load_settings(environ=environ), store, "ours", lambda: ())


def test_who_chose_a_slot_and_lost_it_takes_another_one(tmp_path: Path) -> None:
    """76 means: do not start again. A worker that may have any slot should be."""

    class Store(InMemoryMemoryStore):
        durable = True

    store = Store()
    with closing(_held(store, tmp_path, "auto")) as held:
        assert held.take() == "0"
        store.take_slot("0", "theirs")
        assert isinstance(run._meaning(SlotTaken("fenced"), store, held, "ours"), RestartNeeded)


def test_without_a_store_that_all_share_a_fence_means_a_second_process(tmp_path: Path) -> None:
    store = InMemoryMemoryStore()
    store.take_slot("0", "ours")
    with closing(_held(store, tmp_path)) as held:
        assert isinstance(run._meaning(SlotTaken("fenced"), store, held, "ours"), SlotTaken)


def test_waiting_is_a_sign_of_life() -> None:
    """A worker that waits for Kafka must not be restarted for it."""
    clock = ManualClock()
    health = Health(clock, stall_seconds=30)
    failures = iter([Unavailable("x"), Unavailable("x")])

    def ask() -> str:
        clock.sleep(20)
        _raise(next(failures, None))
        return "answer"

    assert run._answer(ask, health) == "answer"
    assert health.alive()[0]


def test_a_second_process_of_a_slot_is_told_so_whatever_else_it_shares(tmp_path: Path) -> None:
    """With all the same settings the metrics port is taken, too, but that is not what is wrong. 76: do not restart."""
    settings = load_settings(environ={"STREAM_WORKER__CHECKPOINT__PATH": str(tmp_path)})
    with closing(start_lock(*start_of(settings))) as first:
        code, _, err = call("run", CHECKPOINT__PATH=str(tmp_path), METRICS__PORT=str(free_port()))
    assert code == ExitCode.SLOT_TAKEN
    assert err == f"stream-worker: slot '0': another process holds {first.name}\n"


def test_a_device_that_is_not_here_is_a_configuration_error(tmp_path: Path) -> None:
    """One line, before Kafka is asked anything."""
    monkeyed = {"CHECKPOINT__PATH": str(tmp_path), "METRICS__PORT": "0", "WORKER__DEVICE": "tpu"}
    code, _, err = call("run", **monkeyed)
    assert code == ExitCode.CONFIGURATION
    assert "worker.device: must be auto, cpu or a device of this machine, got 'tpu'" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.kafka
def test_a_slot_that_reads_another_topic_is_left_alone(
    kafka_bootstrap: str, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One group and slot for two topics: refused with the remedy, before the first worker is fenced."""
    monkeypatch.setattr(run, "require_own_topic", require_own_topic)
    clicks, orders, group = make_topic("clicks", 3), make_topic("orders", 1), make_topic("group", 1)
    with closing(KafkaSource(KafkaConfig(kafka_bootstrap, input_topic=clicks, group_id=group), "0")) as source:
        reader = Member(source)
        reader.poll_until(lambda: len(reader.owner.owned) == 3)
        code, _, err = call(
            "run",
            CHECKPOINT__PATH=str(tmp_path),
            METRICS__PORT="0",
            KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
            KAFKA__INPUT_TOPIC=orders,
            KAFKA__GROUP_ID=group,
        )
        reader.poll()
    assert code == ExitCode.CONFIGURATION
    assert err.splitlines()[-1].startswith(
        f"stream-worker: kafka.group_id: slot '0' of group '{group}' reads {clicks}, so it can't read {orders}, too: "
    )
    assert "Traceback" not in err

"""`stream-worker run`: runs a worker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from stream_worker.assembly import (
    device_of,
    fault_points,
    make_checkpoints,
    make_line,
    make_store,
    make_worker,
    new_nonce,
)
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.kafka import (
    KafkaHeard,
    KafkaItems,
    KafkaSink,
    KafkaSource,
    KafkaWeights,
    missing_topics,
    require_own_topic,
    require_protocol,
    require_rights,
)
from stream_worker.backends.metrics import Health, MetricsServer, WorkerMetrics
from stream_worker.backends.metrics_export import MetricsObserver
from stream_worker.beginning import ancestors_of, beginning_of
from stream_worker.commands.options import settings_from
from stream_worker.config import Settings
from stream_worker.core.effort import Effort
from stream_worker.core.errors import MemoriesLost, RestartNeeded, SlotTaken, Unavailable
from stream_worker.core.fault_points import Reached
from stream_worker.core.interfaces import MemoryStore, Slots
from stream_worker.core.status import Observer
from stream_worker.exit_codes import ExitCode
from stream_worker.held_slot import HeldSlot
from stream_worker.logs import get_logger
from stream_worker.loop.outside import Outside
from stream_worker.loop.worker import Worker
from stream_worker.signals import stopped_by_signals
from stream_worker.telling import All, Telling, last_words
from stream_worker.warm_up import warm_up

_log = get_logger(__name__)
_RETRY_SECONDS = 3.0  # between two tries of a service that does not answer at the start (not tuned)
T = TypeVar("T")


def command(config_path: Path | None, from_path: Path | None = None) -> int:
    settings = settings_from(config_path)
    clock = SystemClock()
    health, metrics = Health(clock), WorkerMetrics(clock)
    stop, nonce, reached = _Stop(), new_nonce(), fault_points(settings)
    observer = All(MetricsObserver(metrics, health), Telling())
    with (
        closing(make_store(settings)) as store,
        closing(MetricsServer(settings.metrics, metrics, health)) as server,
        # Locked before the server starts: a second start should hear that its slot is taken, not that its port is.
        closing(HeldSlot(settings, store, nonce)) as held,
    ):
        server.start()
        with stopped_by_signals(stop):
            try:
                worker = _started(settings, store, nonce, held, observer, health, reached, from_path)
            except KeyboardInterrupt:
                _log.info("stopped before it had started")
                return ExitCode.DONE
            stop.worker = worker
            gc.freeze()  # what a start has made lives as long as the worker: the garbage collector skips it from now on
            try:
                worker.run()
            except SlotTaken as fault:
                raise _meaning(fault, store, held, nonce) from fault
    _log.info("stopped", **last_words(worker.status))
    return ExitCode.DONE


def _meaning(fault: SlotTaken, store: Slots, held: HeldSlot, nonce: str) -> SlotTaken | RestartNeeded:
    """Return what a fence by Kafka means: RestartNeeded if the store says that the slot is still ours, or if another
    slot is as good, else `fault`.

    Kafka also fences a member that comes back after an outage and meets traces of itself (seen). A second start of the
    slot would have put its own nonce into the store.
    """
    try:
        ours = store.durable and store.slot_owner(held.named) == nonce
    except (Unavailable, MemoriesLost):
        ours = True  # a second start would wait for the same store
    if ours:
        return RestartNeeded(f"fenced, though the slot is still ours: {fault}")
    return RestartNeeded(f"the next start takes another slot: {fault}") if held.is_free_choice else fault


class _Stop:
    """The signal handler: a worker finishes its batch; before there is a worker, the start is left at once."""

    worker: Worker | None = None

    def __call__(self) -> None:
        if self.worker is None:
            raise KeyboardInterrupt
        self.worker.request_stop()


def _started(
    settings: Settings,
    store: MemoryStore,
    nonce: str,
    held: HeldSlot,
    observer: Observer,
    health: Health,
    reached: Reached,
    from_path: Path | None,
) -> Worker:
    kafka, folder = settings.kafka, Path(settings.checkpoint.path).resolve()
    _log.info(
        "starting", slot=held.named, kafka=kafka.bootstrap_servers, topic=kafka.input_topic, checkpoints=str(folder)
    )
    # Before joining the group: on a slow machine compiling takes longer than a member may be silent.
    warm_up(settings)
    device = device_of(settings.worker.device)
    _answer(lambda: require_protocol(settings.kafka), health)
    _answer(lambda: require_rights(settings.kafka), health)
    slot = _answer(held.take, health)
    settings = replace(settings, worker=replace(settings.worker, slot=slot))
    hears = settings.hearing.enabled
    told, decided = bool(kafka.items_topic), bool(kafka.decisions_topic)
    line = make_line(settings, f"{slot}-{nonce}", described=told, hears=hears, decided=decided)
    require_own_topic(settings.kafka, slot)  # before the slot is taken from whoever has it
    if missing := _answer(lambda: missing_topics(settings.kafka), health):
        _log.warning("topics are missing; `stream-worker topics create` makes them", topics=missing)

    def owns() -> bool:
        return store.slot_owner(slot) in (None, nonce)

    # Without a store that all workers share, only Kafka's fence tells of a second process in this slot.
    source = KafkaSource(settings.kafka, slot, owns=lambda: store.durable and owns())
    # The slot is taken in the store only after its folder is locked; the folder's name contains Kafka's ids.
    path, identity = Path(settings.checkpoint.path), source.identity()
    checkpoints = make_checkpoints(settings, path, identity, nonce, store, reached)
    begun = beginning_of(checkpoints, path, identity, from_path, hears=hears and store.durable)
    _answer(held.hold, health)
    _answer(store.ensure_kept, health)
    sink = _answer(lambda: KafkaSink(settings.kafka, slot, reached=reached, owns=owns), health)
    items = KafkaItems(kafka) if told else None
    decisions = KafkaItems(kafka, kafka.decisions_topic, "decisions topic") if decided else None
    heard = KafkaHeard(kafka, slot) if hears else None
    weights = KafkaWeights(kafka, slot) if kafka.weights_topic else None
    outside = Outside(
        source, sink, store, checkpoints, SystemClock(), reached=reached, items=items, decisions=decisions,
        heard=heard, weights=weights,
    )  # fmt: skip
    worker = make_worker(
        settings,
        outside,
        line,
        effort=Effort(settings.effort, follows=True),
        observer=observer,
    )
    worker.status.slot = slot
    ancestors = _answer(lambda: ancestors_of(begun.snapshot, identity, settings, store), health)
    _answer(lambda: worker.start(begun.snapshot, own=begun.own, ancestors=ancestors), health)
    _log.info("started", slot=slot, line=line.name, device=str(device))
    return worker


def _answer(call: Callable[[], T], health: Health) -> T:
    """Call something outside until it answers, and return the answer; the health check is kept alive meanwhile."""
    while True:
        try:
            answer = call()
            health.waits("")
            return answer
        except Unavailable as fault:
            _log.warning("waiting", reason=str(fault))
            health.tick()
            health.waits(str(fault))
            time.sleep(_RETRY_SECONDS)

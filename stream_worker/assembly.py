"""Puts the pieces together: settings in, a worker out. The only place that knows which backend plays which part."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model import kernels
from model.counting.candidates import PROPOSERS
from model.learner import Learner
from stream_worker.backends.checkpoint import DirectoryCheckpoints, adopt, folder_of
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.in_memory import InMemoryMemoryStore
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.config import Settings
from stream_worker.core.baselines import CoVisitation, RecentPopularity
from stream_worker.core.codec import Decoder, EventsConfig
from stream_worker.core.copies import Each
from stream_worker.core.effort import Effort
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.events import Events
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import CheckpointStore, MemoryStore, Sink, Slots, Source
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.core.monitor import Monitor
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Observer
from stream_worker.logs import get_logger
from stream_worker.loop.limits import Limits
from stream_worker.loop.line import Line
from stream_worker.loop.outside import Outside
from stream_worker.loop.recovery import Recovery
from stream_worker.loop.worker import Worker

_log = get_logger(__name__)


def device_of(name: str) -> torch.device:
    """`auto`: CUDA where there is one. Raises ConfigurationError for a device that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as fault:
        reason = str(fault).splitlines()[0]
        raise ConfigurationError(
            f"worker.device: must be auto, cpu or a device of this machine, got {name!r}: {reason}"
        ) from fault


def quiet_torch() -> None:
    """One thread for torch: more of them spin, and starve the threads of the Kafka client."""
    torch.set_num_threads(1)


def new_nonce() -> str:
    """Names this start among all starts of its slot."""
    return secrets.token_hex(4)


def fault_points(settings: Settings) -> Reached:
    """What this process does at its fault points: nothing, or what `debug.fault` says."""
    signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
    # Sent to this very thread: another one may take some time to hear of a signal, and this one would go on meanwhile.
    return settings.debug.reached(lambda action: signal.pthread_kill(threading.get_ident(), signals[action]))


def memory_layout(settings: Settings) -> MemoryFormat:
    return MemoryFormat(settings.model.ring_size, settings.model.dim)


@cache
def _say_what_is_compiled() -> None:
    if kernels.NOTE:
        _log.warning(kernels.NOTE)
    if not kernels.are_compiled():
        _log.info("compiling kernels: takes one to three minutes")


def make_line(settings: Settings, name: str) -> Line:
    quiet_torch()
    _say_what_is_compiled()
    is_target_T = np.array([kind.target for kind in settings.events.event_types])
    learner = Learner(settings.model, device_of(settings.worker.device), settings.memory.device_users, is_target_T)
    return Line(
        name=name,
        learner=learner,
        monitor=Monitor(settings.monitor, list(settings.events.types), PROPOSERS),
        baselines={"recent_popularity": RecentPopularity(), "co_visitation": CoVisitation()},
        offsets={},
        recovery=Recovery(learner, settings.drift),
        each=_each(settings.worker.threads),
    )


def _each(threads: int) -> Each:
    """The calling thread alone, or so many others."""
    return ThreadPoolExecutor(threads, thread_name_prefix="lists").map if threads > 1 else map


def make_store(settings: Settings) -> MemoryStore:
    """Redis where a URL is configured, else the twin."""
    if settings.memory.redis_url:
        return RedisMemoryStore(settings.memory, memory_group(settings))
    return InMemoryMemoryStore(settings.memory)


def memory_group(settings: Settings) -> str:
    """Memories belong to a consumer group's view of one topic."""
    return f"{settings.kafka.group_id}:{settings.kafka.input_topic}"


def start_of(settings: Settings) -> tuple[Path, tuple[str, ...], str]:
    """What a start is known by before anybody has answered; see `start_lock`."""
    kafka = settings.kafka
    brokers = ",".join(sorted(kafka.bootstrap_servers.split(",")))
    return Path(settings.checkpoint.path), (brokers, kafka.input_topic, kafka.group_id), settings.worker.slot


def make_checkpoints(
    settings: Settings, path: Path, source: SourceId, nonce: str, store: Slots, reached: Reached = no_fault
) -> DirectoryCheckpoints:
    """The slot's folder below the source's, with what an older version left for it elsewhere.

    Who takes the slot in the store takes it from earlier starts, which may no longer write.
    """
    slot = settings.worker.slot

    def owns() -> bool:
        owner = store.slot_owner(slot)
        if owner is None:  # new, or wiped: the lock on the folder says that the slot is ours
            store.take_slot(slot, nonce)
        return owner in (None, nonce)

    adopt(path, source, slot)
    config = replace(settings.checkpoint, path=str(folder_of(path, source)))
    return DirectoryCheckpoints(config, slot, nonce, owns, reached=reached)


def make_worker(
    settings: Settings,
    *,
    source: Source,
    sink: Sink,
    store: MemoryStore,
    checkpoints: CheckpointStore,
    line: Line,
    events: EventsConfig | None = None,
    columns: Mapping[str, str] | None = None,
    watch: Callable[[Events], None] | None = None,
    follows_lag: bool = False,
    predictions: bool = False,
    checkpoint_seconds: float | None = None,
    observer: Observer | None = None,
    reached: Reached = no_fault,
) -> Worker:
    limits = Limits(
        checkpoint_seconds=settings.checkpoint.interval_seconds if checkpoint_seconds is None else checkpoint_seconds,
        max_pending=settings.memory.pending_users,
        rebuild_records=settings.memory.rebuild_records,
    )
    return Worker(
        settings.worker,
        Outside(source, sink, store, checkpoints, SystemClock(), reached=reached),
        line,
        Decoder(events or settings.events, columns, watch),
        limits,
        Effort(settings.effort, follows_lag),
        predictions=predictions,
        observer=observer,
    )

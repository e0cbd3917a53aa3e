"""Builds a worker from settings; the only module that chooses between backends."""

from __future__ import annotations

import hashlib
import math
import secrets
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model import kernels
from model.counting.proposers import PROPOSERS
from model.items.decisions import Decisions
from model.joining import KEPT_JOINS
from model.learner import Learner
from model.recent_ids import KEPT_IDS
from stream_worker.backends.checkpoint import DirectoryCheckpoints, adopt, folder_of
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.files import FileSink, FileSource
from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.backends.registry import open_registry
from stream_worker.config import Settings
from stream_worker.core.baselines import CoVisitation, RecentPopularity
from stream_worker.core.copies import Each
from stream_worker.core.decoder import Decoder, Documents
from stream_worker.core.effort import Effort
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.fault_points import Reached, no_fault
from stream_worker.core.interfaces import (
    CheckpointStore,
    Clock,
    HeardSource,
    ItemSource,
    MemoryStore,
    Sink,
    Slots,
    Source,
)
from stream_worker.core.item_codec import ItemDecoder
from stream_worker.core.item_rules import ItemRules
from stream_worker.core.memory_record import MemoryFormat
from stream_worker.core.monitor import Monitor
from stream_worker.core.own_baselines import OwnLast, OwnMost
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Observer
from stream_worker.logs import get_logger
from stream_worker.loop.hearing import HearingLimits, InOrder
from stream_worker.loop.limits import Limits
from stream_worker.loop.line import Line
from stream_worker.loop.list_rules import roles_of
from stream_worker.loop.outside import Outside
from stream_worker.loop.recovery import Recovery
from stream_worker.loop.shared_lists import SharedTopics
from stream_worker.loop.time_order import in_time_order
from stream_worker.loop.worker import Worker

_log = get_logger(__name__)


def device_of(name: str) -> torch.device:
    """Return the torch device of a name; `auto` is CUDA if the machine has it, else the CPU.

    Raises ConfigurationError for a device that the machine does not have.
    """
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
    """Give torch one thread: with more, its idle threads spin and starve those of the Kafka client."""
    torch.set_num_threads(1)


def new_nonce() -> str:
    """Return a random name for this start, which tells it from all other starts of its slot."""
    return secrets.token_hex(4)


def fault_points(settings: Settings) -> Reached:
    """Return the function that this process calls at its fault points; it does nothing unless `debug.fault` is set."""
    signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
    # The signal goes to this very thread: another thread may take it later, and this one would go on meanwhile.
    return settings.debug.reached(lambda action: signal.pthread_kill(threading.get_ident(), signals[action]))


def memory_layout(settings: Settings) -> MemoryFormat:
    """Return the format of memory records with everything that one may hold."""
    return MemoryFormat(settings.model.ring_size, settings.model.dim, KEPT_IDS, KEPT_JOINS, sets=1)


@cache
def _say_what_is_compiled() -> None:
    if kernels.NOTE:
        _log.warning(kernels.NOTE)
    if not kernels.are_compiled():
        _log.info("compiling kernels: takes one to three minutes")


def make_line(
    settings: Settings,
    name: str,
    described: bool = False,
    hears: bool = False,
    rules: ItemRules | None = None,
    decided: bool = False,
) -> Line:
    """Build a line that has learned nothing.

    `name`: it identifies the weights in lists and memory records.
    `described`: True if something besides the events tells what items are, for `Line.change_items`.
    `rules`: what they say of an item that nothing is told of is what the line begins with; None: those of the settings.
    `hears`: True if partitions of other workers may be heard.
    `decided`: True if a topic of decisions is read, for `Line.decide`.

    Raises ConfigurationError for rules about items where nothing tells what these are.
    """
    rules = item_rules(settings) if rules is None else rules
    if rules and not described:
        raise ConfigurationError(
            f"{settings.list_plan.asks}: asks what items are, and nothing tells it: name a topic in kafka.items_topic"
            " (a replay: a file by --items)"
        )
    quiet_torch()
    _say_what_is_compiled()
    is_target_T = np.array([kind.target for kind in settings.events.event_types])
    device = device_of(settings.worker.device)
    most_heard = settings.hearing.users if hears else 0
    decisions = Decisions(settings.items.hold_new) if decided else None
    learner = Learner(
        settings.model, device, settings.memory.device_users, is_target_T, described, most_heard,
        settings.list_plan.scenarios, roles_of(settings.events.event_types), rules.unknown, decisions,
    )  # fmt: skip
    learner.family = family_of(settings)
    return Line(
        name=name,
        learner=learner,
        monitor=make_monitor(settings),
        baselines={
            "recent_popularity": RecentPopularity(),
            "co_visitation": CoVisitation(),
            "own_last": OwnLast(),
            "own_most": OwnMost(),
        },
        offsets={},
        recovery=Recovery(learner, settings.drift),
        each=_each(settings.worker.threads),
    )


def item_rules(settings: Settings) -> ItemRules:
    """Compile what `[lists]` and `[scenarios]` ask about items. Raises ConfigurationError, with the key."""
    plan = settings.list_plan
    try:
        return ItemRules(plan.conditions, plan.boosts, plan.fields, plan.if_failed, settings.items.fields)
    except ValueError as fault:
        raise ConfigurationError(str(fault)) from fault


def family_of(settings: Settings) -> str:
    """Return the family of lines that learn the same stream from nothing, with the same configuration and seed."""
    began = memory_group(settings), settings.model, settings.events.named
    return hashlib.blake2b(repr(began).encode(), digest_size=8).hexdigest()


def make_monitor(settings: Settings) -> Monitor:
    """Build a monitor that has measured nothing."""
    return Monitor(settings.monitor, list(settings.events.named), PROPOSERS)


def _each(threads: int) -> Each:
    """Return an executor's `map` over this many threads, or plain `map` for one thread."""
    return ThreadPoolExecutor(threads, thread_name_prefix="lists").map if threads > 1 else map


def make_store(settings: Settings) -> MemoryStore:
    """Build the memory store: Redis if a URL is configured, else the twin."""
    if settings.memory.redis_url:
        return RedisMemoryStore(settings.memory, memory_group(settings))
    return InMemoryMemoryStore(settings.memory)


def memory_group(settings: Settings) -> str:
    """Return the name under which memories are kept: they belong to one consumer group and one topic."""
    return f"{settings.kafka.group_id}:{settings.kafka.input_topic}"


def start_of(settings: Settings) -> tuple[Path, tuple[str, ...], str]:
    """Return what identifies a start before any service has answered, the arguments of `start_lock`."""
    kafka = settings.kafka
    brokers = ",".join(sorted(kafka.bootstrap_servers.split(",")))
    return Path(settings.checkpoint.path), (brokers, kafka.input_topic, kafka.group_id), settings.worker.slot


def make_checkpoints(
    settings: Settings, path: Path, source: SourceId, nonce: str, store: Slots, reached: Reached = no_fault
) -> DirectoryCheckpoints:
    """Build the checkpoint store of this slot: a folder below the source's, with the checkpoints of older versions.

    `path`: `checkpoint.path`, or the folder of a replay.
    `source`: the source that checkpoints belong to.
    `nonce`: the name of this start (`new_nonce`).
    `store`: tells which start owns the slot. A start that another one has replaced there may no longer write.
    `reached`: called at each fault point, by its name.
    """
    slot = settings.worker.named_slot

    def owns() -> bool:
        owner = store.slot_owner(slot)
        if owner is None:  # the store is new or was wiped; the lock on the folder shows that the slot is ours
            store.take_slot(slot, nonce)
        return owner in (None, nonce)

    adopt(path, source, slot)
    config = replace(settings.checkpoint, path=str(folder_of(path, source)))
    return DirectoryCheckpoints(config, slot, nonce, owns, reached=reached)


def documents_of(settings: Settings) -> Documents | None:
    """Return what reads records that name a schema; None without a registry.

    Raises ConfigurationError if a library for it is not installed, or a file of `[registry]` can't be read.
    """
    return open_registry(settings.registry).document if settings.registry.url else None


def make_worker(
    settings: Settings,
    outside: Outside,
    line: Line,
    *,
    decoder: Decoder | None = None,
    effort: Effort | None = None,
    checkpoint_seconds: float | None = None,
    predictions: bool = False,
    observer: Observer | None = None,
    item_decoder: ItemDecoder | None = None,
    in_order: InOrder = in_time_order,
) -> Worker:
    """Make a worker; what is left out is as the settings have it.

    decoder, item_decoder: None for `[events]` and `[items]` of the settings
    effort: None for one that does not follow the lag
    checkpoint_seconds: time between two writes; None for `checkpoint.interval_seconds`
    """
    limits = Limits(
        checkpoint_seconds=settings.checkpoint.interval_seconds if checkpoint_seconds is None else checkpoint_seconds,
        max_pending=settings.memory.pending_users,
        rebuild_records=settings.memory.rebuild_records,
        hearing=HearingLimits(
            records=settings.hearing.records,
            rebuild_records=settings.memory.rebuild_records,
            from_end=settings.kafka.start == "latest",
        ),
        shared=_shared_topics(settings, outside.sink),
    )
    return Worker(
        settings.worker,
        outside,
        line,
        decoder or Decoder(settings.events, documents=documents_of(settings)),
        limits,
        effort or Effort(settings.effort, follows=False),
        predictions=predictions,
        observer=observer,
        item_decoder=item_decoder or ItemDecoder(settings.items, documents_of(settings), item_rules(settings)),
        in_order=in_order,
    )


def _shared_topics(settings: Settings, sink: Sink) -> SharedTopics:
    """Return which shared lists are made: those that have a topic, but none where files take the topics' place."""
    if isinstance(sink, FileSink):
        return SharedTopics()
    return SharedTopics(bool(settings.kafka.similar_topic), bool(settings.kafka.popular_topic))


def simulated_worker(
    settings: Settings,
    source: Source,
    sink: Sink,
    line: Line,
    *,
    store: MemoryStore | None = None,
    checkpoints: CheckpointStore | None = None,
    clock: Clock | None = None,
    decoder: Decoder | None = None,
    effort: Effort | None = None,
    checkpoint_seconds: float = math.inf,
    predictions: bool = False,
    reached: Reached = no_fault,
    items: ItemSource | None = None,
    decisions: ItemSource | None = None,
    heard: HeardSource | None = None,
    in_order: InOrder = in_time_order,
) -> Worker:
    """Make a worker on a recorded or made-up log, with memories and checkpoints in this process unless some are given.

    decoder: None for the mapping of a log, else contract 1's field names
    """
    outside = Outside(
        source,
        sink,
        InMemoryMemoryStore(settings.memory) if store is None else store,
        InMemoryCheckpoints() if checkpoints is None else checkpoints,
        clock or SystemClock(),
        reached=reached,
        items=items,
        decisions=decisions,
        heard=heard,
    )
    return make_worker(
        settings,
        outside,
        line,
        decoder=decoder or _decoder_of(settings, source),
        effort=effort,
        checkpoint_seconds=checkpoint_seconds,
        predictions=predictions,
        in_order=in_order,
    )


def _decoder_of(settings: Settings, source: Source) -> Decoder:
    return source.decoder(settings.events) if isinstance(source, FileSource) else Decoder(settings.events.canonical())

"""`stream-worker replay`: runs a recorded log through the worker's loop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stream_worker.assembly import (
    documents_of,
    fault_points,
    make_checkpoints,
    make_line,
    new_nonce,
    simulated_worker,
)
from stream_worker.backends.checkpoint import newest_of
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.files import FileItems, FileSink, FileSource
from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore
from stream_worker.beginning import Beginning, ancestors_of, named_snapshot
from stream_worker.commands.lines import lines_of, replay_several
from stream_worker.commands.options import differing, mapping_of, settings_from, speed_of
from stream_worker.commands.outputs import refuse_overwriting
from stream_worker.commands.summary import summarized
from stream_worker.config import Settings
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.history import History
from stream_worker.core.interfaces import CheckpointStore
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.source_id import SourceId
from stream_worker.core.status import Status
from stream_worker.loop.worker import Worker
from stream_worker.progress import ReplayProgress
from stream_worker.signals import stopped_by_signals


def command(
    log: tuple[Path, ...],
    mapping_path: Path | None,
    config_path: Path | None,
    predictions: Path | None,
    after_rules: Path | None,
    recommendations: Path | None,
    dead_letters: Path | None,
    items: tuple[Path, ...],
    limit: int | None,
    speed: str,
    checkpoint_to: Path | None,
    checkpoint_from: Path | None,
    reports: tuple[Path, ...],
    lines: int | None = None,
    late: int | None = None,
    heard: int | None = None,
    weights: bool = False,
) -> int:
    several = lines_of(lines, late, heard, weights, with_one=(checkpoint_to, checkpoint_from, *reports))
    refuse_overwriting(
        [*log, mapping_path, config_path, *items], [predictions, after_rules, recommendations, dead_letters, *reports]
    )
    settings = settings_from(config_path)
    clock, mapping = SystemClock(), mapping_of(log, mapping_path)
    watch = LogWatch(settings.events.own_types, mapped=mapping is not None)
    told = [FileItems(items, settings.items) for _ in range(several.count if several else 1)] if items else []
    source = FileSource(
        list(log),
        mapping,
        limit=limit,
        speed=speed_of(speed),
        clock=clock,
        reach=partial(_reach, told) if told else None,
    )
    wanted = bool(predictions or after_rules)
    sink = FileSink(predictions, recommendations, dead_letters, topic=source.name, after_rules=after_rules)
    if several is not None:
        return replay_several(settings, several, source, sink, watch, told, predictions=wanted)
    store = InMemoryMemoryStore(settings.memory)
    nonce, reached = new_nonce(), fault_points(settings)
    checkpoints: CheckpointStore = InMemoryCheckpoints()
    seconds = math.inf
    if checkpoint_to is not None:
        checkpoints = make_checkpoints(settings, checkpoint_to, source.identity(), nonce, store, reached)
        seconds = settings.checkpoint.interval_seconds
    worker = simulated_worker(
        settings,
        source,
        sink,
        make_line(settings, f"replay-{settings.model.seed}", described=bool(told)),
        store=store,
        checkpoints=checkpoints,
        decoder=source.decoder(settings.events, watch.add, documents_of(settings)),
        predictions=wanted,
        checkpoint_seconds=seconds,
        reached=reached,
        items=told[0] if told else None,
    )
    begun = _beginning(checkpoints, source.identity(), checkpoint_from, checkpoint_to)
    ancestors = ancestors_of(begun.snapshot, source.identity(), settings, store)
    worker.start(begun.snapshot, own=begun.own, ancestors=ancestors)
    source.published = sink.next_offset
    history = History(worker.line.monitor)
    code = _run(worker, source, history, watch)
    if reports:
        _write_reports(reports, history, worker.status, source, settings)
    return code


def _reach(told: Sequence[FileItems], timestamp_ms: float) -> float:
    return min(items.reach(timestamp_ms) for items in told)


def _beginning(
    checkpoints: CheckpointStore, source: SourceId, checkpoint_from: Path | None, checkpoint_to: Path | None
) -> Beginning:
    """Return the checkpoint to begin from.

    If --checkpoint-from names the same folder as --checkpoint-to, the replay goes on from the log's own checkpoint
    there, if it has one. Raises ConfigurationError if --checkpoint-to alone names a folder with a checkpoint.
    """
    if checkpoint_from is None:
        if checkpoint_to is not None and newest_of(checkpoint_to) is not None:
            raise ConfigurationError(
                f"--checkpoint-to: {checkpoint_to} holds a checkpoint already; give --checkpoint-from {checkpoint_to} "
                "to go on from it, or another folder"
            )
        return Beginning()
    if checkpoint_to is None or checkpoint_from.resolve() != checkpoint_to.resolve():
        return Beginning(named_snapshot(checkpoint_from, source, "--checkpoint-from"))
    own = checkpoints.load_newest()
    return Beginning(newest_of(checkpoint_from)) if own is None else Beginning(own, own=True)


def _write_reports(
    paths: Sequence[Path], history: History, status: Status, source: FileSource, settings: Settings
) -> None:
    from stream_worker.report.page import write
    from stream_worker.report.replayed import report_of

    changed = [(key, value) for key, _, value in differing(Settings(), settings)]
    rows = (source.position - status.consuming.records, source.position)
    write(report_of(history, status, source.name.removeprefix("file:"), rows, changed), paths)
    print(f"report: {', '.join(map(str, paths))}")


def _run(worker: Worker, source: FileSource, history: History, watch: LogWatch) -> int:
    progress = ReplayProgress(source, history)
    worker.observer = progress
    start = time.monotonic()
    with progress, stopped_by_signals(worker.request_stop):
        worker.run()
    seconds = time.monotonic() - start
    status = worker.status
    history.finish(status)
    alarms = sum(status.drift.alarms.values())
    return summarized(worker.line.monitor, status, source, watch, seconds, alarms, stopped=worker.stopping)

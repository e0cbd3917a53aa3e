"""`stream-worker replay`: the same loop on a recorded log."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream_worker.assembly import (
    ancestors_of,
    fault_points,
    make_checkpoints,
    make_line,
    make_worker,
    new_nonce,
    starting_snapshot,
)
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.files import FileSink, FileSource, load_mapping
from stream_worker.backends.in_memory import InMemoryCheckpoints, InMemoryMemoryStore
from stream_worker.commands.options import (
    EXISTING,
    FOLDER,
    NEW_FILE,
    config_option,
    mapping_option,
    print_summary,
    settings_from,
    speed_of,
)
from stream_worker.commands.signals import stopped_by_signals
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import CheckpointStore
from stream_worker.core.status import Status
from stream_worker.exit_codes import ExitCode
from stream_worker.worker import Worker

_PLAIN_EVERY_SECONDS = 5.0

EPILOG = """\b
Examples:
  stream-worker replay clicks.csv --mapping examples/canonical.toml --limit 10000
  stream-worker replay clicks.csv -m examples/canonical.toml --predictions predictions.jsonl
  stream-worker replay clicks.csv -m examples/canonical.toml --checkpoint-to learned
  stream-worker replay clicks.csv -m examples/canonical.toml --checkpoint-from learned --checkpoint-to learned

The last one goes on where a stopped (or killed) replay of the same log was, and its files end up the same to the bit.
With another log, or with `run`, a checkpoint is a warm start: what was learned, and the users' memories.
"""


@click.command("replay", epilog=EPILOG)
@click.argument("log", nargs=-1, required=True, type=EXISTING)
@mapping_option
@config_option
@click.option("--predictions", type=NEW_FILE, help="One line an event: the list made before it was seen.")
@click.option("--recommendations", type=NEW_FILE, help="The lists that would be published, one line each.")
@click.option("--dead-letters", type=NEW_FILE, help="Rows that are no events, with their reasons.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option(
    "--speed", default="max", show_default=True, help="max, or how many times faster than the log's own time."
)
@click.option("--checkpoint-to", type=FOLDER, help="Folder to write checkpoints to, every few seconds and at the end.")
@click.option("--checkpoint-from", type=FOLDER, help="Folder of the checkpoint to begin from.")
def command(
    log: tuple[Path, ...],
    mapping_path: Path,
    config_path: Path | None,
    predictions: Path | None,
    recommendations: Path | None,
    dead_letters: Path | None,
    limit: int | None,
    speed: str,
    checkpoint_to: Path | None,
    checkpoint_from: Path | None,
) -> int:
    """Run recorded LOG files through the worker's own loop, deterministically, and print how good the lists were.

    Formats: JSON lines, CSV, TSV, Parquet; plain, gzip or zstd.
    """
    settings = settings_from(config_path)
    clock = SystemClock()
    source = FileSource(list(log), load_mapping(mapping_path), limit=limit, speed=speed_of(speed), clock=clock)
    sink = FileSink(predictions, recommendations, dead_letters, topic=source.name)
    store = InMemoryMemoryStore(settings.memory)
    nonce, reached = new_nonce(), fault_points(settings)
    checkpoints: CheckpointStore = InMemoryCheckpoints()
    seconds = math.inf
    if checkpoint_to is not None:
        checkpoints = make_checkpoints(settings, checkpoint_to, nonce, store, reached)
        seconds = settings.checkpoint.interval_seconds
    worker = make_worker(
        settings,
        source=source,
        sink=sink,
        store=store,
        checkpoints=checkpoints,
        line=make_line(settings, f"replay-{settings.model.seed}"),
        events=settings.events.canonical(),
        predictions=predictions is not None,
        checkpoint_seconds=seconds,
        reached=reached,
    )
    snapshot, own = None, False
    if checkpoint_from is not None:
        same = checkpoint_to is not None and checkpoint_from.resolve() == checkpoint_to.resolve()
        snapshot, own = starting_snapshot(checkpoints if same else InMemoryCheckpoints(), checkpoint_from)
        if snapshot is None and not same:
            raise ConfigurationError(f"--checkpoint-from: no readable checkpoint in {checkpoint_from}")
    elif checkpoint_to is not None and checkpoints.load_newest() is not None:
        raise ConfigurationError(
            f"--checkpoint-to: {checkpoint_to} holds a checkpoint already; give --checkpoint-from {checkpoint_to} "
            "to go on from it, or another folder"
        )
    foreign = snapshot if snapshot is not None and snapshot.meta["source"] != source.name else None
    worker.start(snapshot, own=own, ancestors=ancestors_of(foreign, settings, store))
    source.published = sink.next_offset
    return _run(worker, source)


def _run(worker: Worker, source: FileSource) -> int:
    progress = _Progress(source)
    worker.observer = progress
    start = time.monotonic()
    with progress, stopped_by_signals(worker.request_stop):
        worker.run()
    seconds = time.monotonic() - start
    status = worker.status
    print_summary(worker.line.monitor.summary_rows(), "Scored before each event was learned")
    dead = sum(status.dead_letters.values())
    print(
        f"{status.events:,} events in {seconds:.1f} s ({status.events / max(seconds, 1e-9):,.0f} events/s), "
        f"{dead:,} dead letters, {source.left_out:,} rows left out by the mapping, {status.items:,} items live, "
        f"drift alarms: {sum(status.drift_alarms.values())}"
    )
    if worker.stopping:
        print(f"stopped at row {source.position:,}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


class _Progress:
    """A bar on a terminal, a plain line every few seconds elsewhere; both on standard error."""

    def __init__(self, source: FileSource) -> None:
        from rich.console import Console

        self._source = source
        self._terminal = sys.stderr.isatty()
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not self._terminal)
        self._task = self._bar.add_task("replay", total=None, note="")
        self._said = time.monotonic()

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def ready(self, value: bool) -> None:
        """A file has nothing to be ready for."""

    def ticked(self, status: Status) -> None:
        position, total = self._source.position, self._source.total
        if self._terminal:
            self._bar.update(self._task, completed=position, total=total, note=_quality(status))
        elif time.monotonic() - self._said > _PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            print(f"replay: row {position:,}{of}, {_quality(status)}", file=sys.stderr, flush=True)


def _quality(status: Status) -> str:
    rolling = status.quality.get("rolling", {})
    return f"HR@20 {rolling.get('hit_rate@20', 0.0):.3f}"

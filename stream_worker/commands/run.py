"""`stream-worker run`: the worker."""

from __future__ import annotations

from pathlib import Path

import click
import structlog

from stream_worker.assembly import (
    ancestors_of,
    make_checkpoints,
    make_line,
    make_store,
    make_worker,
    new_nonce,
    starting_snapshot,
)
from stream_worker.backends.clock import SystemClock
from stream_worker.backends.kafka import KafkaSink, KafkaSource
from stream_worker.backends.metrics import Health, MetricsServer, WorkerMetrics
from stream_worker.backends.metrics_export import MetricsObserver
from stream_worker.commands.options import config_option, settings_from
from stream_worker.commands.signals import stopped_by_signals
from stream_worker.config import Settings
from stream_worker.core.interfaces import MemoryStore
from stream_worker.exit_codes import ExitCode
from stream_worker.warm_up import warm_up

_log = structlog.get_logger(__name__)

EPILOG = """\b
Examples:
  stream-worker run --config worker.toml
  STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:9092 stream-worker run
  STREAM_WORKER__WORKER__SLOT=1 STREAM_WORKER__METRICS__PORT=9101 stream-worker run -c worker.toml

The last one is a second worker of the same group: give every worker a slot of its own, and keep it over restarts.
SIGTERM and Ctrl-C end it in good order: the batch is finished and committed, memories and weights are written.

\b
Exit codes: 0 stopped, 75 start me again, 76 another process runs this slot, 78 configuration, 1 other failures.
"""


@click.command("run", epilog=EPILOG)
@config_option
def command(config_path: Path | None) -> int:
    """Read events from Kafka, keep every user's memory, learn, and publish recommendations, exactly once."""
    settings = settings_from(config_path)
    store = make_store(settings)
    try:
        return _run(settings, store)
    finally:
        store.close()


def _run(settings: Settings, store: MemoryStore) -> int:
    clock = SystemClock()
    health, metrics = Health(clock), WorkerMetrics(clock)
    server = MetricsServer(settings.metrics, metrics, health)
    server.start()
    # Before the group is joined: compiling takes longer than a member may be silent on a slow machine.
    warm_up(settings)
    nonce, slot = new_nonce(), settings.worker.slot
    path = Path(settings.checkpoint.path)
    checkpoints = make_checkpoints(settings, path, nonce, store)
    line = make_line(settings, f"{slot}-{nonce}")
    snapshot, own = starting_snapshot(checkpoints, path)
    source = KafkaSource(settings.kafka, slot)
    worker = make_worker(
        settings,
        source=source,
        sink=KafkaSink(settings.kafka, slot),
        store=store,
        checkpoints=checkpoints,
        line=line,
        observer=MetricsObserver(metrics, health),
    )
    foreign = snapshot if snapshot is not None and snapshot.meta["source"] != source.name else None
    worker.start(snapshot, own=own, ancestors=ancestors_of(foreign, settings, store))
    _log.info("started", slot=slot, line=line.name, topic=settings.kafka.input_topic, device=settings.worker.device)
    try:
        with stopped_by_signals(worker.request_stop):
            worker.run()
    finally:
        server.close()
    _log.info("stopped", events=worker.status.events, lists=worker.status.lists)
    return ExitCode.DONE

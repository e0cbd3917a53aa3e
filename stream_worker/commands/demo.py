"""`stream-worker demo`: shows everything at once, with no services installed.

The signal handlers are set before anything slow begins (torch, kernels, Kafka), so that Ctrl-C always ends cleanly.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from stream_worker.exit_codes import ExitCode
from stream_worker.signals import stopped_by_signals

if TYPE_CHECKING:
    from stream_worker.demo.scene import Scene
    from stream_worker.demo.session import Session

_DRAW_SECONDS = 0.25  # between two pictures of the panel (not tuned)
# The metrics that fit into 80 columns.
_SHOWN = ("name", "events", "hit_rate@20", "mrr@20", "ndcg@20", "log_loss")


def command(seconds: float, rate: float, seed: int) -> int:
    interrupted = Event()
    with (
        stopped_by_signals(interrupted.set),
        tempfile.TemporaryDirectory(prefix="stream-worker-demo-") as folder,
    ):
        ended = _run(Path(folder), seconds, rate, seed, interrupted)
    if not ended:
        # A thread that compiles kernels can't be interrupted, and takes too long to wait for.
        sys.stdout.flush()
        os._exit(ExitCode.INTERRUPTED)
    return ExitCode.INTERRUPTED if interrupted.is_set() else ExitCode.DONE


def _run(folder: Path, seconds: float, rate: float, seed: int, interrupted: Event) -> bool:
    """Run the demo; return False if a thread still runs, since the demo was stopped during its start-up.

    `folder`: takes the checkpoints.
    `seconds`: how long the shop is open.
    `rate`: events per second.
    `interrupted`: set by Ctrl-C.
    """
    print("demo: loading", flush=True)
    from stream_worker.config import load_settings
    from stream_worker.demo.panel import make_view
    from stream_worker.demo.scene import Scene
    from stream_worker.demo.session import Session, demo_settings
    from stream_worker.demo.shop import FIRST_CUSTOMER, ShopConfig

    _quiet()
    shop = ShopConfig(rate=rate, change_after_seconds=seconds / 2, seed=seed)
    scene = Scene(FIRST_CUSTOMER)
    # The defaults alone: settings in the environment are meant for a real Kafka, not for this one.
    session = Session(demo_settings(load_settings(None, {}), folder), shop, seconds, scene)
    with make_view(seconds) as view:
        session.start()
        while session.running() and not interrupted.wait(_DRAW_SECONDS):
            view.show(scene.picture())
        ended = session.stop()
        view.show(scene.picture())
    if session.fault is not None:
        raise click.ClickException(f"the demo failed: {type(session.fault).__name__}: {session.fault}")
    _summarise(session, scene)
    return ended


def _quiet() -> None:
    """Log warnings and errors; of librdkafka only errors, since it warns when the embedded cluster ends."""
    import logging

    from stream_worker import logs
    from stream_worker.backends.kafka.config import LIBRARY_LOG

    logs.configure("warning")
    LIBRARY_LOG.setLevel(logging.ERROR)


def _summarise(session: Session, scene: Scene) -> None:
    from stream_worker.commands.options import print_summary
    from stream_worker.demo.panel import summary_lines

    picture = scene.picture()
    if session.worker is None or not picture.events:
        print("demo: ended before the first event")
        return
    rows = [{name: row[name] for name in _SHOWN if name in row} for row in session.worker.line.monitor.summary_rows()]
    print_summary(rows, "Scored before each event was learned")
    for line in summary_lines(picture, *scene.latencies()):
        print(line)

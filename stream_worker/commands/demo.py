"""`stream-worker demo`: everything at once, with nothing installed.

Whatever takes long (torch, kernels, Kafka) comes after the signal handlers, so that Ctrl-C is clean from the beginning.
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

_DRAW_SECONDS = 0.25
# As much as 80 columns hold.
_SHOWN = ("name", "events", "hit_rate@20", "mrr@20", "ndcg@20", "log_loss")


def command(seconds: float, rate: float, seed: int) -> int:
    interrupted = Event()
    with (
        stopped_by_signals(interrupted.set),
        tempfile.TemporaryDirectory(prefix="stream-worker-demo-") as folder,
    ):
        ended = _run(Path(folder), seconds, rate, seed, interrupted)
    if not ended:
        # A thread inside a compiler can be neither interrupted nor waited for.
        sys.stdout.flush()
        os._exit(ExitCode.INTERRUPTED)
    return ExitCode.INTERRUPTED if interrupted.is_set() else ExitCode.DONE


def _run(folder: Path, seconds: float, rate: float, seed: int, interrupted: Event) -> bool:
    """False where it had to be left before it had started."""
    print("demo: loading", flush=True)
    from stream_worker.config import load_settings
    from stream_worker.demo.panel import make_view
    from stream_worker.demo.scene import Scene
    from stream_worker.demo.session import Session, demo_settings
    from stream_worker.demo.shop import FIRST_CUSTOMER, ShopConfig

    _quiet()
    shop = ShopConfig(rate=rate, change_after_seconds=seconds / 2, seed=seed)
    scene = Scene(FIRST_CUSTOMER)
    # The defaults alone: what the environment says about a real Kafka is not for this one.
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
    """Log lines from warnings on; of librdkafka's only errors, since an embedded cluster ends when it ends."""
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

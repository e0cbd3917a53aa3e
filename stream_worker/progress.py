"""The progress of a replay, for a person."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream_worker.backends.files import FileSource
from stream_worker.core.history import History
from stream_worker.core.quality import HIT_RATE, WORKER
from stream_worker.core.status import Status

_PLAIN_EVERY_SECONDS = 5.0  # between two lines where there is no terminal (not tuned)


class ReplayProgress:
    """An observer that shows a bar on a terminal, and a plain line every few seconds elsewhere, on standard error.

    It also feeds the history. `source`: the log; `name`: begins each line.
    """

    def __init__(self, source: FileSource, history: History, name: str = "replay") -> None:
        self._source = source
        self._history = history
        self._name = name
        self._terminal = sys.stderr.isatty()
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not self._terminal)
        self._task = self._bar.add_task(name, total=None, note="")
        self._said = time.monotonic()

    def __enter__(self) -> ReplayProgress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def ticked(self, status: Status) -> None:
        self._history.ticked(status)
        position, total = self._source.position, self._source.total
        if self._terminal:
            self._bar.update(self._task, completed=position, total=total, note=_quality(status))
        elif time.monotonic() - self._said > _PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            print(f"{self._name}: row {position:,}{of}, {_quality(status)}", file=sys.stderr, flush=True)


def _quality(status: Status) -> str:
    return f"HR@20 {status.quality.rolling(HIT_RATE).get(WORKER, 0.0):.3f}"

"""Replays a recorded log through several lines that hear each other, for `stream-worker replay --lines`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from stream_worker.backends.files import FileItems, FileSink, FileSource
from stream_worker.commands.summary import summarized
from stream_worker.config import Settings
from stream_worker.core.history import History
from stream_worker.core.log_watch import LogWatch
from stream_worker.progress import ReplayProgress
from stream_worker.several_lines import Lines, SeveralLines
from stream_worker.signals import stopped_by_signals


def lines_of(
    count: int | None, late: int | None, heard: int | None, weights: bool, with_one: Sequence[Path | None]
) -> Lines | None:
    """Return the lines of a replay that has several; None for one. Raises UsageError for what does not go together.

    with_one: the outputs and checkpoints that only a replay with one line has.
    """
    if count is None or count == 1:
        if (late, heard, weights) != (None, None, False):
            raise click.UsageError("--late, --heard and --weights are about several lines: --lines must be above 1")
        return None
    if any(path is not None for path in with_one):
        raise click.UsageError("--lines: with several lines there are no checkpoints and no report")
    return Lines(count, late or 0, heard or 0, weights)


def replay_several(
    settings: Settings,
    lines: Lines,
    source: FileSource,
    sink: FileSink,
    watch: LogWatch,
    items: Sequence[FileItems],
    *,
    predictions: bool,
) -> int:
    """Replay a log and print the summary of all lines.

    items: what tells of items, once for each line; empty: nothing does.
    """
    whole = source.decoder(settings.events, watch.add)
    several = SeveralLines(settings, lines, source, sink, whole, predictions=predictions, items=items)
    stopped = _Stopped()
    start = time.monotonic()
    with ReplayProgress(source, History(several.monitor)) as progress, stopped_by_signals(stopped.stop):
        several.run(progress, lambda: stopped.asked)
    seconds, alarms = time.monotonic() - start, several.alarms
    return summarized(several.monitor, several.status, source, watch, seconds, alarms, stopped=stopped.asked)


class _Stopped:
    """A request to stop, as signals make it."""

    asked = False

    def stop(self) -> None:
        self.asked = True

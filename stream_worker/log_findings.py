"""Tells what a replay found wrong in its log, and ends a replay whose log holds no event.

They are dead letters and dropped fields, with reason and row, and faults of the log that spoil the figures.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_worker.backends.files import FileSource
from stream_worker.core.amounts import amount
from stream_worker.core.errors import NoEvents
from stream_worker.core.fault_counts import FaultKind
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.printable import printable
from stream_worker.core.status import Status

_SHOWN_KINDS = 10  # kinds of faults below a summary, a line each (not tuned)
_REASONS = 3  # kinds of faults in the error about a log without events (not tuned)


def refuse_a_log_without_events(status: Status, source: FileSource) -> None:
    """Raise NoEvents if a replay from the first row has found no event."""
    if status.consuming.events or source.position > status.consuming.records:
        return
    if not status.consuming.records:
        left_out = amount(source.left_out, "row is", "rows are")
        note = f" ({left_out} left out by [keep] in the mapping)" if source.left_out else ""
        raise NoEvents(f"the log has no rows{note}")
    reasons = "".join(f"\n  {_told(kind)}" for kind in status.consuming.set_aside.commonest(_REASONS))
    dead = amount(status.consuming.records, "is a dead letter", "are dead letters")
    raise NoEvents(f"no row of the log is an event, {dead}:{reasons}")


def findings(status: Status, watch: LogWatch) -> Iterator[str]:
    """Yield the lines that follow a summary: faults of single rows, then those of the whole log."""
    for kind in status.consuming.set_aside.commonest(_SHOWN_KINDS):
        yield f"dead letters: {_told(kind)}"
    if ignored := status.consuming.ignored:
        told = (f"{count:,} {name}" for name, count in ignored.most_common(_SHOWN_KINDS))
        yield printable(f"ignored: {', '.join(told)}")
    for kind in status.consuming.fields_dropped.commonest(_SHOWN_KINDS):
        yield f"fields left out: {_told(kind)}"
    for kind in status.items.unreadable.commonest(_SHOWN_KINDS):
        yield f"items that can't be read: {_told(kind)}"
    for kind in status.items.fields_dropped.commonest(_SHOWN_KINDS):
        yield f"parts of items left out: {_told(kind)}"
    for finding in watch.findings():
        yield f"note: {finding}"


def _told(kind: FaultKind) -> str:
    return f"{kind.count:,} {kind.name}, the first in {kind.place}: {kind.reason}"

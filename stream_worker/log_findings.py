"""What a replay tells of its log: what was set aside or left out, with reason and row, and what spoils its figures."""

from __future__ import annotations

from collections.abc import Iterator

from stream_worker.backends.files import FileSource
from stream_worker.core.amounts import amount
from stream_worker.core.errors import NoEvents
from stream_worker.core.fault_counts import FaultKind
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.status import Status

_SHOWN_KINDS = 10
_REASONS = 3


def refuse_a_log_without_events(status: Status, source: FileSource) -> None:
    """Raises NoEvents where a replay from the first row has found none."""
    if status.events or source.position > status.records:
        return
    if not status.records:
        left_out = amount(source.left_out, "row is", "rows are")
        note = f" ({left_out} left out by [keep] in the mapping)" if source.left_out else ""
        raise NoEvents(f"the log has no rows{note}")
    reasons = "".join(f"\n  {_told(kind)}" for kind in status.set_aside.commonest(_REASONS))
    dead = amount(status.records, "is a dead letter", "are dead letters")
    raise NoEvents(f"no row of the log is an event, {dead}:{reasons}")


def findings(status: Status, watch: LogWatch) -> Iterator[str]:
    """Lines below a summary."""
    for kind in status.set_aside.commonest(_SHOWN_KINDS):
        yield f"dead letters: {_told(kind)}"
    for kind in status.fields_dropped.commonest(_SHOWN_KINDS):
        yield f"fields left out: {_told(kind)}"
    for finding in watch.findings():
        yield f"note: {finding}"


def _told(kind: FaultKind) -> str:
    return f"{kind.count:,} {kind.name}, the first in {kind.place}: {kind.reason}"

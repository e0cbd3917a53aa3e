"""Prints the summary of a replay: scores, speed, and what was found wrong in the log."""

from __future__ import annotations

import sys

from stream_worker.backends.files import FileSource
from stream_worker.commands.options import print_summary
from stream_worker.core.amounts import amount
from stream_worker.core.log_watch import LogWatch
from stream_worker.core.monitor import Monitor
from stream_worker.core.status import Status
from stream_worker.exit_codes import ExitCode
from stream_worker.log_findings import findings, refuse_a_log_without_events


def summarized(
    monitor: Monitor,
    status: Status,
    source: FileSource,
    watch: LogWatch,
    seconds: float,
    alarms: int,
    *,
    stopped: bool,
) -> int:
    """Print the summary and return the exit code. Raises NoEvents for a whole log without an event."""
    if not stopped:
        refuse_a_log_without_events(status, source)
    print_summary(monitor.summary_rows(), "Scored before each event was learned")
    events, dead = status.consuming.events, sum(status.consuming.dead_letters.values())
    duplicates, ignored = status.consuming.duplicates, status.consuming.ignored.total()
    print(
        f"{amount(events, 'event')} in {seconds:.1f} s ({events / max(seconds, 1e-9):,.0f} events/s), "
        + (f"{amount(duplicates, 'duplicate')} among them, " if duplicates else "")
        + (f"{ignored:,} ignored, " if ignored else "")
        + f"{amount(dead, 'dead letter')}, {amount(source.left_out, 'row')} left out by the mapping, "
        f"{amount(status.catalogue.items, 'item')} live, "
        f"drift alarms: {alarms}"
    )
    if status.items.records:
        unreadable = status.items.unreadable.total()
        print(f"{amount(status.items.records, 'row')} of items, {unreadable:,} of which can't be read")
    for line in findings(status, watch):
        print(line)
    if stopped:
        print(f"stopped at row {source.position:,}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.DONE

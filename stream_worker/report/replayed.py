"""What a report of one replay says."""

from __future__ import annotations

from collections.abc import Sequence

from stream_worker import __version__
from stream_worker.core.history import History
from stream_worker.core.monitor import Monitor
from stream_worker.core.status import Status
from stream_worker.report.charts import charts_of
from stream_worker.report.page import Report, Table


def report_of(
    history: History, status: Status, log: str, rows: tuple[int, int], changed: Sequence[Sequence[str]]
) -> Report:
    """`rows`: the first of the log that this run read, and the one after the last. `changed`: keys of the configuration
    that are not as by default, with their values."""
    monitor = history.monitor
    tables = [Table.of_metrics("Scored before each event was learned", monitor.summary_rows()), _sources(monitor)]
    if changed:
        tables.append(Table("Settings other than by default", ["key", "value"], changed))
    return Report("Replay", _facts(history, status, log, rows), tables, charts_of(history), history.notes)


def _facts(history: History, status: Status, log: str, rows: tuple[int, int]) -> list[tuple[str, str]]:
    facts = [("log", log), ("rows", f"{rows[0]:,} to {rows[1]:,}"), ("events", f"{status.events:,}")]
    if history.began:
        facts.append(("from a checkpoint", f"figures begin after {history.began:,} events; totals are of all"))
    return [
        *facts,
        ("dead letters", f"{sum(status.dead_letters.values()):,}"),
        ("items live", f"{status.items:,}"),
        ("evicted", f"{status.items_evicted:,}"),
        ("drift alarms", f"{sum(status.drift_alarms.values()):,}"),
        ("learning steps", f"{status.learning_steps:,}"),
        ("stream-worker", __version__),
    ]


def _sources(monitor: Monitor) -> Table:
    shares = monitor.sources.report()
    total, rolling = shares["total"], shares["rolling"]
    rows = [[name.replace("_", " "), f"{total[name]:.3f}", f"{rolling[name]:.3f}"] for name in total]
    window = f"last {monitor.config.window:,}"
    return Table("First to propose what came", ["source", "share of all", window], rows)

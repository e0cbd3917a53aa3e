"""The contents of a report of one replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_worker import __version__
from stream_worker.core.amounts import amount
from stream_worker.core.history import History
from stream_worker.core.monitor import Monitor
from stream_worker.core.status import Status
from stream_worker.report.charts import charts_of
from stream_worker.report.page import Report, Table

_METRICS = (
    "Every event was predicted before it was learned from. hit_rate@k: the share of events whose item was among the "
    "first k of the list; mrr@k and ndcg@k give more weight to higher places. Baselines, by plain counting on the same "
    "events: recent_popularity, co_visitation, own_last (the user's last items, then what follows the last one, then "
    "popular ones), own_most (the user's most frequent items, then popular ones). Repeat: the user has had the item "
    "lately; new: the user has not; new and known: but somebody has. Not the last item: without the events of the "
    "user's last item, such as the purchase of what was viewed just before. Cold: the item is young; unseen: it came "
    "for the first time, so no list could contain it. An event of a basket is predicted from the events before it, "
    "even if all of them have the same time."
)
_PROPOSERS = (
    "encoder: the network's own choice. follows, next: items that came after the user's items, soon or at once. own: "
    "the user's earlier items. together: items that others had beside them. two hop: items that came after the most "
    "likely next item. hot: popular items. nowhere: no proposer named the item."
)


def report_of(
    history: History, status: Status, log: str, rows: tuple[int, int], changed: Sequence[Sequence[str]]
) -> Report:
    """Return the report of one replay.

    `log`: the name of the log.
    `rows`: the first row of the log that this run read, and the one after its last.
    `changed`: the configuration's keys without their default value, with the values.
    """
    monitor = history.monitor
    rows_of = monitor.summary_rows()
    tables = [Table.of_metrics("Scored before each event was learned", rows_of, _METRICS), _sources(monitor)]
    if changed:
        tables.append(Table("Settings other than by default", ["key", "value"], changed))
    facts = _facts(history, status, log, rows)
    return Report("Replay", facts, tables, charts_of(history), history.notes, _result(monitor, rows_of))


def _result(monitor: Monitor, rows: Sequence[Mapping[str, str | float]]) -> str:
    """Return sentences with the hit rate of all events, and of new and known items, beside the best baseline's."""
    rate, named = f"hit_rate@{monitor.config.depth}", {str(row["name"]): row for row in rows}
    said = []
    for name, suffix, what in (
        ("worker", "", "of all"),
        ("worker, new and known", ", new and known", "of what the user had not met, but somebody had"),
    ):
        if name not in named or not named[name]["events"]:
            continue
        best = max(monitor.baseline_names, key=lambda baseline: float(named[baseline + suffix][rate]), default="")
        baseline = f"; the best baseline, {best.replace('_', ' ')}, {named[best + suffix][rate]:.1%}" if best else ""
        said.append(f"{named[name][rate]:.1%} {what} ({amount(int(named[name]['events']), 'event')}){baseline}")
    return f"What came was among the first {monitor.config.depth} of the list: " + ". ".join(said) + "." if said else ""


def _facts(history: History, status: Status, log: str, rows: tuple[int, int]) -> list[tuple[str, str]]:
    facts = [("log", log), ("rows", f"{rows[0]:,} to {rows[1]:,}"), ("events", f"{status.consuming.events:,}")]
    if history.began:
        facts.append(("from a checkpoint", f"figures begin after {amount(history.began, 'event')}; totals are of all"))
    return [
        *facts,
        ("dead letters", f"{sum(status.consuming.dead_letters.values()):,}"),
        ("items live", f"{status.catalogue.items:,}"),
        ("evicted", f"{status.catalogue.evicted:,}"),
        ("drift alarms", f"{sum(status.drift.alarms.values()):,}"),
        ("learning steps", f"{status.learning.steps:,}"),
        ("stream-worker", __version__),
    ]


def _sources(monitor: Monitor) -> Table:
    shares = monitor.proposers.report()
    total, rolling = shares["total"], shares["rolling"]
    rows = [[name.replace("_", " "), f"{total[name]:.3f}", f"{rolling[name]:.3f}"] for name in total]
    window = f"last {monitor.config.window:,}"
    return Table("First to propose what came", ["proposer", "share of all", window], rows, reading=_PROPOSERS)

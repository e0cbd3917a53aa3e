"""A report as a file: an HTML page with its figures inside, or one picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from stream_worker.core.status import Note
from stream_worker.report.charts import Chart
from stream_worker.report.figures import png, svg


@dataclass(frozen=True)
class Table:
    """A table of texts; all columns but the first are right-aligned.

    strong: True to emphasise the first row.
    reading: how to read the table, for a person.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: bool = False
    reading: str = ""

    @staticmethod
    def of_metrics(title: str, rows: Sequence[Mapping[str, str | float]], reading: str = "") -> Table:
        """Return a table of rows `name, events, <metric>...`; a metric that a row lacks is shown as a dash."""
        names = list(rows[0])
        cells = [[_cell(name, row.get(name)) for name in names] for row in rows]
        return Table(title, ["", *names[1:]], cells, True, reading)


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    facts: names and values, shown in one line.
    notes: those that the charts mark.
    result: the outcome in a sentence or two, for readers who read no tables.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    notes: Sequence[Note] = ()
    result: str = ""


def write(report: Report, paths: Iterable[Path]) -> None:
    """Write the report to each path, as a page or a picture by its suffix; each file is written whole or not at all."""
    for path in paths:
        data = _picture(report) if path.suffix == ".png" else _html(report).encode()
        beside = path.with_name(f"{path.name}.tmp")
        beside.write_bytes(data)
        os.replace(beside, path)


def _html(report: Report) -> str:
    loader = PackageLoader("stream_worker.report", ".")
    environment = Environment(loader=loader, autoescape=select_autoescape(), undefined=StrictUndefined)
    figures = [Markup(svg(chart, f"chart-{number}")) for number, chart in enumerate(report.charts)]
    return environment.get_template("page.html").render(report=report, figures=figures)


def _picture(report: Report) -> bytes:
    facts = "   ".join(f"{name}: {value}" for name, value in report.facts[:2])
    table = report.tables[0]
    return png(f"{report.title}   {facts}", table.columns, table.rows, report.charts)


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value.replace("_", " ")
    return f"{int(value):,}" if name == "events" else f"{value:.4f}"

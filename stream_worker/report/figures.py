"""Charts drawn by matplotlib: as SVG elements for a page, or all of them in one PNG.

This module does not use pyplot, which keeps figures in the process. Ids are salted and dates left out, so that the same
charts give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from stream_worker.core.status import Note
from stream_worker.report.charts import Chart, Curve, Panel

_WIDTH, _HEIGHT, _ROW_HEIGHT = 11.0, 3.1, 0.2  # inches
# Colour, sign and height of each kind; the heights differ since an answer stands at the same event as its alarm.
_NOTES = {"alarm": ("#D55E00", "v", 1.03), "answer": ("#009E73", "^", 0.97), "rollback": ("#000000", "X", 0.91)}
_OTHER_NOTE = ("#777777", "o", 0.85)
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "svg.fonttype": "none",
}


def svg(chart: Chart, salt: str) -> str:
    """Draw the chart as an SVG element for a page. `salt` makes its ids differ from those of its other charts."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        _draw(chart, figure, top=0.88)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    element = text.getvalue()[text.getvalue().index("<svg") :]
    # Ids that number figures and lines would stand in the page once per chart; nothing refers to them.
    return re.sub(r'<metadata>.*?</metadata>| id="[A-Za-z0-9.]+_\d+"', "", element, flags=re.DOTALL)


def png(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], charts: Sequence[Chart]) -> bytes:
    """Draw a picture of a table and all charts, one below the other."""
    with mpl.rc_context(_STYLE):
        heights = [0.4 + _ROW_HEIGHT * (len(rows) + 2), *[_HEIGHT] * len(charts)]
        figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=110)
        table, *parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        table.suptitle(title, x=0.01, ha="left", fontsize=11)
        row = _ROW_HEIGHT / heights[0]
        _draw_table(columns, rows, table.add_axes((0.01, row, 0.98, row * (len(rows) + 1))))
        for chart, part in zip(charts, parts, strict=True):
            part.suptitle(chart.title, x=0.01, ha="left", fontweight="bold")
            _draw(chart, part, top=0.82)
        data = io.BytesIO()
        figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]], ax: Axes) -> None:
    ax.axis("off")
    table = ax.table(list(map(list, rows)), colLabels=list(columns), edges="horizontal", loc="center", colLoc="right")
    table.auto_set_font_size(False)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#e4e4e4")
        cell.set_text_props(ha="left" if column == 0 else "right", weight="bold" if row == 0 else "normal")
        cell.set_height(1 / (len(rows) + 1))


def _draw(chart: Chart, figure: FigureBase, top: float) -> None:
    """Draw a chart; its panels have the same width in all charts, with room for a legend at the right."""
    # A layout engine is not used, since the last digits of its results differ from run to run.
    figure.subplots_adjust(left=0.065, right=0.73, bottom=0.17, top=top, wspace=0.25)
    axes = figure.subplots(1, len(chart.panels), squeeze=False)[0]
    ends = [at for panel in chart.panels for curve in panel.curves for at in (curve.at_P[0], curve.at_P[-1])]
    for panel, ax in zip(chart.panels, axes, strict=True):
        _draw_panel(panel, ax)
        _draw_notes(chart.notes, ax)
        ax.set_xlim(min(ends), max(*ends, min(ends) + 1))
    _legend(chart, axes, figure, top)


def _legend(chart: Chart, axes: Sequence[Axes], figure: FigureBase, top: float) -> None:
    named: dict[str, Any] = {}
    for panel, ax in zip(chart.panels, axes, strict=True):
        handles, labels = ax.get_legend_handles_labels()
        # The curve that is stacked highest stands first in the legend.
        named |= dict(list(zip(labels, handles, strict=True))[:: -1 if panel.stacked else 1])
    named |= {note.kind: _handle(note.kind) for note in chart.notes}
    figure.legend(named.values(), named.keys(), loc="upper left", borderaxespad=0, bbox_to_anchor=(0.745, top))


def _draw_panel(panel: Panel, ax: Axes) -> None:
    if panel.stacked:
        _stack(panel.curves, ax)
    for curve in () if panel.stacked else panel.curves:
        style: dict[str, Any] = {"drawstyle": "steps-post"} if panel.steps else {}
        if len(curve.at_P) == 1:
            style["marker"] = "o"
        ax.plot(
            curve.at_P, curve.values_P, curve.dashes, color=curve.colour, lw=curve.width, label=curve.label, **style
        )
    ax.set_title(panel.title, pad=12)
    ax.set(ylabel=panel.unit, xlabel="events")
    if panel.signed:
        ax.axhline(0, color="#444444", lw=0.8)
    else:
        ax.set_ylim(0, 1 if panel.stacked else None)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _stack(curves: Sequence[Curve], ax: Axes) -> None:
    values = [curve.values_P for curve in curves]
    colours, labels = [curve.colour for curve in curves], [curve.label for curve in curves]
    ax.stackplot(curves[0].at_P, values, colors=colours, labels=labels, edgecolor="white", linewidth=0.3)


def _draw_notes(notes: Sequence[Note], ax: Axes) -> None:
    """Draw each note as a thin line at its event, with the sign of its kind at the upper edge."""
    for note in notes:
        colour, sign, height = _NOTES.get(note.kind, _OTHER_NOTE)
        ax.axvline(note.at, color=colour, lw=0.7, alpha=0.5, zorder=1)
        ax.plot([note.at], [height], sign, color=colour, ms=5, transform=ax.get_xaxis_transform(), clip_on=False)


def _handle(kind: str) -> Line2D:
    colour, sign, _ = _NOTES.get(kind, _OTHER_NOTE)
    return Line2D([], [], color=colour, marker=sign, lw=0.7, ms=5)

"""Figures of a report: nothing is cut off."""

from __future__ import annotations

import io

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from stream_worker.report import figures
from stream_worker.report.charts import Chart, charts_of
from tests.report.runs import run


@pytest.mark.parametrize("chart", charts_of(run()[0]), ids=lambda chart: chart.title)
def test_the_legend_ends_before_the_picture_does(chart: Chart) -> None:
    with mpl.rc_context(figures._STYLE):
        figure = Figure(figsize=(figures._WIDTH, figures._HEIGHT))
        figures._draw(chart, figure, top=0.88)
        (legend,) = figure.legends
        legend.get_texts()[-1].set_text("recent popularity, new and known")  # the longest label
        figure.savefig(io.BytesIO())
        assert legend.get_window_extent().x1 <= figure.bbox.x1

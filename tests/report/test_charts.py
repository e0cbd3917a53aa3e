"""What there is to see of a run is shown, and nothing that never was."""

from __future__ import annotations

import numpy as np
import pytest

from stream_worker.core.history import History
from stream_worker.core.monitor import Monitor, MonitorConfig
from stream_worker.core.status import Status
from stream_worker.report.charts import Chart, charts_of, charts_of_both
from tests.report.runs import run


def labels(chart: Chart) -> list[str]:
    return [curve.label for curve in chart.panels[0].curves]


def test_a_run_is_shown_beside_every_baseline_and_in_all_its_parts() -> None:
    history, _ = run()
    charts = {chart.title: chart for chart in charts_of(history)}
    assert {title: labels(chart) for title, chart in charts.items()} == {
        "Hit rate and MRR beside the baselines": ["worker", "co visitation"],
        "By event type": ["view", "cart"],
        "Repeats and new items": ["repeat", "new", "new and known", "co visitation, new and known"],
        "Without events of the user's last item": ["all types", "view", "cart", "co visitation"],
        "Warm and cold items": ["warm", "cold", "co visitation, cold"],
        "Proposers of candidates": ["encoder", "own", "hot", "nowhere"],
        "Learning": ["encoder", "ranker", "log loss (rolling)"],
    }
    assert all(len(chart.panels) == 2 for title, chart in charts.items() if title != "Proposers of candidates")
    assert charts["Learning"].notes == history.notes


def test_the_curves_are_the_series_of_the_history() -> None:
    history, _ = run()
    hit_rate, mrr = charts_of(history)[0].panels
    assert (hit_rate.title, mrr.title) == ("Hit rate@20", "MRR@20")
    for panel, name in ((hit_rate, "hit_rate@20"), (mrr, "mrr@20")):
        for curve, track in zip(panel.curves, ("all", "floor.co_visitation"), strict=True):
            at, values = history.series(f"{track}/{name}")
            assert (curve.at_P.tolist(), curve.values_P.tolist()) == (at.tolist(), values.tolist())


def test_a_single_event_type_has_no_chart() -> None:
    history, _ = run(types=1)
    assert "By event type" not in [chart.title for chart in charts_of(history)]


def test_a_run_without_events_has_no_charts() -> None:
    history = History(Monitor(MonitorConfig(), ("view",), ("encoder",)))
    history.finish(Status())
    assert charts_of(history) == []


def test_curves_of_one_chart_can_be_told_apart() -> None:
    """By colour and dashes together, however many sources and baselines there are."""
    history, _ = run()
    for chart in charts_of(history):
        for panel in chart.panels:
            looks = [(curve.colour, curve.dashes) for curve in panel.curves]
            assert len(set(looks)) == len(looks), chart.title


def test_two_runs_are_shown_together_with_what_the_one_gained() -> None:
    gain_E = np.random.default_rng(0).integers(-1, 2, 3_000).astype(np.float64)
    charts = charts_of_both(run()[0], run(seed=1)[0], [("Hits", gain_E), ("1 / rank", gain_E / 2)])
    assert labels(charts[0]) == ["A", "B", "co visitation"]
    assert labels(charts[2]) == ["view, A", "view, B", "cart, A", "cart, B"]
    [curve] = charts[1].panels[0].curves
    assert len(curve.at_P) == 501
    assert (curve.at_P[-1], curve.values_P[-1]) == (3_000, pytest.approx(gain_E.sum()))
    assert curve.values_P.tolist() == [gain_E[:at].sum() for at in curve.at_P]

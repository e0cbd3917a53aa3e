"""The comparison of several workers with one: what is held to which bar, and what is kept of earlier figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.quality.lines import FORMS, Rates, bars_of, main, row_of
from benchmarks.quality.streams import write_log


def _rates(form: str, hit_rate: float, mrr: float, log: str = "yoochoose") -> Rates:
    return Rates(log, form, 100, hit_rate, mrr)


@pytest.mark.parametrize(
    ("form", "hit_rate", "mrr", "good"),
    [
        ("four", 0.3945, 0.1975, True),
        ("four", 0.3935, 0.2, False),
        ("four", 0.4, 0.1965, False),
        ("eight", 0.3925, 0.1935, True),
        ("eight", 0.3925, 0.1925, False),
        ("two-all", 0.3975, 0.2, False),
        ("eight-own", 0.1, 0.1, True),
    ],
)
def test_both_rates_reach_their_shares_of_one_workers(form: str, hit_rate: float, mrr: float, good: bool) -> None:
    assert row_of(_rates(form, hit_rate, mrr), _rates("one", 0.4, 0.2), None).good == good


@pytest.mark.parametrize(("hit_rate", "good"), [(0.3975, True), (0.3965, False)])
def test_hearing_late_costs_little_beside_the_same_workers_that_are_not_late(hit_rate: float, good: bool) -> None:
    row = row_of(_rates("four-late", hit_rate, 0.2), _rates("one", 0.5, 0.2), _rates("four", 0.4, 0.2))
    assert row.good == good


def test_of_logs_that_were_not_measured_before_less_is_asked() -> None:
    assert bars_of("globo", FORMS["four"]) == (0.97, 0.97)
    assert bars_of("globo", FORMS["two-all"]) == (0.995, 0.995)
    assert bars_of("globo", FORMS["four-own"]) == (0.0, 0.0)


def test_figures_of_other_forms_stay_in_the_file(tmp_path: Path) -> None:
    log, result = tmp_path / "log.csv", tmp_path / "lines.json"
    write_log(log, [(k % 7, k % 5) for k in range(300)])
    for forms in ("one", "eight-own"):
        ended = CliRunner().invoke(main, [str(log), "--forms", forms, "--json", str(result)])
        assert ended.exit_code == 0, ended.output
    rates = [Rates(**found) for found in json.loads(result.read_text())["rates"]]
    assert [(found.log, found.form) for found in rates] == [("log", "one"), ("log", "eight-own")]
    assert rates[0].events == rates[1].events > 0
    assert "of one's" in ended.output

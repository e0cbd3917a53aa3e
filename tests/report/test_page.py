"""A report is one file that needs nothing else, the same bytes for the same run, and whole or not there."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest

from stream_worker import report
from stream_worker.core.errors import ConfigurationError
from stream_worker.report.page import Report, Table, write
from stream_worker.report.replayed import report_of
from tests.report.runs import run


def a_report() -> Report:
    history, status = run()
    return report_of(history, status, "clicks.csv:12ab", (0, 4_000), [("model.dim", "32"), ("worker.slot", '"<a>"')])


class Tags(HTMLParser):
    """Every tag's attributes, and whether all that were opened were closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(a_report(), [path])
    return path.read_text(encoding="utf-8")


def test_a_page_asks_for_nothing_outside_itself(text: str) -> None:
    tags = Tags(text)
    assert tags.open == []
    asked = [value for name, value in tags.attributes if name in ("src", "href", "xlink:href", "data", "poster")]
    assert [value for value in asked if not (value or "").startswith("#")] == []
    assert "@import" not in text
    assert [url for url in re.findall(r"url\(([^)]*)\)", text) if not url.startswith("#")] == []
    assert "<script" not in text


def test_ids_are_unique_and_all_that_are_referred_to_are_there(text: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    referred = re.findall(r"url\(#([^)]*)\)", text) + re.findall(r'href="#([^"]*)"', text)
    assert referred
    assert set(referred) <= set(ids)


def test_every_figure_is_well_formed_and_names_its_curves_axes_and_units(text: str) -> None:
    figures = [ElementTree.fromstring(figure) for figure in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert len(figures) == len(a_report().charts)
    for chart, figure in zip(a_report().charts, figures, strict=True):
        words = {element.text for element in figure.iter() if element.tag.endswith("}text")}
        for panel in chart.panels:
            assert {panel.title, panel.unit, "events"} <= words
            assert {curve.label for curve in panel.curves} <= words
        assert {note.kind for note in chart.notes} <= words


def test_tables_facts_and_notes_stand_in_the_page_as_text(text: str) -> None:
    """Whatever a log or a setting is called, it is no markup."""
    worker = a_report().tables[0].rows[0]
    assert all(f"<td>{cell}</td>" in text for cell in worker)
    assert "<dt>log</dt><dd>clicks.csv:12ab</dd>" in text
    assert "<dt>rows</dt><dd>0 to 4,000</dd>" in text
    assert "hit rate &lt;b&gt;0.6&lt;/b&gt; to 0.3" in text
    assert "&lt;a&gt;" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.html", "b.html", "a.png", "b.png")]
    write(a_report(), paths[::2])
    write(a_report(), paths[1::2])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[2].read_bytes() == paths[3].read_bytes()
    assert paths[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_run_without_events_has_a_report_without_figures(tmp_path: Path) -> None:
    history, status = run(events=0)
    write(report_of(history, status, "empty.csv", (0, 0), []), [tmp_path / "empty.html", tmp_path / "empty.png"])
    assert "<svg" not in (tmp_path / "empty.html").read_text()
    assert (tmp_path / "empty.png").stat().st_size > 0


def test_a_report_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the one before")
    with mock.patch.object(os, "replace", side_effect=OSError("disk full")), pytest.raises(OSError, match="disk"):
        write(a_report(), [path])
    assert path.read_text() == "the one before"


def test_a_metric_that_a_row_lacks_is_a_dash() -> None:
    table = Table.of_metrics("t", [{"name": "worker", "events": 1234.0, "log_loss": 1.5}, {"name": "a_b", "events": 2}])
    assert table.columns == ["", "events", "log_loss"]
    assert table.rows == [["worker", "1,234", "1.5000"], ["a b", "2", "-"]]


def test_what_is_missing_is_named_with_the_extra_that_installs_it() -> None:
    with (
        mock.patch.object(report, "_NEEDED", ("jinja2", "no_such_library")),
        pytest.raises(ConfigurationError, match=r"needs no_such_library, .*pip install 'stream-worker\[report\]'"),
    ):
        report.require()


def test_a_page_begins_with_the_outcome_beside_the_best_baseline(text: str) -> None:
    history, _ = run()
    worker, baseline = (
        history.monitor.tracks[name].report().total.metrics for name in ("new_known", "new_known.co_visitation")
    )
    [result] = re.findall(r'<p class="result">(.*?)</p>', text)
    assert result.startswith("What came was among the first 20 of the list: ")
    assert f"{worker['hit_rate@20']:.1%} of what the user had not met, but somebody had" in result
    assert result.endswith(f"the best baseline, co visitation, {baseline['hit_rate@20']:.1%}.")

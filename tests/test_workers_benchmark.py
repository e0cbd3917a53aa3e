"""The benchmark of several workers: it takes every event once in every run, and calculates from measured parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.throughput import synthetic_log
from benchmarks.workers import BARS, OneOf, figures, missed, of_whole, records_of
from stream_worker.config import Settings


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "made.csv"
    synthetic_log(path, rows=1_200, items=50, users=40)
    return path


@pytest.mark.parametrize(("workers", "owns"), [(1, True), (4, True), (8, False)])
def test_a_run_counts_every_event_once_and_examines_its_own_alone(log: Path, workers: int, owns: bool) -> None:
    settings = Settings()
    records = records_of(settings, log, 1_000)
    assert [record.offset for record in records] == list(range(1_000))
    run = OneOf(settings, workers, owns=owns)
    run.take(records)
    learner, hearing = run.worker.line.learner, run.worker.status.hearing
    assert learner.events == 1_000
    assert learner.examined == hearing.counted_owned == run.worker.status.consuming.events
    assert hearing.counted_owned + hearing.counted_heard == 1_000
    assert hearing.examined_heard == 0
    assert (hearing.counted_owned > 0) == owns
    assert (hearing.counted_heard > 0) == (workers > 1)
    assert len(run.microseconds) == 1


def test_the_whole_stream_costs_a_part_of_own_events_and_the_rest_as_heard() -> None:
    assert of_whole(100.0, 7.0, 1) == 100.0
    assert of_whole(100.0, 7.0, 8) == pytest.approx(100 / 8 + 7 * 7 / 8)


_TIMES = {"alone": [700, 900, 800], "alone, least effort": [80, 90, 100], "2": [410, 400, 420], "4": [210, 200, 220]}


def test_ratios_are_of_one_round_and_their_median_is_shown() -> None:
    result = figures({**_TIMES, "8": [70, 180, 160], "heard only": [7, 9, 8]})
    assert result["shares"]["8"] == 0.2
    assert result["shares"]["heard only"] == 0.01
    assert result["events_per_second"]["end"] == 125_000
    assert result["events_per_second"]["full"]["1"] == 1_250
    assert result["calculated_shares"]["32"] == pytest.approx(1 / 32 + 0.01 * 31 / 32, abs=1e-5)


def test_a_log_with_bars_says_which_it_misses_and_one_without_misses_none() -> None:
    good = figures({**_TIMES, "8": [70, 90, 80], "heard only": [7, 9, 8]})
    bad = figures({**_TIMES, "8": [700, 900, 800], "heard only": [70, 90, 80]})
    assert missed({"log": "yoochoose", **good}) == missed({"log": "other", **bad}) == []
    assert len(missed({"log": "yoochoose", **bad})) == 2
    assert set(BARS) == {"yoochoose", "ml100k"}

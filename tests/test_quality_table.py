"""The table of quality: baselines counted by hand, bars, and parts that are really left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.ablations import PARTS, settings_without
from benchmarks.quality.baselines import baseline_ranks
from benchmarks.quality.one_pass import CANONICAL, one_pass
from benchmarks.quality.streams import Simulation, StreamConfig, write_log
from benchmarks.quality.table import BARS, Log, ablation_rows, quality_rows
from stream_worker.config import Settings

_EVENTS = 600
_MAPPING = CANONICAL.with_name("categories.toml")
_SETTINGS = replace(Settings(), model=replace(Settings().model, dim=16))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "shop.csv"
    write_log(
        path, Simulation(StreamConfig(events=_EVENTS, users=30, tastes=3, items_per_taste=30, returns=0.2)).events()
    )
    _add_categories(path)
    return path


def _add_categories(path: Path) -> None:
    """Ten items of each."""
    header, *lines = path.read_text().splitlines()
    categories = [int(line.split(",")[1][1:]) // 10 for line in lines]
    rows = [f"{line},{category}" for line, category in zip(lines, categories, strict=True)]
    path.write_text("\n".join([f"{header},category", *rows]) + "\n")


def test_baselines_are_those_counted_by_hand() -> None:
    """b follows a; the second user's a is followed by b, then by the own a again."""
    ranks = baseline_ranks(["u", "u", "v", "v", "v"], ["a", "b", "a", "b", "a"])
    assert {name: rank.tolist() for name, rank in ranks.items()} == {
        "recent popularity": [-1, 0, -1, 0, 0],
        "Markov": [-1, 0, -1, 1, 0],
        "co-visitation": [-1, 0, -1, 1, 0],
        "own last items": [-1, 0, -1, 2, 2],
    }


def test_a_baseline_never_looks_at_what_comes_later() -> None:
    rng = np.random.default_rng(0)
    users, items = ([str(x) for x in rng.integers(0, 9, 200)] for _ in range(2))
    changed = items[:150] + ["z"] * 50
    first, second = baseline_ranks(users, items), baseline_ranks(users, changed)
    assert all(np.array_equal(first[name][:150], second[name][:150]) for name in first)


def test_the_scored_events_are_known_users_after_the_first_tenth(log: Path) -> None:
    read = Log.read(log, None)
    one = one_pass(_SETTINGS, log)
    assert np.array_equal(read.scored(), np.flatnonzero(one.scored_E & (np.arange(_EVENTS) >= _EVENTS // 10)))


def test_a_bar_that_is_not_reached_is_not_good(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, one = Log.read(log, None), one_pass(_SETTINGS, log)
    monkeypatch.setitem(BARS, "shop", (0.0, 1.01))
    hit_rate, mrr, *_ = quality_rows(read, [one, one])
    assert (hit_rate.bar, hit_rate.measured[:6]) == (hit_rate.bar, f"{_hit_rate(read, one.rank_E):.4f}")
    assert not mrr.good


def _hit_rate(log: Log, rank_E: np.ndarray) -> float:
    return float((rank_E[log.scored()] > 0).mean())


@pytest.mark.parametrize("part", [part for part in PARTS if part != "nothing"])
def test_a_part_that_is_left_out_is_missed(part: str, log: Path, whole: np.ndarray) -> None:
    """Something is ranked otherwise without it."""
    one = one_pass(settings_without(part, _SETTINGS), log, _MAPPING, change=PARTS[part])
    assert not np.array_equal(one.log_probability_E, whole)


@pytest.fixture(scope="module")
def whole(log: Path) -> np.ndarray:
    return one_pass(_SETTINGS, log, _MAPPING, change=PARTS["nothing"]).log_probability_E


def test_ablations_begin_with_the_whole(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.quality.table.PARTS", {name: PARTS[name] for name in ("nothing", "two hops")})
    rows = list(ablation_rows(Log.read(log, None), _SETTINGS))
    assert [row.scenario for row in rows] == ["shop (600 events) without nothing", "shop (600 events) without two hops"]
    assert "(+0.0000 / +0.0000)" in rows[0].measured

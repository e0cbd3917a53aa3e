"""The table of quality: baselines counted by hand, bars, and parts that are really left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.quality import small_catalogues, table
from benchmarks.quality.ablations import PARTS, settings_without
from benchmarks.quality.baselines import OwnMost, RecentPopularity, baseline_ranks, rank_after_rules
from benchmarks.quality.figures import figures_of
from benchmarks.quality.one_pass import CANONICAL, one_pass
from benchmarks.quality.scored import BARS, Log, parts_of
from benchmarks.quality.streams import Simulation, StreamConfig, write_log
from benchmarks.quality.table import ablation_row, ablations, quality_rows
from benchmarks.tables.pages import drawn
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
        "own most frequent": [-1, 0, -1, 0, 2],
    }


def test_the_users_most_frequent_items_stand_first_and_of_equal_ones_the_newer() -> None:
    ranks = baseline_ranks(["u"] * 6, ["a", "b", "a", "c", "c", "b"])
    assert ranks["own most frequent"].tolist() == [-1, 0, 2, 0, 2, 3]


def test_a_baseline_after_the_rules_has_no_excluded_items_and_no_gaps() -> None:
    """A list is full as long as there are items; at most so many places are for what the user has had."""
    popularity = RecentPopularity()
    for place in range(40):
        for _ in range(40 - place):
            popularity.learn([], f"i{place}")
    popularity._learned = 200
    items = [f"i{place}" for place in range(40)]
    history = [f"i{place}" for place in range(30)]
    assert popularity.rank(history) == items[:20]
    assert rank_after_rules(popularity, [], {"i0", "i3"}) == [*items[1:3], *items[4:22]]
    assert rank_after_rules(popularity, history, {"i0"}, most_seen=5) == [*items[1:6], *items[30:]]
    own = OwnMost(popularity)
    assert rank_after_rules(own, ["i7", "i9", "i9"], {"i9"}, depth=3) == ["i7", "i0", "i1"]


def test_parts_of_a_log_are_what_their_names_say() -> None:
    """c is new to v, and u has had it; the view just before the purchase is the last item."""
    users, items = ["u", "u", "u", "v", "v", "v"], ["a", "c", "a", "c", "c", "a"]
    types = ["view", "view", "view", "view", "buy", "buy"]
    found = {name: np.flatnonzero(is_member_E).tolist() for name, is_member_E in parts_of(users, items, types).items()}
    assert found == {
        "repeat": [2, 4],
        "new and known": [3, 5],
        "not the last item": [0, 1, 2, 3, 5],
        "buy, not the last item": [5],
        "view, not the last item": [0, 1, 2, 3],
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
    hit_rate, mrr, *_ = quality_rows(figures_of(read, [one, one]))
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
    found = list(ablations(Log.read(log, None), _SETTINGS))
    rows = [ablation_row(each, found[0]) for each in found]
    assert [row.scenario for row in rows] == ["shop (600 events) without nothing", "shop (600 events) without two hops"]
    assert "(+0.0000 / +0.0000)" in rows[0].measured


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands leave logging and threads of this process as they are."""
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    for module in ("table", "small_catalogues"):
        monkeypatch.setattr(f"benchmarks.quality.{module}.only_errors", lambda: None)


@pytest.mark.usefixtures("quiet")
def test_what_the_command_writes_is_what_the_tables_of_the_docs_read(log: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(table.main, [str(log), "--seeds", "0", "--json", str(tmp_path / "quality.json")])
    assert done.exit_code in (0, 1), done.output
    assert f"| shop | {_EVENTS} | ." in drawn("defaults", tmp_path)
    assert [drawn(name, tmp_path).splitlines()[2].split(" | ")[0] for name in ("tenths", "young", "cost")] == [
        "| shop"
    ] * 3


@pytest.mark.usefixtures("quiet")
def test_what_ablations_write_is_what_their_table_reads(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.quality.table.PARTS", {name: PARTS[name] for name in ("nothing", "two hops")})
    path = tmp_path / "quality-ablations.json"
    CliRunner().invoke(table.main, [str(log), "--ablations", "300", "--json", str(path)])
    assert [line.split(" | ")[0] for line in drawn("ablations", tmp_path).splitlines()[:4]] == [
        "| without", "|---|---|", "| nothing", "| two hops",
    ]  # fmt: skip


@pytest.mark.usefixtures("quiet")
def test_what_small_catalogues_write_is_what_their_table_reads(tmp_path: Path) -> None:
    given = ["--items", "2", "--users", "5", "--events", "300", "--json", str(tmp_path / "quality-small.json")]
    CliRunner().invoke(small_catalogues.main, given)
    assert drawn("small", tmp_path).splitlines()[2].startswith("| 2 | 5 | 1.000 | .")

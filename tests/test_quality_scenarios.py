"""The simulated streams change as they say, and what is read off a pass is what is meant."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.quality import scenarios
from benchmarks.quality.drift import return_of
from benchmarks.quality.new_items import young_of, young_row
from benchmarks.quality.one_pass import Pass
from benchmarks.quality.rows import Row, printed
from benchmarks.quality.small_catalogues import Small, faithful_users, figures_of, measured
from benchmarks.quality.streams import Simulation, StreamConfig, all_take_tastes, renew_tastes, retire, swap_tastes
from benchmarks.tables.pages import drawn
from stream_worker.config import Settings
from stream_worker.core.status import Status
from stream_worker.loop.worker import Worker

_CONFIG = StreamConfig(events=6_000, users=200, tastes=6, items_per_taste=60)


def test_a_stream_follows_from_its_seed() -> None:
    assert Simulation(_CONFIG).events() == Simulation(_CONFIG).events()
    assert Simulation(_CONFIG).events() != Simulation(replace(_CONFIG, seed=1)).events()


def test_what_follows_an_item_depends_on_the_taste() -> None:
    """Else counting who follows whom would be all there is to learn."""
    tastes = Simulation(_CONFIG).tastes
    shared = set(tastes[0].items) & set(tastes[1].items)
    assert len(shared) == _CONFIG.items_per_taste // 2
    assert any(tastes[0].following[item] != tastes[1].following[item] for item in shared)


def test_retired_items_never_come_again_and_were_the_most_seen() -> None:
    events = Simulation(_CONFIG, {3_000: retire(20)}).events()
    before = Counter(item for _, item in events[:3_000])
    gone = {item for item, _ in before.most_common(20)}
    after = {item for _, item in events[3_000:]}
    assert len(gone & after) <= 2  # of equal counts others may have been taken
    assert sum(before[item] for item in gone) > 400


def test_half_of_the_users_have_another_taste_after_they_exchanged_them() -> None:
    world = Simulation(_CONFIG)
    before = list(world.taste_of)
    swap_tastes(world)
    changed = sum(ours != theirs for ours, theirs in zip(before, world.taste_of, strict=True))
    assert 60 < changed <= 100
    assert sorted(before) == sorted(world.taste_of)


def test_renewed_tastes_are_of_the_same_items_in_another_order() -> None:
    world = Simulation(_CONFIG)
    before = [taste.following for taste in world.tastes]
    renew_tastes(world)
    renewed = [old != new.following for old, new in zip(before, world.tastes, strict=True)]
    assert sum(renewed) == 3
    assert all(old.keys() == new.following.keys() for old, new in zip(before, world.tastes, strict=True))


def test_new_items_come_as_often_as_they_are_told_to() -> None:
    config = replace(_CONFIG, new_item_every=50)
    first = config.tastes * config.items_per_taste // 2
    newcomers = {item for _, item in Simulation(config).events() if item > first}
    assert 60 < len(newcomers) <= 120


def test_every_user_takes_one_of_the_tastes_told() -> None:
    world = Simulation(_CONFIG)
    all_take_tastes(2, 3)(world)
    assert set(world.taste_of) == {2, 3, 4}


def _pass(
    hit_E: NDArray[np.bool_],
    popular_rank_E: NDArray[np.int64] | None = None,
    scored_E: NDArray[np.bool_] | None = None,
    age_E: NDArray[np.int64] | None = None,
) -> Pass:
    count = len(hit_E)
    worker = SimpleNamespace(status=Status())
    return Pass(
        rank_E=hit_E.astype(np.int64),
        popular_rank_E=np.zeros(count, np.int64) if popular_rank_E is None else popular_rank_E,
        log_probability_E=np.where(hit_E, -1.0, -3.0),
        scored_E=np.ones(count, np.bool_) if scored_E is None else scored_E,
        age_E=np.full(count, 1_000) if age_E is None else age_E,
        length_E=np.full(count, 20),
        listed_E=np.full(count, -1),
        alarms=(),
        worker=cast(Worker, worker),
        seconds=Counter(),
    )


def test_back_is_when_the_last_thousand_have_nine_tenths_of_the_level() -> None:
    """Level .5; none for 2,000 events, then .5 again: 900 of those are needed among the last 1,000."""
    alternate = np.arange(20_000) % 2 == 0
    hit = alternate.copy()
    hit[10_000:12_000] = False
    found = return_of(_pass(hit), 10_000)
    assert found.level == 0.5
    assert found.back == pytest.approx(2_900, abs=2)
    assert found.hit_rate == pytest.approx(0.3)
    assert found.loss_E.mean() == pytest.approx(3.0 - 2 * 0.3)
    hit[10_000:] = False
    assert return_of(_pass(hit), 10_000).back == float("inf")


def test_only_what_is_scored_counts() -> None:
    hit, scored = np.arange(20_000) % 2 == 0, np.arange(20_000) % 2 == 0
    assert return_of(_pass(hit, scored_E=scored), 10_000).level == 1.0


def test_young_items_are_those_seen_before_but_not_long_ago() -> None:
    hit = np.zeros(1_000, np.bool_)
    hit[500:504] = True
    age = np.full(1_000, 500)
    age[500:508] = [-1, 0, 50, 99, 100, 0, 1, 2]
    popular = np.zeros(1_000, np.int64)
    popular[505] = 3
    row = young_row("new", young_of(_pass(hit, age_E=age, popular_rank_E=popular)))
    assert row.measured == "HR 0.500, recent popularity 0.167, of 6 events"
    assert row.good


@pytest.mark.parametrize(("items", "short", "errors", "good"), [
    (5, 0, 0.0, True), (5, 1, 0.0, False), (5, 0, -2.1, False), (5, 0, -2.0, True), (30, 0, 0.0, True),
])  # fmt: skip
def test_a_small_catalogue_is_below_its_bar_where_one_thing_is(
    items: int, short: int, errors: float, good: bool
) -> None:
    tenths = np.full(10, 0.5)
    errors_T = np.append(np.zeros(9), errors)
    assert figures_of(items, 20, Small(1.0, tenths, tenths, errors_T, short)).good == good
    assert figures_of(items, 20, Small(0.99, tenths, tenths, errors_T, short)).good == (good and items > 20)


def test_few_items_that_users_return_to_are_all_in_the_list_to_the_end() -> None:
    """Twenty users, of whom each comes back to three of five items: their rings are full of the same few."""
    found = measured(faithful_users(5, 20, 6_000), Settings())
    assert (found.hit_rate, found.short) == (1.0, 0)
    assert figures_of(5, 20, found).good, (found.mrr_T, found.baseline_T, found.errors_T)


def test_the_table_says_what_is_below_its_bar() -> None:
    text = printed([Row("a", "1", "at least 2", good=False), Row("b", "3", "at least 2"), Row("c", "4")])
    assert text.splitlines()[2:] == [
        "| a | 1 | at least 2 | **below** |",
        "| b | 3 | at least 2 | good |",
        "| c | 4 |  |  |",
    ]


def test_what_the_scenarios_write_is_what_their_table_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends with 1 below a bar, and has written by then."""
    rows = [Row("a", "1", "at least 2", good=False), Row("b", "3")]
    monkeypatch.setattr(scenarios, "scenarios", lambda *_, **__: iter(rows))
    monkeypatch.setattr(scenarios, "only_errors", lambda: None)
    assert CliRunner().invoke(scenarios.main, ["--json", str(tmp_path / "drift.json")]).exit_code == 1
    assert drawn("drift", tmp_path).splitlines()[2:4] == ["| a | 1 | **below**: at least 2 |", "| b | 3 |  |"]

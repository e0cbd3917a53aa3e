"""The comparison with and without what items are: which events are of new items, what is told, and when it is good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.content import ContentFigures, Rates, descriptions_of, figures_of, new_events
from benchmarks.quality.streams import Simulation, StreamConfig, write_log


def test_new_are_the_second_to_the_twentieth_event_of_an_item_after_the_first_tenth(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    write_log(log, [(0, 0), (1, 0), *((k, 1) for k in range(28))])
    assert np.flatnonzero(new_events(log, None)).tolist() == list(range(3, 22))
    assert np.flatnonzero(new_events(log, 10)).tolist() == [1, *range(3, 10)]


def test_items_are_described_by_a_file_or_by_their_own_ids(tmp_path: Path) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    write_log(log, [(0, 3), (1, 5), (0, 3)])
    items.write_text("item,title,tags\ni3,Toy Story,Comedy|Animation\ni5,Heat,\n")
    own = descriptions_of("self", log)
    assert (own.ids, own.title) == (["i3", "i5"], ["i3", "i5"])
    told = descriptions_of(str(items), log)
    assert (told.ids, told.title) == (["i3", "i5"], ["Toy Story", "Heat"])
    assert told.tags == [("Comedy", "Animation"), ()]
    assert told.available_M.all()
    assert not told.gone_M.any()


@pytest.mark.parametrize(
    ("with_content", "errors", "good"),
    [
        (Rates(0.2, 0.1), 2.5, True),
        (Rates(0.1991, 0.0991), 2.5, True),
        (Rates(0.1989, 0.1), 9.0, False),
        (Rates(0.3, 0.0989), 9.0, False),
        (Rates(0.3, 0.2), 1.9, False),
    ],
)
def test_it_is_good_if_nothing_is_lost_and_new_items_are_clearly_better(
    with_content: Rates, errors: float, good: bool
) -> None:
    without = Rates(0.2, 0.1)
    assert ContentFigures("uci", 1, 3, 1, with_content, without, 1, without, without, errors).good == good


def test_a_log_is_run_with_and_without(tmp_path: Path) -> None:
    log = tmp_path / "shop.csv"
    write_log(log, Simulation(StreamConfig(events=600, users=30, tastes=3, items_per_taste=30)).events())
    found = figures_of(log, "self", None, [0])
    assert (found.events, found.seeds) == (600, 1)
    assert found.described > 30
    assert found.with_content != found.without
    assert 0 < found.new_events < 600

"""Lines that are told what items are: whom they recommend, where new items start, and what they resume from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.counting.features import FEATURES
from model.items.likeness import LIKENESS, likeness
from tests.model.items.test_content_table import described, gone
from tests.model.lines import SMALL, Event, Line, changed, markov_log

_ITEMS = [f"i{k}" for k in range(20)]
_COLOURS = ("red", "green", "blue", "black", "white")


def _described_line(learned: int = 320) -> Line:
    line = Line(described=True)
    titles = [f"{_COLOURS[k % 5]} lamp number {k}" for k in range(20)]
    categories, brands = [_COLOURS[k % 5] for k in range(20)], [f"brand {k % 3}" for k in range(20)]
    line.learner.change_items(described(*_ITEMS, title=titles, category=categories, brand=brands))
    line.run(markov_log(1, learned), 16)
    return line


@pytest.mark.parametrize("how", ["available_M", "blocked_M", "gone"])
def test_an_item_that_may_not_be_recommended_leaves_the_next_list_and_others_take_its_place(how: str) -> None:
    """Fifteen of twenty items leave: the five others fill the list of five. Told of again, they come back."""
    line = _described_line()
    before = line.recommended("u1")
    left, out = _ITEMS[:5], _ITEMS[5:]
    change = gone(*out) if how == "gone" else described(*out, **{how: [how == "blocked_M"] * 15})
    line.learner.change_items(change)
    for user in ("u1", "u2", "nobody"):
        assert sorted(line.recommended(user)) == sorted(left)
    line.learner.change_items(described(*out))
    assert len(line.recommended("u1")) == len(before) == SMALL.list_length


def test_a_hidden_item_is_still_predicted_and_learned_and_stays_hidden_after_its_events() -> None:
    line, plain = _described_line(), _described_line()
    line.learner.change_items(described("i3", available_M=[False]))
    plain.learner.change_items(described("i3"))
    log = markov_log(2, 64)
    for tick, other in zip(line.run(log, 16), plain.run(log, 16), strict=True):
        assert tick.ranks == other.ranks
    assert all("i3" not in line.recommended(f"u{k}") for k in range(12))
    assert any("i3" in plain.recommended(f"u{k}") for k in range(12))


def test_an_item_that_was_hidden_before_its_first_event_is_hidden_after_it() -> None:
    line = _described_line()
    line.learner.change_items(described("later", blocked_M=[True]))
    line.run([Event(f"u{k}", "later", 1.7e9 + k) for k in range(12)], 4)
    assert all("later" not in line.recommended(f"u{k}") for k in range(12))


def test_hidden_items_by_thousands_do_not_overflow_the_search() -> None:
    """More than the working memory of a walk has places: nothing is written behind its end."""
    line = Line(changed(SMALL, max_items=20_000, list_length=5), described=True)
    many = [f"j{k}" for k in range(8_000)]
    line.run([Event("u0", item, 1.6e9 + k) for k, item in enumerate([*many, *_ITEMS])], 512)
    line.learner.change_items(described(*many, available_M=[False] * len(many)))
    found = line.recommended("newcomer")
    assert len(found) == 5
    assert set(found) <= set(_ITEMS)


def test_the_category_of_the_content_comes_before_that_of_events() -> None:
    line = _described_line()
    red = line.learner.content
    assert red is not None
    rows = line.learner.catalog.find(_ITEMS)
    category_N = line.learner.counting.tables.category_N
    assert category_N[rows].tolist() == red.table.category_N[red.table.find(_ITEMS)].tolist()
    line.learner.change_items(described("i0", category=["blue"]))
    assert category_N[rows[0]] == category_N[rows[2]]
    line.learner.change_items(described("i0"))
    line.feed([Event("u0", "i0", 1.7e9, category=77)])
    assert category_N[rows[0]] == 77


def test_a_new_item_starts_near_those_that_are_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A red lamp begins nearer to red lamps than a blue one does, whoever touches it first."""
    line = Line(described=True)
    titles = [("red velvet lamp" if k < 10 else "oak garden table") + f" {k}" for k in range(20)]
    line.learner.change_items(
        described(*_ITEMS, "lamp", "table", title=[*titles, "red velvet lamp", "oak garden table"])
    )
    halves = [Event(f"u{k % 12}", f"i{k % 12 % 2 * 10 + (k // 12) % 10}", 1.6e9 + k) for k in range(1_200)]
    line.run(halves, 16)
    monkeypatch.setattr(line.learner.encoder_trainer, "learn", lambda *_: None)  # what it starts from is looked at
    line.feed([Event("u0", "lamp", 1.7e9), Event("u0", "table", 1.7e9)])
    vectors = line.learner.items.all_vectors
    lamps, tables = (
        vectors[torch.from_numpy(line.learner.catalog.find(_ITEMS[at]))].mean(dim=0)
        for at in (slice(10), slice(10, 20))
    )
    for item, near, far in (("lamp", lamps, tables), ("table", tables, lamps)):
        vector = vectors[int(line.learner.catalog.find([item])[0])]
        assert vector @ near > vector @ far


def test_features_say_how_like_the_newest_items_a_candidate_is() -> None:
    line = Line(described=True)
    line.learner.change_items(
        described("a", "b", "c", title=["red lamp", "red lamp", "oak table"], brand=["x", "x", "y"])
    )
    line.feed([Event("u0", item, 1.6e9) for item in ("a", "b", "c", "d")])
    assert line.learner.content is not None
    a, b, c, d = line.learner.catalog.find(["a", "b", "c", "d"]).tolist()
    windows = np.array([[-1, c, a], [-1, -1, -1]], np.int32)
    found = likeness(line.learner.content, np.array([[b, c, d, -1]] * 2, np.int32), windows)
    values = {name: found[0, :, k].tolist() for k, name in enumerate(LIKENESS)}
    assert values["brand_share"] == [0.5, 0.5, 0.0, 0.0]
    assert values["brand_of_last"] == [1.0, 0.0, 0.0, 0.0]
    assert values["text_of_last"] == pytest.approx([1, values["text_of_last"][1], 0, 0], abs=1e-2)
    assert values["text_of_last"][1] < 0.5
    assert values["text_nearest"] == pytest.approx([1, 1, 0, 0], abs=1e-2)
    assert max(values["text_behind_best"]) == 0
    assert not found[1, :, :5].any(), "nothing is known of a user without items"


def test_a_line_resumes_from_its_content_to_the_bit() -> None:
    line = _described_line()
    line.learner.change_items(gone("i1"))
    line.learner.change_items(described("i2", "new", available_M=[False, True], title=["x", "blue lamp"]))
    resumed = line.resumed()
    more = [*markov_log(3, 64), Event("u1", "new", 1.7e9), Event("u2", "i1", 1.7e9)]
    for tick, other in zip(line.run(more, 16), resumed.run(more, 16), strict=True):
        assert (tick.ranks, tick.log_probabilities) == (other.ranks, other.log_probabilities)
    arrays, _ = line.state()
    assert any(name.startswith("content.") for name in arrays)
    for name, array in resumed.state()[0].items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert line.recommended("u1") == resumed.recommended("u1")


def test_a_line_without_content_has_no_part_of_it() -> None:
    arrays, _ = Line().state()
    assert not any("content" in name for name in arrays)
    assert len(arrays["ranker.mean_F"]) == len(FEATURES)


def test_a_line_goes_on_with_content_from_a_checkpoint_without_and_back() -> None:
    """Nothing begins anew, and the lists are those of before, until the new features are learned."""
    plain = Line()
    plain.run(markov_log(1, 320), 16)
    before = plain.recommended("u1")
    line = plain.resumed(described=True)
    assert len(line.learner.ranker.mean_F) == len(FEATURES) + len(LIKENESS)
    assert line.recommended("u1") == before
    line.learner.change_items(described(*_ITEMS, title=_ITEMS))
    assert line.recommended("u1") == before
    line.run(markov_log(2, 64), 16)
    again = line.resumed(described=False)
    again.run(markov_log(3, 64), 16)
    assert len(again.learner.ranker.mean_F) == len(FEATURES)


def test_a_checkpoint_without_content_learns_on_as_before_where_nothing_is_told() -> None:
    """The moments of the optimizer stand where their weights are."""
    plain = Line()
    plain.run(markov_log(1, 320), 16)
    line = plain.resumed(described=True)
    log = markov_log(2, 160)
    for tick, other in zip(plain.run(log, 16), line.run(log, 16), strict=True):
        np.testing.assert_allclose(tick.log_probabilities, other.log_probabilities, rtol=0.02)


def test_all_that_was_told_can_be_forgotten() -> None:
    line = _described_line()
    line.learner.change_items(described("i3", available_M=[False]))
    line.learner.forget_items()
    assert line.learner.content is not None
    assert len(line.learner.content.table) == 0
    assert not line.learner.content.hidden_N.any()
    line.run(markov_log(2, 32), 16)


def test_evicted_items_are_known_again_when_they_return() -> None:
    line = Line(changed(SMALL, max_items=64), described=True)
    line.learner.change_items(described("i0", blocked_M=[True], category=["red"]))
    line.run([Event("u0", "i0", 1.6e9), *(Event("u1", f"j{k}", 1.6e9 + k) for k in range(200))], 16)
    assert line.learner.catalog.find(["i0"])[0] < 0
    line.run([Event("u0", "i0", 1.7e9)], 16)
    row = line.learner.catalog.find(["i0"])[0]
    assert line.learner.counting.tables.category_N[row] > 0
    assert "i0" not in line.recommended("u0")

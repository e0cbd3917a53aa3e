"""Items that leave and come back: when they leave, what they have again, and that all of it is bounded and resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.counting.popularity import EVER
from tests.model.lines import SMALL, Event, Line, changed, markov_log

_DAY = 86_400.0
_EXPIRY = changed(SMALL, max_items=200, item_expiry_days=1.0, min_items=8, attic_items=100)
_LATER = 1.6e9 + 3 * _DAY


def _known(line: Line) -> set[str]:
    return {item for item in line.learner.catalog.ids if item}


def _others(start: float, count: int = 64) -> list[Event]:
    return [Event(f"u{k % 12}", f"j{k % 10}", start + k) for k in range(count)]


def _learn_nothing(*_: object) -> None:
    """Stand in for the encoder's step."""


def _vector(line: Line, item: str) -> torch.Tensor:
    return line.learner.items.table_ND1[int(line.learner.catalog.find([item])[0])].clone()


def _three_days_pass(line: Line) -> None:
    """Items i0 to i19 are learned, and then nobody touches them."""
    line.run(markov_log(1, 640), 16)
    line.run(_others(_LATER), 16)


def test_items_expire_by_event_time() -> None:
    """Those that nobody has touched for a day are gone with the first batch after it, and with them their counts."""
    line = Line(_EXPIRY)
    line.run(markov_log(1, 640), 16)
    old = line.learner.catalog.find([f"i{k}" for k in range(20)])
    assert old.min() >= 0, "nothing may leave before its time"
    line.run(_others(_LATER), 16)
    assert _known(line) == {f"j{k}" for k in range(10)}
    recycled = np.setdiff1d(old, line.learner.catalog.live_rows())
    assert line.learner.counting.tables.popularity.weight_PN[:, recycled].sum() == 0


def test_the_floor_keeps_the_newest_items_through_a_long_silence() -> None:
    """Ten years without an event: as many items as `min_items` are there still, and are recommended."""
    line = Line(changed(_EXPIRY, min_items=15))
    line.run(markov_log(1, 640), 16)
    line.feed([Event("u0", "i3", 1.9e9)])
    line.feed([Event("u0", "i3", 1.9e9 + 1)])
    assert len(line.learner.catalog) == 15
    assert (line.recommend(line._recall(["u1"])).rows_UK >= 0).all()


def test_an_item_that_comes_back_has_its_own_vector_bias_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """In half precision, after the batch it left with; the next event is learned from there. Without an attic it begins
    anew."""
    line, without = Line(_EXPIRY), Line(changed(_EXPIRY, attic_items=0))
    for each in (line, without):
        each.run(markov_log(1, 640), 16)
    before, born = _vector(line, "i3"), line.learner.catalog.born_N[line.learner.catalog.find(["i3"])[0]]
    assert torch.equal(before, _vector(without, "i3"))
    for each in (line, without):
        each.run(_others(_LATER), 16)
        monkeypatch.setattr(each.learner.encoder_trainer, "learn", _learn_nothing)  # what it starts from is looked at
        each.feed([Event("u0", "i3", _LATER + 100)])
    torch.testing.assert_close(_vector(line, "i3"), before, rtol=0, atol=5e-3)
    assert F.cosine_similarity(_vector(without, "i3"), before, dim=0) < 0.9
    assert line.learner.catalog.born_N[line.learner.catalog.find(["i3"])[0]] == born
    assert line.learner.items.adam.steps[int(line.learner.catalog.find(["i3"])[0])] == 0


def test_an_item_that_comes_back_is_ranked_by_its_own_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the query that asked for it before it left, it is the encoder's first again among all items."""
    line = Line(_EXPIRY)
    line.run(markov_log(1, 1_600), 16)
    query = F.normalize(_vector(line, "i3")[:-1], dim=0)
    line.run(_others(_LATER), 16)
    monkeypatch.setattr(line.learner.encoder_trainer, "learn", _learn_nothing)
    line.feed([Event("u0", f"i{k}", _LATER + 100 + k) for k in range(20)])
    logits = line.learner.items.all_vectors[: line.learner.catalog.rows_used] @ query
    ranks = [line.learner.catalog.ids[row] for row in logits.argsort(descending=True).tolist()]
    assert ranks[0] == "i3"


def test_an_item_that_comes_back_is_as_popular_as_if_it_had_stayed() -> None:
    """By every half-life, the hottest lists included."""
    line, stayed = Line(_EXPIRY), Line(changed(_EXPIRY, item_expiry_days=0.0))
    shares = []
    for each in (line, stayed):
        _three_days_pass(each)
        assert ("i3" in _known(each)) == (each is stayed)
        each.feed([Event("u0", "i3", _LATER + 100)])
        popularity, row = each.learner.counting.tables.popularity, each.learner.catalog.find(["i3"])[0]
        shares.append(popularity.weight_PN[:, row] / popularity.newest_P)
        assert row in popularity.hottest_PQ[EVER]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-9)


def test_an_item_that_comes_back_has_its_category_until_an_event_names_another() -> None:
    line = Line(_EXPIRY)

    def category(item: str) -> int:
        return int(line.learner.counting.tables.category_N[line.learner.catalog.find([item])[0]])

    line.run([replace(event, category=7) for event in markov_log(1, 640)], 16)
    line.run(_others(_LATER), 16)
    assert category("j3") == 0
    line.feed([Event("u0", "i3", _LATER + 100), Event("u0", "i4", _LATER + 101, category=8)])
    assert (category("i3"), category("i4")) == (7, 8)


@pytest.mark.parametrize("cut", [704, 720, 736])
def test_a_line_resumed_while_items_are_away_gives_them_back_to_the_bit(cut: int) -> None:
    """Stopped after they left, before or after they came back: the same vectors, lists and state as uninterrupted."""
    back = [Event(f"u{k % 12}", f"i{k % 20}" if k % 2 else f"j{k % 10}", _LATER + 100 + k) for k in range(96)]
    log = [*markov_log(1, 640), *_others(_LATER), *back]
    whole, line = Line(_EXPIRY), Line(_EXPIRY)
    whole.run(log[:cut], 16)
    line.run(log[:cut], 16)
    line = line.resumed()
    for start in range(cut, len(log), 16):
        one, other = whole.feed(log[start : start + 16]), line.feed(log[start : start + 16])
        assert (one.lists, one.log_probabilities) == (other.lists, other.log_probabilities)
    arrays, theirs = whole.state()[0], line.state()[0]
    assert {name: a.tobytes() for name, a in arrays.items()} == {name: a.tobytes() for name, a in theirs.items()}
    assert {"i1", "i3"} <= _known(line)


def test_a_parade_of_items_leaves_attic_and_catalogue_in_their_bounds() -> None:
    """Ten times more than both hold, by age and by capacity: no array grows any more, and the last are kept."""
    for config in (changed(_EXPIRY, min_items=0), changed(SMALL, max_items=64, attic_items=100)):
        line, held = Line(config), []
        for start in range(0, 2_000, 16):
            line.feed([Event(f"u{k % 12}", f"i{start + k}", 1.6e9 + 2_000.0 * (start + k)) for k in range(16)])
            held.append(line.bytes_held())
        assert len(line.learner.attic) == 100
        assert len(line.learner.catalog) <= 64
        assert max(held[40:]) <= 1.02 * held[40]
        assert line.learner.catalog.generation > 20


def test_with_hashed_vectors_an_item_comes_back_with_those() -> None:
    """They follow from the id alone."""
    line = Line(replace(_EXPIRY, item_vectors="hashed"))
    line.run(markov_log(1, 640), 16)
    before = _vector(line, "i3")
    line.run(_others(_LATER), 16)
    line.feed([Event("u0", "i3", _LATER + 100)])
    assert torch.equal(_vector(line, "i3"), before)

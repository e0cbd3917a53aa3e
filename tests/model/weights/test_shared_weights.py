"""Lines that share weights come to the mean of theirs; alone, nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.state import array_of
from model.weights.exchange import Exchange
from model.weights.gift import MOST_SAY, Gift
from model.weights.shared_weights import SharedWeights
from tests.model.lines import SMALL, Event, Line


def _events(seed: int, count: int, users: int = 20, items: int = 30) -> list[Event]:
    rng = np.random.default_rng(seed)
    return [Event(f"u{rng.integers(users)}", f"i{rng.integers(items)}", float(ts)) for ts in range(count)]


def _trained(seed: int, steps: int = 6) -> Line:
    """A line of one family that has learned events of its own."""
    line = Line()
    line.run(_events(seed, 16 * steps), 16)
    return line


def _given(line: Line) -> Gift:
    gift = SharedWeights(line.learner).give()
    assert gift is not None
    return gift


def _all_rows(line: Line) -> SharedWeights:
    """Shared weights whose next gift has every row, as if none was ever given."""
    shared = SharedWeights(line.learner)
    shared._items._given_N[:] = -1
    return shared


def test_two_lines_take_the_mean_of_both() -> None:
    one, other = _trained(1), _trained(2)
    gift = _all_rows(other).give()
    assert gift is not None
    own = SharedWeights(one.learner)
    before = own._of_modules()
    own.take([gift])
    after = own._of_modules()
    for name in ("encoder", "ranker", "encoder.slow", "ranker.slow", "features.mean"):
        rounding = 2e-3 if name.endswith(".slow") else 1e-6
        assert after[name] == pytest.approx((before[name] + gift.columns[name]) / 2, abs=rounding), name
    gap = before["features.mean"] - gift.columns["features.mean"]
    within = (before["features.var"] + gift.columns["features.var"]) / 2
    assert after["features.var"] == pytest.approx(within + gap**2 / 4, rel=1e-4, abs=1e-6)


def test_item_rows_are_brought_together_by_id() -> None:
    one, other = Line(), Line()
    one.run(_events(1, 96), 16)
    other.run([Event("z", "only-here", 0.0), *_events(2, 96)], 16)
    gift = _all_rows(other).give()
    assert gift is not None
    before, biases = one.learner.items.table_ND1.clone(), dict(zip(gift.ids, gift.columns["items"][:, -1], strict=True))
    SharedWeights(one.learner).take([gift])
    after = one.learner.items.table_ND1
    catalog = one.learner.catalog
    rows = catalog.live_rows()
    assert "only-here" in gift.ids
    assert array_of(after[rows, :-1].norm(dim=1)) == pytest.approx(1.0, abs=1e-5)
    for row in rows.tolist():
        if (theirs := biases.get(catalog.ids[row])) is not None:
            assert float(after[row, -1]) == pytest.approx((float(before[row, -1]) + float(theirs)) / 2, abs=1e-3)
    free = np.setdiff1d(np.arange(len(after)), rows)
    assert not after[torch.from_numpy(free)].any()


def test_an_item_that_has_not_begun_here_is_left_alone() -> None:
    one, other = _trained(1), _trained(2)
    ids = [item for item in other.learner.catalog.ids if item][:1]
    one.learner.add_items(["later"], [7_000])
    gift = _all_rows(other).give()
    assert gift is not None
    renamed = replace(gift, ids=["later" if item == ids[0] else item for item in gift.ids])
    row = int(one.learner.catalog.find(["later"])[0])
    SharedWeights(one.learner).take([renamed])
    assert not one.learner.items.table_ND1[row].any()


def test_only_rows_that_changed_since_the_last_gift_are_given() -> None:
    line = _trained(1)
    shared = SharedWeights(line.learner)
    assert len(_of(shared).ids) == 0
    line.run(_events(3, 32), 16)
    assert len(_of(shared).ids) == len(line.learner.catalog)
    assert len(_of(shared).ids) == 0


def test_rows_beyond_the_most_come_with_the_next_gifts(monkeypatch: pytest.MonkeyPatch) -> None:
    line = _trained(1)
    monkeypatch.setattr("model.weights.shared_items._MOST_ROWS", 12)
    shared = _all_rows(line)
    given = [item for _ in range(3) for item in _of(shared).ids]
    assert sorted(given) == sorted(item for item in line.learner.catalog.ids if item)


def _of(shared: SharedWeights) -> Gift:
    gift = shared.give()
    assert gift is not None
    return gift


def test_taking_the_own_weights_changes_next_to_nothing() -> None:
    line = _trained(1)
    gift = _all_rows(line).give()
    assert gift is not None
    shared = SharedWeights(line.learner)
    modules, table = shared._of_modules(), line.learner.items.table_ND1.clone()
    shared.take([gift, gift])
    for name, column in shared._of_modules().items():
        assert np.array_equal(column, modules[name]) or name.endswith(".slow"), name
        assert np.abs(column - modules[name]).max() < 1e-3, name
    assert array_of(line.learner.items.table_ND1) == pytest.approx(array_of(table), abs=5e-4)


def test_the_moments_of_adam_stay() -> None:
    one, other = _trained(1), _trained(2)
    before = one.learner.encoder_trainer.optimizer.adam.m.clone(), one.learner.items.adam.v.clone()
    SharedWeights(one.learner).take([_given(other)])
    after = one.learner.encoder_trainer.optimizer.adam.m, one.learner.items.adam.v
    assert all(torch.equal(had, has) for had, has in zip(before, after, strict=True))


def test_a_line_that_has_just_begun_takes_over_what_others_have_and_hardly_moves_them() -> None:
    """A cold line, one that comes back after a day, and one that fell back: the others' weights hold."""
    old, young = _trained(1, steps=12), Line()
    shared = {name: SharedWeights(line.learner) for name, line in (("old", old), ("young", young))}
    shared["old"]._began -= 10 * MOST_SAY
    assert (shared["old"].say, shared["young"].say) == (MOST_SAY, 1)
    gifts = {name: _of(one) for name, one in shared.items()}
    before = {name: one._of_modules()["encoder"] for name, one in shared.items()}
    shared["old"].take([gifts["young"]])
    shared["young"].take([gifts["old"]])
    apart = np.abs(before["old"] - before["young"]).max()
    for name in ("old", "young"):
        assert np.abs(shared[name]._of_modules()["encoder"] - before["old"]).max() < apart / 50
    shared["old"].begin()
    assert shared["old"].say == 1


def test_two_lines_that_begin_together_have_the_same_say() -> None:
    one, other = SharedWeights(_trained(1).learner), SharedWeights(_trained(2).learner)
    assert one.say == other.say == 1


def _nan(gift: Gift, name: str) -> Gift:
    spoilt = gift.columns[name].copy()
    spoilt.flat[0] = np.nan
    return replace(gift, columns=gift.columns | {name: spoilt})


_SPOILT: dict[str, tuple[str, Callable[[Gift], Gift]]] = {
    "another width": ("shape", lambda gift: replace(gift, columns=gift.columns | {"encoder": np.zeros(3, np.float32)})),
    "a column less": ("shape", lambda gift: replace(gift, columns={"encoder": gift.columns["encoder"]})),
    "wider rows": (
        "shape",
        lambda gift: replace(gift, columns=gift.columns | {"items": np.zeros((1, 99), np.float16)}),
    ),
    "rows without ids": ("shape", lambda gift: replace(gift, ids=gift.ids[:-1])),
    "ids without rows": ("shape", lambda gift: replace(gift, ids=[*gift.ids, "i0"])),
    "a slow row less": (
        "shape",
        lambda gift: replace(gift, columns=gift.columns | {"items.slow": gift.columns["items.slow"][1:]}),
    ),
    "a variance below 0": (
        "not_finite",
        lambda gift: replace(gift, columns=gift.columns | {"features.var": -gift.columns["features.var"] - 1}),
    ),
    "not a number": ("not_finite", lambda gift: _nan(gift, "ranker")),
    "infinite rows": ("not_finite", lambda gift: _nan(gift, "items")),
}


@pytest.mark.parametrize("name", _SPOILT)
def test_a_gift_that_does_not_fit_is_refused(name: str) -> None:
    reason, spoil = _SPOILT[name]
    one, other = _trained(1), _trained(2)
    gift = _all_rows(other).give()
    assert gift is not None
    shared = SharedWeights(one.learner)
    assert shared.refusal(gift) == ""
    assert shared.refusal(spoil(gift)) == reason


def test_a_line_whose_weights_are_not_finite_gives_none() -> None:
    line = _trained(1)
    with torch.no_grad():
        line.learner.ranker.head.weight[0, 0] = torch.inf
    assert SharedWeights(line.learner).give() is None


def _apart(lines: Sequence[Line]) -> float:
    vectors = [array_of(line.learner.encoder_trainer.optimizer.vector) for line in lines]
    return max(float(np.abs(vector - vectors[0]).max()) for vector in vectors)


def _side_by_side(exchange: Exchange | None, count: int = 3) -> list[Line]:
    lines = [Line() for _ in range(count)]
    if exchange is not None:
        for place, line in enumerate(lines):
            exchange.join(str(place), line.learner)
    for start in range(0, 320, 16):
        for place, line in enumerate(lines):
            line.feed(_events(place, 320)[start : start + 16])
    return lines


def test_lines_that_exchange_weights_stay_together() -> None:
    assert _apart(_side_by_side(Exchange())) < _apart(_side_by_side(None)) / 2


def test_an_exchange_is_the_same_at_every_run() -> None:
    one, other = _side_by_side(Exchange()), _side_by_side(Exchange())
    assert [_bytes(line) for line in one] == [_bytes(line) for line in other]


def test_new_items_start_alike_in_lines_that_exchange_weights() -> None:
    vectors = []
    for events in (_events(1, 48), _events(2, 48)):
        line = Line(replace(SMALL, item_vectors="learned"))
        Exchange().join("one", line.learner)
        line.feed(events)
        line.feed([Event("nobody-before", "brand-new", 1_000.0)])
        vectors.append(line.learner.items.table_ND1[int(line.learner.catalog.find(["brand-new"])[0]), :-1])
    assert torch.allclose(vectors[0], vectors[1], atol=0.2)


def _bytes(line: Line) -> dict[str, Any]:
    return {name: array.tobytes() for name, array in line.state()[0].items()}

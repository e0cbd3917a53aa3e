"""What is kept of evicted items: bounded, the oldest leave, and each comes back as it was put there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from model.items.attic import Attic, Kept

_POOL = [f"item-{k}-é" for k in range(40)]
_CAPACITY = 7


def _kept(values: list[float]) -> Kept:
    column = np.array(values, dtype=np.float64)
    return {"single": column, "wide": np.stack([column, column + 0.5], axis=1).astype(np.float16)}


class AtticIsADictionary(RuleBasedStateMachine):
    """`items`: what was put and not taken; `order`: all that was put, taken or not; the last ones of it have room."""

    def __init__(self) -> None:
        super().__init__()
        self.attic = Attic(_CAPACITY)
        self.items: dict[str, float] = {}
        self.order: list[str | None] = []
        self.value = 0.0

    @rule(ids=st.lists(st.sampled_from(_POOL), min_size=1, max_size=2 * _CAPACITY, unique=True))
    def put(self, ids: list[str]) -> None:
        values = [self.value + k for k in range(len(ids))]
        self.value += len(ids)
        self.attic.put(ids, _kept(values))
        self.order = [*(None if item in ids else item for item in self.order), *ids]
        self.items |= dict(zip(ids, values, strict=True))
        last = self.order[-_CAPACITY:]
        self.items = {item: value for item, value in self.items.items() if item in last}

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.items)), min_size=1, unique=True))
        taken, expected = self.attic.take(self.attic.find(ids)), _kept([self.items.pop(item) for item in ids])
        assert {name: column.tolist() for name, column in taken.items()} == {
            name: column.tolist() for name, column in expected.items()
        }

    @rule()
    def resume(self) -> None:
        state = self.attic.state_dict()
        self.attic = Attic(_CAPACITY)
        self.attic.load_state_dict(state)
        again = self.attic.state_dict()
        assert {name: column.tobytes() for name, column in again.items()} == {
            name: column.tobytes() for name, column in state.items()
        }

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        places = self.attic.find(_POOL)
        assert {item for item, place in zip(_POOL, places, strict=True) if place >= 0} == set(self.items)
        assert len(self.attic) == len(self.items) <= _CAPACITY
        for item, value in self.items.items():
            assert self.attic.columns["single"][self.attic.find([item])[0]] == value


TestAtticIsADictionary = AtticIsADictionary.TestCase
TestAtticIsADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_ten_times_more_than_fit_leave_the_size_as_it_was() -> None:
    """Its arrays grow to the capacity and no further."""
    attic, sizes = Attic(1_000), []
    for start in range(0, 10_000, 50):
        attic.put([f"i{k}" for k in range(start, start + 50)], _kept([0.0] * 50))
        sizes.append(sum(column.nbytes for column in attic.columns.values()))
    assert sizes[0] < sizes[20] == sizes[-1]
    assert len(attic) == 1_000
    assert attic.find(["i8999", "i9000", "i9999"]).tolist() == [-1, 0, 999]


def test_without_room_nothing_is_kept() -> None:
    """Capacity 0 switches it off."""
    attic = Attic(0)
    attic.put(["a", "b"], _kept([1.0, 2.0]))
    assert len(attic) == 0
    assert attic.find(["a", "b"]).tolist() == [-1, -1]


def test_a_state_with_more_items_than_the_bound_is_refused() -> None:
    """A checkpoint from before `attic_items` was lowered says so."""
    attic = Attic(10)
    attic.put([f"i{k}" for k in range(10)], _kept([0.0] * 10))
    with pytest.raises(ValueError, match=r"model\.attic_items: the state has 10"):
        Attic(9).load_state_dict(attic.state_dict())

"""Several predictions of one window: each from what came before its target, none twice, none of what is no target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.batch import TYPES
from model.encoder.prefixes import fewest_windows, most_targets, prefixes
from model.encoder.replay import Examples

_WIDTH = 4
_ALL = np.ones(TYPES, np.bool_)


def _examples(windows: list[list[int]], targets: list[int], counts: list[int]) -> Examples:
    return {
        "window": np.array(windows, np.int32),
        "type": np.zeros((len(windows), len(windows[0])), np.uint8),
        "target": np.array(targets, np.int32),
        "targets": np.array(counts, np.uint8),
    }


def test_each_prefix_predicts_the_event_behind_it() -> None:
    """The whole window its target, the one without the last event that event, and so on; right-aligned."""
    predicted = prefixes(_examples([[7, 5, 6, 8, 9]], [3], [3]), _WIDTH, _ALL)
    assert predicted.of_KM.tolist() == [[True], [True], [True]]
    assert predicted.target_X.tolist() == [3, 9, 8]
    assert predicted.windows_XW.tolist() == [[5, 6, 8, 9], [-1, 5, 6, 8], [-1, -1, 5, 6]]


def test_nothing_is_predicted_from_nothing() -> None:
    """Neither from an empty window nor from one whose newest item has no row any more; nor more than asked for."""
    predicted = prefixes(_examples([[-1, -1, 5, 9], [4, -1, 5, 9], [1, 2, 3, 4]], [3, 3, 5], [3, 3, 1]), _WIDTH, _ALL)
    assert predicted.of_KM.tolist() == [[True, True, True], [True, True, False], [False, False, False]]
    assert predicted.target_X.tolist() == [3, 3, 5, 9, 9]


def test_a_type_that_is_no_target_is_not_predicted() -> None:
    """It stays in the windows of the others."""
    examples = _examples([[5, 6, 8, 9]], [3], [3])
    examples["type"][0, 3] = 1
    is_target_T = _ALL.copy()
    is_target_T[1] = False
    predicted = prefixes(examples, _WIDTH, is_target_T)
    assert predicted.target_X.tolist() == [3, 8]
    assert predicted.windows_XW.tolist() == [[5, 6, 8, 9], [-1, -1, 5, 6]]


@pytest.mark.parametrize("targets", [1, 2, 3])
@given(users=st.lists(st.integers(0, 3), max_size=24), data=st.data())
def test_the_fewest_windows_predict_every_event_once(targets: int, users: list[int], data: st.DataObject) -> None:
    """Whoever's events they are, and also where some events are not to be learned."""
    occurrence = np.array([users[:k].count(user) for k, user in enumerate(users)], np.int64)
    learned = np.array([data.draw(st.booleans()) for _ in users], np.bool_)
    slot, occurrence = np.array(users, np.int64)[learned], occurrence[learned]
    chosen, counts = fewest_windows(slot, occurrence, np.zeros_like(slot), targets)
    assert (np.diff(chosen) > 0).all()
    assert counts.max(initial=0) <= targets
    predicted = [
        (slot[k], occurrence[k] - back) for k, count in zip(chosen, counts, strict=True) for back in range(count)
    ]
    assert len(set(predicted)) == len(predicted)
    assert set(predicted) >= set(zip(slot.tolist(), occurrence.tolist(), strict=True))


def test_a_window_predicts_events_of_one_chain_alone() -> None:
    """Two events, a set of three, and two more, all of one user: its second and third have windows of their own."""
    occurrence, chain = np.arange(7), np.array([0, 0, 0, 1, 3, 4, 4])
    chosen, counts = fewest_windows(np.zeros(7, np.int64), occurrence, chain, targets=3)
    assert chosen.tolist() == [2, 3, 4, 6]
    assert counts.tolist() == [3, 1, 1, 2]


@pytest.mark.parametrize(("in_set", "most"), [(0, 255), (1, 1), (0b10, 2), (0b1100, 3), (1 << 61, 62)])
def test_a_window_may_predict_no_event_that_follows_in_a_set_nor_those_before_it(in_set: int, most: int) -> None:
    assert most_targets(np.array([in_set])).tolist() == [most]

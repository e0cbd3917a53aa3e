"""A drop of the hit rate raises an alarm, a rise does not, and a restored detector is the same detector."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from river.drift import ADWIN

from stream_worker.core.drift import Alarm, DropDetector


def _detector(memory: int = 2_000) -> DropDetector:
    return DropDetector("all", delta=0.002, block=32, memory=memory)


def _hits(*parts: tuple[float, int], seed: int = 0) -> NDArray[np.bool_]:
    """Hits at each (rate, number of events) in turn."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(count) < rate for rate, count in parts])


@pytest.mark.parametrize("seed", range(5))
def test_a_drop_raises_one_alarm_that_says_from_where_to_where(seed: int) -> None:
    alarms = _detector().update_many(_hits((0.5, 10_000), (0.2, 10_000), seed=seed))
    assert len(alarms) == 1
    assert alarms[0].stream == "all"
    assert 10_000 < alarms[0].at < 13_000
    assert alarms[0].before == pytest.approx(0.5, abs=0.05)
    assert alarms[0].after == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_drop_by_a_quarter_is_noticed_within_two_thousand_events(seed: int) -> None:
    """Not hidden by the part of ADWIN's bound that is for values from 0 to 1, which means of blocks never reach."""
    alarms = _detector().update_many(_hits((0.56, 12_000), (0.42, 4_000), seed=seed))
    assert [12_000 < alarm.at < 14_000 for alarm in alarms] == [True]


@pytest.mark.parametrize("seed", range(5))
def test_users_who_come_in_bursts_and_are_not_alike_raise_nothing(seed: int) -> None:
    """A user has a hit rate of its own for 30 events in a row: no drift, though the mean of 300 goes up and down."""
    rng = np.random.default_rng(seed)
    hits = rng.random(60_000) < np.repeat(rng.beta(2, 4, 2_000), 30)
    assert _detector().update_many(hits) == []
    assert len(DropDetector("all", delta=0.002, block=1, memory=60_000).update_many(hits)) > 5  # taken one by one


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_is_noticed_but_raises_no_alarm(seed: int) -> None:
    detector = _detector()
    assert detector.update_many(_hits((0.2, 10_000), (0.5, 10_000), seed=seed)) == []
    assert len(detector.state_dict()["kept"]) < 20_000 // 32  # it did start again at the rise


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_rate_raises_nothing(seed: int) -> None:
    assert _detector().update_many(_hits((0.3, 60_000), seed=seed)) == []


def test_below_the_bound_it_detects_exactly_what_rivers_adwin_does() -> None:
    hits = _hits((0.5, 9_600), (0.2, 9_600), (0.5, 9_600), (0.1, 9_600))
    adwin, changes = ADWIN(delta=0.002, clock=1), []
    for block, mean in enumerate(hits.reshape(-1, 32).mean(axis=1).tolist(), start=1):
        adwin.update(mean * 32**0.5)
        if adwin.drift_detected:
            changes.append(block * 32)
    alarms = [alarm.at for alarm in _detector().update_many(hits)]
    assert len(changes) == 3
    assert alarms == [changes[0], changes[2]]


def test_batches_of_any_size_give_the_same_alarms() -> None:
    hits = _hits((0.5, 10_007), (0.2, 10_000))
    whole, parted = _detector(), _detector()
    cuts = np.random.default_rng(1).integers(0, len(hits), 100)
    alarms = [alarm for part in np.split(hits, np.sort(cuts)) for alarm in parted.update_many(part)]
    assert alarms == whole.update_many(hits) != []


@pytest.mark.parametrize("at", [0, 31, 5_000, 10_300, 10_900, 13_333, 19_999])
def test_a_restored_detector_has_the_identical_state_and_goes_on_identically(at: int) -> None:
    hits = _hits((0.5, 10_000), (0.2, 6_000), (0.1, 6_000))
    saved, loaded = _detector(memory=200), _detector(memory=200)
    saved.update_many(hits[:at])
    loaded.load_state_dict(saved.state_dict())
    for _ in range(2):
        inner, twin = saved._detector, loaded._detector
        if len(saved.state_dict()["kept"]):  # a change just found empties ADWIN at its next value only
            assert (inner.width, inner.total, inner.variance) == (twin.width, twin.total, twin.variance)
        for name, array in saved.state_dict().items():
            np.testing.assert_array_equal(array, loaded.state_dict()[name])
        assert loaded.update_many(hits[at:]) == saved.update_many(hits[at:])


def test_what_is_kept_stays_below_the_bound() -> None:
    detector, largest = _detector(memory=100), 0
    for part in np.split(_hits((0.3, 32_000)), 100):
        detector.update_many(part)
        state = detector.state_dict()
        largest = max(largest, len(state["kept"]))
        assert len(state["open"]) < 32
        assert detector._detector.width == len(state["kept"])
    assert 50 <= largest < 100


def test_a_drop_after_the_bound_is_still_found() -> None:
    alarms = _detector(memory=200).update_many(_hits((0.5, 60_000), (0.2, 5_000)))
    assert len(alarms) == 1
    assert isinstance(alarms[0], Alarm)
    assert 60_000 < alarms[0].at < 63_000

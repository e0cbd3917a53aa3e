"""A step that is no number or explodes is refused; one that is only unusual is taken."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.optimizers.step_guard import StepGuard


def _guard(steps: int = 200) -> StepGuard:
    guard, rng = StepGuard(), np.random.default_rng(0)
    assert all(guard.admits(2 + rng.random(), 1 + rng.random()) for _ in range(steps))
    return guard


_REFUSED = [(math.nan, 1), (math.inf, 1), (2, math.nan), (2, math.inf), (80, 1), (2, 60)]


@pytest.mark.parametrize(("loss", "norm"), _REFUSED)
def test_no_number_and_an_explosion_are_refused(loss: float, norm: float) -> None:
    guard = _guard()
    assert not guard.admits(loss, norm)
    assert (guard.taken, guard.skipped, guard.in_a_row) == (200, 1, 1)


def test_a_step_taken_ends_the_row_but_not_the_count() -> None:
    guard = _guard()
    guard.admits(math.nan, 1)
    guard.admits(math.nan, 1)
    assert guard.in_a_row == 2
    assert guard.admits(2.5, 1.5)
    assert (guard.skipped, guard.in_a_row) == (2, 0)


def test_a_loss_that_is_only_high_is_taken_and_called_unusual() -> None:
    guard = _guard()
    assert guard.is_usual(3.3)
    assert not guard.is_usual(4.5)
    assert guard.admits(4.5, 3)


def test_nothing_explodes_before_something_is_known() -> None:
    guard = _guard(50)
    assert guard.admits(500, 500)
    assert not guard.admits(math.inf, 1)


def test_after_a_rollback_what_is_usual_is_learned_again_and_the_count_goes_on() -> None:
    guard = _guard()
    guard.admits(math.nan, 1)
    guard.begin_again()
    assert (guard.skipped, guard.in_a_row) == (1, 0)
    assert guard.admits(100, 100)


def test_a_restored_guard_is_the_same_guard() -> None:
    saved, loaded = _guard(), StepGuard()
    saved.admits(math.nan, 1)
    loaded.load_state_dict(saved.state_dict())
    assert vars(loaded) == vars(saved)

"""What the policy answers to alarms and collapses, when, and for how long; a restored policy goes on alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_worker.core.drift import Alarm
from stream_worker.core.drift_answers import ANSWERS, DriftAnswers, DriftConfig, Verdict

_ALARM = [Alarm("all", 100, 0.5, 0.3)]
_FINE = [Verdict("encoder", 0, -0.5), Verdict("ranker", 0, -0.1)]
_WORSE = [Verdict("encoder", 0, -0.5), Verdict("ranker", 0, 2.0)]


def _policy(**fields: Any) -> DriftAnswers:
    return DriftAnswers(DriftConfig(**{"answers": ANSWERS, **fields}))


def _watched(policy: DriftAnswers, *rates: tuple[float, int]) -> DriftAnswers:
    rng = np.random.default_rng(0)
    for rate, count in rates:
        for _ in range(count // 100):
            policy.watch(rng.random(100) < rate)
    return policy


def test_before_any_alarm_nothing_is_otherwise() -> None:
    policy = _policy()
    assert policy.answer([], 5_000) == ()
    assert policy.rate_factor(5_000) == policy.replay_share(5_000) == 1.0


def test_an_alarm_is_answered_by_what_is_configured_and_the_answer_fades() -> None:
    policy = _policy(rate_factor=5.0, rate_events=100, replay_share=0.2, replay_events=1_000)
    assert policy.answer(_ALARM, 2_000) == ANSWERS
    assert policy.rate_factor(2_000) == pytest.approx(5.0)
    assert policy.rate_factor(2_100) == pytest.approx(3.0)
    assert policy.replay_share(3_000) == pytest.approx(0.6)
    assert policy.rate_factor(4_000) == 1.0  # exactly: nothing is left of it
    assert policy.replay_share(12_001) == 1.0


def test_a_second_alarm_begins_the_answer_again() -> None:
    policy = _policy(rate_factor=3.0, rate_events=100)
    policy.answer(_ALARM, 1_000)
    policy.answer(_ALARM, 1_200)
    assert policy.rate_factor(1_200) == pytest.approx(3.0)


def test_what_is_not_configured_is_not_done() -> None:
    policy = _policy(answers=("replay",))
    assert policy.answer(_ALARM, 1_000) == ("replay",)
    assert policy.rate_factor(1_000) == 1.0
    assert policy.replay_share(1_000) == 0.0
    assert _policy(answers=()).answer(_ALARM, 1_000) == ()


def test_a_collapse_needs_both_a_fall_of_the_hit_rate_and_a_slow_copy_that_is_better() -> None:
    """Drift alone is no reason to go back, and neither is a slow copy that is better while all goes well."""
    fallen, well = ((0.6, 6_000), (0.1, 2_000)), ((0.6, 8_000),)
    assert _watched(_policy(), *fallen).collapse(_FINE, 8_000) == ""
    assert _watched(_policy(), *well).collapse(_WORSE, 8_000) == ""
    reason = _watched(_policy(), *fallen).collapse(_WORSE, 8_000)
    assert reason.startswith("ranker: hit rate 0.1")
    assert "better by 2.00 nats" in reason


def test_a_low_hit_rate_at_the_very_beginning_is_no_collapse() -> None:
    assert _watched(_policy(), (0.6, 300), (0.0, 500)).collapse(_WORSE, 800) == ""


def test_steps_that_cannot_be_taken_are_a_collapse_however_good_the_lists_are() -> None:
    policy = _watched(_policy(collapse_skips=5), (0.6, 2_000))
    assert policy.collapse([Verdict("encoder", 4, 0.0)], 2_000) == ""
    assert policy.collapse([Verdict("encoder", 5, 0.0)], 2_000) == "encoder: 5 steps in a row could not be taken"


def test_after_a_rollback_the_line_is_given_time() -> None:
    policy = _policy(rollback_rest_events=1_000)
    stuck = [Verdict("encoder", 99, 0.0)]
    assert policy.collapse(stuck, 5_000)
    assert policy.collapse(stuck, 5_999) == ""
    assert policy.collapse(stuck, 6_000)


def test_without_rollback_nothing_is_a_collapse() -> None:
    assert _policy(rollback=False).collapse([Verdict("encoder", 99, 0.0)], 5_000) == ""


def test_a_restored_policy_is_the_same_policy() -> None:
    saved, loaded = _watched(_policy(), (0.6, 6_000), (0.1, 400)), _policy()
    saved.answer(_ALARM, 3_000)
    saved.collapse([Verdict("encoder", 99, 0.0)], 4_000)
    loaded.load_state_dict(saved.state_dict())
    assert vars(loaded) == vars(saved)


def test_the_running_rates_follow_the_hits() -> None:
    policy = _watched(_policy(), (0.6, 20_000), (0.2, 3_000))
    assert policy.recent == pytest.approx(0.2, abs=0.05)
    assert 0.4 < policy.level < 0.6

"""Replay is bounded, uniform over everything, fresh in its second half, and resumes to the same samples."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoder.replay import Replay


def _filled(total: int, capacity: int, recent: int, seed: int = 0, batch: int = 17) -> Replay:
    replay, rng = Replay(capacity, recent), np.random.default_rng(seed)
    for start in range(0, total, batch):
        number = np.arange(start, min(start + batch, total))
        replay.add({"target": number, "window": np.stack([number, number + 1], axis=1)}, rng)
    return replay


def test_it_is_bounded_whatever_comes() -> None:
    """Ten times the capacity takes no more room than once."""
    sizes = {sum(c.nbytes for c in _filled(total, 50, 20).state_dict().values()) for total in (1, 500, 5_000)}
    assert len(sizes) == 1
    assert len(_filled(5_000, 50, 20)) == 50


def test_the_reservoir_is_uniform_over_everything_seen() -> None:
    """Over many seeds each tenth of the stream holds a tenth of the reservoir (chi-square, 9 degrees, p = 0.001)."""
    counts = np.zeros(10)
    for seed in range(200):
        kept = _filled(1_000, 40, 10, seed).state_dict()["target"][:40]
        counts += np.bincount(kept // 100, minlength=10)
    expected = counts.sum() / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_half_a_sample_is_recent_and_half_is_of_all_times() -> None:
    """The second half comes from the last `recent` examples, all of them possible; columns stay together."""
    replay = _filled(1_000, 100, 30)
    sample = replay.sample(2_000, np.random.default_rng(1))
    old, recent = sample["target"][:1_000], sample["target"][1_000:]
    assert set(recent.tolist()) == set(range(970, 1_000))
    assert np.median(old) < 700
    assert np.array_equal(sample["window"], np.stack([sample["target"], sample["target"] + 1], axis=1))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_sample_has_the_size_asked_for(count: int) -> None:
    """Odd sizes too, and with fewer examples than asked for."""
    assert len(_filled(3, 10, 5).sample(count, np.random.default_rng(0))["target"]) == count


def test_an_empty_replay_gives_nothing() -> None:
    """No columns, rather than rows of zeros that nobody saw."""
    replay = Replay(10, 5)
    replay.add({"target": np.zeros(0, dtype=np.int64)}, np.random.default_rng(0))
    assert replay.sample(4, np.random.default_rng(0)) == {}


def test_unfilled_places_are_never_sampled() -> None:
    """Before the bound is reached only what was added comes out."""
    replay = _filled(6, 50, 20)
    assert set(replay.sample(500, np.random.default_rng(0))["target"].tolist()) == set(range(6))


def test_a_resumed_replay_gives_identical_samples() -> None:
    """The same state and generator: the same examples, also after more were added."""
    replay, twin = _filled(333, 40, 20), Replay(40, 20)
    twin.load_state_dict(replay.state_dict())
    rngs = np.random.default_rng(5), np.random.default_rng(5)
    for one, rng in zip((replay, twin), rngs, strict=True):
        one.add({"target": np.arange(900, 990), "window": np.zeros((90, 2), dtype=np.int64)}, rng)
    first, second = (one.sample(64, rng) for one, rng in zip((replay, twin), rngs, strict=True))
    assert all(np.array_equal(first[name], second[name]) for name in first)

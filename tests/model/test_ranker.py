"""The ranker: absent candidates score nothing, and its statistics are those of what it saw."""

from __future__ import annotations

import torch

from model.ranker import Ranker


def test_absent_candidates_are_last_and_do_not_enter_the_statistics() -> None:
    """Whatever stands in the features of an empty place is ignored."""
    torch.manual_seed(0)
    features, candidates = torch.randn(4, 3, 5), torch.tensor([[1, 2, -1]]).expand(4, 3)
    spoilt = features.clone()
    spoilt[:, 2] = 1e6
    one, other = Ranker(5), Ranker(5)
    one.observe(features, candidates)
    other.observe(spoilt, candidates)
    assert torch.equal(one.mean_F, other.mean_F)
    assert torch.equal(one.var_F, other.var_F)
    scores = one(features, candidates)
    assert torch.isinf(scores[:, 2]).all()
    assert torch.isfinite(scores[:, :2]).all()


def test_the_statistics_of_equal_batches_are_those_of_all_of_them() -> None:
    """Up to a hundred batches weigh the same: mean and variance equal torch's over everything."""
    torch.manual_seed(1)
    batches = torch.randn(20, 8, 3, 5) * torch.arange(1.0, 6.0) + torch.randn(20, 1, 1, 5)
    ranker = Ranker(5)
    for features in batches:
        ranker.observe(features, torch.zeros(8, 3, dtype=torch.long))
    everything = batches.reshape(-1, 5)
    torch.testing.assert_close(ranker.mean_F, everything.mean(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ranker.var_F, everything.var(dim=0, correction=0), rtol=1e-4, atol=1e-4)


def test_later_batches_weigh_at_least_a_hundredth() -> None:
    """The world drifts, and the statistics follow."""
    ranker, candidates = Ranker(1), torch.zeros(1, 4, dtype=torch.long)
    for _ in range(2_000):
        ranker.observe(torch.zeros(1, 4, 1), candidates)
    for _ in range(100):
        ranker.observe(torch.ones(1, 4, 1), candidates)
    torch.testing.assert_close(ranker.mean_F.item(), 1 - 0.99**100, rtol=0, atol=1e-3)

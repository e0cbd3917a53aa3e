"""The ranker: absent candidates score nothing, its statistics are those of what it saw, and what it is trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.ranker.ranker import Choices, Ranker, RecentChoices, choices

CPU = torch.device("cpu")


def test_absent_candidates_are_last_and_do_not_enter_the_statistics() -> None:
    """Whatever stands in the features of an empty place is ignored."""
    torch.manual_seed(0)
    features, present = torch.randn(4, 3, 5), torch.tensor([[True, True, False]]).expand(4, 3)
    spoilt = features.clone()
    spoilt[:, 2] = 1e6
    one, other = Ranker(5), Ranker(5)
    one.observe(features, present)
    other.observe(spoilt, present)
    assert torch.equal(one.mean_F, other.mean_F)
    assert torch.equal(one.var_F, other.var_F)
    scores = one(features, present)
    assert torch.isinf(scores[:, 2]).all()
    assert torch.isfinite(scores[:, :2]).all()


def test_scores_are_those_of_normalised_features_within_eight_deviations() -> None:
    """A linear part beside the MLP, whoever does the normalising."""
    torch.manual_seed(4)
    ranker, features = Ranker(5), torch.randn(3, 7, 5) * 4 + 20
    ranker.observe(features, torch.ones(3, 7, dtype=torch.bool))
    features[0, 0], features[0, 1] = 1e4, -1e4
    normal = ((features - ranker.mean_F) * torch.rsqrt(ranker.var_F + 1e-4)).clamp(-8, 8)
    assert normal.abs().max() == 8
    hidden = ranker.second(ranker.first(normal).relu()).relu()
    expected = (ranker.linear(normal) + ranker.head(hidden)).squeeze(-1)
    torch.testing.assert_close(ranker(features, torch.ones(3, 7, dtype=torch.bool)), expected, rtol=1e-4, atol=1e-4)


def test_the_statistics_of_equal_batches_are_those_of_all_of_them() -> None:
    """Up to a hundred batches weigh the same: mean and variance equal torch's over everything."""
    torch.manual_seed(1)
    batches = torch.randn(20, 8, 3, 5) * torch.arange(1.0, 6.0) + torch.randn(20, 1, 1, 5)
    ranker = Ranker(5)
    for features in batches:
        ranker.observe(features, torch.ones(8, 3, dtype=torch.bool))
    everything = batches.reshape(-1, 5)
    torch.testing.assert_close(ranker.mean_F, everything.mean(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ranker.var_F, everything.var(dim=0, correction=0), rtol=1e-4, atol=1e-4)


def test_later_batches_weigh_at_least_a_hundredth() -> None:
    """The world drifts, and the statistics follow."""
    ranker, present = Ranker(1), torch.ones(1, 4, dtype=torch.bool)
    for _ in range(2_000):
        ranker.observe(torch.zeros(1, 4, 1), present)
    for _ in range(100):
        ranker.observe(torch.ones(1, 4, 1), present)
    torch.testing.assert_close(ranker.mean_F.item(), 1 - 0.99**100, rtol=0, atol=1e-3)


def _scored(
    events: int, candidates: int, absent: int = 0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features that are the candidate's number, of which events, which are present, scores, and the target's place."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.arange(candidates).float()[None, :, None].expand(events, candidates, 1)
    present = torch.ones(events, candidates, dtype=torch.bool)
    present[:, candidates - absent :] = False
    scores = torch.randn(events, candidates, generator=generator).masked_fill(~present, -torch.inf)
    target = torch.randint(0, candidates - absent, (events,), generator=generator)
    return features, torch.arange(events), present, scores, target


class TestChoices:
    def test_the_target_comes_first_then_its_strongest_rivals_then_some_of_the_rest(self) -> None:
        features, of, present, scores, target = _scored(50, 40)
        chosen = choices(features, of, present, scores, target, hard=6, drawn=8, shift=3)
        named = chosen.features_MSF[..., 0].long()
        assert torch.equal(named[:, 0], target)
        for k, row in enumerate(named.tolist()):
            rivals = [c for c in scores[k].argsort(descending=True).tolist() if c != target[k]]
            assert row[1:7] == rivals[:6]
            assert set(row[7:]) <= set(rivals[6:])
            assert len(set(row)) == len(row) == 1 + 6 + 8

    def test_every_rival_is_drawn_as_often_as_its_weight_says(self) -> None:
        """Over all shifts: so the loss is on average that of all candidates."""
        features, of, present, scores, target = _scored(5, 39)
        drawn = [choices(features, of, present, scores, target, 6, 8, shift) for shift in range(4)]
        assert {round(w, 4) for w in drawn[0].log_weight_S[7:].exp().tolist()} == {4.0}
        assert not drawn[0].log_weight_S[:7].any()
        for k in range(5):
            rest = [c for one in drawn for c in one.features_MSF[k, 7:, 0].tolist()]
            assert sorted(rest) == sorted(set(range(39)) - set(drawn[0].features_MSF[k, :7, 0].tolist()))

    def test_features_are_those_of_the_events_named(self) -> None:
        features = torch.arange(4.0)[:, None, None].expand(4, 20, 1)
        _, _, present, scores, target = _scored(2, 20)
        chosen = choices(features, torch.tensor([3, 1]), present, scores, target, hard=4, drawn=3, shift=0)
        assert chosen.features_MSF[..., 0].unique(dim=1).tolist() == [[3.0], [1.0]]

    def test_absent_candidates_do_not_count(self) -> None:
        ranker = Ranker(1)
        whole = choices(*_scored(9, 20), hard=30, drawn=1, shift=0).loss(ranker)
        padded = choices(*_scored(9, 40, absent=20), hard=60, drawn=1, shift=0)
        assert padded.present_MS.sum() == 9 * 20
        assert torch.isfinite(whole)
        assert torch.isfinite(padded.loss(ranker))

    def test_with_everything_among_the_choices_it_is_the_plain_cross_entropy(self) -> None:
        features, of, present, scores, target = _scored(9, 20)
        ranker = Ranker(1)
        plain = torch.nn.functional.cross_entropy(ranker(features, present), target)
        torch.testing.assert_close(choices(features, of, present, scores, target, 19, 1, 0).loss(ranker), plain)


class TestRecentChoices:
    def test_it_keeps_the_last_ones(self) -> None:
        recent = RecentChoices(8, CPU)
        for start in range(0, 21, 3):
            recent.add(_numbered(range(start, start + 3)))
        drawn = recent.sample(500, np.random.default_rng(0), torch.zeros(2))
        assert drawn is not None
        assert set(drawn.features_MSF[:, 0, 0].tolist()) == set(range(13, 21))

    def test_more_than_its_capacity_at_once_leaves_the_last(self) -> None:
        recent = RecentChoices(4, CPU)
        recent.add(_numbered(range(11)))
        drawn = recent.sample(200, np.random.default_rng(0), torch.zeros(2))
        assert drawn is not None
        assert set(drawn.features_MSF[:, 0, 0].tolist()) == {7, 8, 9, 10}

    @pytest.mark.parametrize("added", [0, 3, 20])
    def test_a_resumed_state_goes_on_to_the_bit(self, added: int) -> None:
        one, other = RecentChoices(8, CPU), RecentChoices(8, CPU)
        if added:
            one.add(_numbered(range(added)))
        other.load_state_dict(one.state_dict())
        for recent in (one, other):
            recent.add(_numbered([99]))
        assert all(np.array_equal(one.state_dict()[name], array) for name, array in other.state_dict().items())

    def test_a_state_of_another_size_is_refused(self) -> None:
        one = RecentChoices(8, CPU)
        one.add(_numbered([1]))
        with pytest.raises(ValueError, match=r"model\.ranker_examples: the state has 8, the configuration 9"):
            RecentChoices(9, CPU).load_state_dict(one.state_dict())

    def test_nothing_seen_gives_nothing(self) -> None:
        assert RecentChoices(8, CPU).sample(4, np.random.default_rng(0), torch.zeros(2)) is None


def _numbered(numbers: range | list[int]) -> Choices:
    features = torch.tensor([[[float(n)], [0.0]] for n in numbers])
    return Choices(features, torch.ones(len(features), 2, dtype=torch.bool), torch.zeros(2))


def test_slopes_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    ranker = Ranker(6)
    torch.nn.init.normal_(ranker.head.weight)
    ranker.mean_F.normal_()
    ranker.var_F.uniform_(0.2, 2.0)
    x_XF = torch.randn(40, 6).mul_(4).requires_grad_()
    ranker(x_XF[None], torch.ones(1, 40, dtype=torch.bool)).sum().backward()
    assert x_XF.grad is not None
    torch.testing.assert_close(ranker.slopes(x_XF.detach()), x_XF.grad, rtol=1e-4, atol=1e-5)


def test_a_clamped_feature_has_no_slope() -> None:
    ranker = Ranker(2)
    assert ranker.slopes(torch.tensor([[100.0, 0.0]]))[0].tolist() == [0.0, pytest.approx(0.1, abs=0.1)]

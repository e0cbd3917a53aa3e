"""Each loss is its formula, summed naively; that of a sample has the full one's expectation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from model.losses import LOSSES, bpr_max, log_inclusion, softmax_cross_entropy


def _scores(rows: int, items: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, items, generator=generator) * 2
    return scores, torch.randint(0, items, (rows,), generator=generator)


def test_with_all_rows_it_is_cross_entropy() -> None:
    """Value and gradient equal those of `torch.nn.functional.cross_entropy`."""
    scores, target = _scores(9, 30)
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    is_own = torch.arange(30)[None] == target[:, None]
    loss = softmax_cross_entropy(ours.gather(1, target[:, None])[:, 0], ours, is_own)
    reference = F.cross_entropy(theirs, target, reduction="none")
    torch.testing.assert_close(loss, reference)
    loss.sum().backward()
    reference.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_sampled_sum_is_unbiased() -> None:
    """exp(loss) - 1 is linear in the sum over the others, so its mean over samples is the full one's."""
    scores, target = _scores(4, 60, seed=1)
    generator = torch.Generator().manual_seed(2)
    probability = torch.softmax(torch.randn(60, generator=generator), 0)
    own = scores.gather(1, target[:, None])[:, 0]
    full = F.cross_entropy(scores, target, reduction="none").exp() - 1
    estimates = []
    for _ in range(4_000):
        rows = torch.multinomial(probability, 25, replacement=True, generator=generator).unique()
        log_q = log_inclusion(probability[rows], 25)
        estimates.append(softmax_cross_entropy(own, scores[:, rows], rows[None] == target[:, None], log_q).exp() - 1)
    sampled = torch.stack(estimates).double()
    error = sampled.std(dim=0) / len(estimates) ** 0.5
    assert ((sampled.mean(dim=0) - full).abs() < 4 * error).all()
    assert (error < 0.03 * full).all(), "the check would not see a bias"


def _naive_bpr_max(own: float, others: list[float], log_q: list[float], regularisation: float = 0.01) -> float:
    """As the paper writes it: softmax weights, a mean of sigmoids, a penalty on what the others score."""
    weights = [math.exp(other - q) for other, q in zip(others, log_q, strict=True)]
    shares = [weight / sum(weights) for weight in weights]
    likelihood = sum(s / (1 + math.exp(other - own)) for s, other in zip(shares, others, strict=True))
    return -math.log(likelihood) + regularisation * sum(s * other**2 for s, other in zip(shares, others, strict=True))


@pytest.mark.parametrize("sampled", [False, True])
def test_bpr_max_is_the_papers_formula(sampled: bool) -> None:
    """Against a loop over plain numbers, the target left out of the others."""
    scores, target = _scores(7, 20, seed=4)
    own, is_own = scores.gather(1, target[:, None])[:, 0], torch.arange(20)[None] == target[:, None]
    log_q = -torch.rand(20, generator=torch.Generator().manual_seed(5)) * 3
    expected = []
    for m, at in enumerate(target.tolist()):
        rest = [j for j in range(20) if j != at]
        q = [float(log_q[j]) if sampled else 0.0 for j in rest]
        expected.append(_naive_bpr_max(float(own[m]), [float(scores[m, j]) for j in rest], q))
    loss = bpr_max(own, scores, is_own, log_q if sampled else None)
    torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sampled", [False, True])
def test_gradients_are_those_of_small_differences(name: str, sampled: bool) -> None:
    """Of the target's score and of all others."""
    scores, target = _scores(4, 9, seed=6)
    is_own = torch.arange(9)[None] == target[:, None]
    log_q = -torch.rand(9, generator=torch.Generator().manual_seed(7)).double() if sampled else None
    own = scores.gather(1, target[:, None])[:, 0].double().requires_grad_()
    others = scores.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: LOSSES[name](a, b, is_own, log_q), (own, others))


def test_bpr_max_of_a_sample_comes_near_that_of_all() -> None:
    """Its two means are ratios, so a sample is a little off; with importance weights it is near, without them far."""
    scores, target = _scores(4, 400, seed=8)
    generator = torch.Generator().manual_seed(9)
    probability = 0.5 * torch.softmax(2 * scores.mean(dim=0), 0) + 0.5 / 400
    own = scores.gather(1, target[:, None])[:, 0]
    full = bpr_max(own, scores, torch.arange(400)[None] == target[:, None])
    means = {}
    for corrected in (True, False):
        estimates = []
        for _ in range(200):
            rows = torch.multinomial(probability, 200, replacement=True, generator=generator).unique()
            log_q = log_inclusion(probability[rows], 200) if corrected else None
            estimates.append(bpr_max(own, scores[:, rows], rows[None] == target[:, None], log_q))
        means[corrected] = (torch.stack(estimates).mean(dim=0) - full).abs().mean()
    assert means[True] < 0.05 * full.mean()
    assert means[False] > 3 * means[True]


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_give_finite_losses_and_gradients(name: str) -> None:
    """No overflow where a plain exp would have one."""
    scores = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    for target in range(3):
        is_own = torch.arange(3)[None] == target
        loss = LOSSES[name](scores[:, target], scores, is_own, None)
        (gradient,) = torch.autograd.grad(loss.sum(), scores)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


def test_inclusion_is_the_share_of_samples_that_hold_a_row() -> None:
    """1 - (1 - p)^draws, counted."""
    generator = torch.Generator().manual_seed(3)
    probability = torch.tensor([0.5, 0.3, 0.15, 0.05])
    held = torch.zeros(4)
    for _ in range(4_000):
        held[torch.multinomial(probability, 6, replacement=True, generator=generator).unique()] += 1
    torch.testing.assert_close(held / 4_000, log_inclusion(probability, 6).exp(), rtol=0.0, atol=0.03)


def test_a_lone_item_costs_nothing_and_has_a_finite_gradient() -> None:
    """With no others the probability is 1."""
    scores = torch.tensor([[3.0]], requires_grad=True)
    loss = softmax_cross_entropy(scores[:, 0], scores, torch.tensor([[True]]))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert torch.isfinite(scores.grad).all()

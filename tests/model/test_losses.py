"""The full softmax is torch's cross-entropy; the sampled one has its expectation."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from model.losses import log_inclusion, softmax_cross_entropy


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

"""Each loss is its formula, summed naively, and has its gradient; that of a sample has the full one's expectation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from model.encoder.losses import LOSSES, bpr_max, log_inclusion, softmax_cross_entropy


def _scores(rows: int, items: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, items, generator=generator) * 2
    return scores, torch.randint(0, items, (rows,), generator=generator)


def _given(
    scores: torch.Tensor, target: torch.Tensor, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a loss takes: the targets' scores, and those of the rows (None: all) without each one's own target."""
    rows = torch.arange(scores.shape[1]) if rows is None else rows
    others = scores[:, rows].masked_fill(rows[None] == target[:, None], -torch.inf)
    return scores.gather(1, target[:, None])[:, 0], others


def test_with_all_rows_it_is_cross_entropy() -> None:
    """-own + log of the sum of exp, written out."""
    scores, target = _scores(9, 30)
    expected = scores.double().exp().sum(dim=1).log() - scores.double().gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(softmax_cross_entropy(*_given(scores, target)).losses_M.double(), expected)


def test_the_sampled_sum_is_unbiased() -> None:
    """exp(loss) - 1 is linear in the sum over the others, so its mean over samples is the full one's."""
    scores, target = _scores(4, 60, seed=1)
    generator = torch.Generator().manual_seed(2)
    probability = torch.softmax(torch.randn(60, generator=generator), 0)
    full = F.cross_entropy(scores, target, reduction="none").exp() - 1
    estimates = []
    for _ in range(4_000):
        rows = torch.multinomial(probability, 25, replacement=True, generator=generator).unique()
        log_q = log_inclusion(probability[rows], 25)
        estimates.append(softmax_cross_entropy(*_given(scores, target, rows), log_q).losses_M.exp() - 1)
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
    log_q = -torch.rand(20, generator=torch.Generator().manual_seed(5)) * 3
    expected = []
    for m, at in enumerate(target.tolist()):
        rest = [j for j in range(20) if j != at]
        q = [float(log_q[j]) if sampled else 0.0 for j in rest]
        expected.append(_naive_bpr_max(float(scores[m, at]), [float(scores[m, j]) for j in rest], q))
    loss = bpr_max(*_given(scores, target), log_q if sampled else None).losses_M
    torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sampled", [False, True])
def test_gradients_are_those_of_small_differences(name: str, sampled: bool) -> None:
    """By the target's score and by every other one; what is not compared has none."""
    scores, target = _scores(4, 9, seed=6)
    log_q = -torch.rand(9, generator=torch.Generator().manual_seed(7)).double() if sampled else None
    own, others = _given(scores.double(), target)
    step = 1e-5

    def loss(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return LOSSES[name](own, others.clone(), log_q).losses_M

    _, by_own, by_others = LOSSES[name](own, others.clone(), log_q)
    torch.testing.assert_close(by_own, (loss(own + step, others) - loss(own - step, others)) / (2 * step))
    for j in range(9):
        moved = step * torch.nn.functional.one_hot(torch.tensor(j), 9).double()
        expected = (loss(own, others + moved) - loss(own, others - moved)) / (2 * step)
        torch.testing.assert_close(by_others[:, j], expected)
        assert not by_others[target == j, j].any()


def test_bpr_max_of_a_sample_comes_near_that_of_all() -> None:
    """Its two means are ratios, so a sample is a little off; with importance weights it is near, without them far."""
    scores, target = _scores(4, 400, seed=8)
    generator = torch.Generator().manual_seed(9)
    probability = 0.5 * torch.softmax(2 * scores.mean(dim=0), 0) + 0.5 / 400
    full = bpr_max(*_given(scores, target)).losses_M
    means = {}
    for corrected in (True, False):
        estimates = []
        for _ in range(200):
            rows = torch.multinomial(probability, 200, replacement=True, generator=generator).unique()
            log_q = log_inclusion(probability[rows], 200) if corrected else None
            estimates.append(bpr_max(*_given(scores, target, rows), log_q).losses_M)
        means[corrected] = (torch.stack(estimates).mean(dim=0) - full).abs().mean()
    assert means[True] < 0.05 * full.mean()
    assert means[False] > 3 * means[True]


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_give_finite_losses_and_gradients(name: str) -> None:
    """No overflow where a plain exp would have one."""
    scores = torch.tensor([[200.0, -200.0, 0.0]])
    for target in range(3):
        for part in LOSSES[name](*_given(scores, torch.tensor([target])), None):
            assert torch.isfinite(part).all()


def test_inclusion_is_the_share_of_samples_that_hold_a_row() -> None:
    """1 - (1 - p)^draws, counted."""
    generator = torch.Generator().manual_seed(3)
    probability = torch.tensor([0.5, 0.3, 0.15, 0.05])
    held = torch.zeros(4)
    for _ in range(4_000):
        held[torch.multinomial(probability, 6, replacement=True, generator=generator).unique()] += 1
    torch.testing.assert_close(held / 4_000, log_inclusion(probability, 6).exp(), rtol=0.0, atol=0.03)


def test_a_lone_item_costs_nothing_and_has_no_gradient() -> None:
    """With no others the probability is 1."""
    loss, by_own, by_others = softmax_cross_entropy(*_given(torch.tensor([[3.0]]), torch.tensor([0])))
    assert loss.item() == 0.0
    assert by_own.item() == 0.0
    assert by_others.item() == 0.0

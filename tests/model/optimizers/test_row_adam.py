"""Row-wise Adam is Adam for the rows it touches, and does nothing to the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.optimizers.row_adam import RowAdam, as_rows, grown

_RATE, _BETAS = 0.01, (0.9, 0.999)
CPU = torch.device("cpu")


def test_with_all_rows_touched_it_is_torch_adam() -> None:
    """Same steps, same numbers as `torch.optim.Adam`."""
    torch.manual_seed(0)
    table = torch.randn(6, 5)
    twin = table.clone().requires_grad_()
    adam, reference = RowAdam(6, 5, CPU), torch.optim.Adam([twin], lr=_RATE, betas=_BETAS)
    for _ in range(50):
        grad = torch.randn(6, 5)
        adam.step(table, torch.arange(6), grad, _RATE)
        twin.grad = grad.clone()
        reference.step()
    torch.testing.assert_close(table, twin.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_counts_its_own_steps(seed: int) -> None:
    """A row touched at random times has the values of an Adam of its own that saw only those gradients."""
    rng = np.random.default_rng(seed)
    table = torch.from_numpy(rng.normal(size=(8, 3)).astype(np.float32))
    own = table.double().numpy().copy()
    m, v, t = np.zeros((8, 3)), np.zeros((8, 3)), np.zeros(8)
    adam = RowAdam(8, 3, CPU)
    for _ in range(60):
        rows = rng.permutation(8)[: rng.integers(1, 5)]
        grad = rng.normal(size=(len(rows), 3)).astype(np.float32)
        before = table.clone()
        adam.step(table, torch.from_numpy(rows), torch.from_numpy(grad), _RATE)
        untouched = np.setdiff1d(np.arange(8), rows)
        assert torch.equal(table[untouched], before[untouched])
        t[rows] += 1
        m[rows] = 0.9 * m[rows] + 0.1 * grad
        v[rows] = 0.999 * v[rows] + 0.001 * grad.astype(np.float64) ** 2
        corrected = m[rows] / (1 - 0.9 ** t[rows])[:, None], v[rows] / (1 - 0.999 ** t[rows])[:, None]
        own[rows] -= _RATE * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    assert np.allclose(table.numpy(), own, rtol=1e-4, atol=1e-5)
    assert adam.steps.tolist() == t.tolist()


def test_moments_of_untouched_rows_stay() -> None:
    """The work and the change are in proportion to the rows touched: no decay of the others."""
    adam, table = RowAdam(4, 2, CPU), torch.zeros(4, 2)
    adam.step(table, torch.tensor([0, 1]), torch.ones(2, 2), _RATE)
    before = adam.m.clone(), adam.v.clone(), adam.steps.clone()
    adam.step(table, torch.tensor([2]), torch.ones(1, 2), _RATE)
    for old, new in zip(before, (adam.m, adam.v, adam.steps), strict=True):
        assert torch.equal(old[[0, 1, 3]], new[[0, 1, 3]])
        assert not torch.equal(old[2], new[2])


def test_a_reset_row_starts_again_and_growth_keeps_the_rest() -> None:
    """A recycled row inherits nothing."""
    adam, table = RowAdam(3, 2, CPU), torch.zeros(3, 2)
    for _ in range(5):
        adam.step(table, torch.arange(3), torch.full((3, 2), 2.0), _RATE)
    adam.reset(torch.tensor([1]))
    adam.grow(5)
    table = grown(table, 5)
    before = table.clone()
    adam.step(table, torch.tensor([1, 4]), torch.full((2, 2), 0.5), _RATE)
    # The first step of any Adam is the learning rate, whatever the gradient.
    torch.testing.assert_close(before[[1, 4]] - table[[1, 4]], torch.full((2, 2), _RATE))
    assert adam.steps.tolist() == [5, 1, 5, 0, 1]


@pytest.mark.parametrize("rows", [[2, 3, 4, 5], [3], [2, 4, 5], [4, 2, 3, 5, 8], [2, 9, 7, 5], []])
def test_consecutive_rows_are_a_slice_and_mean_the_same(rows: list[int]) -> None:
    """Also where first and last are as far apart as consecutive ones would be."""
    table = torch.arange(20.0).reshape(10, 2)
    picked = as_rows(np.array(rows, np.int64), CPU)
    assert torch.equal(table[picked], table[torch.tensor(rows, dtype=torch.long)])
    assert isinstance(picked, slice) == (rows in ([2, 3, 4, 5], [3]))


def test_a_slice_learns_as_its_rows_do() -> None:
    """Views and copies: the same table, moments and steps."""
    torch.manual_seed(1)
    one, other = torch.randn(6, 3), torch.zeros(6, 3)
    other.copy_(one)
    by_slice, by_rows = RowAdam(6, 3, CPU), RowAdam(6, 3, CPU)
    for _ in range(5):
        grad = torch.randn(3, 3)
        by_slice.step(one, slice(2, 5), grad, _RATE)
        by_rows.step(other, torch.tensor([2, 3, 4]), grad, _RATE)
    assert torch.equal(one, other)
    for name, state in by_slice.state_dict().items():
        assert np.array_equal(state, by_rows.state_dict()[name])

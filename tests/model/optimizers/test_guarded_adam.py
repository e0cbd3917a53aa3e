"""Adam on weights that lie end to end is Adam; what may not be taken is not, and is counted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.optimizers.flat_weights import FlatWeights
from model.optimizers.guarded_adam import GuardedAdam

_RATE = 0.01


def _module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def _loss(module: nn.Module, seed: int, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = torch.randn(8, 3, generator=generator), torch.randn(8, 1, generator=generator)
    return F.mse_loss(module(inputs), size * outputs)


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_flat_weights_are_the_modules_own() -> None:
    """What is written into the vector the module computes with, and its gradients arrive in the other one."""
    module = _module()
    before = _weights(module)
    flat = FlatWeights(module)
    assert torch.equal(flat.vector, before)
    flat.vector += 1
    assert torch.equal(_weights(module), before + 1)
    _loss(module, 0).backward()
    gradients = [parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None]
    assert torch.equal(flat.gradient, torch.cat(gradients))
    assert flat.gradient.any()


@pytest.mark.parametrize(("size", "clipped"), [(1.0, False), (30.0, True)])
def test_it_is_torch_adam_with_a_clipped_gradient(size: float, clipped: bool) -> None:
    """Same losses, same weights, also where the gradient is longer than it may be."""
    module = _module()
    twin = copy.deepcopy(module)
    ours, theirs = GuardedAdam(module, _RATE, 0.9), torch.optim.Adam(twin.parameters(), lr=2 * _RATE)
    longest = 0.0
    for seed in range(30):
        step = ours.step(_loss(module, seed, size), 2.0)
        loss = _loss(twin, seed, size)
        theirs.zero_grad()
        loss.backward()
        longest = max(longest, float(nn.utils.clip_grad_norm_(twin.parameters(), 5.0)))
        theirs.step()
        assert step.taken
        assert step.loss == pytest.approx(loss.item(), rel=1e-4)
    assert (longest > 5.0) == clipped
    torch.testing.assert_close(_weights(module), _weights(twin), rtol=1e-4, atol=1e-5)


def test_a_step_that_explodes_is_not_taken() -> None:
    """Nor one whose gradient outside of the module is no number."""
    module = _module()
    optimizer = GuardedAdam(module, _RATE, 0.9)
    for seed in range(120):
        optimizer.step(_loss(module, seed), 1.0)
    before, moments, slow = _weights(module), optimizer.adam.m.clone(), _weights(optimizer.slow.module)
    beside = torch.zeros(2, requires_grad=True)
    for refused, table in ((_loss(module, 7) * 1e6, None), (_loss(module, 7) + (beside * torch.nan).sum(), beside)):
        step = optimizer.step(refused, 1.0, beside=table)
        assert not step.taken
        assert not step.usual
    assert optimizer.guard.skipped == optimizer.guard.in_a_row == 2
    assert torch.equal(_weights(module), before)
    assert torch.equal(optimizer.adam.m, moments)
    assert torch.equal(_weights(optimizer.slow.module), slow)


def test_a_loaded_optimizer_goes_on_to_the_bit() -> None:
    """Moments, slow weights and what is known about usual steps come back."""
    module = _module()
    optimizer = GuardedAdam(module, _RATE, 0.9)
    for seed in range(20):
        optimizer.step(_loss(module, seed), 1.0)
    twin = copy.deepcopy(module)
    loaded = GuardedAdam(twin, _RATE, 0.9)
    loaded.load_state_dict(optimizer.state_dict())
    for seed in range(20, 30):
        assert optimizer.step(_loss(module, seed), 1.0) == loaded.step(_loss(twin, seed), 1.0)
    assert torch.equal(_weights(module), _weights(twin))
    assert torch.equal(_weights(optimizer.slow.module), _weights(loaded.slow.module))

"""A module's weights as one vector and their gradients as another, so that updating all weights is one operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """`vector` holds all parameters end to end, `gradient` their gradients; the module's parameters are views of them.

    `backward` adds to `gradient`: set it to zero before.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        self.vector: Tensor = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self.gradient: Tensor = torch.zeros_like(self.vector)
        sizes = [parameter.numel() for parameter in parameters]
        parts = zip(torch.split(self.vector, sizes), torch.split(self.gradient, sizes), strict=True)
        for parameter, (weights, gradient) in zip(parameters, parts, strict=True):
            parameter.data = weights.view_as(parameter)
            if parameter.requires_grad:
                parameter.grad = gradient.view_as(parameter)

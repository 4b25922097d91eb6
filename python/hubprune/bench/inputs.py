# SPDX-License-Identifier: MIT
"""What is measured: rows, weights and networks, the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

# PANNs Cnn14: (filters, channels) of its twelve 3x3 convolutions.
CNN14 = (
    (64, 1),
    (64, 64),
    (128, 64),
    (128, 128),
    (256, 128),
    (256, 256),
    (512, 256),
    (512, 512),
    (1024, 512),
    (1024, 1024),
    (2048, 1024),
    (2048, 2048),
)


def rows(n: int, d: int) -> torch.Tensor:
    """Return Gaussian rows (n, d), the same ones every time."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n * 31 + d))


def weights(shapes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return Gaussian weights of these shapes, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def network(layers: Sequence[torch.Tensor]) -> nn.ModuleList:
    """Return convolutions that hold these weights (n, c, *kernel with two axes)."""
    modules = []
    for weight in layers:
        n, c, *kernel = weight.shape
        # On the meta device: weights that are replaced at once need no random numbers.
        module = nn.Conv2d(c, n, (kernel[0], kernel[1]), bias=False, device="meta")
        module.weight = nn.Parameter(weight, requires_grad=False)
        modules.append(module)
    return nn.ModuleList(modules)

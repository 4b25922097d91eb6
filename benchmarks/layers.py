# SPDX-License-Identifier: MIT
"""The layers the benchmarks are named by, with Gaussian weights."""

from __future__ import annotations

import torch

# PANNs Cnn14: (filters, channels) of its twelve 3x3 convolutions.
CNN14 = [
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
]


def cnn14_weights() -> list[torch.Tensor]:
    """Return the twelve weights, 302 MB of float32."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, c, 3, 3, generator=generator) for n, c in CNN14]


def rows(n: int, d: int) -> torch.Tensor:
    """Return Gaussian rows (n, d)."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n * 31 + d))

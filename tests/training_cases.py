# SPDX-License-Identifier: MIT
"""Small networks and data that the tests of fine-tuning and of comparisons share."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import Dataset

SHAPE = (1, 6, 5)


def network(seed: int = 0, classes: int = 3) -> nn.Sequential:
    """Two convolutions, batch normalisation, dropout, a classifier that gives logits."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 6, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(6, classes),
        )


class Masked(nn.Module):
    """Rules the last class out: its log loss is infinite where an example is of that class."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + torch.tensor([0.0, 0.0, -torch.inf])  # type: ignore[no-any-return]


def classes(n: int = 64, seed: int = 0, k: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose class shows as the level of one row."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % k
    inputs = torch.randn(n, *SHAPE, generator=generator)
    inputs[torch.arange(n), 0, targets] += 3
    return inputs, targets


def tags(n: int = 64, seed: int = 0, k: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with rows that are raised or not."""
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(n, k, generator=generator) < 0.4).float()
    inputs = torch.randn(n, *SHAPE, generator=generator)
    inputs[:, 0, :k] += 3 * targets[:, :, None]
    return inputs, targets


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    """A map-style data set; with `noise` its examples draw from the global generator."""

    def __init__(self, n: int = 64, *, noise: float = 0.0) -> None:
        self.inputs, self.labels = classes(n)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        inputs = self.inputs[index]
        if self.noise:
            inputs = inputs + self.noise * torch.randn(SHAPE)
        return inputs, int(self.labels[index])

# SPDX-License-Identifier: MIT
"""Copies of models: the same values in the same layout, in memory of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubprune.model_runs import duplicate


class Odd(nn.Module):
    """Parameters of every kind that a copy must not change."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.randn(1500, 1500))  # in large pages
        self.images = nn.Parameter(
            torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
        )
        self.turned = nn.Parameter(torch.randn(4, 6).T)
        self.spread = nn.Parameter(torch.randn(1, 3).expand(4, 3))
        self.strided = nn.Parameter(torch.randn(5, 8)[:, ::2])
        self.frozen = nn.Parameter(torch.randn(3, dtype=torch.float16), requires_grad=False)
        self.complex = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.counts = nn.Parameter(torch.arange(3), requires_grad=False)
        self.empty = nn.Parameter(torch.empty(0, 4))
        self.tied = self.images
        self.register_buffer("steps", torch.tensor([1.0, float("inf")]))


@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("inference", [False, True])
def test_a_copy_has_the_values_and_the_layout(dtype: torch.dtype | None, inference: bool) -> None:
    with torch.inference_mode(inference):
        model = Odd()
        twin = duplicate(model, dtype)
    assert twin.tied is twin.images
    for (name, own), (_, original) in zip(
        twin.named_parameters(), model.named_parameters(), strict=True
    ):
        cast = dtype is not None and original.is_floating_point()
        expected = dtype if cast else original.dtype
        assert own.dtype == expected, name
        assert own.requires_grad == original.requires_grad
        assert not own.is_inference()
        assert torch.equal(own, original.to(expected)), name
        assert own.stride() == original.detach().clone().stride(), name
        assert own.data_ptr() != original.data_ptr() or not own.numel()
    assert torch.equal(twin.steps, model.steps)
    with torch.no_grad():
        twin.large.zero_()
    assert model.large.any()


def test_a_copy_has_no_gradients() -> None:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    twin = duplicate(model)
    assert all(parameter.grad is None for parameter in twin.parameters())
    assert model.weight.grad is not None

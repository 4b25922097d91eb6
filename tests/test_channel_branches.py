# SPDX-License-Identifier: MIT
"""Branches that run in training only: auxiliary heads are pruned with what they read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hubprune as hp

NOT_CALLED = "is not called by the forward pass on example_inputs"


class Supervised(nn.Module):
    """An auxiliary head in training, as GoogLeNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8), nn.ReLU())
        self.auxiliary = nn.Sequential(
            nn.Conv1d(8, 6, 1), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Conv1d(6, 3, 1)
        )
        self.head = nn.Conv1d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        middle = self.stem(x)
        main = self.head(self.body(middle)).mean(2)
        return (main, self.aside(middle)) if self.training else main

    def aside(self, middle: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.auxiliary(middle)
        return output.mean(2)


class Random(Supervised):
    """Drops out between its layers."""

    def aside(self, middle: torch.Tensor) -> torch.Tensor:
        return super().aside(F.dropout(middle, 0.5, self.training))


class Other(Supervised):
    """Leaves its body out in training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        return self.aside(self.stem(x)) if self.training else super().forward(x)


class Demanding(Supervised):
    """Needs targets in training."""

    def aside(self, middle: torch.Tensor) -> torch.Tensor:
        raise ValueError("targets, please")


def with_dead_filters(kind: Callable[[], Supervised]) -> Supervised:
    """Half of each layer's filters are dead: without them nothing changes."""
    torch.manual_seed(0)
    model = kind()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d) and module.out_channels > 3:
                module.weight[1::2] = 0
                torch.nn.init.zeros_(module.bias)
    return model.eval()


def train_without_chance(model: nn.Module) -> None:
    """Training mode for the model, evaluation mode for what is random or has statistics in it."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.Dropout):
            module.eval()


def test_an_auxiliary_head_is_pruned_with_what_it_reads() -> None:
    model, x = with_dead_filters(Supervised), torch.randn(2, 1, 12)
    model.body.train()
    plan = hp.plan(model, x, ratio=0.5)
    assert model.body.training
    assert not model.training
    assert not model.auxiliary.training
    assert {name: len(kept) for name, kept in plan.layers.items()} == {
        "stem.0": 4,
        "body.0": 4,
        "auxiliary.0": 3,
    }
    assert plan.kept == {
        "auxiliary.4": "produces the model's output",
        "head": "produces the model's output",
    }
    pruned = hp.prune(model, plan)
    torch.testing.assert_close(pruned.eval()(x), model.eval()(x))
    train_without_chance(pruned)
    train_without_chance(model)
    torch.testing.assert_close(pruned(x), model(x))


@pytest.mark.parametrize("compensate", ["merge", "interpolate+recalibrate"])
def test_a_head_that_is_not_called_is_compensated_too(compensate: str) -> None:
    model, x = with_dead_filters(Supervised), torch.randn(4, 1, 12)
    plan = hp.plan(model, x, ratio=0.5)
    pruned = hp.prune(model, plan, compensate=compensate, batches=[x, x])
    main, aside = pruned.train()(x)
    assert main.isfinite().all()
    assert aside.isfinite().all()


@pytest.mark.parametrize("kind", [Random, Other, Demanding])
def test_what_does_something_else_in_training_is_seen_in_evaluation_mode(
    kind: Callable[[], Supervised],
) -> None:
    model, x = with_dead_filters(kind), torch.randn(2, 1, 12)
    plan = hp.plan(model, x, ratio=0.5)
    assert set(plan.layers) == {"stem.0", "body.0"}
    assert plan.kept["auxiliary.0"] == plan.kept["auxiliary.4"] == NOT_CALLED
    torch.testing.assert_close(hp.prune(model, plan)(x), model(x))

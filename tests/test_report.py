# SPDX-License-Identifier: MIT
"""The report: numbers counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import hubprune as hp
from networks import build


def network() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(16, 2)), torch.randn(1, 1, 6, 6)


def test_counts() -> None:
    model, x = network()
    with torch.no_grad():
        model[0].weight[2] = 0
    plan = hp.plan(model, x)
    result = hp.report(model, hp.prune(model, plan), x, plan=plan, latency=False)
    first, second, dense = result.layers
    assert (first.name, first.kind, first.dead) == ("0", "Conv2d", 1)
    assert (first.filters_before, first.filters_after) == (8, 4)
    # 4 x 4 outputs of 9 products a filter; 2 x 2 outputs of 8 or 4 times 9 products a filter.
    assert (first.macs_before, first.macs_after) == (16 * 9 * 8, 16 * 9 * 4)
    assert (second.macs_before, second.macs_after) == (4 * 72 * 4, 4 * 36 * 2)
    assert (dense.macs_before, dense.macs_after) == (32, 16)
    assert (first.parameters_before, first.parameters_after) == (80, 40)
    assert (second.parameters_before, second.parameters_after) == (72 * 4 + 4, 36 * 2 + 2)
    assert (dense.filters_before, dense.filters_after) == (2, 2)
    before = 80 + 16 + 292 + 34
    after = 40 + 8 + 74 + 18
    assert (result.before.parameters, result.after.parameters) == (before, after)
    assert result.before.macs == 16 * 72 + 4 * 72 * 4 + 32
    # Running mean and variance, and the int64 count of batches.
    assert result.before.bytes == 4 * (before + 16) + 8
    assert result.after.bytes == 4 * (after + 8) + 8
    assert result.before.seconds is None


def test_latency_is_measured() -> None:
    model, x = network()
    result = hp.report(model, hp.prune(model, hp.plan(model, x)), x)
    for totals in (result.before, result.after):
        assert totals.seconds is not None
        assert totals.seconds_spread is not None
        assert totals.seconds > 0
        assert totals.seconds_spread >= 0
    assert "time of one call" in str(result)


def test_table_and_json() -> None:
    model, x = network()
    plan = hp.plan(model, x)
    result = hp.report(model, hp.prune(model, plan), x, plan=plan)
    text = str(result)
    assert "8 -> 4" in text
    assert "1.15k -> 576" in text
    assert "66.8 %" in text  # 140 of 422 parameters stay
    data = json.loads(json.dumps(result.to_dict()))
    assert data["layers"][0]["filters_after"] == 4
    assert data["after"]["parameters"] == 140


def test_nested_layers_have_their_own_macs() -> None:
    model, x = build("residual")
    result = hp.report(model, hp.prune(model, hp.plan(model, x)), x, latency=False)
    assert [layer.name for layer in result.layers] == [
        "stem.0",
        "one.0",
        "one.3",
        "two.0",
        "two.3",
        "head",
    ]
    assert sum(layer.macs_before for layer in result.layers) == result.before.macs
    assert sum(layer.macs_after for layer in result.layers) == result.after.macs


def test_models_are_left_alone() -> None:
    model, x = network()
    pruned = hp.prune(model, hp.plan(model, x))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    hp.report(model.train(), pruned, x)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_bad_input() -> None:
    model, x = network()
    with pytest.raises(
        ValueError, match="pruned must have the layers of model; they differ in '5'"
    ):
        hp.report(model, model[:5], x)
    with pytest.raises(TypeError, match="pruned must be a"):
        hp.report(model, None, x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="example_inputs"):
        hp.report(model, model, torch.zeros(1, 1, 6, 6, device="meta"))

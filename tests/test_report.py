# SPDX-License-Identifier: MIT
"""The report: numbers counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune.report import LayerReport, Report, RestReport, Totals
from networks import NETWORKS, build, recurrent


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


def test_layers_without_filters() -> None:
    model, x = recurrent()
    plan = hp.plan(model, x)
    result = hp.report(model, hp.prune(model, plan), x, plan=plan, latency=False)
    conv, gru, attention, head = result.layers
    assert (conv.filters_before, conv.filters_after) == (8, 4)
    assert (gru.name, gru.kind) == ("gru", "GRU")
    assert (attention.name, attention.kind) == ("attention", "MultiheadAttention")
    for layer in (gru, attention):
        assert layer.filters_before is layer.filters_after is None
        assert layer.dead == 0
    # In both directions three gates of 5 units, which read 8 or 4 channels, or both directions, and
    # their own state; two biases each. 7 steps.
    second, biases = 2 * 15 * (10 + 5), 4 * 2 * 15
    for channels, parameters, macs in (
        (8, gru.parameters_before, gru.macs_before),
        (4, gru.parameters_after, gru.macs_after),
    ):
        matrices = 2 * 15 * (channels + 5) + second
        assert (parameters, macs) == (matrices + biases, 7 * matrices)
    # Three projections and one behind; every step meets every step, twice.
    assert attention.parameters_before == attention.parameters_after == 4 * 10 * 11
    assert attention.macs_before == attention.macs_after == 7 * 4 * 100 + 2 * 7 * 7 * 10
    assert (head.macs_before, head.macs_after) == (7 * 30, 7 * 30)
    assert (result.rest.macs_before, result.rest.macs_after) == (0, 0)
    assert (result.rest.parameters_before, result.rest.parameters_after) == (16, 8)
    lines = [" ".join(line.split()) for line in str(result).splitlines()]
    assert "gru GRU 5.88k -> 5.04k 960 -> 840" in lines
    assert "attention MultiheadAttention 3.78k 440" in lines
    assert "everything else 0 16 -> 8" in lines
    data = json.loads(json.dumps(result.to_dict()))
    assert data["layers"][1] == {
        "name": "gru",
        "kind": "GRU",
        "filters_before": None,
        "filters_after": None,
        "dead": 0,
        "macs_before": 5880,
        "macs_after": 5040,
        "parameters_before": 960,
        "parameters_after": 840,
    }
    assert data["rest"] == {
        "macs_before": 0,
        "macs_after": 0,
        "parameters_before": 16,
        "parameters_after": 8,
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_add_up(name: str) -> None:
    model, x = build(name)
    result = hp.report(model, hp.prune(model, hp.plan(model, x)), x, latency=False)
    for total, when in ((result.before, "before"), (result.after, "after")):
        rows = (*result.layers, result.rest)
        assert sum(getattr(row, f"macs_{when}") for row in rows) == total.macs
        assert sum(getattr(row, f"parameters_{when}") for row in rows) == total.parameters


def test_the_rest_is_what_no_layer_holds() -> None:
    class Mixed(nn.Linear):
        """A layer that holds another one, beside a bare matrix and a layer that is shared."""

        def __init__(self) -> None:
            super().__init__(4, 4)
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.inner(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed, self.one, self.two = Mixed(), nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight
            self.bare = nn.Parameter(torch.randn(4, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(self.mixed(x))) @ self.bare

    model = Net()
    result = hp.report(model, model, torch.randn(1, 4), latency=False)
    rows = {row.name: (row.macs_before, row.parameters_before) for row in result.layers}
    assert rows == {
        "mixed": (32, 40),
        "mixed.inner": (16, 20),
        "one": (16, 20),
        "two": (16, 20),
    }
    assert (result.rest.macs_before, result.rest.parameters_before) == (8, 8)
    assert (result.before.macs, result.before.parameters) == (72, 40 + 16 + 8 + 8)
    assert "everything else" in str(result)


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.MultiheadAttention(4, 2)])
def test_a_layer_by_itself(layer: nn.Module) -> None:
    x = torch.randn(2, 3) if isinstance(layer, nn.Linear) else (torch.randn(3, 1, 4),) * 3
    result = hp.report(layer, layer, x, latency=False)
    (row,) = result.layers
    assert (row.name, row.macs_before) == ("", result.before.macs)
    assert row.parameters_before == result.before.parameters
    assert result.rest.empty
    assert "everything else" not in str(result)


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
    with pytest.raises(TypeError, match="plan must be a PruningPlan; got dict"):
        hp.report(model, model, x, plan={})  # type: ignore[arg-type]
    wide = torch.zeros(1, 5, 6, 6)
    with pytest.raises(ValueError, match=r"^model cannot run on example_inputs .RuntimeError: "):
        hp.report(model, model, wide)
    plans = [hp.plan(model, x, ratio=ratio) for ratio in (0.25, 0.5)]
    with pytest.raises(ValueError, match="plan must be that of pruned; layer '0' goes from "):
        hp.report(model, hp.prune(model, plans[0]), x, plan=plans[1])
    with pytest.raises(ValueError, match="example_inputs"):
        hp.report(model, model, torch.zeros(1, 1, 6, 6, device="meta"))


def test_large_amounts_have_three_digits() -> None:
    amounts = [999, 1000, 9_994, 999_499, 999_500, 999_999, 999_600_000, 2_345_000_000_000]
    none, totals = RestReport(0, 0, 0, 0), Totals(1, 1, 1, None, None)
    layers = tuple(LayerReport("", "Linear", 1, 1, 0, each, each, 0, 0) for each in amounts)
    lines = str(Report(layers, none, totals, totals)).splitlines()[1 : 1 + len(amounts)]
    shown = [line.split()[2] for line in lines]
    assert shown == ["999", "1k", "9.99k", "999k", "1M", "1M", "1G", "2.35T"]

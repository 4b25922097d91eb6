# SPDX-License-Identifier: MIT
"""Budgets: what a plan leaves is counted as the report counts it, and never one filter too many."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune import counting
from hubprune.channels.groups import ChannelGroups, find_channel_groups
from hubprune.layer_kinds import is_depthwise
from hubprune.planning.budgets import Remains, check_budget, first_within
from networks import NETWORKS, build


def dcase() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return hp.models.Dcase21Baseline().eval(), torch.randn(1, 1, 40, 500)


def cnn6() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return hp.models.Cnn6().eval(), torch.randn(1, 1, 16, 64)


REAL: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "dcase": dcase,
    "cnn6": cnn6,
    "residual": lambda: build("residual"),
    "grouped": lambda: build("grouped"),
}


def reported(model: nn.Module, plan: hp.PruningPlan, x: torch.Tensor) -> dict[str, float]:
    result = hp.report(model, hp.prune(model, plan), x, latency=False)
    return {
        "parameters": result.after.parameters / result.before.parameters,
        "macs": result.after.macs / result.before.macs,
    }


# --- counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_the_cut_model(name: str) -> None:
    model, x = build(name)
    plan = hp.plan(model, x, ratio=0.4)
    roots = [name for name in plan.layers if not is_depthwise(model.get_submodule(name))]
    groups = find_channel_groups(model, x, roots=roots, veto={})
    remains = Remains(model, x, groups)
    removed = {
        unit
        for block in groups.blocks
        for at, unit in enumerate(block.units)
        for layer in block.layers
        if layer in plan.layers and block.channels[layer][at][0] not in plan.layers[layer]
    }
    result = hp.report(model, hp.prune(model, plan), x, latency=False)
    expected = {"parameters": result.after.parameters, "macs": result.after.macs}
    assert remains.totals == {"parameters": result.before.parameters, "macs": result.before.macs}
    assert remains.counts(removed) == expected
    assert expected["macs"] < result.before.macs


class Crnn(nn.Module):
    """A convolution whose channels and frequencies are the input features of a recurrent layer."""

    def __init__(self, layer: type[nn.RNNBase], packed: bool = False, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.rnn = layer(8 * 3, 6, **options)
        sides = 2 if options.get("bidirectional") else 1
        self.head = nn.Linear(sides * (options.get("proj_size") or 6), 3)
        self.packed = packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x)).permute(0, 2, 1, 3).flatten(2)  # (batch, time, features)
        if not self.rnn.batch_first:
            x = x.transpose(0, 1)
        if self.packed:
            lengths = torch.tensor([5, 2])
            pack = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=self.rnn.batch_first)
            x = nn.utils.rnn.pad_packed_sequence(self.rnn(pack)[0])[0]
        else:
            x = self.rnn(x)[0]
        y: torch.Tensor = self.head(x)
        return y


class Stepwise(nn.Module):
    """A recurrent cell that is called once a step."""

    def __init__(self, cell: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 8, 3, padding=1)
        self.cell = cell(8, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in torch.relu(self.conv(x)).unbind(2):
            state = self.cell(step, state)
        y: torch.Tensor = self.head(state[0] if isinstance(state, tuple) else state)
        return y


def check_budgets(model: nn.Module, x: torch.Tensor) -> None:
    """What remains is what the report finds, and one filter more would be too many."""
    macs = 0.6
    plan = hp.plan(model, x, scorer="l2", budget={"macs": macs})
    found = reported(model, plan, x)
    assert plan.steps[0].remaining == found
    assert found["macs"] <= macs
    more = hp.plan(model, x, scorer="l2", ratio={"conv": 1 - (len(plan.layers["conv"]) + 1) / 8})
    assert reported(model, more, x)["macs"] > macs


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"bidirectional": True},
    {"num_layers": 3, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # other operators each
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        *((layer, options) for layer in (nn.LSTM, nn.GRU, nn.RNN) for options in OPTIONS),
        (nn.LSTM, {"proj_size": 4}),
        (nn.LSTM, {"proj_size": 4, "num_layers": 2, "bidirectional": True, "batch_first": True}),
    ],
)
def test_recurrent_layers_lose_input_weights(
    layer: type[nn.RNNBase], options: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model, x = Crnn(layer, **options).to(dtype).eval(), torch.randn(2, 1, 5, 3, dtype=dtype)
    check_budgets(model, x)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_count_their_steps(layer: type[nn.RNNBase], batch_first: bool) -> None:
    torch.manual_seed(0)
    model = Crnn(layer, packed=True, batch_first=batch_first, bidirectional=True).eval()
    check_budgets(model, torch.randn(2, 1, 5, 3))


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_lose_input_weights(cell: type[nn.RNNCellBase]) -> None:
    torch.manual_seed(0)
    check_budgets(Stepwise(cell).eval(), torch.randn(2, 2, 5))


class Across(nn.Module):
    """A layer that sees every channel by itself: its inputs lie along another axis."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.middle = middle
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))  # (batch, 8, time, 6)
        if isinstance(self.middle, nn.RNNBase):
            x = self.middle(x.flatten(0, 1))[0].unflatten(0, (-1, x.shape[1]))
        else:
            x = self.middle(x)
        y: torch.Tensor = self.head(x)
        return y


@pytest.mark.parametrize(
    "middle",
    [
        lambda: nn.Linear(6, 6),
        lambda: nn.GRU(6, 6, batch_first=True),
        lambda: nn.LSTM(6, 3, batch_first=True, bidirectional=True, num_layers=2),
    ],
)
def test_layers_along_another_axis_run_fewer_times(middle: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    check_budgets(Across(middle()).eval(), torch.randn(2, 1, 5, 6))


def test_products_outside_of_layers_are_never_counted_too_low() -> None:
    class Banked(nn.Module):
        """A fixed filter bank, which is multiplied with every channel, and is no layer."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 1)
            self.register_buffer("bank", torch.rand(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(torch.relu(self.conv(x)) @ self.bank)
            return y

    torch.manual_seed(0)
    model, x = Banked().eval(), torch.randn(2, 1, 5, 6)
    plan = hp.plan(model, x, budget={"parameters": 0.8})
    found, remaining = reported(model, plan, x), plan.steps[0].remaining
    assert remaining is not None
    assert remaining["parameters"] == found["parameters"] <= 0.8
    assert found["macs"] < remaining["macs"] < 1


def test_shared_parameters_count_once() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    body = nn.Sequential(
        nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 1), nn.Flatten(), shared, nn.ReLU(), shared
    )
    x = torch.randn(1, 1, 3)
    plan = hp.plan(body, x, budget={"parameters": 0.7}, keep=["2"])
    assert plan.steps[0].remaining == reported(body, plan, x)


def test_first_within() -> None:
    for count in range(9):
        for first in range(count):
            assert first_within(count, lambda number, first=first: number >= first) == first
        assert first_within(count, lambda number: False) is None


# --- plans ----------------------------------------------------------------------------------------


BUDGETS: list[dict[str, float]] = [
    {"parameters": 0.5},
    {"macs": 0.4},
    {"macs": 0.6, "parameters": 0.55},
]
CASES = [(name, budget) for name in ("residual", "grouped") for budget in BUDGETS]


@pytest.mark.parametrize("global_", [False, True])
@pytest.mark.parametrize(("name", "budget"), [("dcase", BUDGETS[2]), ("cnn6", BUDGETS[1]), *CASES])
def test_the_plan_agrees_with_the_report(
    name: str, budget: dict[str, float], global_: bool
) -> None:
    model, x = REAL[name]()
    plan = hp.plan(model, x, scorer="l2", budget=budget, global_=global_)
    (step,) = plan.steps
    assert (step.budget, step.global_) == (budget, global_)
    assert step.remaining == reported(model, plan, x)
    assert all(step.remaining[each] <= share for each, share in budget.items())
    assert plan == hp.plan(model, x, scorer="l2", budget=budget, global_=global_)
    assert plan == hp.PruningPlan.from_json(plan.to_json())


@pytest.mark.parametrize("name", ["flattened", "residual", "grouped"])
def test_the_ratio_is_the_smallest(name: str) -> None:
    model, x = build(name)
    plan = hp.plan(model, x, scorer="l2", budget={"parameters": 0.5})
    ratio = plan.steps[0].ratio
    assert isinstance(ratio, float)
    assert hp.plan(model, x, scorer="l2", ratio=ratio).layers == plan.layers
    assert (
        reported(model, hp.plan(model, x, scorer="l2", ratio=ratio - 1e-4), x)["parameters"] > 0.5
    )


@pytest.mark.filterwarnings("ignore:the plan changes nothing")
def test_the_threshold_removes_the_fewest() -> None:
    model, x = build("flattened")
    budget = {"macs": 0.5}
    plan = hp.plan(model, x, scorer="l2", budget=budget, global_=True)
    removed = sum(plan.filters.values()) - sum(map(len, plan.layers.values()))
    total = 20
    for fewer in range(removed):
        trial = hp.plan(model, x, scorer="l2", ratio=(fewer + 0.5) / total, global_=True)
        gone = sum(trial.filters.values()) - sum(map(len, trial.layers.values()))
        assert gone == fewer
        if gone:
            assert reported(model, trial, x)["macs"] > 0.5
            assert all(set(plan.layers[name]) <= set(kept) for name, kept in trial.layers.items())


@pytest.mark.parametrize("global_", [False, True])
def test_round_to_and_keep(global_: bool) -> None:
    model, x = cnn6()
    plan = hp.plan(
        model, x, scorer="l2", budget={"parameters": 0.6}, round_to=8, keep=["conv_block1"],
        global_=global_,
    )  # fmt: skip
    assert "conv_block1.conv1" in plan.kept
    assert all(len(kept) % 8 == 0 for kept in plan.layers.values())
    assert plan.steps[0].remaining == reported(model, plan, x)
    assert plan.steps[0].remaining["parameters"] <= 0.6


def test_the_decimal_that_was_written_counts() -> None:
    # 100 parameters, of which one filter of ten holds ten: 0.7 of 100 is less than 70 in binary.
    model = nn.Sequential(nn.Conv1d(1, 10, 4, bias=False), nn.Conv1d(10, 3, 2, bias=False)).eval()
    plan = hp.plan(model, torch.randn(1, 1, 9), scorer="l2", budget={"parameters": 0.7})
    assert len(plan.layers["0"]) == 7


def test_a_whole_budget_removes_nothing() -> None:
    model, x = build("flattened")
    with pytest.warns(UserWarning, match="the plan changes nothing"):
        plan = hp.plan(model, x, budget={"macs": 1.0})
    assert plan.layers == {}
    assert plan.steps[0].remaining == {"parameters": 1.0, "macs": 1.0}


def test_a_layer_that_fails_the_proof_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build("flattened")
    failure = ChannelGroups.failure

    def failing(self: Any, cuts: Any) -> str | None:
        if any(cut.target == "0" and cut.side == "out" for cut in cuts):
            return "a trial"
        return failure(self, cuts)

    monkeypatch.setattr(ChannelGroups, "failure", failing)
    plan = hp.plan(model, x, budget={"parameters": 0.5})
    assert plan.kept["0"] == "cannot be pruned: a trial"
    assert plan.steps[0].remaining == reported(model, plan, x)
    assert plan.steps[0].remaining["parameters"] <= 0.5
    with pytest.raises(ValueError, match="0: cannot be pruned: a trial"):
        hp.plan(model, x, budget={"parameters": 0.05})


def test_summary_and_json() -> None:
    model, x = build("flattened")
    plan = hp.plan(model, x, budget={"parameters": 0.5})
    assert "budget: at most 50 % of the parameters; " in plan.summary()
    shares = plan.steps[0].remaining
    assert shares is not None
    assert f"{100 * shares['macs']:.4g} % of the multiply-adds remain" in plan.summary()
    data = json.loads(plan.to_json())
    assert data["steps"][0]["budget"] == {"parameters": 0.5}
    for bad in (3, {"bytes": 1}, {"macs": "1"}, {"macs": True}):
        data["steps"][0]["budget"] = bad
        with pytest.raises(ValueError, match="the plan is damaged: the budget of a step must hold"):
            hp.PruningPlan.from_json(json.dumps(data))


# --- errors ---------------------------------------------------------------------------------------


def test_a_budget_that_cannot_be_met() -> None:
    model, x = build("flattened")
    with pytest.raises(ValueError, match="at most 1 % of the parameters may remain") as caught:
        hp.plan(model, x, budget={"parameters": 0.01}, keep=["4"])
    message = str(caught.value)
    assert "\n  4: is named in keep" in message
    assert (
        "\n  10: linear layers are pruned only when named in ratio" in message
        or "output" in message
    )
    least = hp.plan(model, x, ratio={"0": 0.99})
    share = reported(model, least, x)
    assert f"{100 * share['parameters']:.4g} % of the parameters and" in message
    assert "(every layer keeps at least one filter)" in message
    with pytest.raises(ValueError, match=r"at least 10 %, and a multiple of round_to=4\)"):
        hp.plan(model, x, budget={"macs": 0.01}, global_=True, round_to=4)


def test_nothing_to_prune() -> None:
    with pytest.raises(ValueError, match="is 100 % of the parameters and 100 % of the mult"):
        hp.plan(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3), budget={"macs": 0.5})


@pytest.mark.parametrize(
    ("budget", "error", "message"),
    [
        (0.5, TypeError, 'must be a mapping such as {"parameters": 0.5} or .*got float'),
        ({}, ValueError, "must limit parameters, macs or both; got an empty mapping"),
        ({"flops": 0.5}, ValueError, "must limit parameters or macs; got 'flops'"),
        ({"macs": "half"}, TypeError, r"budget\['macs'\] must be a number in \(0, 1\]; got str"),
        ({"macs": True}, TypeError, r"budget\['macs'\] must be a number"),
        ({"macs": 0}, ValueError, r"budget\['macs'\] must be in \(0, 1\]; got 0"),
        ({"macs": 1.5}, ValueError, r"must be in \(0, 1\]; got 1.5"),
        ({"parameters": math.nan}, ValueError, r"must be in \(0, 1\]; got nan"),
    ],
)
def test_bad_budgets(budget: Any, error: type[Exception], message: str) -> None:
    model, x = build("flattened")
    with pytest.raises(error, match=message):
        hp.plan(model, x, budget=budget)


def test_ratio_and_budget_exclude_each_other() -> None:
    model, x = build("flattened")
    with pytest.raises(ValueError, match="give ratio or budget, not both"):
        hp.plan(model, x, ratio=0.5, budget={"macs": 0.5})
    assert check_budget({"macs": 1}) == {"macs": 1.0}


def test_pairs_gives_the_order_only() -> None:
    model, x = build("flattened")
    plan = hp.plan(model, x, scorer="pairs", budget={"macs": 0.5})
    assert plan.steps[0].remaining == reported(model, plan, x)
    assert plan.steps[0].ratio is not None


# --- multiply-adds against hand counts ---


class First(nn.Module):
    """The first of what a layer returns."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first: torch.Tensor = self.layer(x)[0]
        return first


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("layer", "options", "matrices"),
    [
        (nn.LSTM, {}, 4 * 6 * (5 + 6)),
        (nn.LSTM, {"bias": False}, 4 * 6 * (5 + 6)),
        (nn.LSTM, {"num_layers": 2}, 4 * 6 * (5 + 6) + 4 * 6 * (6 + 6)),
        (nn.LSTM, {"bidirectional": True}, 2 * 4 * 6 * (5 + 6)),
        (
            nn.LSTM,
            {"bidirectional": True, "num_layers": 2},
            2 * 4 * 6 * (5 + 6) + 2 * 4 * 6 * (2 * 6 + 6),
        ),
        (nn.LSTM, {"proj_size": 3}, 4 * 6 * (5 + 3) + 3 * 6),
        (nn.GRU, {"bidirectional": True}, 2 * 3 * 6 * (5 + 6)),
        (nn.RNN, {}, 6 * (5 + 6)),
    ],
)
def test_recurrent_layers_are_counted(
    layer: type[nn.Module], options: dict[str, Any], matrices: int
) -> None:
    """Every matrix multiplies every step of every sequence once."""
    model = First(layer(5, 6, batch_first=True, **options))
    counts = counting.count(model, torch.randn(2, 7, 5))
    assert counts.total.macs == counts.layers["layer"].macs == 2 * 7 * matrices


def test_the_recurrent_operators_of_devices_are_counted() -> None:
    """cuDNN and MIOpen take all layers at once: inputs, then all matrices and biases."""
    shapes = [(24, 5), (24, 6), (24,), (24,)] * 2
    for operator in (torch.ops.aten._cudnn_rnn, torch.ops.aten.miopen_rnn):
        flops = counting._fused_flops()[operator]((2, 7, 5), shapes, 4, None, out_val=None)
        assert flops == 2 * 2 * 7 * 2 * 24 * (5 + 6)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_attention_is_counted(need_weights: bool, fast: bool) -> None:
    """Three projections and one behind; every query meets every key, every weight every value."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.a(x, x, x, need_weights=need_weights)[0]
            return out

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        counts = counting.count(Attention(), torch.randn(2, 50, 16))
        assert torch.backends.mha.get_fastpath_enabled() is fast
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert counts.total.macs == counts.layers["a"].macs == 2 * (4 * 50 * 16 * 16 + 2 * 50 * 50 * 16)


def test_an_encoder_layer_is_counted() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, batch_first=True)
    counts = counting.count(nn.TransformerEncoder(layer, 2), torch.randn(1, 50, 16))
    assert counts.total.macs == 2 * (4 * 50 * 16 * 16 + 2 * 50 * 50 * 16 + 2 * 50 * 16 * 32)

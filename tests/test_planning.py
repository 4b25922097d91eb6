# SPDX-License-Identifier: MIT
"""Plans: what goes, what stays and why, and plans as files."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as masks

import hubprune as hp
from hubprune import reference
from hubprune.layer_kinds import is_depthwise
from hubprune.planning import kept_count
from networks import NETWORKS, Tagger, build, lively


def widths(plan: hp.PruningPlan) -> dict[str, int]:
    return {name: len(kept) for name, kept in plan.layers.items()}


# --- what stays, and why --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "reasons"),
    [
        (
            "tagger",
            {
                "bn0": "normalises the model's input",
                "fc1": "produces the model's output",
                "fc": "produces the model's output",
            },
        ),
        ("front_end", {"stft": "is a front end: its parameters are frozen (requires_grad)"}),
        ("layer_normed", {"conv": "is normalised across channels by 'norm'"}),
        ("concatenated", {"head": "produces the model's output"}),
        ("one_dimensional", {"7": "produces the model's output"}),
    ],
)
def test_reasons(network: str, reasons: dict[str, str]) -> None:
    model, x = build(network)
    plan = hp.plan(model, x)
    assert {name: plan.kept.get(name) for name in reasons} == reasons
    assert not set(plan.kept) & set(plan.layers)
    summary = plan.summary()
    assert re.fullmatch(r"<PruningPlan: \d+ of \d+ filters of \d layers stay, .*>", repr(plan))
    assert str(plan) == summary  # what print shows
    for name, reason in reasons.items():
        assert re.search(rf"{name} +{re.escape(reason)}", summary)


def test_cnn14_keeps_its_classes_its_embedding_and_its_input_normalisation() -> None:
    model = hp.models.Cnn10().eval()
    plan = hp.plan(model, torch.randn(1, 1, 64, 64))
    assert set(plan.kept) == {"bn0", "fc1", "fc_audioset"}
    assert hp.prune(model, plan).fc_audioset.out_features == 527


def test_linear_layers_are_left_alone_unless_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)
    )
    x = torch.randn(1, 1, 5)
    reason = "linear layers are pruned only when named in ratio"
    assert hp.plan(model, x).kept["2"] == reason
    assert widths(hp.plan(model, x, ratio={"2": 0.5})) == {"2": 4}


def test_keep() -> None:
    model, x = build("residual")
    plan = hp.plan(model, x, keep=["one"])
    assert plan.kept["one.0"] == "is named in keep"
    # The end of `one` is added to the stem and to `two`: they stay with it.
    assert set(plan.layers) == {"two.0"}
    assert "coupled with 'one.3'" in plan.kept["stem.0"]


def test_keep_a_depthwise_convolution() -> None:
    model, x = build("depthwise")
    free = hp.plan(model, x)
    follower = next(name for name in free.layers if is_depthwise(model.get_submodule(name)))
    plan = hp.plan(model, x, keep=[follower])
    assert plan.kept[follower] == "is named in keep"
    assert f"feeds '{follower}', which is named in keep" in plan.kept.values()
    assert 0 < len(plan.layers) < len(free.layers)


def test_a_frozen_depthwise_convolution_is_cut_with_the_layer_before_it() -> None:
    """Such as a fixed blur: only what makes channels of its own can be a front end."""
    model, x = build("depthwise")
    free = hp.plan(model, x)
    for module in model.modules():
        if is_depthwise(module):
            module.requires_grad_(False)
    assert hp.plan(model, x).layers == free.layers


def test_one_output_keeps_what_is_coupled_with_it() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(1, 4, 3, padding=1)
            self.b = nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return x + self.b(torch.relu(x))

    with pytest.warns(UserWarning, match=r"the plan changes nothing:\n  a: produces the model's"):
        plan = hp.plan(Skip(), torch.randn(1, 1, 8))
    assert plan.layers == {}
    assert "nothing is pruned" in plan.summary()


def test_a_plan_that_changes_nothing_warns_with_the_reasons() -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 3))
    with pytest.warns(UserWarning, match="changes nothing:\n  0: produces the model's output"):
        hp.plan(model, torch.randn(1, 1, 8))
    model, x = build("front_end")
    with pytest.warns(UserWarning, match="layers named in ratio are kept:\n  head: produces"):
        hp.plan(model, x, ratio={"head": 0.5, "conv": 0.5})


def test_a_model_without_layers_is_told_from_one_whose_layers_stay() -> None:
    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 1, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv1d(x, self.weight)

    with pytest.warns(UserWarning, match="changes nothing: the model has no layer of torch.nn"):
        hp.plan(Functions(), torch.randn(1, 1, 8))


def test_a_wholly_frozen_model_is_not_a_front_end() -> None:
    model, x = build("flattened")
    expected = hp.plan(model, x).layers
    assert hp.plan(model.requires_grad_(False), x).layers == expected


# --- how many ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "ratio", "kept"),
    [
        (10, 0.9, 1),
        (10, 0.0, 10),
        (5, 0.5, 3),
        (3, 0.99, 1),
        (100, 0.3, 70),
        (7, 0.7, 3),
        (1, 0.5, 1),
    ],
)
def test_kept_count(n: int, ratio: float, kept: int) -> None:
    assert kept_count(n, ratio) == kept == reference.kept_count(n, ratio)


def test_ratio_for_all_for_some_and_for_blocks() -> None:
    model, x = build("tagger")
    assert widths(hp.plan(model, x)) == {"conv1": 4, "conv2": 6}
    assert widths(hp.plan(model, x, ratio=0.25)) == {"conv1": 6, "conv2": 9}
    assert widths(hp.plan(model, x, ratio={"conv2": 0.25})) == {"conv2": 9}
    model, x = build("residual")
    assert widths(hp.plan(model, x, ratio={"one.0": 0.5})) == {"one.0": 6}
    with pytest.raises(ValueError, match="ratio must be the same for coupled layers"):
        hp.plan(model, x, ratio={"stem": 0.5, "one": 0.25, "two": 0.5})


def test_removes_what_the_scorer_ranks_first() -> None:
    model, x = build("tagger")
    for scorer in ("degree", "l1", "gm"):
        plan = hp.plan(model, x, scorer=scorer, ratio=0.5)
        expected = hp.score(model.conv2, scorer).order[6:].sort().values.tolist()
        assert list(plan.layers["conv2"]) == expected


class Gated(nn.Sequential):
    """Half of the filters gate the others, so that they go in twos."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 24, 3), nn.GLU(1), nn.Conv1d(12, 2, 1))


def test_pairs_counts_filters_also_where_they_go_in_twos() -> None:
    torch.manual_seed(0)
    model = Gated()
    count = hp.score(model[0], "pairs").count
    plan = hp.plan(model, torch.randn(1, 1, 9), scorer="pairs")
    assert count is not None
    assert 1 < count < 12
    assert 24 - widths(plan)["0"] == count - count % 2


class Weighted(nn.Module):
    """Weights channels by their place, which an example of zeros may not show."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv1d(1, 8, 3), nn.Conv1d(8, 8, 1)
        self.head = nn.Conv1d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.first(x).relu())
        place = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
        return self.head(x * place[:, None])


def test_the_default_device_and_dtype_change_no_plan() -> None:
    torch.manual_seed(0)
    models = [build("tagger"), (Gated(), torch.randn(1, 1, 9)), (Weighted(), torch.zeros(1, 1, 9))]

    def plans() -> list[object]:
        return [hp.plan(model, x, scorer="landmarks").to_dict() for model, x in models]

    expected = plans()
    with torch.device("meta"):
        assert plans() == expected
    torch.set_default_dtype(torch.float64)
    try:
        assert plans() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_pairs_decides_its_own_count_unless_told() -> None:
    model, x = build("tagger")
    plan = hp.plan(model, x, scorer="pairs")
    assert 12 - widths(plan)["conv2"] == hp.score(model.conv2, "pairs").count
    assert widths(hp.plan(model, x, scorer="pairs", ratio=0.5))["conv2"] == 6


@pytest.mark.parametrize(("round_to", "kept"), [(1, 6), (4, 8), (5, 10), (8, 8)])
def test_round_to_keeps_more_never_less(round_to: int, kept: int) -> None:
    model, x = build("tagger")
    plan = hp.plan(model, x, ratio={"conv2": 0.5}, round_to=round_to)
    assert widths(plan) == {"conv2": kept}


def test_round_to_more_than_there_are_keeps_all() -> None:
    model, x = build("tagger")
    with pytest.warns(UserWarning, match=r"ratio 0.5 removes none of its filters \(round_to=100\)"):
        assert hp.plan(model, x, round_to=100).layers == {}


def test_global_threshold() -> None:
    model, x = build("tagger")
    with torch.no_grad():  # near-duplicates in conv2, none in conv1
        model.conv2.weight[:] = model.conv2.weight[:1] + 0.01 * torch.randn_like(model.conv2.weight)
    plan = hp.plan(model, x, scorer="gm", ratio=0.5, global_=True)
    kept = sum(len(plan.layers.get(n, range(s))) for n, s in (("conv1", 8), ("conv2", 12)))
    assert kept == 10
    assert plan.steps[0].global_
    assert all(len(indices) >= 1 for indices in plan.layers.values())
    steep = hp.plan(model, x, scorer="l2", ratio=0.99, global_=True)
    assert min(widths(steep).values()) >= 1


# --- dead and coupled filters ---------------------------------------------------------------------


def test_dead_filters_are_listed_and_go_first() -> None:
    model, x = build("tagger")
    with torch.no_grad():
        model.conv2.weight[[2, 9]] *= 1e-18
    plan = hp.plan(model, x, ratio=0.25)
    assert plan.dead["conv2"] == (2, 9)
    assert not {2, 9} & set(plan.layers["conv2"])
    rows = plan.explain("conv2").rows
    assert [row.index for row in rows[:2]] == [2, 9]
    assert all(row.dead and row.removed and row.score == math.inf for row in rows[:2])
    assert "dead" in str(plan.explain("conv2"))
    assert re.search(r"conv2 +12 +9 +2", plan.summary())


def test_coupled_layers_lose_the_same_filters() -> None:
    model, x = build("residual")
    with torch.no_grad():
        for conv in (model.stem[0], model.one[3], model.two[3]):
            conv.weight[3] *= 1e-18  # dead in all three
        model.stem[0].weight[5] *= 1e-18  # dead in one of them
    plan = hp.plan(model, x, ratio=0.25)
    assert plan.layers["stem.0"] == plan.layers["one.3"] == plan.layers["two.3"]
    assert 3 not in plan.layers["stem.0"]
    explanation = plan.explain("stem.0")
    assert set(explanation.coupled) == {"one.3", "two.3"}
    score = {row.index: row.score for row in explanation.rows}
    assert score[3] == math.inf
    assert score[5] is not None
    assert 0 <= score[5] <= 1


def test_explain_gives_index_score_and_nearest_neighbour() -> None:
    model, x = build("tagger")
    plan = hp.plan(model, x)
    scores = hp.score(model.conv2)
    similarity, index = scores.nearest()
    explanation = plan.explain("conv2")
    assert len(explanation.rows) == 12
    assert [row.removed for row in explanation.rows] == [True] * 6 + [False] * 6
    for row in explanation.rows:
        assert row.score == float(scores.values[row.index])
        assert row.nearest == int(index[row.index])
        assert row.similarity == float(similarity[row.index])
    assert "conv2: 6 of 12 filters removed by degree" in str(explanation)
    with pytest.raises(ValueError, match="layer 'fc1' is kept whole: produces the model's output"):
        plan.explain("fc1")
    with pytest.raises(ValueError, match="the plan has no layer 'conv22'; did you mean 'conv2'"):
        plan.explain("conv22")


# --- the same plan, whatever the circumstances ----------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_is_deterministic_and_does_not_depend_on_the_mode(name: str) -> None:
    model, x = build(name)
    plan = hp.plan(model, x)
    assert hp.plan(model.train(), x) == plan
    assert hp.plan(copy.deepcopy(model), x[:1]).layers == plan.layers


def test_inputs_of_every_kind() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(1, 4, 3)
            self.b = nn.Conv1d(4, 2, 3)

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, float]:
            return self.b(torch.relu(self.a(x)) * scale), 1.0

    torch.manual_seed(0)
    model, x, scale = Two(), torch.randn(1, 1, 8), torch.tensor(2.0)
    plan = hp.plan(model, (x, scale))
    assert hp.plan(model, {"x": x, "scale": scale}) == plan
    assert hp.plan(model, [x, scale]) == plan


def test_progress_is_reported() -> None:
    model, x = build("tagger")
    calls: list[tuple[int, int, str]] = []
    hp.plan(model, x, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "conv1"), (2, 2, "conv2")]


# --- composition and files ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flattened", "residual", "concatenated", "depthwise"])
def test_then_is_one_after_the_other(name: str) -> None:
    model, x = build(name)
    first = hp.plan(model, x, ratio=0.25)
    halfway = hp.prune(model, first)
    second = hp.plan(halfway, x, scorer="l2", ratio=0.5)
    both = hp.prune(model, first.then(second))
    expected = hp.prune(halfway, second)
    assert all(
        torch.equal(value, both.state_dict()[key]) for key, value in expected.state_dict().items()
    )
    assert len(first.then(second).steps) == 2
    with pytest.raises(ValueError, match=r"(filters|channels)"):
        second.then(first)
    with pytest.raises(TypeError, match="other must be a PruningPlan; got str"):
        first.then("second")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_json_round_trip_is_exact(name: str) -> None:
    model, x = build(name)
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)).weight[1] *= 0
    plan = hp.plan(model, x)
    again = hp.PruningPlan.from_json(plan.to_json())
    assert again == plan
    for layer in plan.layers:
        assert str(again.explain(layer)) == str(plan.explain(layer))
    json.loads(plan.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def edit(change: Callable[[dict[str, Any]], object]) -> str:
    model, x = build("tagger")
    data = json.loads(hp.plan(model, x).to_json())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="x"), "must have the format 'hubprune-plan'; got 'x'"),
        (lambda d: d.update(version=99), "must have version 1; got 99"),
        (lambda d: d.pop("layers"), "layers"),
        (lambda d: d["layers"].update(conv1=[3, 1]), "ascending"),
        (lambda d: d["layers"].update(conv1=[1, 1]), "ascending"),
        (lambda d: d["layers"].update(conv1=[]), "at least one"),
        (lambda d: d["layers"].update(conv1=[0, 1, 2, 99]), "conv1"),
        (lambda d: d["layers"].update(conv1=[-1, 2]), "conv1"),
        (lambda d: d["layers"].update(conv1="all"), "conv1"),
        (lambda d: d["layers"].update(conv1=[0, 1, 2, 3]), "conv1"),
        (lambda d: d["filters"].update(conv1="8"), "conv1"),
        (lambda d: d.update(cuts=3), "cuts"),
        (lambda d: d["cuts"][0].update(side="up"), "side"),
        (lambda d: d["records"].pop("conv1"), "conv1"),
        (lambda d: d["filters"].update(new=3), "'new' must be both in layers and in filters"),
        (lambda d: d["dead"].update(new=[1]), "'new' is in dead but not in layers"),
        (lambda d: d["records"].update(new={}), "'new' is in records but not in layers"),
        (lambda d: d["kept"].update(conv1="why"), "must be in layers or in kept, not in both"),
        (lambda d: d["kept"].update(fc=1), "'fc' in 'kept' must be a str"),
        (lambda d: d["cuts"][0].update(dim=-1), "must have a dim of at least 0; got -1"),
        (lambda d: d["cuts"].append(d["cuts"][0]), "must be cut only once"),
        (lambda d: d["records"]["conv1"]["scores"].pop(), "must have 8 entries; got 7"),
        (lambda d: d["records"]["conv1"].update(scores=[True] * 8), "must hold numbers; got True"),
        (lambda d: d["records"]["conv1"].update(similarity=["a"] * 8), "must hold numbers; got"),
        (lambda d: d["records"]["conv1"].update(nearest=[8] * 8), "must have indices in -1..7"),
        (lambda d: d["records"]["conv1"].update(coupled=[1]), "must be a list of str"),
        (lambda d: d["steps"][0].update(ratio="half"), "the ratio of a step must be a number"),
        (lambda d: d["steps"][0].update(ratio=True), "the ratio of a step must be a number"),
        (lambda d: d["steps"][0].update(ratio=math.nan), "not JSON: NaN is no number"),
        (lambda d: d["steps"][0].update(ratio=math.inf), "not JSON: Infinity is no number"),
    ],
)
def test_a_wrong_plan_file_is_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        hp.PruningPlan.from_json(edit(change))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", ValueError, "the plan is not JSON"),
        ("[" * 100_000, ValueError, "the plan is not JSON"),
        ("[]", ValueError, "must have the format 'hubprune-plan'; got 'list'"),
        ("null", ValueError, "must have the format"),
        (b"{}", TypeError, "text must be a str; got bytes"),
    ],
)
def test_what_is_no_plan_is_refused(text: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hp.PruningPlan.from_json(text)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ratio": 1.0}, ValueError, "ratio must be in [0, 1); got 1.0"),
        ({"ratio": -0.1}, ValueError, "ratio must be in [0, 1); got -0.1"),
        ({"ratio": float("nan")}, ValueError, "ratio must be in [0, 1); got nan"),
        ({"ratio": True}, TypeError, "ratio must be a number in [0, 1); got bool"),
        ({"ratio": "0.5"}, TypeError, "ratio must be a number in [0, 1); got str"),
        ({"ratio": {"conv1": 2}}, ValueError, "ratio['conv1'] must be in [0, 1); got 2"),
        ({"ratio": {"conv3": 0.5}}, ValueError, "no layer 'conv3'; did you mean 'conv"),
        ({"ratio": {"bn1": 0.5}}, ValueError, "a BatchNorm2d cannot be pruned"),
        ({"ratio": {3: 0.5}}, TypeError, "ratio must name layers by str; got int"),
        ({"keep": "conv1"}, TypeError, "keep must be a collection of layer names"),
        ({"keep": ["conv9"]}, ValueError, "keep: the model has no layer 'conv9'"),
        ({"round_to": 0}, ValueError, "round_to must be at least 1; got 0"),
        ({"round_to": 2.0}, TypeError, "round_to must be an int; got float"),
        ({"scorer": "hub"}, ValueError, "scorer must be one of degree"),
        ({"scorer": "pairs", "global_": True}, ValueError, "global_=True needs a ratio"),
        ({"ratio": {"conv1": 0.5}, "global_": True}, ValueError, "global_=True needs one ratio"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    model, x = build("tagger")
    with pytest.raises(error, match=re.escape(message)):
        hp.plan(model, x, **options)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (torch.zeros(2, 1, 12, 10, device="meta").double(), ValueError, "device"),
        (torch.zeros(2, 3).double(), ValueError, "example_inputs"),
        ((), ValueError, "example_inputs must hold at least one tensor; got none"),
        ("x", TypeError, "example_inputs must be"),
    ],
)
def test_bad_example_inputs(inputs: Any, error: type[Exception], message: str) -> None:
    model, _ = build("tagger")
    with pytest.raises(error, match=re.escape(message)):
        hp.plan(model, inputs)


def test_bad_models() -> None:
    x = torch.zeros(1, 1, 8)
    with pytest.raises(TypeError, match="model must be a"):
        hp.plan("model", x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="DataParallel"):
        hp.plan(nn.DataParallel(nn.Conv1d(1, 2, 3)), x)
    with pytest.raises(TypeError, match=r"layer '0': weight .* got dtype complex64"):
        hp.plan(nn.Sequential(nn.Conv1d(1, 2, 3, dtype=torch.complex64)), x.to(torch.complex64))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    model, x = build("tagger")
    with torch.no_grad():
        model.conv2.weight[5, 0, 0, 0] = bad
    message = "layer 'conv2': weight must be finite; filter 5 holds NaN or infinity"
    with pytest.raises(ValueError, match=message):
        hp.plan(model, x)
    model = lively(Tagger())
    with torch.no_grad():
        model.bn1.bias[2] = bad
    with pytest.raises(ValueError, match=r"parameter 'bn1\.bias' must be finite; entry 2"):
        hp.plan(model, x)


def test_weights_that_are_not_finite_are_named_where_nobody_scores_them() -> None:
    transposed = nn.ConvTranspose1d(2, 4, 3)
    model = nn.Sequential(transposed, nn.ReLU(), nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(18, 2))
    x = torch.randn(1, 2, 9)
    for layer, index, entry in ((0, 2, (1, 2, 0)), (4, 1, (1, 5))):
        bad = copy.deepcopy(model)
        with torch.no_grad():
            bad[layer].weight[entry] = float("nan")
        message = f"layer '{layer}': weight must be finite; filter {index} holds NaN or infinity"
        with pytest.raises(ValueError, match=message):
            hp.plan(bad, x, ratio={"2": 0.0})


def test_explanations_say_what_the_scores_are() -> None:
    """A depthwise convolution follows: the layer before it is still ordered by its own scores."""
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), depthwise, nn.ReLU(), nn.Conv2d(4, 2, 1))
    plan = hp.plan(model, torch.randn(1, 1, 8, 8), scorer="l2")
    values = hp.score(model[0], "l2").values.tolist()
    for layer in ("0", "1"):
        explanation = plan.explain(layer)
        assert explanation.meaning == "l2 of 0, higher goes first"
        assert {row.index: row.score for row in explanation.rows} == dict(enumerate(values))
    assert "the same channels go in 1\nscore: l2 of 0, higher goes first" in str(plan.explain("0"))
    model, x = build("residual")
    meaning = hp.plan(model, x).explain("stem.0").meaning
    assert meaning.startswith("mean place in the removal orders of stem.0, ")
    meaning = hp.plan(model, x, global_=True, ratio=0.5).explain("stem.0").meaning
    assert meaning.startswith("mean over stem.0, ")


def test_a_layer_that_its_groups_keep_whole_says_so() -> None:
    grouped = nn.Conv2d(8, 16, 3, groups=8)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), grouped, nn.ReLU(), nn.Conv2d(16, 2, 1))
    plan = hp.plan(model, torch.randn(1, 1, 8, 8), ratio=0.5)
    assert plan.kept["0"] == (
        "ratio 0.5 removes none of its filters (the groups of a grouped convolution stay equally "
        "large)"
    )


@pytest.mark.parametrize("run_before", [False, True])
def test_a_masked_layer_is_kept_and_says_what_to_do(run_before: bool) -> None:
    """A mask makes the weight a computed tensor, which torch by itself refuses to copy."""
    layers = [nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3)]
    model, x = nn.Sequential(*layers), torch.randn(1, 1, 16)
    masks.random_unstructured(model[0], "weight", amount=0.3)
    if run_before:
        model(x)
    plan = hp.plan(model, x)
    assert plan.kept["0"].startswith("has a weight that a hook recomputes: call torch.nn.utils.pr")
    assert list(plan.layers) == ["2"]
    pruned = hp.prune(model, plan)
    model[0].weight_orig.data.zero_()
    assert pruned[0].weight_orig.any()
    assert pruned(x).shape == (1, 2, 10)
    masks.remove(model[0], "weight")
    assert list(hp.plan(model, x).layers) == ["0", "2"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN, nn.GRU])
def test_a_recurrent_layer_behind_a_residual_block(kind: Any, packed: bool) -> None:
    """Whatever operators torch makes of it, its kind decides nothing about what feeds it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 8, 3, padding=1)
            self.b = nn.Conv2d(8, 8, 3, padding=1)
            self.r = kind(8 * 6, 5, batch_first=True, bidirectional=True)
            self.o = nn.Linear(10, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))
            x = (x + torch.relu(self.b(x))).permute(0, 3, 1, 2).flatten(2)
            if packed:
                lengths = [x.shape[1]] * len(x)
                x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
                x = nn.utils.rnn.pad_packed_sequence(self.r(x)[0], batch_first=True)[0]
            else:
                x = self.r(x)[0]
            y: torch.Tensor = self.o(x)
            return y

    torch.manual_seed(0)
    plan = hp.plan(Net(), torch.randn(2, 1, 6, 7))
    assert widths(plan) == {"a": 4, "b": 4}
    assert plan.kept == {"o": "produces the model's output"}


def test_channels_that_mix_only_when_many_are_nan_stay() -> None:
    """No layer by itself mixes them: the analysis must come to an end all the same."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(nn.Conv1d(1, 8, 3) for _ in range(3))
            self.conv, self.head = nn.Conv1d(24, 4, 1), nn.Conv1d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cat([branch(x) for branch in self.branches], 1)
            many = x.isnan().flatten(2).any(2).sum() > 8
            x = torch.where(many, x + x.mean(1, keepdim=True), x.nan_to_num(0.0))
            y: torch.Tensor = self.head(torch.relu(self.conv(x)))
            return y

    plan = hp.plan(Net(), torch.randn(1, 1, 16))
    assert widths(plan) == {"conv": 2}
    reason = "is mixed with other channels before 'conv' reads it"
    assert plan.kept == {
        **{f"branches.{number}": reason for number in range(3)},
        "head": "produces the model's output",
    }


def test_the_projection_of_attention_is_said_to_stay() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 16, 3)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.head = nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x).transpose(1, 2)
            y: torch.Tensor = self.head(self.attention(x, x, x)[0])
            return y

    with pytest.warns(UserWarning, match="out_proj: is a projection of attention, which is not"):
        hp.plan(Net(), torch.randn(1, 2, 9), ratio={"attention.out_proj": 0.5})

# SPDX-License-Identifier: MIT
"""hubprune's scorers inside Torch-Pruning's pruners, beside its own importances."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import nn

import hubprune as hp
from cases import assert_within
from hubprune import scorers
from hubprune.compat.torch_pruning import (
    Betweenness,
    ClosestPairs,
    CosineDegree,
    Eigenvector,
    Landmarks,
    OperatorNorm,
    ScorerImportance,
)
from networks import NETWORKS, block, build

NAMED = (Betweenness, CosineDegree, Eigenvector, ClosestPairs, Landmarks, OperatorNorm)
# Torch-Pruning 1.6 cuts transposed convolutions as if they had no groups: its own importances fail
# on that network as well.
PRUNABLE = sorted(set(NETWORKS) - {"transposed"})
Importance = Callable[[Any], torch.Tensor | None]


class Bottleneck(nn.Module):
    """As in ResNet-50: 1 x 1, 3 x 3, 1 x 1, and a projection where the widths differ."""

    def __init__(self, c: int, width: int, n: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *block(c, width, 1),
            *block(width, width, 3, stride=stride),
            nn.Conv2d(width, n, 1, bias=False),
            nn.BatchNorm2d(n),
        )
        self.project = None if c == n else nn.Conv2d(c, n, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.project is None else self.project(x)
        return torch.relu(self.body(x) + shortcut)


def resnet() -> nn.Sequential:
    return nn.Sequential(
        *block(3, 16, 7, stride=2),
        nn.MaxPool2d(3, 2, 1),
        Bottleneck(16, 8, 32, 1),
        Bottleneck(32, 8, 32, 1),
        Bottleneck(32, 16, 64, 2),
        Bottleneck(64, 16, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).eval()


def output_layer(model: nn.Module) -> nn.Module:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return [module for module in model.modules() if isinstance(module, kinds)][-1]


def group_of(model: nn.Module, layer: nn.Module, x: torch.Tensor, idxs: list[int]) -> Any:
    graph = tp.DependencyGraph().build_dependency(model, x)
    return graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs)


def importance_of(scorer: scorers.Scorer | str, weight: torch.Tensor) -> torch.Tensor:
    """The importance of every filter of one convolution, not normalised."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:])  # type: ignore[arg-type]
    layer.weight = nn.Parameter(weight)
    x = torch.zeros(1, weight.shape[1], 8, 8, dtype=weight.dtype)
    model = nn.Sequential(layer.to(weight.dtype))
    importance = ScorerImportance(scorer, normalizer=None)
    got = importance(group_of(model, layer, x, list(range(len(weight)))))
    assert got is not None
    return got


# --- what an importance is ------------------------------------------------------------------------


@pytest.mark.parametrize("name", scorers.SCORER_NAMES)
def test_the_most_redundant_is_the_least_important(name: str) -> None:
    weight = torch.randn(20, 4, 3, 3)
    got = importance_of(name, weight)
    assert bool((got >= 0).all())
    if name == "random":
        return  # depends on the layer's name, which is Torch-Pruning's here
    scores = hp.score(weight, name)
    assert torch.argsort(got, stable=True).tolist() == scores.order.tolist()
    if scores.count is None:
        assert torch.equal(got, (scores.values.amax() - scores.values).float())
    else:  # a set becomes places
        assert got[scores.order].tolist() == pytest.approx([k / 20 for k in range(20)])


@pytest.mark.parametrize("name", scorers.SCORER_NAMES)
def test_dead_filters_go_first(name: str) -> None:
    weight = torch.randn(20, 4, 3, 3)
    weight[[3, 7, 11]] *= 1e-18
    got = importance_of(name, weight)
    assert bool(got.isfinite().all())
    assert sorted(got.argsort()[:3].tolist()) == [3, 7, 11]
    living = torch.tensor([i not in (3, 7, 11) for i in range(20)])
    assert float(got[living].min()) > float(got[~living].max())
    if name == "degree":
        scores = hp.score(weight)
        assert torch.argsort(got, stable=True).tolist() == scores.order.tolist()
        ranked = importance_of(scorers.WeightedDegree(dead="rank"), weight)
        assert ranked.argsort()[:3].tolist() != [3, 7, 11]


def test_equal_importances_stay_finite() -> None:
    """Torch-Pruning's default normalizer divides by the mean, which is 0 here."""
    weight = torch.ones(6, 2, 3, 3)
    model = nn.Sequential(nn.Conv2d(2, 6, 3))
    model[0].weight = nn.Parameter(weight)
    for importance in (CosineDegree(), ScorerImportance("l2", normalizer="max")):
        group = group_of(model, model[0], torch.zeros(1, 2, 8, 8), list(range(6)))
        assert importance(group).tolist() == [0.0] * 6
    model[0].weight = nn.Parameter(torch.cat([weight[:4], 1e-18 * torch.randn(2, 2, 3, 3)]))
    got = CosineDegree()(group)
    assert bool(got.isfinite().all())
    assert sorted(got.argsort()[:2].tolist()) == [4, 5]


@pytest.mark.parametrize("normalizer", [None, "mean", "max", "sum", "standarization", "lamp"])
def test_normalizers_are_torch_prunings(normalizer: str | None) -> None:
    model = nn.Sequential(nn.Conv2d(1, 9, 3), nn.Conv2d(9, 4, 3))
    group = group_of(model, model[0], torch.zeros(1, 1, 8, 8), list(range(9)))
    raw = CosineDegree(normalizer=None)(group)
    got = CosineDegree(normalizer=normalizer)(group)
    theirs = tp.importance.MagnitudeImportance()._normalize(raw.clone(), normalizer)
    assert_within(got, theirs, 1e-6)
    doubled = CosineDegree(normalizer=lambda importance: 2 * importance)(group)
    assert torch.equal(doubled, 2 * raw)


def test_part_of_the_channels() -> None:
    """The whole layer is the graph, whichever channels the group names, in the group's order."""
    model = nn.Sequential(nn.Conv2d(1, 9, 3), nn.BatchNorm2d(9), nn.Conv2d(9, 4, 3)).eval()
    x = torch.zeros(1, 1, 8, 8)
    whole = CosineDegree(normalizer=None)(group_of(model, model[0], x, list(range(9))))
    part = CosineDegree(normalizer=None)(group_of(model, model[0], x, [2, 6, 7]))
    assert torch.equal(part, whole[[2, 6, 7]])


def test_first_mean_and_max_of_a_residual_sum() -> None:
    model, x = build("residual")
    stem, one, two = model.stem[0], model.one[3], model.two[3]
    group = group_of(model, stem, x, list(range(8)))
    each = []
    for layer in (stem, one, two):
        values = hp.score(layer).values
        each.append((values.amax() - values).float())

    def of(reduction: str) -> torch.Tensor:
        return CosineDegree(group_reduction=reduction, normalizer=None)(group)

    assert torch.equal(of("first"), each[0])
    assert_within(of("mean"), torch.stack(each).mean(0), 5e-7)
    assert torch.equal(of("max"), torch.stack(each).amax(0))


def test_what_no_layer_makes_has_no_importance() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 4, 8, 8))
    group = graph.get_pruning_group(model[0], tp.prune_batchnorm_out_channels, [0, 1, 2, 3])
    assert CosineDegree()(group) is None


def test_a_depthwise_root_is_scored_itself() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 4, 8, 8))
    group = graph.get_pruning_group(model[0], tp.prune_depthwise_conv_out_channels, [0, 1, 2, 3])
    values = hp.score(model[0]).values
    got = CosineDegree(normalizer=None)(group)
    assert torch.equal(got, (values.amax() - values).float())


# --- inside the pruners ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRUNABLE)
@pytest.mark.parametrize("importance", [*NAMED, tp.importance.MagnitudeImportance])
def test_every_network(name: str, importance: type[Importance]) -> None:
    """The same sizes as with Torch-Pruning's own importance: only the choice differs."""
    model, x = build(name)
    ignored = [output_layer(model), *(m for m in model.modules() if getattr(m, "frozen", False))]
    sizes = []
    for each in (importance(), tp.importance.MagnitudeImportance()):
        pruned = copy.deepcopy(model)
        same = dict(zip(model.modules(), pruned.modules(), strict=True))
        tp.pruner.BasePruner(
            pruned,
            x,
            importance=each,
            pruning_ratio=0.5,
            ignored_layers=[same[layer] for layer in ignored],
        ).step()
        assert bool(torch.as_tensor(pruned(x)).isfinite().all()) if name != "tagger" else True
        sizes.append([tuple(parameter.shape) for parameter in pruned.parameters()])
    assert sizes[0] == sizes[1]
    assert sizes[0] != [tuple(parameter.shape) for parameter in model.parameters()]


@pytest.mark.parametrize("importance", NAMED)
@pytest.mark.parametrize("global_pruning", [False, True])
def test_resnet(importance: type[ScorerImportance], global_pruning: bool) -> None:
    model = resnet()
    x = torch.randn(2, 3, 32, 32)
    before = sum(parameter.numel() for parameter in model.parameters())
    pruner = tp.pruner.BasePruner(
        model,
        x,
        importance=importance(),
        pruning_ratio=0.5,
        max_pruning_ratio=0.8,
        global_pruning=global_pruning,
        ignored_layers=[model[-1]],
        iterative_steps=3,
        round_to=2,
    )
    for _ in range(3):
        pruner.step()
    assert model(x).shape == (2, 10)
    assert bool(model(x).isfinite().all())
    assert sum(parameter.numel() for parameter in model.parameters()) < 0.6 * before


# Betweenness is 0 for many filters, and which of equals goes is Torch-Pruning's own choice.
@pytest.mark.parametrize("importance", [each for each in NAMED if each is not Betweenness])
def test_what_is_removed_is_what_the_scorer_says(importance: type[ScorerImportance]) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(*block(1, 16), *block(16, 10), nn.Conv2d(10, 3, 1)).eval()
    rule = importance().scorer
    expected = {}
    for at in (0, 3):
        scores = hp.score(model[at].weight, rule)  # as a pruner sees it: without the bias
        kept = scores.order[len(scores) // 2 :].sort().values
        expected[at] = model[at].weight.detach()[kept]
    inputs_kept = hp.score(model[0].weight, rule).order[8:].sort().values
    expected[3] = expected[3][:, inputs_kept]
    x = torch.randn(1, 1, 9, 9)
    tp.pruner.BasePruner(
        model, x, importance=importance(), pruning_ratio=0.5, ignored_layers=[model[-1]]
    ).step()
    for at, weight in expected.items():
        assert torch.equal(model[at].weight, weight)


@pytest.mark.parametrize(
    "pruner", ["BasePruner", "MetaPruner", "MagnitudePruner", "GroupNormPruner"]
)
def test_every_pruner(pruner: str) -> None:
    model = resnet()
    x = torch.randn(2, 3, 32, 32)
    before = sum(parameter.numel() for parameter in model.parameters())
    getattr(tp.pruner, pruner)(
        model, x, importance=CosineDegree(), pruning_ratio=0.5, ignored_layers=[model[-1]]
    ).step()
    assert model(x).shape == (2, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) < 0.6 * before


def test_a_pruner_that_regularises_with_it() -> None:
    model = resnet()
    x = torch.randn(2, 3, 32, 32)
    pruner = tp.pruner.GrowingRegPruner(
        model, x, importance=CosineDegree(), pruning_ratio=0.5, ignored_layers=[model[-1]]
    )
    model.train()
    for _ in range(2):
        pruner.update_reg()
        model(x).square().sum().backward()
        pruner.regularize(model)
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    pruner.step()
    assert model.eval()(x).shape == (2, 10)


def test_cnn14() -> None:
    """With what must stay ignored: the classes and the mel bands keep their numbers."""
    # Every weight of a fresh CNN14 takes 320 MB; a narrow one has the same structure.
    narrow = type("Narrow", (hp.models.Cnn14,), {"widths": (8, 16, 16, 32, 32, 64)})
    model = narrow(classes_num=20).eval()
    x = torch.randn(1, 1, 64, 64)
    for importance in (CosineDegree(), ClosestPairs(), Eigenvector(), OperatorNorm()):
        pruned = copy.deepcopy(model)
        tp.pruner.BasePruner(
            pruned,
            x,
            importance=importance,
            pruning_ratio=0.5,
            ignored_layers=[pruned.fc_audioset, pruned.bn0],
        ).step()
        outputs = pruned(x)
        assert outputs["clipwise_output"].shape == (1, 20)
        assert pruned.bn0.num_features == 64
        widths = [getattr(pruned, f"conv_block{k}").conv2.out_channels for k in range(1, 7)]
        assert widths == [4, 8, 8, 16, 16, 32]
        assert outputs["embedding"].shape == (1, 32)


# --- configuration and errors ---------------------------------------------------------------------


def test_named_importances_take_their_scorers_options() -> None:
    assert CosineDegree(edge="abs", vectors="flatten").scorer == scorers.WeightedDegree(
        edge="abs", vectors="flatten"
    )
    assert CosineDegree(sequential=True).scorer.sequential
    assert Eigenvector(tol=1e-6).scorer == scorers.Eigenvector(tol=1e-6)
    assert ClosestPairs(decimals=5).scorer == scorers.ClosestPairs(decimals=5)
    assert OperatorNorm(rule="spectral").scorer == scorers.OperatorNorm(rule="spectral")
    assert ScorerImportance("gm").scorer == scorers.GeometricMedian()
    assert isinstance(CosineDegree(), tp.importance.Importance)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ScorerImportance("hub"), ValueError, "scorer must be one of degree, eigenvector"),
        (lambda: ScorerImportance(3), TypeError, "scorer must be a name or a"),  # type: ignore[arg-type]
        (
            lambda: CosineDegree(group_reduction="gate"),
            ValueError,
            "group_reduction must be one of first, mean, max; got 'gate'",
        ),
        (lambda: CosineDegree(edge="up"), ValueError, "edge must be one of"),
        (lambda: OperatorNorm(edge="abs"), TypeError, "unexpected keyword argument 'edge'"),
    ],
)
def test_bad_options(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_weights_that_are_not_finite_name_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        model[0].weight[2] = float("nan")
    group = group_of(model, model[0], torch.zeros(1, 1, 8, 8), [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"layer '0 .*weight must be finite; filter 2 holds NaN"):
        CosineDegree()(group)

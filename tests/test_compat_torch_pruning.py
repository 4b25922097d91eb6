# SPDX-License-Identifier: MIT
"""hubprune's scorers inside Torch-Pruning's pruners, beside its own importances."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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
        # Equal ones, as betweenness has them, are a millionth of the spread apart.
        expected = (scores.values.amax() - scores.values).float()
        unequal = expected[:, None] != expected
        alone = unequal.sum(1) == len(expected) - 1
        assert bool(alone.all()) == (name != "betweenness")
        assert torch.equal(got[alone], expected[alone])
        assert_within(got, expected, 20 * 1e-6 * float(expected.max()))
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


def test_equal_filters_go_in_the_scorers_order() -> None:
    """Torch-Pruning's global threshold takes equal importances all or none."""
    weight = torch.ones(6, 2, 3, 3)
    model = nn.Sequential(nn.Conv2d(2, 6, 3))
    model[0].weight = nn.Parameter(weight)
    group = group_of(model, model[0], torch.zeros(1, 2, 8, 8), list(range(6)))
    for importance in (CosineDegree(normalizer=None), ScorerImportance("l2", normalizer=None)):
        assert importance(group).tolist() == pytest.approx([k / 6 for k in range(6)])
    for importance in (CosineDegree(), ScorerImportance("l2", normalizer="max")):
        got = importance(group)
        assert bool(got.isfinite().all())
        assert got.argsort().tolist() == list(range(6))
    model[0].weight = nn.Parameter(torch.cat([weight[:4], 1e-18 * torch.randn(2, 2, 3, 3)]))
    got = CosineDegree()(group)
    assert bool(got.isfinite().all())
    assert got.argsort().tolist() == [4, 5, 0, 1, 2, 3]
    assert float(got[:4].min()) > 100.0 * float(got[4:].max())
    one = nn.Sequential(nn.Conv2d(2, 1, 3))
    group = group_of(one, one[0], torch.zeros(1, 2, 8, 8), [0])
    assert CosineDegree()(group).tolist() == [0.0]


@dataclass(frozen=True, kw_only=True)
class Given(scorers.WeightedDegree):
    """A scorer whose values are given."""

    values: tuple[float, ...] = ()

    def score(self, *arguments: Any, **options: Any) -> scorers.Scores:
        values = torch.tensor(self.values, dtype=torch.float64)
        order = torch.argsort(values, descending=True, stable=True)
        return replace(super().score(*arguments, **options), values=values, order=order)


NORMALIZERS = (None, "mean", "max", "sum", "standarization", "gaussian", "lamp")


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 58 + [1.0, 0.5, 0.25, 3e-9, 2e-9, 1e-9],  # betweenness of a 1 x 1 convolution
        [1.0] * 40 + [0.0],
        [1.0 - 1e-15 * k for k in range(30)] + [0.0, 0.0],  # distinct in float64 only
        [1e30, 1e30, -1e30, 0.0, 0.0, 1e-30],
        [1e-30, 1e-30, 0.0, 0.0, 2e-30],
        [math.inf] * 3 + [0.7] * 5 + [0.1],
        [math.inf] * 4,
        [0.5] * 9,
        list(np.random.default_rng(0).permutation(2048) // 3 / 7.0),
    ],
    ids=range(9),
)
def test_no_two_importances_are_equal(values: list[float], normalizer: str | None) -> None:
    """In float32, and through the normalizers; in the order of the scores, ties by index."""
    n = len(values)
    model = nn.Sequential(nn.Linear(3, n))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 3))
    group = graph.get_pruning_group(model[0], tp.prune_linear_out_channels, list(range(n)))
    got = ScorerImportance(Given(values=tuple(values)), normalizer=normalizer)(group)
    assert got.dtype == torch.float32
    assert bool(got.isfinite().all())
    assert bool((got >= 0.0).all()) == (normalizer != "gaussian")
    expected = torch.argsort(torch.tensor(values), descending=True, stable=True)
    assert bool((got[expected].diff() > 0.0).all())


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
    assert tp.importance.MagnitudeImportance()(group).shape == (4,)
    tp.pruner.BasePruner(
        model, torch.zeros(1, 4, 8, 8), importance=CosineDegree(), pruning_ratio=0.5
    ).step()
    assert model[0].num_features == 4


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


@pytest.mark.parametrize("ratio", [0.25, 0.5])
@pytest.mark.parametrize("importance", NAMED)
def test_global_pruning_removes_what_it_was_asked_for(
    importance: type[ScorerImportance], ratio: float
) -> None:
    """Most filters of 1 x 1 convolutions lie between no others: their betweenness is 0."""
    model = nn.Sequential(*block(3, 32), *block(32, 64, 1), *block(64, 64), nn.Conv2d(64, 10, 1))
    if importance is Betweenness:
        scores = hp.score(model[3], "betweenness")
        assert int((scores.values == 0.0).sum()) > 32
    x = torch.randn(1, 3, 16, 16)
    tp.pruner.BasePruner(
        model.eval(),
        x,
        importance=importance(),
        pruning_ratio=ratio,
        global_pruning=True,
        ignored_layers=[model[-1]],
    ).step()
    widths = [model[at].out_channels for at in (0, 3, 6)]
    assert widths[1] < 64
    # Places of closest pairs are the same in layers of one width: equals of different layers.
    assert abs(sum(widths) - (1.0 - ratio) * 160) <= (2 if importance is ClosestPairs else 0)


@pytest.mark.parametrize("importance", NAMED)
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

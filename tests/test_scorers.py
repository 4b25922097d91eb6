# SPDX-License-Identifier: MIT
"""Scorers: the order of the formulas, the published pair rule, the dead-filter rule."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import hubprune as hp
from cases import DCASE, assert_within
from hubprune import reference
from hubprune.arguments import EDGES
from hubprune.scorers import (
    SCORER_NAMES,
    Betweenness,
    Closeness,
    ClosestPairs,
    Eigenvector,
    GeometricMedian,
    L1Norm,
    L2Norm,
    Random,
    Scorer,
    Scores,
    WeightedDegree,
    filter_weight,
    make_scorer,
)
from hubprune.scorers.base import removal_orders, sorted_together
from published import (
    published_betweenness,
    published_closest_pairs,
    published_degree,
    published_filter_vectors,
)

VGGISH_LAYERS = [(64, 1, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3)]
PUBLISHED = [*DCASE, *VGGISH_LAYERS]

# About three times the largest errors, where they exceed 3e-14: of values up to 11, 670, 4400 and
# 30; the eigenvector's error is what its tol leaves, l2 is a float32.
ERROR = {"degree": 1e-12, "l1": 1e-12, "gm": 2e-11, "l2": 3e-6, "eigenvector": 3e-10}

DETERMINISTIC = [name for name in SCORER_NAMES if name != "random"]


def check_consistent(scores: Scores) -> None:
    """What every Scores promises."""
    n = len(scores)
    assert scores.values.shape == scores.order.shape == (n,)
    assert scores.values.dtype == torch.float64
    assert scores.order.dtype == torch.int64
    assert sorted(scores.order.tolist()) == list(range(n))
    expected = sorted(range(n), key=lambda i: (-float(scores.values[i]), i))
    assert scores.order.tolist() == expected


@pytest.mark.parametrize("shape", PUBLISHED, ids=str)
def test_degree_has_the_order_of_the_published_formulas(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    scores = hp.score(weight)
    check_consistent(scores)
    degree = published_degree(published_filter_vectors(weight.double().numpy()))
    assert_within(scores.values, degree, 6e-12)
    assert scores.order.tolist() == np.argsort(-degree, kind="stable").tolist()


def test_degree_of_cnn14s_widest_layer_has_the_order_of_the_reference() -> None:
    weight = torch.randn(
        2048, 64, 3, 3
    )  # 2048 filters; fewer channels than 2048 keep the SVD quick
    for edge in EDGES:
        got = WeightedDegree(edge=edge).score(weight)
        expected = reference.redundancy(weight.double().numpy(), "degree", edge=edge)
        assert got.order.tolist() == expected.order.tolist()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in DETERMINISTIC
        for shape in PUBLISHED[:5]
        if shape[0] <= 64 or name not in ("betweenness", "closeness")  # the reference: 10 s for 128
    ],
    ids=str,
)
@pytest.mark.parametrize("dead", ["first", "rank"])
def test_matches_the_reference(name: str, shape: tuple[int, ...], dead: str) -> None:
    weight = torch.randn(shape)
    weight[[2, 7]] *= 1e-18
    scores = type(make_scorer(name))(dead=dead).score(weight)
    check_consistent(scores)
    edge = "abs" if name == "eigenvector" else "signed"
    expected = reference.redundancy(weight.double().numpy(), name, edge=edge, dead=dead)
    assert_within(scores.values, expected.values, ERROR.get(name, 1e-13))
    assert scores.dead.tolist() == expected.dead.tolist() == [2, 7]
    # The norms sum float32 weights, and the dead have one operator norm: equal to rounding only.
    if name not in ("gm", "l1", "l2") and (name, dead) != ("opnorm", "rank"):
        assert scores.order.tolist() == expected.order.tolist()


@pytest.mark.parametrize("shape", PUBLISHED[:5], ids=str)
@pytest.mark.parametrize("decimals", [None, 5])
def test_closest_pairs_is_the_published_rule(shape: tuple[int, ...], decimals: int | None) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    if shape[0] > 16:
        weight[5] = weight[9] * 1.5 + 1e-9  # a pair whose distance rounds to zero
        weight[6] = weight[12] * 2.0
    scores = ClosestPairs(decimals=decimals).score(weight)
    check_consistent(scores)
    vectors = published_filter_vectors(weight.numpy())
    _, removed = published_closest_pairs(vectors, decimals)
    assert scores.count == len(removed)
    assert sorted(scores.order[: scores.count].tolist()) == sorted(removed)


def test_more_decimals_than_float64_has_round_nothing() -> None:
    weight = torch.randn(12, 5, dtype=torch.float64)
    expected = ClosestPairs().score(weight)
    for decimals in (309, 10**30):
        scores = ClosestPairs(decimals=decimals).score(weight)
        assert_within(scores.values, expected.values, 1e-15)
        assert torch.equal(scores.order, expected.order)
        pairs = reference.closest_pairs(weight.numpy(), decimals)
        assert pairs.order.tolist() == scores.order.tolist()


def test_kept_stays_kept_even_if_marked_later() -> None:
    """0 and 1 are closest; 2's nearest is 0, which was kept at the first step and stays."""
    degrees = torch.tensor([0.0, 10.0, -25.0], dtype=torch.float64) * torch.pi / 180
    weight = torch.stack([degrees.cos(), degrees.sin()], 1)
    scores = hp.score(weight, "pairs")
    assert scores.count == 1
    assert scores.order.tolist()[0] == 1


@pytest.mark.parametrize("name", SCORER_NAMES)
def test_dead_filters_go_first(name: str) -> None:
    """Noise directions of dead filters look unique: a bare centrality would keep them."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 8, 3, 3, generator=generator) + 0.3 * torch.randn(
        40, 8, 3, 3, generator=generator
    )
    dead = [3, 11, 30]
    weight[dead] = 1e-18 * torch.randn(3, 8, 3, 3, generator=generator)
    scores = hp.score(weight, name)
    assert scores.dead.tolist() == dead
    assert scores.order[:3].tolist() == dead
    assert bool(scores.values[dead].isinf().all())
    assert "3 of 40 filters are dead" in scores.explain()
    assert "removed first and left out of the graph: 3, 11, 30" in scores.explain()
    # The living are scored as if the dead were not there.
    living = torch.tensor([i for i in range(40) if i not in dead])
    alone = hp.score(weight[living], name)
    if name != "random":
        assert torch.equal(scores.values[living], alone.values)
    if alone.count is not None:
        assert scores.count == alone.count + 3


def test_dead_rank_is_the_published_behaviour() -> None:
    weight = torch.ones(5, 2, 3, 3) + 0.1 * torch.randn(5, 2, 3, 3)
    weight[2] = 1e-18 * torch.randn(2, 3, 3)
    scores = WeightedDegree(dead="rank").score(weight)
    assert scores.dead.tolist() == [2]
    assert scores.order[-1] == 2  # the noise looks unique
    assert bool(scores.values.isfinite().all())
    assert "ranked like any other (dead='rank'): 2" in scores.explain()


def test_nothing_is_dead_in_an_all_zero_layer() -> None:
    scores = hp.score(torch.zeros(4, 2, 3, 3))
    assert scores.dead.tolist() == []
    assert scores.order.tolist() == [0, 1, 2, 3]
    assert "no dead filters" in scores.explain()


@pytest.mark.parametrize("name", SCORER_NAMES)
@pytest.mark.parametrize(
    "shape", [(1, 3, 3, 3), (2, 1, 3, 3), (5, 4, 1, 1), (6, 3), (4, 2, 5), (3, 2, 2, 2, 2)]
)
def test_every_shape(name: str, shape: tuple[int, ...]) -> None:
    scores = hp.score(torch.randn(shape), name)
    check_consistent(scores)
    assert scores.scorer == name
    similarity, index = scores.nearest()
    assert similarity.shape == index.shape == (shape[0],)
    if shape[0] == 1:
        assert index.tolist() == [-1]


def test_duplicates_tie_by_index() -> None:
    weight = torch.randn(1, 4, 3, 3).repeat(6, 1, 1, 1)
    for name in DETERMINISTIC:
        scores = hp.score(weight, name)
        check_consistent(scores)
        if name == "pairs":
            # 0 is kept and marks 1; 2 to 5 are kept, each with a nearest that is already kept.
            expected = published_closest_pairs(published_filter_vectors(weight.double().numpy()))[1]
            assert scores.order[: scores.count].tolist() == sorted(expected)
        elif name == "landmarks":  # the first stands for all
            assert scores.order.tolist() == [1, 2, 3, 4, 5, 0]
        else:
            assert scores.order.tolist() == list(range(6))


def test_random_depends_on_seed_and_layer_only() -> None:
    weight = torch.randn(50, 2, 3, 3)
    first = Random(seed=1).score(weight, name="a").order
    torch.rand(3)
    assert torch.equal(first, Random(seed=1).score(weight * 2, name="a").order)
    assert not torch.equal(first, Random(seed=2).score(weight, name="a").order)
    assert not torch.equal(first, Random(seed=1).score(weight, name="b").order)
    with torch.device("meta"):  # nor on the device of new tensors
        assert torch.equal(first, Random(seed=1).score(weight, name="a").order)


def test_norms_at_extreme_scale() -> None:
    weight = torch.full((3, 2, 3, 3), 3e38)
    weight[1] /= 2
    for scorer in (L2Norm(), WeightedDegree(), GeometricMedian()):
        check_consistent(scorer.score(weight))
    assert L2Norm().score(weight).order.tolist() == [1, 0, 2]
    assert L1Norm().score(weight * 1e-38).order.tolist() == [1, 0, 2]


def test_modules_and_their_filters() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3)
    assert torch.equal(hp.score(convolution).order, hp.score(convolution.weight).order)
    transposed = nn.ConvTranspose2d(4, 6, 3)
    assert torch.equal(filter_weight(transposed), transposed.weight.transpose(0, 1))
    assert len(hp.score(transposed)) == 6
    grouped = nn.ConvTranspose1d(4, 6, 3, groups=2)
    weight = filter_weight(grouped)
    assert weight.shape == (6, 2, 3)
    assert torch.equal(weight[4], grouped.weight[2:, 1])  # group 1's second filter
    depthwise = nn.Conv1d(6, 6, 5, groups=6)
    assert len(hp.score(depthwise)) == 6
    linear = hp.score(nn.Linear(8, 5))
    assert (len(linear), linear.vectors) == (5, "flatten")
    assert hp.score(nn.Conv3d(2, 3, 2)).vectors == "rank1"


def test_score_model() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2), nn.Flatten(), nn.Linear(6, 4)
    )
    scores = hp.score_model(model)
    assert list(scores) == ["0", "2"]
    assert torch.equal(scores["0"].values, hp.score(model[0]).values)
    named = hp.score_model(model, "l2", layers=["4", "0"])
    assert list(named) == ["4", "0"]
    assert list(hp.score_model(model, layers="2")) == ["2"]
    assert hp.score_model(model, layers=[]) == {}


@pytest.mark.parametrize("scorer", SCORER_NAMES)
def test_layers_together_score_as_one_by_one(scorer: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 70, 3), nn.Conv2d(70, 90, 3), nn.Conv2d(90, 12, 1), nn.Conv1d(12, 5, 4).half()
    )
    with torch.no_grad():
        model[1].weight[7] *= 1e-9  # dead: left out of its layer's graph
    together = hp.score_model(model, scorer)
    for name, layer in model.named_children():
        alone = hp.score(layer, scorer, name=name)
        assert torch.equal(together[name].values, alone.values)
        assert torch.equal(together[name].order, alone.order)
        assert torch.equal(together[name].dead, alone.dead)
        assert together[name].explain() == alone.explain()
    assert together["1"].dead.tolist() == [7]


def test_layers_sorted_together_have_the_orders_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    inf, nan = float("inf"), float("nan")
    layers = [torch.randint(0, 9, (n,), generator=generator).double() for n in (70, 1, 33, 70, 2)]
    layers += [torch.tensor([-inf, 3.0, inf, -inf, nan, -inf]).double()]
    alone = removal_orders(layers)
    assert alone[-1].tolist() == [4, 2, 1, 0, 3, 5]
    for chosen in (range(6), [1], [4, 5], [0, 3]):
        longest = max(len(layers[at]) for at in chosen)
        together = sorted_together([layers[at] for at in chosen], longest)
        for at, order in zip(chosen, together, strict=True):
            assert torch.equal(order, alone[at])


@pytest.mark.parametrize("scorer", ["l2", "degree", "opnorm"])
def test_norms_beyond_float32_in_one_layer_of_a_model(scorer: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 4, 3))
    with torch.no_grad():
        model[1].weight[:] = torch.linspace(1.0, 2.0, 30).view(5, 6, 1, 1) * 1.6e38
        model[1].weight[3] *= 1e-5
    scores = hp.score_model(model, scorer)
    for name, layer in model.named_children():
        assert torch.equal(scores[name].values, hp.score(layer, scorer).values)
        assert scores[name].dead.tolist() == ([3] if name == "1" else [])
    if scorer == "l2":
        exact = model[1].weight.detach().double().flatten(1).norm(dim=1)
        alive = [0, 1, 2, 4]
        assert_within(-scores["1"].values[alive] / exact[alive], np.ones(4), 1e-15)


def test_inputs_are_left_alone() -> None:
    convolution = nn.Conv2d(4, 6, 3)
    before = convolution.weight.detach().clone()
    for name in SCORER_NAMES:
        hp.score(convolution, name)
    assert torch.equal(convolution.weight, before)
    assert convolution.weight.requires_grad
    array = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
    array.flags.writeable = False
    assert torch.equal(hp.score(array).order, hp.score(torch.tensor(array)).order)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCORER_NAMES)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    weight = torch.randn(12, 4, 3, 3).to(dtype)
    got, expected = hp.score(weight, name), hp.score(weight.float(), name)
    assert got.values.dtype == torch.float64
    assert torch.equal(got.values, expected.values)


def test_eigenvector_of_a_signed_graph_warns() -> None:
    with pytest.warns(UserWarning, match="scorer 'eigenvector' with edge='signed'"):
        Eigenvector(edge="signed").score(torch.randn(8, 2, 3, 3))


@pytest.mark.parametrize("scorer", [Betweenness, Closeness])
@pytest.mark.parametrize("length", ["one_minus", "angle"])
def test_path_scorers_are_the_functions_they_name(scorer: type[Scorer], length: str) -> None:
    weight = torch.randn(30, 5, 3, 3)
    vectors = hp.filter_vectors(weight.double())
    function = getattr(hp, f"{scorer.name}_centrality")
    scores = scorer(length=length).score(weight)  # type: ignore[call-arg]
    assert_within(scores.values, function(vectors, length=length), 1e-15)
    assert f"shortest paths of length {length!r}" in scores.explain()


def test_betweenness_of_the_published_script_warns() -> None:
    """Its edge lengths are the similarities themselves, with their signs."""
    weight = torch.randn(20, 5, 3, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="scorer 'betweenness' with length='similarity'"):
        scores = Betweenness(length="similarity").score(weight)
    expected = published_betweenness(published_filter_vectors(weight.numpy()))
    assert_within(scores.values, expected, 1e-15)
    warned = pytest.warns(UserWarning, match="scorer 'closeness' with length='similarity'")
    refused = pytest.raises(ValueError, match=r"layer 'conv': lengths .* must not be negative")
    with warned, refused:
        Closeness(length="similarity").score(weight, name="conv")
    with pytest.raises(ValueError, match="length must be one of one_minus, angle, similarity"):
        Betweenness(length="hops")


def test_results_print_in_a_few_lines() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(200, 4, 3, 3, generator=generator)
    rows = weight.flatten(1)
    scores, pairs = hp.score(weight), hp.score(weight, "pairs")
    assert repr(scores) == "<Scores: degree of 200 filters, 0 dead>"
    assert repr(pairs) == f"<Scores: pairs of 200 filters, 0 dead, {pairs.count} for removal>"
    assert str(scores) == scores.explain()
    assert "200 filters by their rank1 vectors" in str(scores)
    factor = hp.nystrom(rows, 16)
    assert repr(factor) == "<NystromFactor: (200, 16), 16 landmarks (uniform), edge 'signed'>"
    sampled = hp.sampled_degree(rows)
    assert repr(sampled) == f"<SampledDegree: {sampled.columns} of 200 columns>"
    assert str(sampled) == sampled.explain()
    route = hp.route(rows)
    assert str(route) == route.explain()


def test_explain_names_the_route() -> None:
    weight = torch.randn(100, 3, 3, 3)
    routes = {
        "signed": "closed form, O(n d)",
        "shifted": "closed form, O(n d)",
        "squared": "Gram matrix",
        "abs": "fused tiles",
        "positive": "fused tiles",
    }
    for edge, route in routes.items():
        assert route in WeightedDegree(edge=edge).score(weight).explain()
    text = hp.score(weight, "pairs").explain()
    assert re.search(r"the rule itself removes \d+ filters", text)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: hp.score(torch.ones(3)), ValueError, "weight must have shape (n, c, *kernel)"),
        (lambda: hp.score(torch.ones(0, 3, 3, 3)), ValueError, "weight must not be empty"),
        (lambda: hp.score(torch.ones(3, 0, 3, 3)), ValueError, "weight must not be empty"),
        (
            lambda: hp.score(torch.ones(2, 2), "hub"),
            ValueError,
            "scorer must be one of degree, eig",
        ),
        (lambda: hp.score(torch.ones(2, 2), 3), TypeError, "scorer must be a name or a"),  # type: ignore[arg-type]
        (lambda: hp.score(nn.ReLU()), TypeError, "expected a convolution (1-d to 3-d"),
        (lambda: hp.score(nn.BatchNorm2d(3)), TypeError, "got BatchNorm2d"),
        (lambda: hp.score(torch.ones(2, 2).int()), TypeError, "got dtype int32"),
        (lambda: hp.score([1.0]), TypeError, "got list"),  # type: ignore[arg-type]
        (lambda: WeightedDegree(edge="up"), ValueError, "edge must be one of"),
        (lambda: WeightedDegree(vectors="svd"), ValueError, "vectors must be one of auto, rank1"),
        (lambda: L1Norm(dead="last"), ValueError, "dead must be one of first, rank; got 'last'"),
        (lambda: Eigenvector(tol=-1.0), ValueError, "tol must be positive; got -1.0"),
        (lambda: Eigenvector(max_iter=0), ValueError, "max_iter must be at least 1; got 0"),
        (lambda: Random(seed=None), TypeError, "seed must be an int; got NoneType"),  # type: ignore[arg-type]
        (lambda: ClosestPairs(decimals=-1), ValueError, "decimals must be at least 0; got -1"),
        (
            lambda: hp.score(torch.ones(2, 2), "landmarks", scale=[1.0, 1.0]),  # type: ignore[arg-type]
            TypeError,
            "scale must be a torch.Tensor; got list",
        ),
        (
            lambda: hp.score(torch.ones(2, 2), "landmarks", scale=torch.tensor([1.0, torch.nan])),
            ValueError,
            "scale must be finite and not negative",
        ),
        (
            lambda: hp.score(torch.ones(2, 2), "landmarks", scale=torch.tensor([1.0, -1.0])),
            ValueError,
            "scale must be finite and not negative",
        ),
        (lambda: hp.score_model(torch.ones(2)), TypeError, "model must be a torch.nn.Module"),  # type: ignore[arg-type]
        (lambda: hp.score_model(nn.Linear(2, 2)), ValueError, "model has no convolution to score"),
        (
            lambda: hp.score_model(nn.Sequential(nn.Conv1d(1, 2, 3)), layers=["0", "conv9"]),
            ValueError,
            "the model has no layer 'conv9'; it has '0'",
        ),
        (
            lambda: hp.score(nn.Sequential(nn.Conv1d(1, 2, 3))),
            TypeError,
            "got Sequential, which holds 0 (score_model scores all of a model's layers)",
        ),
        (
            lambda: hp.score_model(nn.Sequential(nn.ReLU()), layers=["0"]),
            TypeError,
            "layer '0': expected a convolution",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_layer_and_filter(bad: float) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 9, 3))
    with torch.no_grad():
        model[1].weight[5, 2, 0, 0] = bad
        model[1].weight[7] = bad
    message = "layer '1': weight must be finite; filter 5 holds NaN or infinity (2 of 9 filters do)"
    with pytest.raises(ValueError, match=re.escape(message)):
        hp.score_model(model)


def landmark_model(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(2, 12, 3, bias=bias),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 3),
    ).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.rand(12) + 0.1)
        model[1].running_var.fill_(2.0)
    return model


def landmark_order(weight: torch.Tensor, bias: torch.Tensor | None, scale: Any) -> list[int]:
    values = reference.landmarks(
        weight.double().numpy(), None if bias is None else bias.double().numpy(), scale
    )
    return np.argsort(-values, kind="stable").tolist()


def test_scoring_leaves_a_spectral_norm_as_it_is() -> None:
    """In training its weight changes whenever it is read."""
    model = nn.Sequential(nn.Conv1d(1, 4, 3), spectral_norm(nn.Conv1d(4, 4, 3))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = hp.score_model(model)
    hp.score(model[1])
    with pytest.warns(UserWarning, match="is parametrized"):
        hp.plan(model, torch.randn(2, 1, 9))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    expected = hp.score(model.eval()[1].weight.detach())
    assert torch.equal(found["1"].values, expected.values)


@pytest.mark.parametrize("bias", [True, False])
def test_landmarks_follow_the_formula(bias: bool) -> None:
    model = landmark_model(bias)
    conv, norm, reader = model[0], model[1], model[3]
    alone = hp.score(conv, "landmarks")
    own = conv.bias.detach() if bias else None
    assert alone.order.tolist() == landmark_order(conv.weight.detach(), own, np.ones(12))
    assert ("weighted by bias" in alone.explain()) == bias
    heard = reader.weight.detach().double().square().sum((0, 2, 3)).sqrt()
    scale = norm.weight.detach().double().abs() * heard
    scored = hp.score(conv, "landmarks", scale=scale)
    expected = landmark_order(conv.weight.detach(), own, scale.numpy())
    assert scored.order.tolist() == expected
    decision = hp.plan(model, torch.zeros(1, 2, 8, 8), scorer="landmarks", ratio=0.5)
    assert set(decision.layers["0"]) == set(range(12)) - set(expected[:6])
    # Flattened channels: the linear layer reads each through sixteen columns.
    columns = model[6].weight.detach().double().square().sum(0).reshape(6, 16).sum(1).sqrt()
    order = landmark_order(reader.weight.detach(), reader.bias.detach(), columns.numpy())
    assert set(decision.layers["3"]) == set(range(6)) - set(order[:3])


def test_landmarks_keep_one_of_each_duplicate() -> None:
    weight = torch.randn(8, 3, 3, 3).repeat(3, 1, 1, 1)
    scores = hp.score(weight, "landmarks")
    assert "8 represent the rest" in scores.explain()
    kept = scores.order[-8:]
    assert sorted((kept % 8).tolist()) == list(range(8))
    dead = torch.cat([weight, 1e-9 * weight[:2]])
    assert hp.score(dead, "landmarks").order[:2].tolist() == [24, 25]
    with pytest.raises(ValueError, match=re.escape("scale must have shape (24,), one entry a")):
        hp.score(weight, "landmarks", scale=torch.ones(3))
    nothing = hp.score(weight, "landmarks", scale=torch.zeros(24))
    assert nothing.order.tolist() == scores.order.tolist()

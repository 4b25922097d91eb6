# SPDX-License-Identifier: MIT
"""The planner: exact unless asked, approximate only where it is cheaper, and it says why."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import hubprune as hp
from hubprune import routes
from hubprune.routes import Machine, machine


@pytest.fixture(autouse=True)
def fitted_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choices are those of the machine that the costs were fitted on, not of a busy one."""
    fitted = Machine(multiply_adds=118e9, read=47e9, threads=1)
    monkeypatch.setattr(routes, "machine", lambda threads=None: fitted)


@pytest.mark.parametrize(
    ("sizes", "operation", "edge", "expected"),
    [
        ((2048, 9), "weighted_degree", "signed", "closed form"),
        ((2048, 9), "weighted_degree", "squared", "Gram matrix"),
        ((2048, 9), "weighted_degree", "abs", "fused tiles"),
        ((512, 4608), "weighted_degree", "squared", "fused tiles"),
        ((512, 4608), "eigenvector_centrality", "shifted", "implicit products"),
        ((512, 4608), "eigenvector_centrality", "abs", "stored graph"),
        ((512, 4608), "eigenvector_centrality", "squared", "stored graph"),
        ((2048, 9), "eigenvector_centrality", "squared", "Gram products"),
        ((512, 4608), "nearest", "signed", "fused tiles"),
    ],
)
def test_exact_routes(sizes: tuple[int, int], operation: str, edge: str, expected: str) -> None:
    chosen = hp.route(sizes, operation, edge=edge)
    assert (chosen.name, chosen.exact) == (expected, True)
    assert chosen.seconds > 0
    assert chosen == hp.route(torch.empty(sizes), operation, edge=edge)


def test_the_reason_of_gram_products() -> None:
    chosen = hp.route((2048, 9), "eigenvector_centrality", edge="squared")
    assert "products go through the d x d Gram matrix" in chosen.explain()
    assert chosen.seconds < hp.route((2048, 9), "eigenvector_centrality", edge="abs").seconds
    asked = hp.route(
        (2048, 9), "eigenvector_centrality", edge="squared", approximate=hp.Nystrom(m=64)
    )
    assert "d = 9 <= m = 64" in asked.explain()


def test_approximate_only_where_it_is_cheaper() -> None:
    wide = hp.route((4096, 18432), edge="abs", approximate=hp.Nystrom(m=128))
    assert (wide.name, wide.exact) == ("Nystroem", False)
    assert wide.others[0][0] == "fused tiles"
    assert wide.seconds < wide.others[0][1]
    assert "times faster" in wide.explain()
    short = hp.route((2048, 9), edge="signed", approximate=hp.Nystrom(m=256))
    assert short.exact
    assert "d = 9 <= m = 256: the vectors themselves are an exact factor" in short.explain()
    assert "not Nystroem: predicted" in short.explain()
    few = hp.route((100, 4608), edge="abs", approximate=hp.Nystrom(m=100))
    assert few.exact
    assert "m = 100 landmarks are all n = 100 rows" in few.reason
    closed = hp.route((4096, 18432), edge="signed", approximate=hp.Nystrom(m=128))
    assert closed.exact
    pairs = hp.route((2048, 9), "nearest", approximate=hp.Nystrom(m=64))
    assert pairs.exact
    sampled = hp.route((4096, 18432), edge="abs", approximate=hp.Sampled())
    assert (sampled.name, sampled.exact) == ("sampled columns", False)
    assert hp.route((4096, 18432), edge="signed", approximate=hp.Sampled()).exact


def test_bad_input() -> None:
    for arguments, options, error, message in (
        (((3, 4), "degree"), {}, ValueError, "operation must be one of"),
        (((3, 4),), {"edge": "x"}, ValueError, "edge must be one of"),
        (((3,),), {}, ValueError, "x must be rows or their number and width (n, d)"),
        (((True, 3),), {}, ValueError, "x must be rows or their number and width (n, d)"),
        (((10**30, 3),), {}, ValueError, "x must be rows or their number and width (n, d)"),
        ((torch.ones(3),), {}, ValueError, "x must have shape (..., n, d)"),
        (((3, 4),), {"approximate": 5}, TypeError, "approximate must be a Nystrom, a Sampled"),
        (
            ((3, 4), "nearest"),
            {"approximate": hp.Sampled()},
            ValueError,
            "approximate=Sampled is for weighted_degree only",
        ),
    ):
        with pytest.raises(error, match=re.escape(message)):
            hp.route(*arguments, **options)  # type: ignore[arg-type]


def test_the_machine_is_measured() -> None:
    here = machine(1)
    assert 1e8 < here.multiply_adds < 1e13
    assert 1e8 < here.read < 1e13


def test_centralities_take_what_the_planner_chose() -> None:
    x = torch.randn(700, 2000, generator=torch.Generator().manual_seed(0)) + 0.5
    asked = hp.Nystrom(m=40, landmarks="rpcholesky")
    assert not hp.route(x, edge="abs", approximate=asked).exact
    degree = hp.weighted_degree(x, edge="abs", approximate=asked)
    factor = hp.nystrom(x, 40, landmarks="rpcholesky", edge="abs", generator=0)
    assert torch.equal(degree, factor.degree())
    vector = hp.eigenvector_centrality(x, approximate=asked)
    assert torch.equal(vector, factor.eigenvector(tol=1e-6, max_iter=100))
    exact = hp.weighted_degree(x, edge="signed", approximate=asked)
    assert torch.equal(exact, hp.weighted_degree(x, edge="signed"))
    sampled = hp.weighted_degree(x, edge="abs", approximate=hp.Sampled(confidence=0.6))
    assert sampled.dtype == torch.float32
    np.testing.assert_allclose(sampled, hp.weighted_degree(x, edge="abs"), rtol=0.2)
    arrays = hp.weighted_degree(x.numpy(), edge="abs", approximate=asked)
    assert type(arrays).__name__ == "ndarray"


def test_scorers_say_what_they_approximated() -> None:
    weight = torch.randn(900, 200, 3, 3, generator=torch.Generator().manual_seed(0))
    nystrom, sampled = hp.Nystrom(m=16), hp.Sampled(confidence=0.6)
    scorers = hp.scorers
    for scorer, said in (
        (scorers.WeightedDegree(edge="abs", vectors="flatten", approximate=nystrom), "landmarks"),
        (scorers.WeightedDegree(vectors="flatten", approximate=nystrom), "closed form (exact)"),
        (scorers.WeightedDegree(edge="abs", approximate=sampled), "columns"),
        (scorers.Eigenvector(vectors="flatten", approximate=nystrom), "16 landmarks (uniform)"),
        (scorers.ClosestPairs(vectors="flatten", approximate=nystrom), "Frobenius error"),
        (scorers.ClosestPairs(approximate=nystrom), "exact factor"),
    ):
        scores = hp.score(weight, scorer)
        assert said in scores.explain()
        assert "predicted" in scores.explain() or "exact factor" in scores.explain()
        assert bool(scores.values.isfinite().all())
    with pytest.raises(TypeError, match="approximate must be Nystrom or None; got Sampled"):
        scorers.Eigenvector(approximate=sampled)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decimals needs the exact distances"):
        scorers.ClosestPairs(approximate=nystrom, decimals=5)


def test_pairs_from_a_full_factor_are_the_exact_pairs() -> None:
    weight = torch.randn(64, 30, 5, 5, dtype=torch.float64)
    whole = hp.scorers.ClosestPairs(vectors="flatten")
    asked = hp.Nystrom(m=63, landmarks="rpcholesky")
    close = hp.score(weight, whole)
    factor = asked.factor(weight.flatten(1), "signed")
    similarity, _ = factor.nearest()
    exact, _ = hp.nearest(weight.flatten(1))
    assert float((similarity - exact).abs().max()) < 0.2
    assert close.count is not None


def test_the_machine_is_measured_on_the_host_in_float32() -> None:
    """The processor's memory is read as float32, whatever tensors are by default."""
    with torch.device("meta"):
        assert machine.__wrapped__(threads=1).read > 0.0
    torch.set_default_dtype(torch.float16)
    try:
        assert machine.__wrapped__(threads=1).read > 0.0
    finally:
        torch.set_default_dtype(torch.float32)


def test_nearest_is_of_the_cosine_itself() -> None:
    assert hp.route((5000, 9), "nearest", edge="abs") == hp.route((5000, 9), "nearest")

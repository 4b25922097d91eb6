# SPDX-License-Identifier: MIT
"""Weighted degree of the similarity graph."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hubprune as hp
from cases import (
    DEGREE,
    DTYPES,
    SHAPES,
    assert_within,
    numpy64,
    random_rows,
    relative_error,
)
from hubprune import reference
from hubprune.arguments import EDGES
from hubprune.ops import weighted_degree_route

# Across the columns of one strip of short rows, which narrow as d grows: 512, 256, 128.
STRIPS = [(600, 9), (520, 16), (300, 20), (400, 50)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [*SHAPES, *STRIPS])
@pytest.mark.usefixtures("level")
def test_matches_the_reference(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    for edge in EDGES:
        got = hp.weighted_degree(x, edge=edge)
        assert got.dtype == dtype
        expected = reference.weighted_degree(numpy64(x), edge)
        assert relative_error(got, expected) < DEGREE[dtype]


@pytest.mark.parametrize("edge", EDGES)
def test_many_rows_match_blocks_of_the_matrix(edge: str) -> None:
    """More rows than one task holds; the sum in float64 over the matrix in blocks is the oracle."""
    x = random_rows(5000, 9, torch.float64)
    blocks = [hp.pairwise_cosine(x[i : i + 500], x, edge=edge) for i in range(0, 5000, 500)]
    expected = torch.cat([block.sum(1) for block in blocks])
    expected -= torch.cat([block.diagonal(500 * i) for i, block in enumerate(blocks)])
    got = hp.weighted_degree(x, edge=edge)
    assert torch.allclose(got, expected, rtol=1e-11, atol=1e-9)


def test_is_the_strength_of_networkx() -> None:
    x = torch.randn(12, 9, dtype=torch.float64)
    w = hp.pairwise_cosine(x, zero_diagonal=True).numpy()
    graph = nx.from_numpy_array(w)
    strength = [value for _, value in graph.degree(weight="weight")]
    assert_within(hp.weighted_degree(x), strength, 5e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_closed_forms(dtype: torch.dtype) -> None:
    equal = torch.ones(70, 9, dtype=dtype)
    orthogonal = torch.eye(70, dtype=dtype)
    for edge in EDGES:
        at_one, at_zero = (
            float(hp.pairwise_cosine(torch.ones(1, 1), edge=edge)),
            0.5 * (edge == "shifted"),
        )
        bound = 69 * DEGREE[dtype]
        ones = torch.full((70,), 69 * at_one, dtype=dtype)
        zeros = torch.full((70,), 69 * at_zero, dtype=dtype)
        assert_within(hp.weighted_degree(equal, edge=edge), ones, bound)
        assert_within(hp.weighted_degree(orthogonal, edge=edge), zeros, bound)


@pytest.mark.parametrize("edge", ["signed", "shifted", "squared"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [3, 9, 16, 37, 200])
@pytest.mark.usefixtures("level")
def test_equal_rows_have_equal_closed_form_degrees(d: int, dtype: torch.dtype, edge: str) -> None:
    # Wherever they stand: rows are taken in groups, the last ones by themselves.
    x = random_rows(4099, d, dtype)
    x[::3] = x[0].clone()
    x[1::3] = x[1] * (1e200 if dtype == torch.float64 else 1e20)  # scaled before they are squared
    degree = hp.weighted_degree(x, edge=edge)
    assert bool((degree[::3] == degree[0]).all())
    assert bool((degree[1::3] == degree[1]).all())


def test_opposite_rows() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    expected = {"signed": -1.0, "squared": 1.0, "abs": 1.0, "positive": 0.0, "shifted": 0.0}
    for edge in EDGES:
        assert_within(
            hp.weighted_degree(x, edge=edge),
            torch.full((2,), expected[edge], dtype=torch.float64),
            1e-15,
        )


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("n", "d"), [(300, 9), (500, 40), (130, 70)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("level")
def test_any_number_of_threads_gives_the_same_bits(
    edge: str, n: int, d: int, dtype: torch.dtype, threads: list[int]
) -> None:
    x = torch.randn(n, d, dtype=dtype)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.weighted_degree(x, edge=edge))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("edge", EDGES)
def test_not_finite_rows_make_every_degree_nan(edge: str) -> None:
    x = torch.randn(2, 40, 3)
    x[1, 7, 1] = float("inf")
    degree = hp.weighted_degree(x, edge=edge)
    assert bool(degree[0].isfinite().all())
    assert bool(degree[1].isnan().all())


@pytest.mark.parametrize("edge", EDGES)
def test_few_rows(edge: str) -> None:
    assert hp.weighted_degree(torch.empty(0, 9), edge=edge).shape == (0,)
    assert hp.weighted_degree(torch.empty(3, 0, 9), edge=edge).shape == (3, 0)
    assert hp.weighted_degree(torch.tensor([[float("nan")]]), edge=edge).tolist() == [0.0]
    empty_rows = hp.weighted_degree(torch.empty(3, 0), edge=edge)
    assert empty_rows.tolist() == ([1.0] * 3 if edge == "shifted" else [0.0] * 3)


LARGE = """
import torch, hubprune as hp

def resident(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

hp.weighted_degree(torch.randn(300, 9), edge="abs")
x = torch.randn(200_000, 9, generator=torch.Generator().manual_seed(0))
before = resident("VmRSS")
degree = hp.weighted_degree(x, edge="abs")
print(resident("VmHWM") - before)
some = torch.nn.functional.normalize(x[::50_000].double(), dim=1)
exact = (some @ torch.nn.functional.normalize(x.double(), dim=1).T).abs().sum(1) - 1
print(float(((degree[::50_000] - exact) / exact).abs().max()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_large_n_needs_little_memory() -> None:
    """n^2 = 4e10, where a naive graph needs 160 GB: the fused route adds O(n)."""
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    added, error = map(float, run.stdout.split())
    assert added < 20  # MiB; 9 to 11 were measured
    assert error < DEGREE[torch.float32]


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.integers(1, 12), st.sampled_from(EDGES))
def test_properties(seed: int, n: int, d: int, edge: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    degree = hp.weighted_degree(x, edge=edge)
    assert float(degree.abs().max()) <= n - 1 + 1e-9
    permutation = torch.randperm(n, generator=generator)
    permuted = hp.weighted_degree(x[permutation], edge=edge)
    assert_within(permuted, degree[permutation], 1e-15 * n)
    doubled = hp.weighted_degree(torch.cat([x, x]), edge=edge)
    own = float(hp.pairwise_cosine(torch.ones(1, 1, dtype=torch.float64), edge=edge))
    assert_within(doubled[:n], 2 * degree + own, 2e-15 * n)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.ones(5)}, ValueError, "x must have shape (..., n, d); got shape (5,)"),
        ({"x": torch.ones(2, 2), "edge": "sign"}, ValueError, "edge must be one of"),
        (
            {"x": torch.ones(2, 2), "precision": "low"},
            ValueError,
            "precision must be one of highest",
        ),
        ({"x": torch.ones(2, 2).bool()}, TypeError, "got dtype bool"),
    ],
)
def test_bad_input(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hp.weighted_degree(**arguments)  # type: ignore[arg-type]


@pytest.mark.usefixtures("level")
def test_layers_together_are_the_layers_one_by_one(threads: list[int]) -> None:
    """Wide graphs are shared by the threads and narrow ones are not: the bits are the same."""
    graphs = [
        random_rows(700, 9),
        random_rows(40, 9, torch.float64),
        torch.randn(3, 50, 5),
        torch.empty(0, 4),
        random_rows(150, 80),
        random_rows(33, 9).half(),
        torch.randn(1, 4),
    ]
    for edge in EDGES:
        expected = [hp.weighted_degree(graph, edge=edge) for graph in graphs]
        for count in threads:
            torch.set_num_threads(count)
            together = torch.ops.hubprune.weighted_degree(graphs, edge)
            assert [each.dtype for each in together] == [each.dtype for each in expected]
            assert all(map(torch.equal, together, expected))


@pytest.mark.parametrize("edge", ["abs", "positive", "squared"])
@pytest.mark.parametrize(("n", "d"), [(5, 65), (129, 66), (200, 513), (300, 1111)])
@pytest.mark.usefixtures("level")
def test_medium_precision(n: int, d: int, edge: str, threads: list[int]) -> None:
    """bfloat16 factors: 2^-9 relative each, and averaging over the sum."""
    x = random_rows(n, d)
    expected = reference.weighted_degree(numpy64(x), edge)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.weighted_degree(x, edge=edge, precision="medium"))
    assert relative_error(results[0], expected) < 4e-3
    assert all(torch.equal(results[0], other) for other in results[1:])
    doubles = hp.weighted_degree(x.double(), edge=edge, precision="medium")
    assert relative_error(doubles, expected) < DEGREE[torch.float64]


def test_medium_precision_where_rows_are_extreme() -> None:
    x = torch.randn(70, 100)
    expected = hp.weighted_degree(x, edge="abs", precision="medium")
    for scale in (1e-38, 1e-20, 1e30):
        got = hp.weighted_degree(x * scale, edge="abs", precision="medium")
        np.testing.assert_allclose(got, expected, rtol=1e-3)
    x[3, 5] = float("nan")
    assert bool(hp.weighted_degree(x, edge="abs", precision="medium").isnan().all())


def test_default_precision_is_torchs() -> None:
    x = random_rows(130, 300)
    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(setting)
            got = hp.weighted_degree(x, edge="abs")
            assert torch.equal(got, hp.weighted_degree(x, edge="abs", precision=setting))
    finally:
        torch.set_float32_matmul_precision(before)


def test_routes() -> None:
    """The scorers' explanation asks the kernel which way it takes."""
    routes = {
        ((100, 9), "signed"): "closed form, O(n d)",
        ((100, 9), "shifted"): "closed form, O(n d)",
        ((100, 9), "squared"): "closed form through the d x d Gram matrix",
        ((70, 9), "squared"): "short rows",
        ((100, 9), "abs"): "short rows",
        ((100, 65), "positive"): "long rows",
    }
    for (shape, edge), text in routes.items():
        assert text in weighted_degree_route(torch.empty(shape), edge)


@pytest.mark.parametrize("precision", ["highest", "high", "medium", None])
def test_every_precision_is_at_least_as_accurate(precision: str | None) -> None:
    x = random_rows(100, 9)
    got = hp.weighted_degree(x, edge="abs", precision=precision)
    assert relative_error(got, reference.weighted_degree(numpy64(x), "abs")) < DEGREE[torch.float32]

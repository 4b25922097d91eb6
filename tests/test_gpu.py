# SPDX-License-Identifier: MIT
"""The public API on a CUDA device: results, streams, graphs, devices, determinism.

Collected everywhere, run where there is a device: `pytest -m gpu`. The same kernels run on the CPU
in test_emulated_*.py; what only a device can show is here. benchmarks/run_gpu.sh calls this file
together with compute-sanitizer and the benchmark table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest
import torch

import hubprune as hp
from device_tolerances import COSINE, DEGREE, DISTANCE_SUM, RANK1
from hubprune import _native
from hubprune import reference as ref
from hubprune.ops import eigenvector_centrality_route

# run_gpu.sh sets this: there, a missing device or kernel is a failure and no reason to skip.
REQUIRED: Final = os.environ.get("HUBPRUNE_GPU_REQUIRED") == "1"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not REQUIRED and not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not REQUIRED and not _native.cuda_built(), reason="no CUDA kernels built"),
]

EDGES: Final = tuple(ref.EDGES)
DTYPES: Final = (torch.float32, torch.float64)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
# Edges whose products with the graph may be computed by tiles.
TILED: Final = ("squared", "abs", "positive")
HOPPER: Final = torch.cuda.is_available() and _native.sm90_available(torch.cuda.current_device())
# How degrees of long rows are computed besides tiles. run_gpu.sh sets the variable where that
# route's first small test ended its process: the others would wait for it in turn.
LONG_ROUTES: Final = (
    ("panels", "sm90") if HOPPER and os.environ.get("HUBPRUNE_WITHOUT_SM90") != "1" else ("panels",)
)
SIZES: Final = (0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129)

# Small enough for compute-sanitizer, which slows kernels down a hundredfold.
SMALL_ONLY: Final = os.environ.get("HUBPRUNE_GPU_SMALL") == "1"
large = pytest.mark.skipif(SMALL_ONLY, reason="HUBPRUNE_GPU_SMALL=1")


def random_rows(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


def numpy64(x: torch.Tensor) -> np.ndarray:
    """The same values as a float64 array on the host: what the reference is given."""
    return x.double().cpu().numpy()


@pytest.fixture(autouse=True)
def largest_error(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Record the largest error that a test saw: the devices' table is made of them."""
    _errors.clear()
    yield
    if _errors:
        record_property("worst", max(_errors))


_errors: list[float] = []


def assert_within(error: Any, scale: Any, tolerance: float) -> None:
    """error <= tolerance scale everywhere; a failure says by how much it is missed."""
    error, scale = (torch.as_tensor(each, dtype=torch.float64) for each in (error, scale))
    relative = torch.where(error == 0, 0.0, error / scale)
    worst = float(relative.max()) if relative.numel() else 0.0
    _errors.append(worst)
    assert worst <= tolerance


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal to an absolute error; not finite in the same places."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    assert_within(np.abs(got - expected)[finite], 1.0, tolerance)


def assert_degree_close(got: torch.Tensor, x: torch.Tensor, edge: str) -> None:
    """The error is relative to max(1, sum of the weights' magnitudes)."""
    assert got.is_cuda
    rows = numpy64(x)
    expected = ref.weighted_degree(rows, edge)
    scale = np.maximum(1.0, np.abs(ref.adjacency(rows, edge)).sum(axis=-1))
    degree = numpy64(got)
    np.testing.assert_array_equal(np.isnan(degree), np.isnan(expected))
    finite = ~np.isnan(degree)
    assert_within(np.abs(degree - expected)[finite], scale[finite], DEGREE[got.dtype])


def assert_nearest_close(similarity: torch.Tensor, index: torch.Tensor, x: torch.Tensor) -> None:
    """Another index is right where it is as close to rounding."""
    assert similarity.is_cuda
    assert index.is_cuda
    tolerance = COSINE[similarity.dtype]
    rows, found = numpy64(x), index.cpu().numpy()
    expected_similarity, expected_index = ref.nearest(rows)
    assert_close(numpy64(similarity), expected_similarity, tolerance)
    np.testing.assert_array_equal(found < 0, expected_index < 0)
    cosine = ref.pairwise_cosine(rows)
    for at in zip(*np.nonzero(found != expected_index), strict=True):
        assert found[at] != at[-1]
        assert abs(cosine[at][found[at]] - expected_similarity[at]) <= tolerance


def assert_cosines_close(
    got: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None, edge: str = "signed"
) -> None:
    assert got.is_cuda
    others = None if y is None else numpy64(y)
    expected = ref.pairwise_cosine(numpy64(x), others, edge=edge)
    assert_close(numpy64(got), expected, COSINE[got.dtype])


def assert_vectors_close(got: torch.Tensor, weight: torch.Tensor) -> None:
    assert got.is_cuda
    expected = ref.filter_vectors(numpy64(weight), "rank1")
    assert_close(numpy64(got), expected, RANK1[got.dtype])


# -------------------------------------------------------------------------------------------------
# Results


@each_dtype
@pytest.mark.parametrize("n", SIZES)
def test_weighted_degree(n: int, dtype: torch.dtype) -> None:
    x = random_rows((n, 9), dtype, seed=n).cuda()
    for edge in EDGES:
        assert_degree_close(hp.weighted_degree(x, edge=edge), x, edge)


@each_dtype
@pytest.mark.parametrize("n", SIZES)
def test_nearest(n: int, dtype: torch.dtype) -> None:
    x = random_rows((n, 9), dtype, seed=n).cuda()
    assert_nearest_close(*hp.nearest(x), x)


@each_dtype
@pytest.mark.parametrize("n", SIZES)
def test_pairwise_cosine(n: int, dtype: torch.dtype) -> None:
    x, y = random_rows((n, 9), dtype, seed=n).cuda(), random_rows((70, 9), dtype).cuda()
    for edge in EDGES:
        square = hp.pairwise_cosine(x, edge=edge)
        assert_cosines_close(square, x, edge=edge)
        assert torch.equal(square, square.mT)
        assert_cosines_close(hp.pairwise_cosine(x, y, edge=edge), x, y, edge)
    out = torch.full((n, n), 7.0, dtype=dtype, device="cuda")
    assert hp.pairwise_cosine(x, zero_diagonal=True, out=out) is out
    assert not bool(out.diagonal().any())


@each_dtype
@pytest.mark.parametrize("shape", [(0, 4), (70, 9), (3, 2, 1000), (5, 0)])
def test_row_norms(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = random_rows(shape, dtype)
    got = hp.row_norms(x.cuda())
    assert got.is_cuda
    expected = np.linalg.norm(numpy64(x), axis=-1)
    np.testing.assert_allclose(numpy64(got), expected, rtol=1e-7 if x.numel() else 0)


@each_dtype
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 65, 5), (300, 40), (0, 4)])
def test_eigenvector_centrality(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = random_rows(shape, dtype)
    for edge in ("abs", "squared", "positive", "shifted"):
        got = hp.eigenvector_centrality(x.cuda(), edge=edge, tol=1e-8)
        assert got.is_cuda
        expected = hp.eigenvector_centrality(x, edge=edge, tol=1e-8)
        torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-5)
        again = hp.eigenvector_centrality(x.cuda(), edge=edge, start=got, tol=1e-8)
        torch.testing.assert_close(again, got, rtol=0, atol=1e-5)
    graph = hp.pairwise_cosine(x, edge="abs")
    for weights in (graph, torch.ldexp(graph.double(), torch.tensor(1000))):
        torch.testing.assert_close(
            hp.graph.eigenvector_centrality(weights.cuda()).cpu(),
            hp.graph.eigenvector_centrality(weights),
            rtol=0,
            atol=1e-5,
        )


@each_dtype
@pytest.mark.parametrize("route", ["implicit", "tiles"])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (5, 3), (64, 17), (129, 130), (300, 9)])
def test_eigenvector_centrality_without_the_graph(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, route: str, dtype: torch.dtype
) -> None:
    """Both routes, whatever the sizes would choose: special rows, warm starts, the same bits."""
    monkeypatch.setattr(_native, "eigenvector_centrality_cuda_route", lambda *sizes: route)
    x = random_rows((3, n, d), dtype, seed=n)
    if n > 4:
        x[1, 1] = 0
        x[1, 3] = -2 * x[1, 0]
        x[2, 4, 0] = float("nan")
    edges = ("signed", "shifted", "squared") if route == "implicit" else TILED
    for edge in edges:
        asked = {"edge": edge, "tol": 1e-8, "max_iter": 2000}
        centrality = torch.ops.hubprune.eigenvector_centrality
        got = centrality(x.cuda(), **asked)
        assert got.is_cuda
        expected = centrality(x, **asked)
        torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-5, equal_nan=True)
        assert_same_bits([got.nan_to_num()], [centrality(x.cuda(), **asked).nan_to_num()])
        again = centrality(x[:2].cuda(), **asked, start=got[:2])
        torch.testing.assert_close(again, got[:2], rtol=0, atol=1e-5)


def eigenvector_residual(x: torch.Tensor, edge: str, vector: torch.Tensor) -> float:
    """|W v - lambda v| / lambda in float64, W a panel of rows at a time."""
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    v = vector.double()
    panels = []
    for first in range(0, len(x), 2048):
        weights = edge_weights((unit[first : first + 2048] @ unit.T).clamp(-1, 1), edge)
        weights.diagonal(first).zero_()
        panels.append(weights @ v)
    product = torch.cat(panels)
    value = v @ product
    return float((product - value * v).norm() / value)


@large
@pytest.mark.parametrize("edge", ["squared", "abs", "positive"])
def test_eigenvector_centrality_of_a_graph_that_is_not_stored(edge: str) -> None:
    """70 000 rows: 20 GB of float32, computed by tiles (squared: d is above 256)."""
    d = 260 if edge == "squared" else 9
    x = random_rows((70000, d)).cuda()
    assert "computed again" in eigenvector_centrality_route(x, edge)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    vector = hp.eigenvector_centrality(x, edge=edge)
    assert torch.cuda.max_memory_allocated() - before < 2**30
    assert eigenvector_residual(x, edge, vector) < 2e-6
    assert_same_bits([vector], [hp.eigenvector_centrality(x, edge=edge)])


@large
@pytest.mark.parametrize("edge", ["shifted", "squared"])
def test_eigenvector_centrality_of_a_million_rows(edge: str) -> None:
    """Shifted, squared: W + I = Z Z' with Z of (1, y) / sqrt(2), or of the products y_a y_b."""
    x = random_rows((10**6, 9)) + 0.2
    assert "never formed" in eigenvector_centrality_route(x.cuda(), edge)
    vector = hp.eigenvector_centrality(x.cuda(), edge=edge, tol=1e-9)
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    if edge == "shifted":
        z = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), unit], dim=1)
    else:
        z = (unit[:, :, None] * unit[:, None, :]).flatten(1)
    expected = z @ torch.linalg.eigh(z.T @ z).eigenvectors[:, -1]
    expected *= expected.sum().sign() / expected.norm()
    torch.testing.assert_close(vector.double().cpu(), expected, rtol=1e-6, atol=1e-9)


@large
def test_eigenvector_centrality_of_long_vectors_after_restarts() -> None:
    """A signed graph of 40 close eigenvalues: more products than the basis holds vectors."""
    x = random_rows((20000, 40), torch.float64)
    asked = {"edge": "signed", "tol": 1e-10, "max_iter": 2000}
    there = torch.ops.hubprune.eigenvector_centrality(x.cuda(), **asked)
    here = torch.ops.hubprune.eigenvector_centrality(x, **asked)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-6)


@each_dtype
@pytest.mark.parametrize("edge", ["shifted", "squared"])
def test_eigenvector_centrality_of_long_vectors(edge: str, dtype: torch.dtype) -> None:
    """A step of several launches; few eigenvalues, so few products."""
    x = random_rows((16400, 3), dtype) + 0.2
    there = hp.eigenvector_centrality(x.cuda(), edge=edge, tol=1e-8)
    here = hp.eigenvector_centrality(x, edge=edge, tol=1e-8)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-7)


def test_eigenvector_centrality_says_when_it_did_not_converge() -> None:
    path = torch.diag(torch.ones(199), 1)
    with pytest.raises(RuntimeError, match="did not converge in 3 products with the graph"):
        hp.graph.eigenvector_centrality((path + path.T).cuda(), max_iter=3)


@pytest.mark.parametrize("length", ["one_minus", "angle"])
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 40, 5), (300, 9)])
def test_betweenness_centrality(shape: tuple[int, ...], length: str) -> None:
    x = random_rows(shape, torch.float64)
    lengths = torch.from_numpy(ref.path_lengths(x.numpy(), length))
    there = hp.graph.betweenness_centrality(lengths.cuda())
    assert there.is_cuda
    here = hp.graph.betweenness_centrality(lengths)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-12, atol=1e-12)
    assert_same_bits([there], [hp.graph.betweenness_centrality(lengths.cuda())])


@pytest.mark.parametrize("length", ["one_minus", "angle"])
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 40, 5), (300, 9)])
def test_closeness_centrality(shape: tuple[int, ...], length: str) -> None:
    x = random_rows(shape, torch.float64)
    lengths = torch.from_numpy(ref.path_lengths(x.numpy(), length))
    there = hp.graph.closeness_centrality(lengths.cuda())
    assert there.is_cuda
    here = hp.graph.closeness_centrality(lengths)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-12, atol=1e-12)
    assert_same_bits([there], [hp.graph.closeness_centrality(lengths.cuda())])


@large
def test_betweenness_of_a_wide_layer() -> None:
    x = random_rows((2048, 9), torch.float64)
    lengths = torch.from_numpy(ref.path_lengths(x.numpy(), "one_minus"))
    there = torch.ops.hubprune.betweenness_centrality(lengths.cuda())
    here = torch.ops.hubprune.betweenness_centrality(lengths)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-11, atol=1e-13)


@each_dtype
@pytest.mark.parametrize(("n", "d"), [(1100, 9), (40, 33), (30, 257), (600, 1)])
def test_closed_forms(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows((2, n, d), dtype).cuda()
    x[1, n // 2] = 0
    for edge in ("signed", "shifted"):
        assert_degree_close(hp.weighted_degree(x, edge=edge), x, edge)


@each_dtype
@pytest.mark.parametrize(("n", "d"), [(8, 1), (1100, 9), (129, 16), (600, 70), (2048, 256)])
def test_closed_form_of_the_squares(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows((2, n, d), dtype).cuda()
    x[1, n // 2] = 0
    x[0, 3] = x[0, 1]
    assert_degree_close(hp.weighted_degree(x, edge="squared"), x, "squared")


# As in test_emulated_*.py, where the matrix product is a CPU's.
ROUTE_TOLERANCE: Final = {"highest": 1e-6, "high": 1.5e-5, "medium": 1e-2}


@pytest.mark.parametrize("route", LONG_ROUTES)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(
    ("n", "d"), [(1, 9), (2, 1), (65, 65), (300, 130), (257, 4200), (1030, 64)]
)
def test_degree_of_long_rows(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str, route: str
) -> None:
    check_route(monkeypatch, n, d, precision, route)


# Every number of steps of the matrix unit; tiles of 256 and of 128, in one and several.
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(
    ("n", "d"), [(1, 9), (2, 1), (65, 9), (65, 32), (257, 16), (300, 21), (1030, 9)]
)
def test_degree_of_short_rows_on_matrix_units(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str
) -> None:
    check_route(monkeypatch, n, d, precision, "mma")


def check_route(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str, route: str
) -> None:
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", route)
    x = random_rows((2, n, d), seed=n)
    if n > 4:
        x[0, 1] = 0
        x[0, 3] = x[0, 0]
        x[1, 4] *= 1e-30
    x = x.cuda()
    rows = numpy64(x)
    for edge in ("abs", "positive", "squared"):
        degree = hp.weighted_degree(x, edge=edge, precision=precision)
        expected = ref.weighted_degree(rows, edge)
        scale = np.maximum(np.abs(ref.adjacency(rows, edge)).sum(axis=-1), 1)
        assert_within(np.abs(numpy64(degree) - expected), scale, ROUTE_TOLERANCE[precision])
        again = hp.weighted_degree(x, edge=edge, precision=precision)
        assert_same_bits([degree], [again])
    x[0, 0, 0] = float("nan")
    degree = hp.weighted_degree(x, edge="abs", precision=precision)
    assert bool(torch.isnan(degree[0]).all()) == (n > 1)
    assert bool(torch.isfinite(degree[1]).all())


@large
@pytest.mark.parametrize("route", LONG_ROUTES)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(("n", "d"), [(2048, 18432), (20000, 1024), (66000, 64), (130, 66000)])
def test_degree_of_long_rows_in_wide_layers(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str, route: str
) -> None:
    check_wide_layer(monkeypatch, n, d, precision, route)


@large
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(("n", "d"), [(300_000, 9), (66_000, 32)])
def test_degree_of_short_rows_on_matrix_units_in_wide_layers(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str
) -> None:
    check_wide_layer(monkeypatch, n, d, precision, "mma")


def check_wide_layer(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, precision: str, route: str
) -> None:
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", route)
    x = random_rows((n, d)).cuda()
    rows = torch.linspace(0, n - 1, 40, device=x.device).long()
    exact = sampled_degree(x, "abs", rows)
    got = hp.weighted_degree(x, edge="abs", precision=precision)[rows].double()
    assert_within((got - exact).abs(), exact, ROUTE_TOLERANCE[precision])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("route", "d"), [*((route, 2000) for route in LONG_ROUTES), ("mma", 9)])
def test_degree_by_a_route_captured_in_a_graph(
    monkeypatch: pytest.MonkeyPatch, route: str, d: int
) -> None:
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", route)
    x = random_rows((300, d)).cuda()
    hp.weighted_degree(x, edge="abs")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = hp.weighted_degree(x, edge="abs")
    x.copy_(random_rows((300, d), seed=1))
    graph.replay()
    torch.cuda.synchronize()
    assert_same_bits([hp.weighted_degree(x, edge="abs")], [captured])


@pytest.mark.skipif(HOPPER, reason="the device has what the route needs")
def test_the_route_for_hopper_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "sm90")
    with pytest.raises(RuntimeError, match=r"HUBPRUNE_DEGREE_ROUTE=sm90 needs a device of compute"):
        hp.weighted_degree(random_rows((5, 3)).cuda(), edge="abs")


def test_the_route_for_short_rows_refuses_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBPRUNE_DEGREE_ROUTE", "mma")
    with pytest.raises(ValueError, match="=mma takes rows of at most 32 features; x has 33"):
        hp.weighted_degree(random_rows((5, 33)).cuda(), edge="abs")


def model_layers(dtype: torch.dtype, count: int = 40) -> list[torch.Tensor]:
    """More weights (n, c, 9) than one launch takes, no two of a size."""
    return [random_rows((3 + 7 * at, 1 + at, 9), dtype, seed=at).cuda() for at in range(count)]


def wide_layers(dtype: torch.dtype) -> list[torch.Tensor]:
    """Weights whose eigenvectors take half a warp, a warp, and global memory."""
    shapes = [(40, 12, 9), (19, 40, 17), (5, 70, 64), (3, 90, 80), (7, 5, 16)]
    return [random_rows(shape, dtype, seed=at).cuda() for at, shape in enumerate(shapes)]


@each_dtype
def test_a_model_in_one_go_gives_the_bits_of_its_layers_alone(dtype: torch.dtype) -> None:
    weights = model_layers(dtype) + wide_layers(dtype)
    vectors, norms = torch.ops.hubprune.rank1_vectors(weights)
    for weight, layer_vectors, layer_norms in zip(weights, vectors, norms, strict=True):
        alone, alone_norms = torch.ops.hubprune.rank1_vectors([weight])
        assert_same_bits([layer_vectors, layer_norms], [alone[0], alone_norms[0]])
        assert_vectors_close(layer_vectors, weight)
    for edge in EDGES:
        degrees = torch.ops.hubprune.weighted_degree(vectors, edge)
        alone = [torch.ops.hubprune.weighted_degree([x], edge)[0] for x in vectors]
        assert_same_bits(degrees, alone)
        for x, degree in zip(vectors, degrees, strict=True):
            assert_degree_close(degree, x, edge)


@each_dtype
def test_layers_on_the_host_beside_layers_on_the_device(dtype: torch.dtype) -> None:
    weights = [random_rows((20, 6, 9), dtype, seed=at) for at in range(3)]
    weights[1] = weights[1].cuda()
    vectors, norms = torch.ops.hubprune.rank1_vectors(weights)
    spectral = torch.ops.hubprune.spectral_norms(weights)
    degrees = torch.ops.hubprune.weighted_degree(vectors, "abs")
    for at, weight in enumerate(weights):
        (alone,), (alone_norms,) = torch.ops.hubprune.rank1_vectors([weight])
        (alone_spectral,) = torch.ops.hubprune.spectral_norms([weight])
        (alone_degree,) = torch.ops.hubprune.weighted_degree([alone], "abs")
        results = [vectors[at], norms[at], spectral[at], degrees[at]]
        assert all(result.device == weight.device for result in results)
        assert_same_bits(results, [alone, alone_norms, alone_spectral, alone_degree])


@each_dtype
@pytest.mark.parametrize(("n", "d"), [(0, 4), (1, 3), (2, 1), (65, 19), (300, 576)])
def test_distance_sum(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows((n, d), dtype)
    x[: n // 2] *= 7
    got = torch.ops.hubprune.distance_sum(x.cuda())
    assert got.is_cuda
    expected = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    scale = float(expected.sum(1).max()) if n else 0.0
    assert_within((got.cpu() - expected.sum(1)).abs(), scale, DISTANCE_SUM[dtype])


@each_dtype
@pytest.mark.parametrize("d", [1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 576])
def test_features(d: int, dtype: torch.dtype) -> None:
    x = random_rows((65, d), dtype, seed=d).cuda()
    assert_degree_close(hp.weighted_degree(x, edge="abs"), x, "abs")
    assert_nearest_close(*hp.nearest(x), x)


@each_dtype
@pytest.mark.parametrize("shape", [(3, 65, 5), (2, 2, 2, 3), (5, 1, 2), (2, 130, 17), (0, 4, 3)])
def test_batches(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = random_rows(shape, dtype).cuda()
    assert_degree_close(hp.weighted_degree(x, edge="positive"), x, "positive")
    assert_nearest_close(*hp.nearest(x), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x = random_rows((70, 20)).to(dtype).cuda()
    degree = hp.weighted_degree(x, edge="abs")
    assert degree.dtype == torch.float32
    assert_degree_close(degree, x, "abs")
    weight = random_rows((6, 12, 3, 3)).to(dtype).cuda()
    assert_vectors_close(hp.filter_vectors(weight), weight)


@each_dtype
@pytest.mark.parametrize(
    "shape",
    [
        *[(16, 1, 7, 7), (32, 16, 7, 7), (64, 64, 3, 3), (8, 1, 512, 1), (4, 70, 64, 1)],
        *[(33, 40, 5, 5), (9, 20, 4, 4), (3, 80, 76, 1), (5, 120, 17, 17), (5, 300, 17, 17)],
    ],
)
def test_filter_vectors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = random_rows(shape, dtype).cuda()
    assert_vectors_close(hp.filter_vectors(weight, kind="rank1"), weight)


@each_dtype
def test_special_rows(dtype: torch.dtype) -> None:
    x = random_rows((70, 9), dtype, seed=3)
    x[4] = x[66] = 0
    x[69] = x[5] = x[2]
    x[67] = -x[0]
    x = x.cuda()
    for edge in EDGES:
        assert_degree_close(hp.weighted_degree(x, edge=edge), x, edge)
    similarity, index = hp.nearest(x)
    assert_nearest_close(similarity, index, x)
    assert index[[2, 5, 69]].tolist() == [5, 2, 2]


@each_dtype
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_rows(bad: float, dtype: torch.dtype) -> None:
    x = random_rows((3, 66, 9), dtype)
    x[1, 65, 3] = bad
    x = x.cuda()
    assert_degree_close(hp.weighted_degree(x, edge="abs"), x, "abs")
    assert_nearest_close(*hp.nearest(x), x)


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (torch.float32, [1e-44, 1e-30, 1.0, 1e30, 2e37]),
        (torch.float64, [5e-322, 1e-300, 1.0, 1e300, 1e307]),
    ],
)
def test_any_finite_scale(dtype: torch.dtype, scales: list[float]) -> None:
    rng = np.random.default_rng(0)
    factors = np.array(scales)
    rows = rng.integers(-7, 8, (70, 9)) * np.resize(factors, 70)[:, None]
    x = torch.from_numpy(rows).to(dtype).cuda()
    assert_degree_close(hp.weighted_degree(x, edge="abs"), x, "abs")
    assert_nearest_close(*hp.nearest(x), x)
    filters = rng.integers(-7, 8, (len(scales), 12, 3, 3)) * factors[:, None, None, None]
    weight = torch.from_numpy(filters).to(dtype).cuda()
    assert_vectors_close(hp.filter_vectors(weight), weight)


def test_strided_and_offset_inputs() -> None:
    base = random_rows((40, 141)).cuda()
    for x in (base[:, ::2], base.T, base[3:, 5:], base.flatten()[1 : 1 + 33 * 9].view(33, 9)):
        assert_degree_close(hp.weighted_degree(x, edge="abs"), x, "abs")
        assert_nearest_close(*hp.nearest(x), x)


# -------------------------------------------------------------------------------------------------
# Sizes of real layers and beyond


def edge_weights(cosines: torch.Tensor, edge: str) -> torch.Tensor:
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "signed": lambda s: s,
        "squared": torch.square,
        "abs": torch.abs,
        "positive": lambda s: s.clamp(min=0),
        "shifted": lambda s: (1 + s) / 2,
    }
    return functions[edge](cosines)


def sampled_degree(x: torch.Tensor, edge: str, rows: torch.Tensor) -> torch.Tensor:
    """Degrees of some rows in float64 on the device, a row panel at a time."""
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    weights = edge_weights((unit[rows] @ unit.T).clamp(-1, 1), edge)
    weights[torch.arange(len(rows)), rows] = 0
    return weights.sum(dim=1)


@large
@pytest.mark.parametrize(
    ("n", "d"), [(2048, 9), (2048, 1024), (2048, 18432), (65537, 9), (70000, 64)]
)
def test_degree_of_wide_layers(n: int, d: int) -> None:
    x = random_rows((n, d)).cuda()
    rows = torch.linspace(0, n - 1, 40, device=x.device).long()
    for edge in EDGES:
        got = hp.weighted_degree(x, edge=edge)[rows].double()
        scale = n if edge == "shifted" else sampled_degree(x, "abs", rows)
        if edge == "squared":
            scale = sampled_degree(x, "squared", rows)
        assert_within((got - sampled_degree(x, edge, rows)).abs(), scale, 1e-6)


@large
@pytest.mark.parametrize(("n", "d"), [(2048, 9), (2048, 18432), (65537, 9)])
def test_nearest_of_wide_layers(n: int, d: int) -> None:
    x = random_rows((n, d)).cuda()
    rows = torch.linspace(0, n - 1, 40, device=x.device).long()
    similarity, index = hp.nearest(x)
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    cosine = unit[rows] @ unit.T
    cosine[torch.arange(len(rows)), rows] = -2
    best = cosine.max(dim=1).values
    assert_within((similarity[rows] - best).abs(), 1.0, 1e-6)
    assert_within((cosine.gather(1, index[rows][:, None])[:, 0] - best).abs(), 1.0, 1e-6)


@large
def test_vectors_of_the_widest_published_layer() -> None:
    weight = random_rows((2048, 2048, 3, 3)).cuda()
    vectors = hp.filter_vectors(weight)
    some = slice(0, 2048, 128)
    expected = ref.filter_vectors(numpy64(weight[some]), "rank1")
    np.testing.assert_allclose(numpy64(vectors[some]), expected, rtol=0, atol=1e-6)


def test_scores_agree_with_the_cpu() -> None:
    weight = random_rows((96, 32, 3, 3), torch.float64)
    for scorer in (
        "degree",
        "eigenvector",
        hp.scorers.ClosestPairs(decimals=5),
        "pairs",
        "l1",
        "l2",
        "gm",
        "landmarks",
        "betweenness",
        "closeness",
        "opnorm",
        hp.scorers.OperatorNorm(rule="spectral"),
        hp.scorers.WeightedDegree(edge="abs", sequential=True, count=50),
    ):
        here, there = hp.score(weight, scorer), hp.score(weight.cuda(), scorer)
        np.testing.assert_allclose(
            numpy64(there.values), numpy64(here.values), rtol=1e-10, atol=1e-10
        )
        assert there.order.tolist() == here.order.tolist()


@pytest.mark.parametrize("count", [None, 1, 7])
@pytest.mark.parametrize("n", SIZES)
def test_greedy_degree(n: int, count: int | None) -> None:
    x = random_rows((n, 9), torch.float64, seed=n)
    for edge in ("signed", "squared", "abs", "positive"):
        order, degree = hp.greedy_degree(x.cuda(), edge=edge, count=count)
        assert order.is_cuda
        assert degree.is_cuda
        expected, expected_degree = hp.greedy_degree(x, edge=edge, count=count)
        assert order.tolist() == expected.tolist()
        torch.testing.assert_close(degree.cpu(), expected_degree, rtol=0, atol=1e-11)


@each_dtype
@pytest.mark.parametrize(
    ("n", "d"), [(2, 1), (33, 0), (129, 7), (300, 65), pytest.param(5000, 130, marks=large)]
)
def test_greedy_degree_routes_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, dtype: torch.dtype
) -> None:
    """A weight that is computed when its row is removed is the one that was added."""
    x = random_rows((n, d), dtype)
    x[n // 2] = x[0]
    x = x.cuda()
    stored = [each for edge in EDGES for each in hp.greedy_degree(x, edge=edge)]
    monkeypatch.setattr("hubprune.ops.degree.STORED_GRAPH_BYTES", 0)
    computed = [each for edge in EDGES for each in hp.greedy_degree(x, edge=edge)]
    assert_same_bits(stored, computed)
    for order, degree in zip(computed[::2], computed[1::2], strict=True):
        places = order.argsort()
        assert places[0] < places[n // 2]
        assert float(degree[order[-1]]) == 0.0


@each_dtype
def test_greedy_degree_of_ties_and_bad_rows(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    for limit in (1 << 30, 0):
        monkeypatch.setattr("hubprune.ops.degree.STORED_GRAPH_BYTES", limit)
        for x in (torch.ones(300, 5), torch.eye(70), torch.zeros(70, 5)):
            for count in (None, 3):
                order, _ = hp.greedy_degree(x.to(dtype).cuda(), count=count)
                assert order.tolist() == list(range(len(x)))
        for bad in (float("nan"), float("inf")):
            x = random_rows((70, 4), dtype)
            x[66, 1] = bad
            order, degree = hp.greedy_degree(x.cuda())
            assert order.tolist() == [-1] * 70
            assert bool(degree.isnan().all())


@large
def test_greedy_degree_of_more_rows_than_a_stored_graph() -> None:
    x = random_rows((70_000, 3), torch.float64)  # more rows than one to a thread of every piece
    x[50_000] = x[17]
    order, degree = hp.greedy_degree(x.cuda(), edge="abs", count=4)
    unit = torch.nn.functional.normalize(x.cuda(), dim=1)
    expected = hp.weighted_degree(x.cuda(), edge="abs")
    for hub in order[:4].tolist():
        assert hub == int(expected.argmax())
        assert float(degree[hub]) == pytest.approx(float(expected[hub]), rel=1e-11)
        expected -= (unit @ unit[hub]).abs()
        expected[hub] = -torch.inf
    left = order[4:]
    torch.testing.assert_close(degree[left], expected[left], rtol=1e-9, atol=1e-9)
    assert bool((degree[left].diff() <= 0).all())


def gram(n: int, rank: int) -> torch.Tensor:
    x = random_rows((n, rank), torch.float64)
    return x @ x.mT


@pytest.mark.parametrize(
    ("n", "rank"),
    [
        *((n, n + 40) for n in SIZES),
        *((9, 4), (129, 9), (300, 70)),
        pytest.param(2000, 2500, marks=large),
        pytest.param(9000, 30, marks=large),  # more than a warp's rows in a piece
    ],
)
def test_pivoted_cholesky(n: int, rank: int) -> None:
    a = gram(n, rank)
    given = a.cuda()
    there = torch.ops.hubprune.pivoted_cholesky(given, 1e-10)
    here = torch.ops.hubprune.pivoted_cholesky(a, 1e-10)
    assert all(each.is_cuda for each in there)
    assert int(there[2]) == int(here[2]) == min(n, rank)
    assert there[0].tolist() == here[0].tolist()
    torch.testing.assert_close(there[1].cpu(), here[1], rtol=1e-8, atol=1e-10 * (rank + 1))
    assert torch.equal(given.cpu(), a)
    assert_same_bits(list(there), list(torch.ops.hubprune.pivoted_cholesky(given, 1e-10)))


def test_pivoted_cholesky_of_ties_and_bad_matrices() -> None:
    eye = torch.eye(130, dtype=torch.float64, device="cuda")
    order, _, rank = torch.ops.hubprune.pivoted_cholesky(eye, 0.0)
    assert (order.tolist(), int(rank)) == (list(range(130)), 130)
    repeated = gram(10, 10).repeat(7, 7).cuda()
    order, _, rank = torch.ops.hubprune.pivoted_cholesky(repeated, 1e-10)
    assert int(rank) == 10
    assert sorted(order[:10].tolist()) == list(range(10))
    assert order[10:].tolist() == list(range(10, 70))
    for value in (0.0, -1.0, float("nan")):
        order, residual, rank = torch.ops.hubprune.pivoted_cholesky(value * eye, 0.0)
        assert (order.tolist(), int(rank)) == (list(range(130)), 0)
        assert not bool(residual.any())


def test_compat_on_the_device() -> None:
    """Without the libraries themselves: they need not be where a GPU is."""
    from hubprune.compat.pruning import importance_scores
    from hubprune.compat.torchmetrics import pairwise_cosine_similarity

    x = random_rows((40, 9))
    x[3] = 0.0
    got = pairwise_cosine_similarity(x.cuda())
    assert got.is_cuda
    assert torch.allclose(
        got.cpu(), pairwise_cosine_similarity(x), rtol=0, atol=1e-6, equal_nan=True
    )
    weight = random_rows((20, 4, 3, 3), torch.float64)
    assert torch.equal(importance_scores(weight.cuda()).cpu(), importance_scores(weight))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_a_model_is_scored_as_on_the_cpu_with_one_wait() -> None:
    sizes = (3, 3, 3, 1, 3)  # whole filters beside rank-1 vectors
    layers = [
        torch.nn.Conv2d(3 + at, 8 + 5 * at, size, dtype=torch.float64)
        for at, size in enumerate(sizes)
    ]
    with torch.no_grad():
        layers[2].weight[4] *= 1e-6  # a dead filter
    here = hp.score_model(torch.nn.Sequential(*layers))
    model = torch.nn.Sequential(*layers).cuda()
    there = hp.score_model(model)
    for name, scores in here.items():
        np.testing.assert_allclose(
            numpy64(there[name].values), numpy64(scores.values), rtol=1e-10, atol=1e-10
        )
        assert there[name].dead.tolist() == scores.dead.tolist()
        assert there[name].order.tolist() == scores.order.tolist()
    with torch.no_grad():
        layers[2].weight[4] *= 1e6
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as waits:
            hp.score_model(model)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) == 1


# -------------------------------------------------------------------------------------------------
# The device's side


def every_operation(x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    return [
        *(hp.weighted_degree(x, edge=edge) for edge in EDGES),
        *hp.nearest(x),
        hp.pairwise_cosine(x),
        hp.pairwise_cosine(x, x[:70], edge="abs"),
        hp.row_norms(x),
        hp.eigenvector_centrality(x),
        hp.eigenvector_centrality(x, edge="shifted"),
        hp.eigenvector_centrality(x[:, :9], edge="squared"),
        hp.filter_vectors(weight),
        torch.ops.hubprune.distance_sum(x),
        torch.ops.hubprune.betweenness_centrality(1 - hp.pairwise_cosine(x[:90])),
        torch.ops.hubprune.closeness_centrality(1 - hp.pairwise_cosine(x[:90])),
        *hp.greedy_degree(x[:300], edge="abs"),
        *torch.ops.hubprune.pivoted_cholesky(hp.pairwise_cosine(x[:90]), 1e-5),
        hp.weighted_degree(x[:, :9], edge="squared"),
        *torch.ops.hubprune.weighted_degree([x, x[:70], x[:33]], "abs"),
        *torch.ops.hubprune.rank1_vectors([weight.flatten(2), weight[:3].flatten(2)])[0],
    ]


def assert_same_bits(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.cpu(), b.cpu())


@each_dtype
def test_same_bits_on_every_run(dtype: torch.dtype) -> None:
    n = 130 if SMALL_ONLY else 3000
    x = random_rows((n, 40), dtype).cuda()
    weight = random_rows((96, 64, 3, 3), dtype).cuda()
    first = every_operation(x, weight)
    for _ in range(5):
        assert_same_bits(first, every_operation(x, weight))


def test_runs_on_the_callers_stream() -> None:
    x = random_rows((300, 40)).cuda()
    weight = random_rows((64, 64, 3, 3)).cuda()
    expected = every_operation(x, weight)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # Long work first: a kernel on another stream would read the copies before they are made.
        busy = torch.randn(2048, 2048, device="cuda")
        for _ in range(1 if SMALL_ONLY else 20):
            busy = busy @ busy
            busy /= busy.abs().max()
        late_x = torch.full_like(x, float("nan")).copy_(x)
        late_weight = torch.full_like(weight, float("nan")).copy_(weight)
        results = every_operation(late_x, late_weight)
    stream.synchronize()
    assert_same_bits(expected, results)


def test_two_streams_at_once() -> None:
    inputs = [random_rows((300, 40), seed=at).cuda() for at in range(2)]
    weights = [random_rows((64, 64, 3, 3), seed=at).cuda() for at in range(2)]
    expected = [every_operation(x, weight) for x, weight in zip(inputs, weights, strict=True)]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(2)]
    for _ in range(5):
        results = []
        for stream, x, weight in zip(streams, inputs, weights, strict=True):
            with torch.cuda.stream(stream):
                results.append(every_operation(x, weight))
        torch.cuda.synchronize()
        for wanted, got in zip(expected, results, strict=True):
            assert_same_bits(wanted, got)


@large
def test_running_out_of_memory_leaves_everything_usable() -> None:
    x = random_rows((300, 40)).cuda()
    expected = hp.weighted_degree(x, edge="abs")
    # Its 2^40 cosines fit no device, and its scratch is made before anything is launched.
    wide = torch.zeros(2**20, 1, device="cuda")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        hp.pairwise_cosine(wide)
    assert_same_bits([expected], [hp.weighted_degree(x, edge="abs")])


@pytest.mark.filterwarnings("default")
def test_captured_in_a_graph() -> None:
    x = random_rows((300, 40)).cuda()
    weight = random_rows((64, 64, 3, 3)).cuda()
    every_operation(x, weight)  # warm up: nothing may be loaded during the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = every_operation(x, weight)
    for seed in (1, 2):
        x.copy_(random_rows((300, 40), seed=seed))
        weight.copy_(random_rows((64, 64, 3, 3), seed=seed))
        graph.replay()
        torch.cuda.synchronize()
        assert_same_bits(every_operation(x, weight), captured)


# A kernel that was never launched is loaded when it is: here while a graph is captured.
COLD_CAPTURE: Final = """
import torch
import hubprune as hp
from hubprune.reference import EDGES

x = torch.randn(300, 40, device="cuda")
weight = torch.randn(64, 32, 9, device="cuda")

def run():
    (vectors,), _ = torch.ops.hubprune.rank1_vectors([weight])
    degrees = [hp.weighted_degree(rows, edge=edge) for rows in (x, vectors) for edge in EDGES]
    return [vectors, *degrees, *hp.nearest(x), hp.pairwise_cosine(x)]

torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    captured = run()
x.normal_()
weight.normal_()
graph.replay()
torch.cuda.synchronize()
assert all(map(torch.equal, captured, run()))
"""


def test_captured_in_a_graph_before_any_other_call() -> None:
    command = [sys.executable, "-c", COLD_CAPTURE]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_current_device_is_left_alone() -> None:
    last = torch.cuda.device_count() - 1
    x = random_rows((70, 9)).to(f"cuda:{last}")
    before = torch.cuda.current_device()
    degree = hp.weighted_degree(x, edge="abs")
    assert degree.device == x.device
    assert torch.cuda.current_device() == before
    assert_degree_close(degree, x, "abs")


def test_a_refused_launch_is_reported_and_forgotten() -> None:
    x = random_rows((4, 3)).cuda()
    scratch = torch.empty(1 << 16, dtype=torch.uint8, device="cuda")
    unknown = torch.cuda.device_count()
    with pytest.raises(RuntimeError, match="CUDA error: weighted_degree: cudaErrorInvalidDevice"):
        _native.weighted_degree_cuda(
            False, [(x.data_ptr(), 1, 4, 3, x.data_ptr())], 2, scratch.data_ptr(), unknown, 0
        )
    assert torch.isfinite(x + 1).all()  # no error is left for the next call to trip over


def test_native_device_count_is_torchs() -> None:
    assert _native.cuda_device_count() == torch.cuda.device_count()


@pytest.mark.filterwarnings("default")
def test_operators_pass_opcheck() -> None:
    x = random_rows((20, 9)).cuda()
    weight = random_rows((6, 5, 9)).cuda()
    torch.library.opcheck(torch.ops.hubprune.weighted_degree.default, ([x], "abs"))
    torch.library.opcheck(torch.ops.hubprune.nearest.default, (x,))
    torch.library.opcheck(torch.ops.hubprune.row_norms.default, (x,))
    torch.library.opcheck(torch.ops.hubprune.pairwise_cosine.default, (x, None, "abs", False))
    torch.library.opcheck(torch.ops.hubprune.rank1_vectors.default, ([weight],))
    torch.library.opcheck(torch.ops.hubprune.distance_sum.default, (x,))
    torch.library.opcheck(torch.ops.hubprune.greedy_degree.default, (x, "abs", 3))
    torch.library.opcheck(
        torch.ops.hubprune.pivoted_cholesky.default, (torch.eye(7).cuda().double(), 1e-9)
    )


@pytest.mark.parametrize("rule", ["first", "uniform", "leverage", "rpcholesky", "farthest"])
@pytest.mark.parametrize("edge", ["signed", "abs", "shifted"])
def test_nystrom_draws_the_same_landmarks_as_the_cpu(rule: str, edge: str) -> None:
    x = random_rows((300, 40), torch.float64)
    here = hp.nystrom(x, 30, landmarks=rule, edge=edge, generator=0)
    there = hp.nystrom(x.cuda(), 30, landmarks=rule, edge=edge, generator=0)
    assert there.factor.is_cuda
    assert there.indices.tolist() == here.indices.tolist()
    assert torch.allclose(there.dense().cpu(), here.dense(), rtol=0, atol=1e-8)
    assert torch.allclose(there.degree().cpu(), here.degree(), rtol=0, atol=1e-6)
    assert there.nearest()[1].device == x.cuda().device
    found, expected = there.error_estimate(), here.error_estimate()
    assert found.relative_frobenius == pytest.approx(expected.relative_frobenius, rel=1e-6)


def test_nystrom_columns_and_sampled_degrees_agree_with_the_cpu() -> None:
    x = random_rows((300, 40))
    x[7] = 0.0
    landmarks = torch.tensor([7, 3, 299])
    for edge in ("signed", "squared", "abs", "positive", "shifted"):
        here = torch.ops.hubprune.nystrom_columns(x, landmarks, edge)
        there = torch.ops.hubprune.nystrom_columns(x.cuda(), landmarks.cuda(), edge).cpu()
        assert torch.allclose(there, here, rtol=0, atol=2e-6)
        assert torch.equal(there[landmarks, torch.arange(3)], here[landmarks, torch.arange(3)])
    asked = hp.Sampled(confidence=0.7)
    here, there = (hp.sampled_degree(each, approximate=asked) for each in (x, x.cuda()))
    assert there.columns == here.columns
    assert torch.allclose(there.values.cpu(), here.values, rtol=0, atol=1e-3)

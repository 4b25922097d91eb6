# SPDX-License-Identifier: MIT
"""Eigenvector centrality of the similarity graph and of dense graphs."""

from __future__ import annotations

import contextlib
import re

import networkx as nx
import numpy as np
import pytest
import torch

import hubprune as hp
from cases import COSINE, DTYPES, EIGENVECTOR, assert_within, numpy64, random_rows
from hubprune import reference
from hubprune.arguments import EDGES
from hubprune.ops import eigenvector_centrality_route

UNSIGNED = [edge for edge in EDGES if edge != "signed"]
TIGHT = {"tol": 1e-10, "max_iter": 2000}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d"), [(1, 3), (2, 1), (5, 3), (33, 9), (130, 9), (70, 300), (513, 9), (514, 70)]
)
@pytest.mark.parametrize("edge", UNSIGNED)
@pytest.mark.usefixtures("level")
def test_matches_the_reference(edge: str, n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    got = hp.eigenvector_centrality(x, edge=edge, **TIGHT)
    expected = reference.eigenvector_centrality(numpy64(x), edge)
    assert got.dtype == dtype
    # The rounding of the cosines moves the vector by its size over the gap to the next eigenvalue.
    values = np.linalg.eigvalsh(reference.adjacency(numpy64(x), edge))
    gap = (values[-1] - values[-2]) / values[-1] if n > 1 and values[-1] > 0 else 1.0
    condition = 1.0 / gap if gap > reference.DEGENERACY_TOLERANCE else 1.0
    assert np.max(np.abs(numpy64(got) - expected)) < EIGENVECTOR[dtype] * condition


@pytest.mark.parametrize("dtype", DTYPES)
def test_signed_warns_and_matches_the_reference(dtype: torch.dtype) -> None:
    x = torch.randn(60, 9, dtype=dtype)
    with pytest.warns(UserWarning, match="the ranking may be meaningless"):
        got = hp.eigenvector_centrality(x, edge="signed", **TIGHT)
    expected = reference.eigenvector_centrality(numpy64(x), "signed")
    assert np.max(np.abs(numpy64(got) - expected)) < 1e-6  # the leading gap is a few per cent


def test_signed_leader_orthogonal_to_ones() -> None:
    """Pairs x, -x: the leading eigenvector sums to zero; a start of ones would never find it."""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.9, 0.1], [-0.9, -0.1]], dtype=torch.float64)
    with pytest.warns(UserWarning, match="meaningless"):
        got = hp.eigenvector_centrality(x, edge="signed", **TIGHT)
    w = hp.pairwise_cosine(x, zero_diagonal=True)
    assert float(got @ w @ got) == pytest.approx(float(torch.linalg.eigvalsh(w)[-1]), abs=1e-12)


def test_is_networkx_on_the_same_graph() -> None:
    x = torch.randn(15, 9, dtype=torch.float64)
    w = hp.pairwise_cosine(x, edge="abs", zero_diagonal=True).numpy()
    expected = nx.eigenvector_centrality_numpy(nx.from_numpy_array(w), weight="weight")
    got = hp.eigenvector_centrality(x, edge="abs", **TIGHT)
    assert_within(got, list(expected.values()), 2e-11)
    assert_within(hp.graph.eigenvector_centrality(w, **TIGHT), got, 1e-14)


@pytest.mark.parametrize("edge", UNSIGNED)
def test_equal_and_orthogonal_rows_are_uniform(edge: str) -> None:
    uniform = torch.full((20,), 20**-0.5, dtype=torch.float64)
    for x in (torch.ones(20, 4), torch.eye(20), torch.zeros(20, 4)):
        assert_within(hp.eigenvector_centrality(x.double(), edge=edge), uniform, 1e-15)


def test_star_graph() -> None:
    """Centre 1/sqrt(2), each of k leaves 1/sqrt(2k); lambda = sqrt(k), and -sqrt(k) too."""
    w = torch.zeros(6, 6, dtype=torch.float64)
    w[0, 1:] = w[1:, 0] = 1.0
    expected = torch.tensor([2**-0.5] + [10**-0.5] * 5, dtype=torch.float64)
    assert_within(hp.graph.eigenvector_centrality(w, **TIGHT), expected, 1e-15)


def test_path_graph() -> None:
    """v_i = sin(i pi / (n + 1)), normalised."""
    n = 30
    w = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    w = w + w.mT
    expected = torch.sin(torch.arange(1, n + 1, dtype=torch.float64) * torch.pi / (n + 1))
    expected /= expected.norm()
    got = hp.graph.eigenvector_centrality(w, tol=1e-9, max_iter=5000)
    assert_within(got, expected, 7e-8)  # tol times the eigenvalue, 2, over a gap of 0.03


@pytest.mark.parametrize("edge", UNSIGNED)
def test_residual_keeps_its_promise(edge: str) -> None:
    x = torch.randn(200, 20, dtype=torch.float64)
    w = hp.pairwise_cosine(x, edge=edge, zero_diagonal=True)
    for tol in (1e-3, 1e-6, 1e-9):
        v = hp.eigenvector_centrality(x, edge=edge, tol=tol, max_iter=2000)
        value = v @ w @ v
        assert float((w @ v - value * v).norm() / value) <= tol * 1.01 + 1e-14
        assert float(v.norm()) == pytest.approx(1.0, abs=1e-12)
        assert float(v.sum()) >= 0


def test_recomputed_tiles_match_the_stored_graph() -> None:
    """16500 x 16500 float32 exceeds the stored route's 1 GiB; duplicates make the answer known."""
    base = torch.randn(150, 3)
    small = hp.eigenvector_centrality(base, edge="abs", tol=1e-4, max_iter=50)
    large = hp.eigenvector_centrality(base.repeat(110, 1), edge="abs", tol=1e-4, max_iter=50)
    # Self-similarity is left out once per row, which moves every eigenvalue but no eigenvector.
    assert_within(large[:150] * 110**0.5, small, 1e-7)
    assert_within(large[:150], large[150:300], 3e-9)


GRAM_SHAPES = [
    *[(8, 1), (31, 3), (32, 4), (33, 4), (127, 5), (128, 16), (129, 9), (255, 10), (256, 12)],
    *[(257, 31), (513, 17), (1030, 64)],
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), GRAM_SHAPES)
@pytest.mark.usefixtures("level")
def test_squared_through_the_gram_matrix(n: int, d: int, dtype: torch.dtype) -> None:
    x = random_rows(n, d, dtype)
    x[n // 2] = 0.0
    x[n - 1] = -3.0 * x[0]
    assert "d x d Gram matrix" in eigenvector_centrality_route(x, "squared")
    got = numpy64(hp.eigenvector_centrality(x, edge="squared", **TIGHT))
    weights = reference.adjacency(numpy64(x), "squared")
    product = weights @ got
    value = got @ product
    largest = np.linalg.eigvalsh(weights)[-1]
    assert value == pytest.approx(largest, rel=1e-6 if dtype == torch.float32 else 1e-13)
    tolerance = 20 * COSINE[dtype] if dtype == torch.float32 else 1e-9
    assert np.linalg.norm(product - value * got) < tolerance * value
    assert abs(got[n // 2]) < 1e-7


@pytest.mark.usefixtures("level")
def test_squared_batches_edgeless_graphs_and_not_finite_rows() -> None:
    x = torch.randn(4, 100, 9, dtype=torch.float64)
    x[1] = 0.0
    x[2, :, 1:] = 0.0
    x[3, 99, 8] = float("nan")
    assert "d x d Gram matrix" in eigenvector_centrality_route(x[0], "squared")
    got = hp.eigenvector_centrality(x, edge="squared")
    uniform = torch.full((100,), 0.1, dtype=torch.float64)
    assert torch.equal(got[0], hp.eigenvector_centrality(x[0], edge="squared"))
    assert_within(got[1], uniform, 1e-15)
    assert_within(got[2], uniform, 1e-15)
    assert bool(got[3].isnan().all())
    axes = torch.eye(9).repeat(20, 1)[
        :172
    ]  # blocks of equal rows; the first axis is there once more
    blocks = hp.eigenvector_centrality(axes, edge="squared")
    assert_within(blocks, 20**-0.5 * axes[:, 0], 5e-8)


@pytest.mark.parametrize(
    ("n", "d", "edge", "text"),
    [
        (2048, 9, "squared", "d x d Gram matrix"),
        (2048, 90, "squared", "d x d Gram matrix"),
        (2048, 91, "squared", "stored graph"),
        (71, 9, "squared", "stored graph"),
        (16500, 257, "squared", "computed again"),
        (16500, 256, "squared", "d x d Gram matrix"),
        (2048, 9, "shifted", "sum of the rows"),
        (2048, 9, "abs", "stored graph"),
        (16500, 9, "abs", "computed again"),
    ],
)
def test_routes(n: int, d: int, edge: str, text: str) -> None:
    assert text in eigenvector_centrality_route(torch.empty(n, d), edge)


def test_not_finite_empty_batches_numpy() -> None:
    x = torch.randn(2, 10, 3)
    x[1, 2, 0] = float("nan")
    v = hp.eigenvector_centrality(x)
    assert bool(v[0].isfinite().all())
    assert bool(v[1].isnan().all())
    assert torch.equal(v[0], hp.eigenvector_centrality(x[0]))
    assert hp.eigenvector_centrality(torch.empty(0, 3)).shape == (0,)
    assert isinstance(hp.eigenvector_centrality(np.ones((3, 2))), np.ndarray)
    w = torch.ones(3, 3)
    w[0, 1] = w[1, 0] = float("nan")
    assert bool(hp.graph.eigenvector_centrality(w).isnan().all())


@pytest.mark.parametrize("edge", UNSIGNED)
def test_any_number_of_threads_gives_the_same_bits(edge: str, threads: list[int]) -> None:
    x = torch.randn(3000, 9)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        results.append(hp.eigenvector_centrality(x, edge=edge))
    assert all(torch.equal(results[0], other) for other in results[1:])


def least_products(x: torch.Tensor, edge: str, start: torch.Tensor | None = None) -> int:
    for count in range(1, 100):
        with contextlib.suppress(RuntimeError):
            hp.eigenvector_centrality(x, edge=edge, start=start, max_iter=count)
            return count
    raise AssertionError("100 products were not enough")


@pytest.mark.parametrize("edge", ["abs", "squared", "positive"])
@pytest.mark.usefixtures("level")
def test_a_warm_start_saves_products(edge: str) -> None:
    """The centrality of the kept filters before the four most redundant were removed."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 9, generator=generator)
    x = centres[torch.arange(512) % 20] + 0.3 * torch.randn(512, 9, generator=generator)
    before = hp.eigenvector_centrality(x, edge=edge)
    kept = before.argsort()[:-4]
    cold, warm = (least_products(x[kept], edge, start) for start in (None, before[kept]))
    assert warm < cold


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("ignore:.*meaningless")
def test_any_start_finds_the_same_vector(edge: str) -> None:
    x = random_rows(40, 9, torch.float64)
    x[7] = 0.0
    expected = hp.eigenvector_centrality(x, edge=edge, **TIGHT)
    graph = hp.pairwise_cosine(x, edge=edge, zero_diagonal=True)
    others = torch.linalg.eigh(graph).eigenvectors[:, :-1].mT
    starts = [expected, -expected, 1e300 * expected, 1e-320 * expected, *others, torch.eye(40)[7]]
    for start in starts:
        got = hp.eigenvector_centrality(x, edge=edge, start=start, **TIGHT)
        assert_within(got, expected, 5e-10)
        got = hp.graph.eigenvector_centrality(graph, start=start, **TIGHT)
        assert_within(got, expected, 5e-10)


def test_an_orthogonal_start_converges_to_the_right_block() -> None:
    """Two blocks: the start is an exact eigenvector of the smaller one's eigenvalue."""
    w = torch.zeros(70, 70, dtype=torch.float64)
    w[:40, :40] = w[40:, 40:] = 1.0
    expected = torch.zeros(70, dtype=torch.float64)
    expected[:40] = 40**-0.5
    for tol in (1e-10, 1e-6, 1e-3):
        got = hp.graph.eigenvector_centrality(w, start=1.0 - expected.sign(), tol=tol)
        assert_within(got, expected, 10 * tol)


def test_batched_starts_dtypes_and_arrays() -> None:
    x = torch.randn(2, 3, 20, 9)
    x[0, 1, 4, 2] = float("inf")
    start = torch.rand(2, 3, 40, dtype=torch.float64)[..., ::2]
    got = hp.eigenvector_centrality(x, start=start)
    assert got.shape == (2, 3, 20)
    assert got.dtype == torch.float32
    assert bool(got[0, 1].isnan().all())
    for i, j in ((0, 0), (1, 2)):
        assert torch.equal(got[i, j], hp.eigenvector_centrality(x[i, j], start=start[i, j]))
    fixed = start[1, 2].numpy()
    fixed.setflags(write=False)
    array = hp.eigenvector_centrality(x[1, 2].numpy(), start=fixed)
    np.testing.assert_array_equal(array, got[1, 2].numpy())
    half = hp.eigenvector_centrality(x[1, 2], start=start[1, 2].half())
    assert_within(half, got[1, 2], 1e-6)
    assert hp.eigenvector_centrality(torch.empty(0, 3), start=torch.empty(0)).shape == (0,)
    assert hp.eigenvector_centrality(torch.ones(1, 3), start=torch.ones(1)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.ones(4), ValueError, "start must have shape (3,), an entry for each row of"),
        (torch.ones(1, 3), ValueError, "got shape (1, 3)"),
        (torch.zeros(3), ValueError, "start must not be all zero: a direction is needed"),
        (torch.tensor([1.0, float("nan"), 1.0]), ValueError, "start must be finite; it holds NaN"),
        (torch.tensor([1.0, float("inf"), 1.0]), ValueError, "start must be finite"),
        (torch.ones(3, dtype=torch.int64), TypeError, "start must hold float16"),
        ([1.0, 1.0, 1.0], TypeError, "start must be a torch.Tensor or a numpy.ndarray; got list"),
        (torch.ones(3, device="meta"), ValueError, "start must be on the same device as"),
    ],
)
def test_bad_starts(start: object, error: type[Exception], message: str) -> None:
    factor = hp.nystrom(torch.randn(3, 4), 2)
    for call in (
        lambda: hp.eigenvector_centrality(torch.ones(3, 2), start=start),  # type: ignore[arg-type]
        lambda: hp.graph.eigenvector_centrality(torch.ones(3, 3), start=start),  # type: ignore[arg-type]
        lambda: factor.eigenvector(start=start),  # type: ignore[arg-type]
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_failure_to_converge_says_how_far_it_is() -> None:
    x = torch.randn(200, 3, dtype=torch.float64)
    message = (
        r"did not converge in 2 products with the graph: relative residual \d\.\de-\d+, tol 1.0e-14"
    )
    with pytest.raises(RuntimeError, match=message):
        hp.eigenvector_centrality(x, tol=1e-14, max_iter=2)
    with pytest.raises(RuntimeError, match="raise max_iter or tol"):
        hp.graph.eigenvector_centrality(hp.pairwise_cosine(x, edge="abs"), tol=1e-14, max_iter=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.ones(5)}, ValueError, "x must have shape (..., n, d); got shape (5,)"),
        ({"x": torch.ones(2, 2), "edge": "?"}, ValueError, "edge must be one of"),
        ({"x": torch.ones(2, 2), "tol": 0.0}, ValueError, "tol must be positive; got 0.0"),
        ({"x": torch.ones(2, 2), "tol": float("nan")}, ValueError, "tol must be positive; got nan"),
        ({"x": torch.ones(2, 2), "max_iter": 0}, ValueError, "max_iter must be at least 1; got 0"),
        ({"x": torch.ones(2, 2), "max_iter": 2.5}, TypeError, "max_iter must be an int; got float"),
        ({"x": torch.ones(2, 2), "max_iter": True}, TypeError, "max_iter must be an int; got bool"),
        ({"x": torch.ones(2, 2), "tol": "tight"}, TypeError, "tol must be a number; got str"),
        (
            {"x": torch.ones(3, 2, device="meta"), "start": torch.ones(3, device="meta")},
            ValueError,
            "start must hold values; it is on the meta device",
        ),
    ],
)
def test_bad_input(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hp.eigenvector_centrality(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [-1060, -600, 520, 1020])
@pytest.mark.usefixtures("level")
def test_graphs_of_any_scale(exponent: int) -> None:
    """Squares of such weights leave the range of float64."""
    x = torch.randn(40, 5, dtype=torch.float64)
    w = hp.pairwise_cosine(x, edge="abs", zero_diagonal=True)
    scaled = torch.ldexp(w, torch.tensor(exponent))
    got = hp.graph.eigenvector_centrality(scaled, **TIGHT)
    expected = reference.graph_eigenvector_centrality(scaled.numpy())
    np.testing.assert_allclose(got, expected, rtol=0, atol=EIGENVECTOR[torch.float64])
    mixed = torch.block_diag(scaled, torch.zeros(3, 3, dtype=torch.float64))
    together = hp.graph.eigenvector_centrality(mixed, **TIGHT)
    np.testing.assert_allclose(together[:40], expected, rtol=0, atol=EIGENVECTOR[torch.float64])
    assert together[40:].abs().max() < EIGENVECTOR[torch.float64]


def test_bad_graphs() -> None:
    with pytest.raises(
        ValueError, match=re.escape("weights must have shape (..., n, n); got shape (2, 3)")
    ):
        hp.graph.eigenvector_centrality(torch.ones(2, 3))
    with pytest.raises(ValueError, match="weights must be symmetric"):
        hp.graph.eigenvector_centrality(torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    meta = torch.ones(3, 3, device="meta")
    for call, name in (
        (hp.graph.eigenvector_centrality, "weights"),
        (hp.graph.betweenness_centrality, "lengths"),
        (hp.graph.closeness_centrality, "lengths"),
    ):
        with pytest.raises(ValueError, match=f"{name} must hold values; it is on the meta device"):
            call(meta)

# SPDX-License-Identifier: MIT
"""`hubprune.reference` against scikit-learn, NetworkX, SciPy, published rules and closed forms."""

from __future__ import annotations

import ast
import doctest
import importlib
import math
import pkgutil
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_similarity

from hubprune import reference as ref
from published import (
    published_closest_pairs,
    published_cosine_matrix,
    published_degree,
    published_filter_vectors,
    published_greedy_rule,
)

# Measured on x86-64 over three seeds of the shapes below: vectors, cosines (d <= 4608), degrees and
# eigenvectors differ from their oracles by at most 7e-16, 2e-15, 3e-15 and 2e-15. The tolerance
# leaves room for another BLAS.
TOLERANCE = 1e-12

# The DCASE 2021 baseline's three layers and VGGish's first 64 x 64 layer.
PUBLISHED_SHAPES = [(16, 1, 7, 7), (16, 16, 7, 7), (32, 16, 7, 7), (64, 64, 3, 3)]
EDGES = tuple(ref.EDGES)


def random_weight(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_close(actual: ArrayLike, expected: ArrayLike, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(
        np.asarray(actual), np.asarray(expected), rtol=tolerance, atol=tolerance
    )


def integer_rows(max_n: int = 9, max_d: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Rows of small integers: zero rows, duplicates, exact ties and opposite rows all come up."""
    return hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max(max_n, max_d)).flatmap(
        lambda shape: hnp.arrays(
            np.float64,
            (min(shape[0], max_n), min(shape[1], max_d)),
            elements=st.integers(-3, 3).map(float),
        )
    )


# -------------------------------------------------------------------------------------------------
# The package itself

FILES = sorted(Path(ref.__file__).parent.glob("*.py"))


def test_reference_needs_numpy_and_the_standard_library_only() -> None:
    imported = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1  # of the package itself
    assert "numpy" in imported
    assert imported <= {
        "__future__",
        "collections",
        "heapq",
        "math",
        "numbers",
        "numpy",
        "types",
        "typing",
    }


def test_reference_examples_run() -> None:
    names = [module.name for module in pkgutil.iter_modules(ref.__path__, f"{ref.__name__}.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in [ref.__name__, *names]]
    assert sum(result.attempted for result in results) >= 20
    assert all(result.failed == 0 for result in results)


def test_every_public_name_exists_and_every_function_is_documented() -> None:
    for name in ref.__all__:
        value = getattr(ref, name)
        if callable(value) and not isinstance(value, type):
            assert "Parameters\n" in value.__doc__
            assert "Examples\n" in value.__doc__


KERNELS = Path(__file__).parents[1] / "csrc"


@pytest.mark.skipif(not KERNELS.is_dir(), reason="only in the source tree")
def test_the_twins_that_the_kernels_name_exist() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*/*.*")))
    named = set(re.findall(r"hubprune\.reference\.(\w+)", text))
    assert {"weighted_degree", "filter_vectors", "graph_betweenness_centrality"} <= named
    assert [name for name in sorted(named) if not hasattr(ref, name)] == []


# -------------------------------------------------------------------------------------------------
# Row lengths


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e300])
def test_row_norms_and_directions_at_any_scale(scale: float) -> None:
    x = random_weight((5, 7))
    norms = np.linalg.norm(x, axis=1)
    assert_close(ref.row_norms(x * scale) / scale, norms)
    assert_close(ref.normalized_rows(x * scale), x / norms[:, None])


def test_row_norms_of_rows_at_different_scales_in_one_array() -> None:
    x = np.array([[3e-300, 4e-300], [3e300, 4e300], [3.0, 4.0], [3e-300, 4e300], [0.0, 0.0]])
    np.testing.assert_allclose(ref.row_norms(x), [5e-300, 5e300, 5.0, 4e300, 0.0], rtol=1e-15)
    assert_close(
        ref.normalized_rows(x), [[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]
    )


def test_row_norms_of_subnormal_and_overflowing_rows() -> None:
    tiny = 5e-324
    assert ref.row_norms([[3 * tiny, 4 * tiny]])[0] == 5 * tiny
    assert_close(ref.normalized_rows([[3 * tiny, 4 * tiny]]), [[0.6, 0.8]])
    assert ref.row_norms([[1.7e308, 1.7e308]])[0] == np.inf
    assert_close(ref.normalized_rows([[1.7e308, 1.7e308]]), [[math.sqrt(0.5)] * 2])


def test_rows_without_a_direction() -> None:
    x = np.array([[np.nan, 1.0], [np.inf, 1.0], [-np.inf, np.nan], [0.0, 0.0], [0.0, -2.0]])
    np.testing.assert_array_equal(ref.row_norms(x), [np.nan, np.inf, np.nan, 0.0, 2.0])
    unit = ref.normalized_rows(x)
    assert np.isnan(unit[:3]).all()
    np.testing.assert_array_equal(unit[3:], [[0.0, 0.0], [0.0, -1.0]])


# -------------------------------------------------------------------------------------------------
# Filter vectors


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES)
def test_rank1_vectors_are_the_published_ones(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape)
    expected = published_filter_vectors(weight)
    for kind in ("auto", "rank1"):
        assert_close(ref.filter_vectors(weight, kind), expected)


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 2, 3, 5), (3, 5, 2, 3, 2), (2, 3, 512, 1)])
def test_rank1_vector_attains_the_spectral_norm(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape)
    for filter_, u1 in zip(weight, ref.filter_vectors(weight), strict=True):
        a = filter_.reshape(shape[1], -1).T
        assert u1.shape == (a.shape[0],)
        assert_close(np.linalg.norm(u1), 1.0)
        assert_close(np.linalg.norm(u1 @ a), np.linalg.norm(a, ord=2))
        assert u1 @ a[:, 0] > 0


def test_rank1_of_one_channel_is_the_normalised_filter() -> None:
    weight = random_weight((6, 1, 7, 7))
    flat = weight.reshape(6, 49)
    assert_close(ref.filter_vectors(weight), flat / np.linalg.norm(flat, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("v", "sign"),
    [
        ((0.5, 1.0), 1),
        ((-0.5, 1.0), -1),
        ((1e-8, 1.0), 1),  # above SIGN_TOLERANCE: v1[0] decides
        ((-1e-8, 1.0), -1),
        ((0.0, 1.0), -1),  # at or below it: the largest entry of u becomes positive
        ((0.0, -1.0), -1),
        ((1e-12, 1.0), -1),
        ((-1e-12, 1.0), -1),
    ],
)
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_sign_of_rank1_vector(v: tuple[float, float], sign: int, scale: float) -> None:
    u = np.array([0.48, -0.8, 0.36])
    weight = np.outer(v, u)[None] * scale  # (1, c = 2, p = 3), so A = u v' * scale
    assert_close(ref.filter_vectors(weight), [sign * u])


@pytest.mark.parametrize("wobble", [0.0, 1e-13, -1e-13])
def test_sign_without_a_first_column_takes_the_lowest_of_equally_large_entries(
    wobble: float,
) -> None:
    u = np.array([0.5, -0.5 - wobble, -0.5 + wobble, 0.5])
    for direction in (u, -u):
        weight = np.stack([np.zeros(4), direction])[None]
        assert_close(ref.filter_vectors(weight), [u])
    outside_the_tie = np.array([0.5, -0.5 - 1e-8, -0.5, 0.5])
    weight = np.stack([np.zeros(4), outside_the_tie])[None]
    assert ref.filter_vectors(weight)[0, 0] < 0


def test_zero_filters_have_zero_vectors_and_stay_out_of_the_others_way() -> None:
    weight = random_weight((4, 3, 3, 3))
    expected = ref.filter_vectors(weight)
    weight[2] = 0.0
    expected[2] = 0.0
    np.testing.assert_array_equal(ref.filter_vectors(weight), expected)


def test_non_finite_filters_have_nan_vectors_and_stay_out_of_the_others_way() -> None:
    weight = random_weight((4, 3, 3, 3))
    expected = ref.filter_vectors(weight)
    weight[0, 1, 2, 0] = np.nan
    weight[3, 0, 0, 0] = np.inf
    expected[[0, 3]] = np.nan
    np.testing.assert_array_equal(ref.filter_vectors(weight), expected)


@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 1), (5, 8, 1, 1)])
def test_auto_flattens_where_the_kernel_has_one_element(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape)
    np.testing.assert_array_equal(ref.filter_vectors(weight), weight.reshape(5, 8))


def test_flatten_copies_whole_filters() -> None:
    weight = random_weight((4, 3, 2, 5))
    vectors = ref.filter_vectors(weight, "flatten")
    np.testing.assert_array_equal(vectors, weight.reshape(4, 30))
    assert not np.shares_memory(vectors, weight)


def test_filter_vectors_of_empty_layers() -> None:
    assert ref.filter_vectors(np.empty((0, 3, 3, 3))).shape == (0, 9)
    assert ref.filter_vectors(np.empty((0, 3))).shape == (0, 3)
    np.testing.assert_array_equal(ref.filter_vectors(np.empty((2, 0, 3, 3))), np.zeros((2, 9)))
    assert ref.filter_vectors(np.empty((2, 3, 0))).shape == (2, 0)


# -------------------------------------------------------------------------------------------------
# Similarity


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (7, 9), (33, 49), (16, 4608)])
def test_cosine_is_that_of_scikit_learn(n: int, d: int) -> None:
    x = random_weight((n, d))
    x[n // 2] *= 1e3
    y = random_weight((5, d), seed=1)
    y[3] = 0.0
    assert_close(ref.pairwise_cosine(x, y), cosine_similarity(x, y))
    x[-1] = 0.0
    assert_close(ref.pairwise_cosine(x), cosine_similarity(x))


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES)
def test_cosine_is_the_published_one(shape: tuple[int, ...]) -> None:
    vectors = ref.filter_vectors(random_weight(shape))
    assert_close(ref.pairwise_cosine(vectors), published_cosine_matrix(vectors))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_cosine_does_not_see_scale(scale: float) -> None:
    x = random_weight((6, 5))
    mixed = x * np.array([scale, 1.0, 1.0 / scale, scale, 1.0, 1.0])[:, None]
    assert_close(ref.pairwise_cosine(mixed), ref.pairwise_cosine(x))
    assert_close(ref.pairwise_cosine(mixed, x), ref.pairwise_cosine(x))


def test_cosine_is_clamped() -> None:
    # Rounding takes the bare product of a row with itself beyond 1 in one row out of four or so.
    x = random_weight((200, 3))
    assert ref.pairwise_cosine(x, x).max() == 1.0
    assert ref.pairwise_cosine(x, -x).min() == -1.0
    assert ref.edge_weight(ref.pairwise_cosine(x, -x), "shifted").min() == 0.0


@pytest.mark.parametrize("d", [1, 7, 49, 577])
def test_equal_pairs_have_equal_similarity_to_the_bit(d: int) -> None:
    originals = random_weight((5, d))
    copies = np.random.default_rng(1).integers(0, 5, size=71)
    first = np.array([np.flatnonzero(copies == k)[0] for k in range(5)])[copies]
    x = originals[copies]
    cosine = ref.pairwise_cosine(x, x)
    np.testing.assert_array_equal(cosine, cosine[np.ix_(first, first)])
    np.testing.assert_array_equal(
        cosine, ref.pairwise_cosine(originals, originals)[copies][:, copies]
    )


@pytest.mark.parametrize(
    ("edge", "expected"),
    [
        ("signed", [-1.0, -0.5, 0.0, 0.5, 1.0]),
        ("squared", [1.0, 0.25, 0.0, 0.25, 1.0]),
        ("abs", [1.0, 0.5, 0.0, 0.5, 1.0]),
        ("positive", [0.0, 0.0, 0.0, 0.5, 1.0]),
        ("shifted", [0.0, 0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_edge_functions(edge: str, expected: list[float]) -> None:
    s = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    weights = ref.edge_weight(s, edge)
    np.testing.assert_array_equal(weights, expected)
    assert not np.shares_memory(weights, s)
    assert ref.edge_weight(0.5, edge).shape == ()
    assert np.isnan(ref.edge_weight([np.nan], edge)).all()


@pytest.mark.parametrize("edge", EDGES)
def test_edge_applies_to_every_entry_and_the_diagonal(edge: str) -> None:
    x = random_weight((5, 4))
    x[3] = 0.0
    y = random_weight((3, 4), seed=1)
    weights = ref.pairwise_cosine(x, edge=edge)
    np.testing.assert_array_equal(weights, ref.edge_weight(ref.pairwise_cosine(x), edge))
    np.testing.assert_array_equal(
        ref.pairwise_cosine(x, y, edge), ref.edge_weight(ref.pairwise_cosine(x, y), edge)
    )
    at_one, at_zero = ref.edge_weight([1.0, 0.0], edge)
    np.testing.assert_array_equal(np.diag(weights), [at_one] * 3 + [at_zero, at_one])
    hollow = ref.pairwise_cosine(x, edge=edge, zero_diagonal=True)
    np.testing.assert_array_equal(hollow, np.where(np.eye(5), 0.0, weights))
    np.testing.assert_array_equal(ref.adjacency(x, edge), hollow)


def test_zero_diagonal_of_two_sets_of_rows() -> None:
    x = np.ones((2, 3))
    y = np.ones((4, 3))
    expected = np.ones((2, 4))
    expected[[0, 1], [0, 1]] = 0.0
    assert_close(ref.pairwise_cosine(x, y, zero_diagonal=True), expected)
    assert_close(ref.pairwise_cosine(y, x, zero_diagonal=True), expected.T)


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 3, 4, 2), (0, 3, 2), (2, 0, 3)])
def test_batches_are_graphs_side_by_side(shape: tuple[int, ...]) -> None:
    x = random_weight(shape)
    y = random_weight((*shape[:-2], 5, shape[-1]), seed=1)
    n = shape[-2]
    cosine, cross = ref.pairwise_cosine(x), ref.pairwise_cosine(x, y)
    similarity, index = ref.nearest(x)
    degree, centrality = ref.weighted_degree(x, "abs"), ref.eigenvector_centrality(x)
    assert cosine.shape == (*shape[:-2], n, n)
    assert cross.shape == (*shape[:-2], n, 5)
    for result in (similarity, index, degree, centrality, ref.row_norms(x)):
        assert result.shape == shape[:-1]
    for g in np.ndindex(shape[:-2]):
        np.testing.assert_array_equal(cosine[g], ref.pairwise_cosine(x[g]))
        np.testing.assert_array_equal(cross[g], ref.pairwise_cosine(x[g], y[g]))
        np.testing.assert_array_equal(similarity[g], ref.nearest(x[g])[0])
        np.testing.assert_array_equal(index[g], ref.nearest(x[g])[1])
        np.testing.assert_array_equal(degree[g], ref.weighted_degree(x[g], "abs"))
        np.testing.assert_array_equal(centrality[g], ref.eigenvector_centrality(x[g]))


def test_no_rows_and_no_features() -> None:
    assert ref.pairwise_cosine(np.empty((0, 3))).shape == (0, 0)
    assert ref.pairwise_cosine(np.empty((0, 3)), np.empty((2, 3))).shape == (0, 2)
    np.testing.assert_array_equal(ref.pairwise_cosine(np.empty((3, 0))), np.zeros((3, 3)))
    np.testing.assert_array_equal(ref.row_norms(np.empty((3, 0))), np.zeros(3))
    for function in (ref.weighted_degree, ref.eigenvector_centrality):
        assert function(np.empty((0, 3))).shape == (0,)
    similarity, index = ref.nearest(np.empty((0, 3)))
    assert similarity.shape == index.shape == (0,)
    assert index.dtype == np.int64


def test_layout_byte_order_and_dtype_of_the_input_do_not_matter() -> None:
    base = random_weight((12, 10)).astype(np.float32)
    plain = np.ascontiguousarray(base[1:11:2, ::-1]).astype(np.float64)
    frozen = plain.copy()
    frozen.flags.writeable = False
    views = [
        base[1:11:2, ::-1],
        np.asfortranarray(plain),
        plain.astype(">f8"),
        plain.astype(np.float32),
        frozen,
        plain.tolist(),
    ]
    for view in views:
        for function in (
            ref.row_norms,
            ref.normalized_rows,
            ref.pairwise_cosine,
            ref.weighted_degree,
        ):
            np.testing.assert_array_equal(function(view), function(plain))
    np.testing.assert_array_equal(ref.pairwise_cosine([[1, 0], [1, 1]])[0, 0], 1.0)


def test_inputs_are_never_written_to() -> None:
    x = random_weight((4, 3, 3))
    before = x.copy()
    for scorer in ref.SCORERS:
        ref.redundancy(x, scorer)
    ref.pairwise_cosine(x, x, zero_diagonal=True)
    ref.nearest(x)
    ref.graph_eigenvector_centrality(np.ones((2, 3, 3)))
    np.testing.assert_array_equal(x, before)


# -------------------------------------------------------------------------------------------------
# Nearest


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES)
def test_nearest_is_the_best_of_the_others(shape: tuple[int, ...]) -> None:
    vectors = published_filter_vectors(random_weight(shape))
    s = published_cosine_matrix(vectors)
    np.fill_diagonal(s, -2.0)
    similarity, index = ref.nearest(vectors)
    assert_close(similarity, s.max(axis=1))
    np.testing.assert_array_equal(index, s.argmax(axis=1))


def test_nearest_of_several_takes_the_lowest_index() -> None:
    a, b = random_weight((2, 577))
    x = np.stack([b, a, b, a, a, b, a])
    np.testing.assert_array_equal(ref.nearest(x)[1], [2, 3, 0, 1, 1, 0, 1])
    zeros = np.zeros((4, 3))
    similarity, index = ref.nearest(zeros)
    np.testing.assert_array_equal(similarity, np.zeros(4))
    np.testing.assert_array_equal(index, [1, 0, 0, 0])


def test_nearest_of_opposite_rows_is_negative() -> None:
    similarity, index = ref.nearest([[1.0], [-1.0]])
    np.testing.assert_array_equal(similarity, [-1.0, -1.0])
    np.testing.assert_array_equal(index, [1, 0])


def test_nearest_of_a_single_row_is_nobody() -> None:
    similarity, index = ref.nearest([[1.0, 2.0]])
    np.testing.assert_array_equal(similarity, [np.nan])
    np.testing.assert_array_equal(index, [-1])


def test_nan_rows_have_no_nearest_and_are_nobodys() -> None:
    x = np.array([[np.nan, 1.0], [1.0, 0.0], [np.inf, 0.0], [1.0, 1.0], [1.0, 0.1]])
    similarity, index = ref.nearest(x)
    np.testing.assert_array_equal(index, [-1, 4, -1, 4, 1])
    np.testing.assert_array_equal(np.isnan(similarity), [True, False, True, False, False])
    similarity, index = ref.nearest(x[:2])
    np.testing.assert_array_equal(index, [-1, -1])
    assert np.isnan(similarity).all()


def test_nan_rows_make_their_row_and_column_nan() -> None:
    x = np.array([[1.0, 0.0], [np.nan, 0.0], [0.0, 0.0]])
    nan = np.nan
    np.testing.assert_array_equal(
        ref.pairwise_cosine(x), [[1.0, nan, 0.0], [nan, nan, nan], [0.0, nan, 0.0]]
    )
    assert np.isnan(ref.weighted_degree(x)).all()


# -------------------------------------------------------------------------------------------------
# Weighted degree


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES)
def test_degree_is_the_published_one(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape)
    expected = published_degree(published_filter_vectors(weight))
    degree = ref.weighted_degree(ref.filter_vectors(weight))
    assert_close(degree, expected)
    ranking = ref.redundancy(weight, "degree", dead="rank")
    np.testing.assert_array_equal(ranking.values, degree)
    np.testing.assert_array_equal(ranking.order, np.argsort(-expected, kind="stable"))


@pytest.mark.parametrize("edge", EDGES)
def test_degree_is_the_strength_networkx_computes(edge: str) -> None:
    x = random_weight((12, 5))
    x[4] = 0.0
    s = cosine_similarity(x)
    graph = nx.complete_graph(12)
    for i, j in graph.edges:
        graph[i][j]["weight"] = float(ref.edge_weight(s[i, j], edge))
    strength = dict(graph.degree(weight="weight"))
    assert_close(ref.weighted_degree(x, edge), [strength[i] for i in range(12)])


def test_closed_forms_of_the_degree() -> None:
    x = random_weight((40, 6))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    signed = unit @ unit.sum(axis=0) - 1.0
    assert_close(ref.weighted_degree(x), signed)
    assert_close(ref.weighted_degree(x, "shifted"), (39.0 + signed) / 2.0)
    gram = unit.T @ unit
    assert_close(ref.weighted_degree(x, "squared"), np.sum((unit @ gram) * unit, axis=1) - 1.0)
    positive = (ref.weighted_degree(x, "abs") + signed) / 2.0
    assert_close(ref.weighted_degree(x, "positive"), positive)


@pytest.mark.parametrize(
    ("edge", "orthogonal", "equal", "opposite"),
    [
        ("signed", 0.0, 5.0, -1.0),
        ("squared", 0.0, 5.0, 5.0),
        ("abs", 0.0, 5.0, 5.0),
        ("positive", 0.0, 5.0, 2.0),
        ("shifted", 2.5, 5.0, 2.0),
    ],
)
def test_degree_of_simple_configurations(
    edge: str, orthogonal: float, equal: float, opposite: float
) -> None:
    assert_close(ref.weighted_degree(3.0 * np.eye(6), edge), np.full(6, orthogonal))
    assert_close(
        ref.weighted_degree(np.tile(random_weight((1, 7)), (6, 1)), edge), np.full(6, equal)
    )
    halves = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])[
        :, None
    ]  # d = 1: two likes, three opposites
    assert_close(ref.weighted_degree(halves, edge), np.full(6, opposite))
    zero_row = ref.weighted_degree(np.vstack([np.zeros((1, 6)), np.eye(6)]), edge)[0]
    assert zero_row == (3.0 if edge == "shifted" else 0.0)
    np.testing.assert_array_equal(ref.weighted_degree([[2.0, 1.0]], edge), [0.0])


# -------------------------------------------------------------------------------------------------
# Eigenvector centrality


def test_eigenvector_of_a_star() -> None:
    n = 9
    star = np.zeros((n, n))
    star[4, :] = star[:, 4] = 1.0
    star[4, 4] = 0.0
    expected = np.full(n, math.sqrt(0.5 / (n - 1)))
    expected[4] = math.sqrt(0.5)
    assert_close(ref.graph_eigenvector_centrality(star), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_eigenvector_of_a_path(n: int) -> None:
    path = np.eye(n, k=1) + np.eye(n, k=-1)
    expected = math.sqrt(2.0 / (n + 1)) * np.sin(np.pi * np.arange(1, n + 1) / (n + 1))
    assert_close(ref.graph_eigenvector_centrality(path), expected)


@pytest.mark.parametrize("edge", EDGES)
def test_eigenvector_of_equal_and_of_orthogonal_vectors_is_constant(edge: str) -> None:
    constant = np.full(5, math.sqrt(0.2))
    assert_close(ref.eigenvector_centrality(np.tile([[1.0, 2.0]], (5, 1)), edge), constant)
    assert_close(ref.eigenvector_centrality(np.eye(5), edge), constant)
    np.testing.assert_array_equal(ref.eigenvector_centrality([[2.0, 1.0]], edge), [1.0])


@pytest.mark.parametrize("edge", ["squared", "abs", "positive", "shifted"])
def test_eigenvector_is_that_of_networkx(edge: str) -> None:
    x = random_weight((20, 6))
    graph = nx.from_numpy_array(ref.adjacency(x, edge))
    expected = nx.eigenvector_centrality_numpy(graph, weight="weight")
    centrality = ref.eigenvector_centrality(x, edge)
    assert_close(centrality, [expected[i] for i in range(20)], 1e-9)
    weights = ref.adjacency(x, edge)
    leading = np.linalg.eigvalsh(weights)[-1]
    assert_close(weights @ centrality, leading * centrality)
    assert (centrality >= 0).all()


def test_signed_eigenvector_belongs_to_the_largest_algebraic_eigenvalue() -> None:
    x = random_weight((15, 4), seed=3)
    weights = ref.adjacency(x)
    centrality = ref.eigenvector_centrality(x, edge="signed")
    assert_close(weights @ centrality, np.linalg.eigvalsh(weights)[-1] * centrality)
    assert_close(np.linalg.norm(centrality), 1.0)
    assert centrality.sum() >= 0
    assert (centrality < 0).any()


def test_degenerate_graphs_take_the_projection_of_ones() -> None:
    # Two triangles and a pair: the leading eigenvalue 2 is double, and its eigenspace holds the
    # indicators of the triangles, in any basis.
    blocks = np.zeros((8, 8))
    blocks[:3, :3] = blocks[3:6, 3:6] = blocks[6:, 6:] = 1.0
    np.fill_diagonal(blocks, 0.0)
    expected = np.r_[np.full(6, math.sqrt(1 / 6)), 0.0, 0.0]
    assert_close(ref.graph_eigenvector_centrality(blocks), expected)
    power_iteration = nx.eigenvector_centrality(
        nx.from_numpy_array(blocks), max_iter=500, tol=1e-12
    )
    assert_close([power_iteration[i] for i in range(8)], expected, 1e-9)

    shuffle = np.random.default_rng(0).permutation(8)
    assert_close(
        ref.graph_eigenvector_centrality(blocks[np.ix_(shuffle, shuffle)]), expected[shuffle]
    )
    np.testing.assert_array_equal(
        ref.graph_eigenvector_centrality(np.zeros((4, 4))), np.full(4, 0.5)
    )


def test_ones_orthogonal_to_the_leading_eigenvector() -> None:
    half = math.sqrt(0.5)
    # Opposite filters under `signed`: the leading eigenvector is (1, -1) and its sum is zero.
    assert_close(ref.eigenvector_centrality([[2.0], [-1.0]], "signed"), [half, -half])
    # Among entries equally large but for rounding, the first is positive.
    for n in (4, 8, 14, 16, 18, 22, 24, 26):
        signs = np.random.default_rng(0).permutation(np.repeat([1.0, -1.0], n // 2))
        centrality = ref.eigenvector_centrality(signs[:, None], "signed")
        assert_close(centrality, signs * signs[0] / math.sqrt(n))
    # Two such pairs side by side: the eigenspace is double, and every index projects equally far.
    pairs = np.kron(np.eye(2), np.array([[0.0, -1.0], [-1.0, 0.0]]))
    assert_close(ref.graph_eigenvector_centrality(pairs), [half, -half, 0.0, 0.0])


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1.7e308])
def test_eigenvector_does_not_see_the_scale_of_the_weights(scale: float) -> None:
    weights = ref.adjacency(random_weight((7, 4)), "abs")
    expected = ref.graph_eigenvector_centrality(weights)
    assert_close(ref.graph_eigenvector_centrality(weights * scale), expected)


def test_asymmetry_within_rounding_is_averaged_out() -> None:
    weights = ref.adjacency(random_weight((7, 4)), "abs")
    weights[np.triu_indices(7)] *= 1.0 + 1e-10
    np.testing.assert_array_equal(
        ref.graph_eigenvector_centrality(weights), ref.graph_eigenvector_centrality(weights.T)
    )


def test_self_loops_count_in_a_graph() -> None:
    expected = np.array([2.0, 1.0 + math.sqrt(5.0)])  # leading eigenvector of [[0, 1], [1, 1]]
    centrality = ref.graph_eigenvector_centrality([[0, 1], [1, 1]])
    assert_close(centrality, expected / np.linalg.norm(expected))


# -------------------------------------------------------------------------------------------------
# Closest pairs


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES)
@pytest.mark.parametrize("decimals", [None, 5, 2])
def test_closest_pairs_are_the_published_ones(shape: tuple[int, ...], decimals: int | None) -> None:
    weight = random_weight(shape)
    kept, removed = published_closest_pairs(published_filter_vectors(weight), decimals)
    pairs = ref.closest_pairs(ref.filter_vectors(weight), decimals)
    assert pairs.kept.tolist() == sorted(kept)
    assert pairs.removed.tolist() == sorted(removed)
    assert 0 < len(removed) < shape[0]
    if decimals is None:  # without ties the removal order is the order of marking
        assert pairs.order[: len(removed)].tolist() == removed
    ranking = ref.redundancy(weight, "pairs", dead="rank", decimals=decimals)
    np.testing.assert_array_equal(ranking.order, pairs.order)
    np.testing.assert_array_equal(ranking.values, pairs.values)


@settings(max_examples=200, deadline=None)
@given(x=integer_rows(), decimals=st.sampled_from([None, 0, 1, 5]))
def test_closest_pairs_with_ties_follow_the_published_rule(
    x: np.ndarray, decimals: int | None
) -> None:
    distances = 1.0 - ref.pairwise_cosine(x)
    if decimals is not None:
        distances = np.round(distances, decimals)
    kept, removed = published_greedy_rule(distances.tolist())
    pairs = ref.closest_pairs(x, decimals)
    assert pairs.kept.tolist() == sorted(kept)
    assert pairs.removed.tolist() == sorted(removed)
    assert set(pairs.order[: len(removed)].tolist()) == set(removed)
    np.testing.assert_array_equal(pairs.order, np.argsort(-pairs.values, kind="stable"))


def test_closest_pairs_by_hand() -> None:
    # Angles in degrees. Nearest: 0 -> 1, 1 -> 2, 2 -> 1, 3 -> 2; distances in the order 1, 2, 0, 3.
    # 1 is kept and marks 2; 2 is skipped; 0 is kept and marks 1, which stays; 3 is kept, 2 again.
    angle = np.deg2rad([0.0, 20.0, 30.0, 80.0])
    pairs = ref.closest_pairs(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert pairs.kept.tolist() == [0, 1, 3]
    assert pairs.removed.tolist() == [2]
    assert pairs.order.tolist() == [2, 1, 0, 3]
    ten, twenty, fifty = np.cos(np.deg2rad([10.0, 20.0, 50.0]))
    assert_close(pairs.values, [twenty, ten, 2.0 + ten, fifty])


def test_rounding_comes_first() -> None:
    # 3 is nearer to 2 than to 0, but not after rounding to one decimal: then the lowest index wins.
    angle = np.deg2rad([0.0, 120.0, 10.0, 5.1])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    exact, rounded = ref.closest_pairs(x), ref.closest_pairs(x, decimals=1)
    assert exact.removed.tolist() == [3]
    assert exact.kept.tolist() == [0, 1, 2]
    assert rounded.removed.tolist() == [2]
    assert rounded.kept.tolist() == [0, 1, 3]
    assert rounded.values[2] == 3.0


def test_closest_pairs_of_none_one_two_and_zero_filters() -> None:
    nothing = ref.closest_pairs(np.empty((0, 3)))
    assert [len(part) for part in nothing] == [0, 0, 0, 0]
    one = ref.closest_pairs([[1.0, 2.0]])
    assert (one.order.tolist(), one.removed.tolist(), one.kept.tolist()) == ([0], [], [0])
    assert one.values.tolist() == [-1.0]
    opposite = ref.closest_pairs([[1.0], [-1.0]])
    assert (opposite.removed.tolist(), opposite.kept.tolist()) == ([1], [0])
    assert opposite.values.tolist() == [-1.0, 1.0]
    zeros = ref.closest_pairs(np.zeros((3, 2)))  # similarity 0 all round: 0 marks 1, 2 marks 0
    assert (zeros.removed.tolist(), zeros.kept.tolist()) == ([1], [0, 2])
    assert zeros.values.tolist() == [0.0, 2.0, 0.0]


# -------------------------------------------------------------------------------------------------
# Baselines


@pytest.mark.parametrize("shape", [(6, 3), (5, 3, 3, 3), (4, 2, 5)])
def test_baselines(shape: tuple[int, ...]) -> None:
    weight = random_weight(shape)
    flat = weight.reshape(shape[0], -1)
    assert_close(ref.l1_norm(weight), -np.linalg.norm(flat, ord=1, axis=1))
    assert_close(ref.l2_norm(weight), -np.linalg.norm(flat, axis=1))
    assert_close(ref.geometric_median(weight), -cdist(flat, flat).sum(axis=1))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_baselines_at_any_scale(scale: float) -> None:
    weight = random_weight((5, 3, 3))
    for baseline in (ref.l1_norm, ref.l2_norm, ref.geometric_median):
        assert_close(baseline(weight * scale) / scale, baseline(weight))


def test_baselines_of_zero_empty_and_non_finite_filters() -> None:
    for baseline in (ref.l1_norm, ref.l2_norm, ref.geometric_median):
        np.testing.assert_array_equal(baseline(np.zeros((2, 3))), [0.0, 0.0])
        assert not np.signbit(baseline(np.zeros((2, 3)))).any()
        assert baseline(np.empty((0, 3))).shape == (0,)
        assert np.isnan(baseline([[1.0, np.nan], [1.0, 2.0]])[0])
    assert ref.l1_norm([[np.inf, 1.0], [1.7e308, 1.7e308]]).tolist() == [-np.inf, -np.inf]
    assert np.isnan(ref.geometric_median([[np.inf], [np.inf]])).all()


# -------------------------------------------------------------------------------------------------
# Dead filters and ranking


def layer_with_dead_filters() -> tuple[np.ndarray, list[int]]:
    weight = random_weight((10, 3, 3, 3))
    dead = [1, 4, 9]
    weight[1] *= 1e-18
    weight[4] = 0.0
    weight[9] *= 1e-5
    return weight, dead


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1.0, 1e30, 1e307])
def test_dead_filters_are_relative_to_the_layer(scale: float) -> None:
    weight, dead = layer_with_dead_filters()
    indices = ref.dead_filters(weight * scale)
    assert indices.tolist() == dead
    assert indices.dtype == np.int64


def test_dead_filters_of_a_layer_whose_norms_overflow() -> None:
    weight, dead = layer_with_dead_filters()
    weight *= 1.7e308 / np.abs(weight).max()
    weight[0] *= 0.01  # living, of finite length
    assert np.isinf(ref.row_norms(weight.reshape(10, 27))).any()
    assert ref.dead_filters(weight).tolist() == dead


def test_dead_threshold_is_strict() -> None:
    assert ref.DEAD_RATIO == 1e-3
    weight = np.array([[1000.0], [1.0], [np.nextafter(1.0, 0.0)], [-1.0]])
    assert ref.dead_filters(weight).tolist() == [2]


def test_nobody_is_dead_in_a_layer_of_zeros_or_without_filters() -> None:
    assert ref.dead_filters(np.zeros((3, 2, 2))).tolist() == []
    assert ref.dead_filters(np.empty((0, 2, 2))).tolist() == []
    assert ref.dead_filters(np.empty((2, 0, 2))).tolist() == []


@pytest.mark.parametrize("scorer", ref.SCORERS)
def test_dead_filters_go_first_and_leave_the_graph(scorer: str) -> None:
    weight, dead = layer_with_dead_filters()
    living = [i for i in range(10) if i not in dead]
    ranking = ref.redundancy(weight, scorer, edge="abs")
    assert ranking.dead.tolist() == dead
    assert ranking.order[:3].tolist() == dead
    assert np.isposinf(ranking.values[dead]).all()
    alone = ref.redundancy(weight[living], scorer, edge="abs", dead="rank")
    np.testing.assert_array_equal(ranking.values[living], alone.values)
    np.testing.assert_array_equal(ranking.order[3:], np.array(living)[alone.order])

    ranked = ref.redundancy(weight, scorer, edge="abs", dead="rank")
    assert ranked.dead.tolist() == dead
    assert np.isfinite(ranked.values).all()
    assert sorted(ranked.order.tolist()) == list(range(10))


def test_each_scorer_is_the_function_it_names() -> None:
    weight = random_weight((9, 4, 3, 3))
    flat = weight.reshape(9, 36)
    expected = {
        "degree": ref.weighted_degree(flat, "squared"),
        "eigenvector": ref.eigenvector_centrality(flat, "squared"),
        "betweenness": ref.betweenness_centrality(flat, "angle"),
        "closeness": ref.closeness_centrality(flat, "angle"),
        "pairs": ref.closest_pairs(flat).values,
        "l1": ref.l1_norm(weight),
        "l2": ref.l2_norm(weight),
        "gm": ref.geometric_median(weight),
        "landmarks": ref.landmarks(weight),
        "opnorm": ref.operator_norm(weight),
    }
    assert set(expected) == set(ref.SCORERS)
    for scorer, values in expected.items():
        ranking = ref.redundancy(weight, scorer, edge="squared", vectors="flatten", length="angle")
        np.testing.assert_array_equal(ranking.values, values)
        np.testing.assert_array_equal(ranking.order, np.argsort(-values, kind="stable"))
        assert ranking.order.dtype == np.int64
    by_default = ref.redundancy(weight, "degree").values
    np.testing.assert_array_equal(
        by_default, ref.weighted_degree(ref.filter_vectors(weight, "rank1"))
    )


@pytest.mark.parametrize("scorer", ref.SCORERS)
def test_ranking_of_degenerate_layers(scorer: str) -> None:
    assert ref.redundancy(np.empty((0, 2, 3)), scorer).order.tolist() == []
    assert ref.redundancy(random_weight((1, 2, 3)), scorer).order.tolist() == [0]
    zeros = ref.redundancy(np.zeros((3, 2, 3)), scorer)
    assert zeros.dead.tolist() == []
    assert zeros.order.tolist() == ([1, 0, 2] if scorer == "pairs" else [0, 1, 2])
    one_living = ref.redundancy(np.diag([0.0, 1.0, 0.0])[:, :, None], scorer)
    assert one_living.order.tolist() == [0, 2, 1]
    assert np.isfinite(one_living.values[1])


@pytest.mark.parametrize(
    ("n", "ratio", "kept"),
    [
        (10, 0.0, 10),
        (10, 0, 10),
        (10, 0.9, 1),
        (10, 0.7, 3),
        (10, 1 / 3, 7),
        (10, 1.0, 1),
        (10, np.float32(0.5), 5),
        (3, 0.5, 2),
        (1, 0.5, 1),
        (0, 0.5, 0),
        (100, 0.29, 71),
        (1000, 0.4999999, 501),
        (2048, 0.75, 512),
    ],
)
def test_kept_count(n: int, ratio: float, kept: int) -> None:
    count = ref.kept_count(n, ratio)
    assert count == kept
    assert isinstance(count, int)


@settings(max_examples=300, deadline=None)
@given(n=st.integers(1, 1_000_000), thousandths=st.integers(0, 1000))
def test_kept_count_is_exact_for_decimal_ratios(n: int, thousandths: int) -> None:
    exact = math.ceil((1 - Fraction(thousandths, 1000)) * n)
    assert ref.kept_count(n, thousandths / 1000) == max(1, exact)


# -------------------------------------------------------------------------------------------------
# Properties


@settings(max_examples=100, deadline=None)
@given(x=integer_rows(), edge=st.sampled_from(EDGES))
def test_similarity_is_symmetric_and_in_range(x: np.ndarray, edge: str) -> None:
    weights = ref.pairwise_cosine(x, edge=edge)
    np.testing.assert_array_equal(weights, weights.T)
    assert weights.max() <= 1.0
    assert weights.min() >= (-1.0 if edge == "signed" else 0.0)
    zero = ~x.any(axis=1)
    np.testing.assert_array_equal(
        np.diag(weights), np.where(zero, ref.edge_weight(0.0, edge), ref.edge_weight(1.0, edge))
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data(), x=integer_rows())
def test_powers_of_two_change_no_bit(data: st.DataObject, x: np.ndarray) -> None:
    exponents = data.draw(hnp.arrays(np.int64, len(x), elements=st.integers(-1000, 1000)))
    scaled = np.ldexp(x, exponents[:, None])
    np.testing.assert_array_equal(ref.pairwise_cosine(scaled), ref.pairwise_cosine(x))
    np.testing.assert_array_equal(ref.nearest(scaled)[1], ref.nearest(x)[1])
    np.testing.assert_array_equal(ref.row_norms(scaled), np.ldexp(ref.row_norms(x), exponents))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), x=integer_rows(), edge=st.sampled_from(EDGES))
def test_permuting_rows_permutes_results(data: st.DataObject, x: np.ndarray, edge: str) -> None:
    order = np.array(data.draw(st.permutations(range(len(x)))))
    weights = ref.pairwise_cosine(x, edge=edge)
    np.testing.assert_array_equal(
        ref.pairwise_cosine(x[order], edge=edge), weights[np.ix_(order, order)]
    )
    np.testing.assert_array_equal(ref.nearest(x[order])[0], ref.nearest(x)[0][order])
    assert_close(ref.weighted_degree(x[order], edge), ref.weighted_degree(x, edge)[order])
    if (
        edge != "signed"
    ):  # a signed graph can leave ones orthogonal to the eigenspace: index decides
        centrality = ref.eigenvector_centrality(x, edge)
        assert_close(ref.eigenvector_centrality(x[order], edge), centrality[order], 1e-7)


@settings(max_examples=100, deadline=None)
@given(x=integer_rows(), edge=st.sampled_from(EDGES), seed=st.integers(0, 2**32 - 1))
def test_rotating_features_changes_nothing(x: np.ndarray, edge: str, seed: int) -> None:
    d = x.shape[1]
    rotation = np.linalg.qr(random_weight((d, d), seed)).Q
    assert_close(ref.pairwise_cosine(x @ rotation, edge=edge), ref.pairwise_cosine(x, edge=edge))
    assert_close(ref.weighted_degree(x @ rotation, edge), ref.weighted_degree(x, edge))
    assert_close(ref.nearest(x @ rotation)[0], ref.nearest(x)[0])


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6)),
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-900, 900),
)
def test_rank1_vectors_have_length_one_and_ignore_length(
    shape: tuple[int, int, int], seed: int, exponent: int
) -> None:
    weight = random_weight(shape, seed)
    vectors = ref.filter_vectors(weight)
    assert_close(np.linalg.norm(vectors, axis=1), 1.0)
    np.testing.assert_array_equal(ref.filter_vectors(np.ldexp(weight, exponent)), vectors)
    assert_close(ref.filter_vectors(-weight), -vectors)


# -------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    "function",
    [
        ref.row_norms,
        ref.normalized_rows,
        ref.pairwise_cosine,
        ref.nearest,
        ref.adjacency,
        ref.weighted_degree,
        ref.eigenvector_centrality,
    ],
)
def test_rows_of_wrong_shape_or_kind(function: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"^x must have shape \(\.\.\., n, d\); got shape \(5,\)$"):
        function(np.ones(5))
    with pytest.raises(ValueError, match=r"^x must have shape \(\.\.\., n, d\); got shape \(\)$"):
        function(1.0)
    with pytest.raises(TypeError, match=r"^x must hold real numbers; got dtype complex128$"):
        function(np.ones((2, 2), dtype=complex))
    with pytest.raises(TypeError, match=r"^x must hold real numbers; got dtype bool$"):
        function(np.ones((2, 2), dtype=bool))
    with pytest.raises(TypeError, match=r"^x must hold real numbers; got dtype object$"):
        function(np.array([[None, 1.0]]))


@pytest.mark.parametrize(
    "function",
    [
        ref.filter_vectors,
        ref.l1_norm,
        ref.l2_norm,
        ref.geometric_median,
        ref.dead_filters,
        lambda weight: ref.redundancy(weight, "l1"),
    ],
)
def test_weights_of_wrong_shape_or_kind(function: Callable[..., object]) -> None:
    message = r"^weight must have shape \(n, c, \*kernel\); got shape \(5,\)$"
    with pytest.raises(ValueError, match=message):
        function(np.ones(5))
    with pytest.raises(TypeError, match=r"^weight must hold real numbers; got dtype <U1$"):
        function([["a", "b"]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ref.filter_vectors(np.ones((4, 3, 1, 1)), "rank1"),
            "kind 'rank1' needs a kernel of more than one element; got weight of shape "
            "(4, 3, 1, 1): use kind='flatten'",
        ),
        (
            lambda: ref.filter_vectors(np.ones((4, 3)), "rank1"),
            "kind 'rank1' needs a kernel of more than one element; got weight of shape (4, 3): "
            "use kind='flatten'",
        ),
        (
            lambda: ref.filter_vectors(np.ones((4, 3, 3)), "svd"),
            "kind must be one of 'auto', 'rank1', 'flatten'; got 'svd'",
        ),
        (
            lambda: ref.pairwise_cosine(np.ones((2, 4, 3)), np.ones((2, 5, 4))),
            "y must have shape (2, m, 3) to match x of shape (2, 4, 3); got shape (2, 5, 4)",
        ),
        (
            lambda: ref.pairwise_cosine(np.ones((2, 4, 3)), np.ones((5, 3))),
            "y must have shape (2, m, 3) to match x of shape (2, 4, 3); got shape (5, 3)",
        ),
        (
            lambda: ref.pairwise_cosine(np.ones((4, 3)), np.ones(3)),
            "y must have shape (..., n, d); got shape (3,)",
        ),
        (
            lambda: ref.graph_eigenvector_centrality(np.ones((2, 3))),
            "weights must have shape (..., n, n); got shape (2, 3)",
        ),
        (
            lambda: ref.graph_eigenvector_centrality([[0.0, np.nan], [np.nan, 0.0]]),
            "weights must be finite; got a NaN or an infinity",
        ),
        (
            lambda: ref.graph_eigenvector_centrality([[0.0, 1.0], [2.0, 0.0]]),
            "weights must be symmetric; got 1.0 at (0, 1) and 2.0 at (1, 0)",
        ),
        (
            lambda: ref.eigenvector_centrality([[1.0], [np.inf]]),
            "x must be finite; got a NaN or an infinity",
        ),
        (
            lambda: ref.closest_pairs(np.ones((2, 3, 4))),
            "x must have shape (n, d); got shape (2, 3, 4)",
        ),
        (
            lambda: ref.closest_pairs([[1.0], [np.nan], [np.inf]]),
            "x must be finite; row 1 holds a NaN or an infinity",
        ),
        (lambda: ref.closest_pairs([[1.0]], decimals=-1), "decimals must be at least 0; got -1"),
        (
            lambda: ref.dead_filters([[1.0], [2.0], [np.inf]]),
            "weight must be finite; filter 2 holds a NaN or an infinity",
        ),
        (
            lambda: ref.redundancy([[np.nan, 1.0], [2.0, 3.0]], "degree"),
            "weight must be finite; filter 0 holds a NaN or an infinity",
        ),
        (
            lambda: ref.redundancy(np.ones((2, 3)), "random"),
            "scorer must be one of 'degree', 'eigenvector', 'betweenness', 'closeness', 'pairs', "
            "'l1', 'l2', 'gm', 'landmarks', 'opnorm'; got 'random'",
        ),
        (
            lambda: ref.redundancy(np.ones((2, 3)), "degree", vectors="svd"),
            "vectors must be one of 'auto', 'rank1', 'flatten'; got 'svd'",
        ),
        (
            lambda: ref.redundancy(np.ones((2, 3)), "degree", dead="last"),
            "dead must be one of 'first', 'rank'; got 'last'",
        ),
        (lambda: ref.kept_count(-1, 0.5), "n must be at least 0; got -1"),
        (lambda: ref.kept_count(4, 1.5), "ratio must lie in [0, 1]; got 1.5"),
        (lambda: ref.kept_count(4, -0.1), "ratio must lie in [0, 1]; got -0.1"),
        (lambda: ref.kept_count(4, float("nan")), "ratio must lie in [0, 1]; got nan"),
    ],
)
def test_wrong_values_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ref.pairwise_cosine(np.ones((2, 2)), np.ones((2, 2), dtype=complex)),
            "y must hold real numbers; got dtype complex128",
        ),
        (lambda: ref.edge_weight(["a"]), "s must hold real numbers; got dtype <U1"),
        (
            lambda: ref.graph_eigenvector_centrality([["a"]]),
            "weights must hold real numbers; got dtype <U1",
        ),
        (
            lambda: ref.closest_pairs([[1.0]], decimals=2.0),
            "decimals must be an integer or None; got float",
        ),
        (
            lambda: ref.closest_pairs([[1.0]], decimals=True),
            "decimals must be an integer or None; got bool",
        ),
        (lambda: ref.kept_count(4.0, 0.5), "n must be an integer; got float"),
        (lambda: ref.kept_count(True, 0.5), "n must be an integer; got bool"),
        (lambda: ref.kept_count(4, "half"), "ratio must be a real number; got str"),
        (lambda: ref.kept_count(4, True), "ratio must be a real number; got bool"),
    ],
)
def test_wrong_kinds_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("edge", ["cosine", "", None, ["signed"]])
def test_unknown_edges_are_named(edge: Any) -> None:
    x = np.ones((2, 3))
    message = (
        "edge must be one of 'signed', 'squared', 'abs', 'positive', 'shifted'; "
        f"got {re.escape(repr(edge))}"
    )
    for function in (
        ref.edge_weight,
        ref.adjacency,
        ref.weighted_degree,
        ref.eigenvector_centrality,
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            function(x, edge)
    with pytest.raises(ValueError, match=f"^{message}$"):
        ref.pairwise_cosine(x, edge=edge)
    with pytest.raises(ValueError, match=f"^{message}$"):
        ref.redundancy(x, "degree", edge=edge)

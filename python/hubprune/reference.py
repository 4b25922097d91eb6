# SPDX-License-Identifier: MIT
"""The specification in code: every formula in float64 NumPy, slow and readable.

One notation everywhere: n filters, c input channels, p = product of the kernel's spatial sizes, d
features. Every kernel of the library has its twin here and is tested against it. Nothing here is
optimised: similarity graphs are stored whole (n x n), eigenvectors come from a full decomposition,
loops are loops.

Two habits are worth knowing before reading on:

- Inputs are converted to C-contiguous float64 first, so strides, byte order and read-only flags
  cannot change a result. Inputs are never written to.
- Inner products are summed by one and the same routine for every pair of rows, so two equal pairs
  of rows have the same similarity to the last bit. "Ties: lowest index" is then a statement about
  the data and not about a matrix product's blocking.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DEAD_RATIO",
    "DEAD_RULES",
    "DEGENERACY_TOLERANCE",
    "EDGES",
    "KINDS",
    "LENGTHS",
    "SCORERS",
    "SIGN_TOLERANCE",
    "SYMMETRY_TOLERANCE",
    "ClosestPairs",
    "Ranking",
    "adjacency",
    "betweenness_centrality",
    "closeness_centrality",
    "closest_pairs",
    "dead_filters",
    "edge_weight",
    "eigenvector_centrality",
    "filter_vectors",
    "geometric_median",
    "graph_betweenness_centrality",
    "graph_closeness_centrality",
    "graph_eigenvector_centrality",
    "kept_count",
    "l1_norm",
    "l2_norm",
    "nearest",
    "normalized_rows",
    "pairwise_cosine",
    "path_lengths",
    "redundancy",
    "row_norms",
    "weighted_degree",
]

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

SIGN_TOLERANCE: Final = 1e-10
"""A rank-1 vector's product with the first column counts as zero up to this multiple of sigma_1;
entries count as equally large up to this relative difference. The kernels use the same number."""

DEGENERACY_TOLERANCE: Final = 1e-9
"""Eigenvalues within this multiple of the spectral radius of the largest count as equal to it."""

SYMMETRY_TOLERANCE: Final = 1e-9
"""A graph is symmetric if w_ij and w_ji differ by at most this multiple of the largest weight."""

DEAD_RATIO: Final = 1e-3
"""A filter whose 2-norm is below this multiple of the layer's largest is dead."""

KINDS: Final = ("auto", "rank1", "flatten")
"""The filter vectors `filter_vectors` knows."""

SCORERS: Final = (
    "degree",
    "eigenvector",
    "betweenness",
    "closeness",
    "pairs",
    "l1",
    "l2",
    "gm",
)
"""The scorers `redundancy` knows."""

DEAD_RULES: Final = ("first", "rank")
"""What `redundancy` can do with dead filters: remove them first, or rank them like any other."""


EDGES: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = MappingProxyType(
    {
        "signed": lambda s: +s,
        "squared": lambda s: s * s,
        "abs": lambda s: np.asarray(np.abs(s)),
        "positive": lambda s: np.asarray(np.maximum(s, 0.0)),
        "shifted": lambda s: (1.0 + s) / 2.0,
    }
)
"""Edge functions f by name: s, s^2, |s|, max(s, 0) and (1 + s) / 2."""

LENGTHS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = MappingProxyType(
    {
        "one_minus": lambda s: 1.0 - s,
        "angle": lambda s: np.asarray(np.arccos(s)),
        "similarity": lambda s: +s,
    }
)
"""Path lengths of an edge by name: 1 - s, arccos(s) and the similarity s itself."""


class ClosestPairs(NamedTuple):
    """What the closest-pairs rule decides for one layer; see `closest_pairs`."""

    order: IndexArray
    """(n,) removal order, first removed first; it starts with every filter the rule removes."""
    removed: IndexArray
    """Indices the rule removes, ascending."""
    kept: IndexArray
    """Indices the rule keeps, ascending."""
    values: FloatArray
    """(n,) redundancy: 2 + similarity of the marking pair if removed, else that to the nearest."""


class Ranking(NamedTuple):
    """A layer's filters ranked by redundancy; see `redundancy`."""

    values: FloatArray
    """(n,) redundancy, higher is removed first; +inf marks dead filters that are removed first."""
    order: IndexArray
    """(n,) removal order: descending values, ties by lower index."""
    dead: IndexArray
    """Indices of the dead filters, ascending."""


# -------------------------------------------------------------------------------------------------
# Input checks


def _real_array(array: ArrayLike, name: str) -> FloatArray:
    """Return `array` as C-contiguous float64; TypeError if it does not hold real numbers."""
    given = np.asarray(array)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {given.dtype}")
    # ascontiguousarray turns a scalar into a vector; the checks that follow must see the scalar.
    return np.ascontiguousarray(given, dtype=np.float64).reshape(given.shape)


def _rows(x: ArrayLike, name: str = "x") -> FloatArray:
    rows = _real_array(x, name)
    if rows.ndim < 2:
        raise ValueError(f"{name} must have shape (..., n, d); got shape {rows.shape}")
    return rows


def _filters(weight: ArrayLike) -> FloatArray:
    """Return the weight as (n, c, p)."""
    w = _real_array(weight, "weight")
    if w.ndim < 2:
        raise ValueError(f"weight must have shape (n, c, *kernel); got shape {w.shape}")
    return w.reshape(w.shape[0], w.shape[1], math.prod(w.shape[2:]))


def _flat_filters(weight: ArrayLike) -> FloatArray:
    """Return the weight as (n, c * p): whole filters."""
    w = _filters(weight)
    return w.reshape(w.shape[0], w.shape[1] * w.shape[2])


def _require_finite(rows: FloatArray, name: str, unit: str) -> None:
    """Raise ValueError naming the first slice along axis 0 that holds a NaN or an infinity."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))
    if bad.size:
        raise ValueError(f"{name} must be finite; {unit} {bad[0]} holds a NaN or an infinity")


def _require_choice(value: object, choices: tuple[str, ...], name: str) -> None:
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")


# -------------------------------------------------------------------------------------------------
# Row lengths


def _scaled_rows(x: FloatArray) -> tuple[FloatArray, NDArray[np.intc]]:
    """Return (rows / 2^e, e), e (..., n, 1) such that a row's largest magnitude lies in [0.5, 1).

    A power of two scales without rounding, so squares neither overflow nor vanish at any finite
    scale.
    """
    magnitude = np.max(np.abs(x), axis=-1, keepdims=True, initial=0.0)
    finite = np.isfinite(magnitude)
    _, exponent = np.frexp(np.where(finite, magnitude, 1.0))
    return np.ldexp(x, -exponent), exponent


def row_norms(x: ArrayLike) -> FloatArray:
    """Return the Euclidean length of every row, right at any finite scale.

    |x_i| = 2^e sqrt(sum_k (x_ik / 2^e)^2), with e the exponent of the row's largest magnitude.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for zero rows and for d = 0; NaN for a row that holds a NaN; infinity for a row that
        holds an infinity and no NaN, and where the length itself exceeds the range of float64.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> row_norms([[3e-200, 4e-200], [0.0, 0.0]]).tolist()
    [5e-200, 0.0]
    """
    rows = _rows(x)
    scaled, exponent = _scaled_rows(rows)
    length = np.sqrt(np.sum(scaled * scaled, axis=-1, keepdims=True))
    with np.errstate(over="ignore"):
        norms: FloatArray = np.ldexp(length, exponent)[..., 0]
    return norms


def normalized_rows(x: ArrayLike) -> FloatArray:
    """Return every row divided by its Euclidean length; zero rows stay zero.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.

    Returns
    -------
    ndarray, shape (..., n, d), float64
        Rows of length 1 or 0. A row that holds a NaN or an infinity has no direction: it is NaN
        throughout.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> normalized_rows([[0.0, 1e-300], [0.0, 0.0]]).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    rows = _rows(x)
    finite = np.isfinite(rows).all(axis=-1, keepdims=True)
    scaled, _ = _scaled_rows(np.where(finite, rows, 0.0))
    length = np.sqrt(np.sum(scaled * scaled, axis=-1, keepdims=True))
    unit = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    return np.where(finite, unit, np.nan)


# -------------------------------------------------------------------------------------------------
# Filter vectors


def filter_vectors(weight: ArrayLike, kind: str = "auto") -> FloatArray:
    """Return one vector for each filter of a layer.

    `flatten` is the whole filter, d = c p. `rank1` is the leading left singular vector u1 of the
    matrix A_o = `weight[o].reshape(c, p).T` of p rows and c columns, d = p: the column direction of
    the best rank-1 approximation sigma_1 u1 v1'. `auto` is `rank1` if p > 1, else `flatten`.

    The sign of u1 makes <u1, first column of A_o> = sigma_1 v1[0] positive. Where the magnitude of
    that product is at most `SIGN_TOLERANCE` * sigma_1, it makes u1's largest-magnitude entry
    positive instead (magnitudes within `SIGN_TOLERANCE` of the largest, relative, are ties, and the
    lowest index among them decides).

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, output filters first; a linear layer is (n, c).
    kind : {"auto", "rank1", "flatten"}
        Which vector.

    Returns
    -------
    ndarray, shape (n, d), float64
        `rank1` vectors have length 1. A zero filter gives the zero vector; under `rank1` a filter
        that holds a NaN or an infinity gives a vector of NaN.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions, if `kind` is unknown, or if `rank1` is asked of a
        kernel with a single element (or none): there is no direction to compare.
    TypeError
        If `weight` does not hold real numbers.

    Notes
    -----
    Where sigma_1 = sigma_2 the leading direction is not unique and any unit vector of that singular
    subspace is a right answer. Singh & Plumbley, Interspeech 2022, arXiv 2203.15751.

    Examples
    --------
    >>> direction = [0.6, 0.8]
    >>> w = [[[-3 * t for t in direction], [5 * t for t in direction]]]  # n = 1, c = 2, p = 2
    >>> filter_vectors(w).round(12).tolist()
    [[-0.6, -0.8]]
    >>> filter_vectors(w, kind="flatten").shape
    (1, 4)
    """
    w = _filters(weight)
    _require_choice(kind, KINDS, "kind")
    p = w.shape[2]
    if kind == "flatten" or (kind == "auto" and p <= 1):
        return np.array(_flat_filters(weight))
    if p <= 1:
        raise ValueError(
            "kind 'rank1' needs a kernel of more than one element; got weight of shape "
            f"{np.asarray(weight).shape}: use kind='flatten'"
        )
    vectors = np.zeros((w.shape[0], p))
    for o, filter_ in enumerate(w):
        vectors[o] = _leading_left_direction(filter_.T)
    return vectors


def _leading_left_direction(a: FloatArray) -> FloatArray:
    """Return the oriented u1 of a (p, c); zero for a zero matrix, NaN for a non-finite one."""
    if not np.isfinite(a).all():
        return np.full(a.shape[0], np.nan)
    if not a.any():
        return np.zeros(a.shape[0])
    # A power of two changes no singular vector and keeps the decomposition within range.
    _, exponent = np.frexp(np.abs(a).max())
    a = np.ldexp(a, -exponent)
    u, sigma, _ = np.linalg.svd(a, full_matrices=False)
    u1: FloatArray = u[:, 0]
    product = float(u1 @ a[:, 0])
    if abs(product) <= SIGN_TOLERANCE * float(sigma[0]):
        magnitude = np.abs(u1)
        largest = int(np.argmax(magnitude >= (1.0 - SIGN_TOLERANCE) * magnitude.max()))
        product = float(u1[largest])
    return -u1 if product < 0 else u1


# -------------------------------------------------------------------------------------------------
# Similarity


def edge_weight(s: ArrayLike, edge: str = "signed") -> FloatArray:
    """Return the edge weight f(s) of similarities, entry by entry.

    Parameters
    ----------
    s : array_like, any shape
        Similarities.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        s, s^2, |s|, max(s, 0) or (1 + s) / 2.

    Returns
    -------
    ndarray, the shape of `s`, float64
        NaN stays NaN.

    Raises
    ------
    ValueError
        If `edge` is unknown.
    TypeError
        If `s` does not hold real numbers.

    Examples
    --------
    >>> edge_weight([-0.5, 0.5], "shifted").tolist()
    [0.25, 0.75]
    """
    _require_choice(edge, tuple(EDGES), "edge")
    return np.asarray(EDGES[edge](_real_array(s, "s")))


def pairwise_cosine(
    x: ArrayLike,
    y: ArrayLike | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
) -> FloatArray:
    """Return f(s_ij) with s_ij = <x_i, y_j> / (|x_i| |y_j|) for all pairs of rows.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.
    y : array_like, shape (..., m, d), optional
        Rows to compare with, of the same batch shape and d; the rows of `x` themselves by default.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        The edge function f. It applies to every entry, the diagonal included.
    zero_diagonal : bool
        Set the entries (i, i), i < min(n, m), to 0 after the edge function.

    Returns
    -------
    ndarray, shape (..., n, m), float64
        f of similarities clamped to [-1, 1]. A zero row has similarity 0 to every row. Without `y`
        the result is exactly symmetric and its diagonal is exactly f(1) for non-zero rows and
        exactly f(0) for zero rows (`zero_diagonal` overrides both). A row that holds a NaN or an
        infinity makes its row and column NaN, its diagonal entry included, unless `zero_diagonal`
        sets that to 0.

    Raises
    ------
    ValueError
        If `x` or `y` has fewer than two dimensions, if their batch shapes or d differ, or if `edge`
        is unknown.
    TypeError
        If `x` or `y` does not hold real numbers.

    Examples
    --------
    >>> pairwise_cosine([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    >>> pairwise_cosine([[2.0, 0.0], [0.0, 0.0]], edge="shifted").tolist()
    [[1.0, 0.5], [0.5, 0.5]]
    """
    rows = _rows(x)
    _require_choice(edge, tuple(EDGES), "edge")
    left = normalized_rows(rows)
    if y is None:
        right = left
    else:
        others = _rows(y, "y")
        batch, d = rows.shape[:-2], rows.shape[-1]
        if others.shape[:-2] != batch or others.shape[-1] != d:
            wanted = ", ".join([*map(str, batch), "m", str(d)])
            raise ValueError(
                f"y must have shape ({wanted}) to match x of shape {rows.shape}; "
                f"got shape {others.shape}"
            )
        right = normalized_rows(others)

    similarity = np.empty((*rows.shape[:-1], right.shape[-2]))
    for g in np.ndindex(rows.shape[:-2]):
        # einsum and not matmul: one loop sums every pair, so equal pairs are equal to the bit.
        np.einsum("id,jd->ij", left[g], right[g], out=similarity[g])
    similarity = np.clip(similarity, -1.0, 1.0)

    i = np.arange(min(similarity.shape[-2:]))
    if y is None:
        # A non-zero row's squared length is 1 to rounding, a zero row's exactly 0; NaN stays NaN.
        similarity[..., i, i] = np.round(similarity[..., i, i])
    weights = EDGES[edge](similarity)
    if zero_diagonal:
        weights[..., i, i] = 0.0
    return weights


def nearest(x: ArrayLike) -> tuple[FloatArray, IndexArray]:
    """Return every row's most similar other row: (max_{j != i} s_ij, the lowest j that attains it).

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.

    Returns
    -------
    similarity : ndarray, shape (..., n), float64
        Cosine similarity to the nearest other row, NaN where there is none.
    index : ndarray, shape (..., n), int64
        Its index, -1 where there is none: n = 1, a row that itself holds a NaN or an infinity, or a
        row all of whose others do. Such a row is never another row's nearest.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> similarity, index = nearest([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [9.0, 0.0]])
    >>> similarity.tolist(), index.tolist()
    ([1.0, 0.0, 1.0, 1.0], [2, 0, 0, 0])
    """
    s = pairwise_cosine(x)
    n = s.shape[-1]
    i = np.arange(n)
    s[..., i, i] = np.nan
    candidates = np.where(np.isnan(s), -np.inf, s)
    if n == 0:
        return np.empty(s.shape[:-1]), np.empty(s.shape[:-1], dtype=np.int64)
    index = candidates.argmax(axis=-1).astype(np.int64)  # the first of several maxima
    similarity = candidates.max(axis=-1)
    none = np.isneginf(similarity)
    return np.where(none, np.nan, similarity), np.where(none, np.int64(-1), index)


# -------------------------------------------------------------------------------------------------
# Graph and centrality


def adjacency(x: ArrayLike, edge: str = "signed") -> FloatArray:
    """Return the weight matrix of the similarity graph: f(s_ij) off the diagonal, no self loops.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        The edge function f.

    Returns
    -------
    ndarray, shape (..., n, n), float64
        Symmetric with a zero diagonal. Zero rows have s = 0 to every other, hence weight f(0): 1/2
        for `shifted` and 0 for all other edges.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or `edge` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> adjacency([[1.0, 0.0], [-1.0, 0.0]], edge="abs").tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return pairwise_cosine(x, edge=edge, zero_diagonal=True)


def weighted_degree(x: ArrayLike, edge: str = "signed") -> FloatArray:
    """Return every row's weighted degree (strength) in the similarity graph: sum_{j != i} f(s_ij).

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        The edge function f.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for n = 1 (an empty sum). The graph is complete: with n > 1, one row that holds a NaN
        or an infinity makes every degree NaN.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or `edge` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Notes
    -----
    A zero row is isolated (s = 0); under `shifted` the formula gives it the weight 1/2 to everyone,
    hence the degree (n - 1) / 2. The degree is not `networkx.degree_centrality`, which is constant
    on a complete graph. King, Singh & Plumbley, 2023, arXiv 2305.03391.

    Examples
    --------
    >>> weighted_degree([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).tolist()
    [1.0, 1.0, 0.0]
    """
    degree: FloatArray = adjacency(x, edge).sum(axis=-1)
    return degree


def graph_eigenvector_centrality(weights: ArrayLike) -> FloatArray:
    """Return the eigenvector centrality of a dense undirected graph.

    The eigenvector of the largest algebraic eigenvalue, of 2-norm 1 and with a non-negative sum.

    Parameters
    ----------
    weights : array_like, shape (..., n, n)
        Symmetric matrices of real, finite weights; diagonal entries are self loops.

    Returns
    -------
    ndarray, shape (..., n), float64
        Eigenvalues within `DEGENERACY_TOLERANCE` times the spectral radius of the largest count as
        equal to it. The result is the projection of the all-ones vector on the eigenspace they
        span, scaled to length 1: what power iteration from ones converges to, on weights shifted
        by a multiple of the identity where needed. For a simple eigenvalue that is the eigenvector
        itself; a graph without edges gives the constant vector. Where ones is orthogonal to the
        eigenspace (a projection of at most `DEGENERACY_TOLERANCE` times its length), the unit
        vector of the index with the longest projection takes its place (ties within
        `SIGN_TOLERANCE`: the lowest index); for a simple eigenvalue that makes the
        largest-magnitude entry positive.

    Raises
    ------
    ValueError
        If `weights` is not square in its last two dimensions, not finite, or not symmetric to
        `SYMMETRY_TOLERANCE` (the message names the worst pair).
    TypeError
        If `weights` does not hold real numbers.

    Examples
    --------
    >>> star = [[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    >>> (graph_eigenvector_centrality(star) ** 2).round(12).tolist()  # 1/2 and three times 1/6
    [0.5, 0.166666666667, 0.166666666667, 0.166666666667]
    """
    w = _real_array(weights, "weights")
    if w.ndim < 2 or w.shape[-1] != w.shape[-2]:
        raise ValueError(f"weights must have shape (..., n, n); got shape {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError("weights must be finite; got a NaN or an infinity")
    centrality = np.empty(w.shape[:-1])
    for g in np.ndindex(w.shape[:-2]):
        # Eigenvectors do not depend on the scale: a power of two keeps everything below in range.
        _, exponent = np.frexp(np.abs(w[g]).max(initial=0.0))
        scaled = np.ldexp(w[g], -exponent)
        skew = np.abs(scaled - scaled.T)
        if (skew > SYMMETRY_TOLERANCE * np.abs(scaled).max(initial=0.0)).any():
            i, j = np.unravel_index(skew.argmax(), skew.shape)
            raise ValueError(
                f"weights must be symmetric; got {w[g][i, j]} at ({i}, {j}) "
                f"and {w[g][j, i]} at ({j}, {i})"
            )
        centrality[g] = _leading_projection((scaled + scaled.T) / 2.0)
    return centrality


def _leading_projection(w: FloatArray) -> FloatArray:
    """Return the centrality of one symmetric (n, n) weight matrix."""
    n = w.shape[0]
    if n == 0:
        return np.empty(0)
    values, vectors = np.linalg.eigh(w)
    radius = np.abs(values).max()
    leading = vectors[:, values >= values[-1] - DEGENERACY_TOLERANCE * radius]  # (n, multiplicity)
    projection: FloatArray = leading @ leading.sum(axis=0)
    if np.linalg.norm(projection) <= DEGENERACY_TOLERANCE * math.sqrt(n):
        lengths = np.linalg.norm(leading, axis=1)
        i = int(np.argmax(lengths >= (1.0 - SIGN_TOLERANCE) * lengths.max()))
        projection = leading @ leading[i]
    return projection / float(np.linalg.norm(projection))


def eigenvector_centrality(x: ArrayLike, edge: str = "abs") -> FloatArray:
    """Return the eigenvector centrality of every row in the similarity graph.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers, finite.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        The edge function f. With `signed` the leading eigenvector may change sign between rows and
        its ranking may be meaningless (no Perron-Frobenius theorem).

    Returns
    -------
    ndarray, shape (..., n), float64
        `graph_eigenvector_centrality` of `adjacency(x, edge)`: 2-norm 1, non-negative sum; see
        there for degenerate graphs.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or is not finite, or if `edge` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> eigenvector_centrality([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).round(6).tolist()
    [0.707107, 0.707107, 0.0]
    """
    rows = _rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_eigenvector_centrality(adjacency(rows, edge))


# -------------------------------------------------------------------------------------------------
# Shortest paths


class _ShortestPaths(NamedTuple):
    """What a single-source search leaves behind."""

    order: list[int]
    """Nodes as they were settled, the source first; what cannot be reached is missing."""
    predecessors: dict[int, list[int]]
    """The nodes before each on its shortest paths."""
    paths: list[float]
    """Twice the number of shortest paths to each node."""
    distance: dict[int, float]
    """Length of the shortest path to each reached node."""


def path_lengths(x: ArrayLike, length: str = "one_minus") -> FloatArray:
    """Return the path length of every edge of the similarity graph, zero on the diagonal.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.
    length : {"one_minus", "angle", "similarity"}
        1 - s, arccos(s) in radians, or the similarity s itself.

    Returns
    -------
    ndarray, shape (..., n, n), float64

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or `length` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> path_lengths([[1.0, 0.0], [-1.0, 0.0]]).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    _require_choice(length, tuple(LENGTHS), "length")
    lengths = LENGTHS[length](pairwise_cosine(x))
    i = np.arange(lengths.shape[-1])
    lengths[..., i, i] = 0.0
    return lengths


def _path_graph(lengths: ArrayLike) -> FloatArray:
    """Return checked lengths (..., n, n)."""
    graph = _real_array(lengths, "lengths")
    if graph.ndim < 2 or graph.shape[-1] != graph.shape[-2]:
        raise ValueError(f"lengths must have shape (..., n, n); got shape {graph.shape}")
    if np.isnan(graph).any() or np.isneginf(graph).any():
        raise ValueError("lengths must be finite, or infinity for no edge; got a NaN or -infinity")
    if (graph != np.swapaxes(graph, -1, -2)).any():
        raise ValueError("lengths must be symmetric: paths of an undirected graph")
    return graph


def _shortest_paths(lengths: FloatArray, source: int) -> _ShortestPaths:
    """Search (n, n) lengths from one node: label-setting Dijkstra with path counts.

    Written to do what NetworkX does, also where that is not a shortest path: a settled node keeps
    its distance even if a negative length would shorten it, and a zero length back to a settled
    node adds to that node's path count. Labels of equal distance settle in the order in which they
    were given: by the settled node that gave them, then by index.
    """
    n = lengths.shape[0]
    order: list[int] = []
    predecessors: dict[int, list[int]] = {v: [] for v in range(n)}
    paths = [0.0] * n
    paths[source] = 1.0
    distance: dict[int, float] = {}
    label = {source: 0.0}
    heap = [(0.0, 0, source, source)]
    pushed = 1
    while heap:
        at, _, before, v = heapq.heappop(heap)
        if v in distance:
            continue
        paths[v] += paths[before]  # the source counts itself: all counts are doubled
        order.append(v)
        distance[v] = at
        for w in range(n):
            if w == v or np.isposinf(lengths[v, w]):
                continue
            through = at + float(lengths[v, w])
            if w not in distance and (w not in label or through < label[w]):
                label[w] = through
                heapq.heappush(heap, (through, pushed, v, w))
                pushed += 1
                paths[w] = 0.0  # the first path is counted when w is settled
                predecessors[w] = [v]
            elif through == label[w]:
                paths[w] += paths[v]
                predecessors[w].append(v)
    return _ShortestPaths(order, predecessors, paths, distance)


def graph_betweenness_centrality(
    lengths: ArrayLike, normalized: bool = True, sources: Sequence[int] | None = None
) -> FloatArray:
    """Return the betweenness centrality of a dense undirected graph of path lengths.

    The sum over pairs {s, t} of other nodes of the share of the shortest s-t paths that pass
    through a node; divided by the number of pairs, (n - 1)(n - 2) / 2, if `normalized`.

    Parameters
    ----------
    lengths : array_like, shape (..., n, n)
        Symmetric edge lengths, real; infinity for no edge. The diagonal is not read. Zero lengths
        are edges. Negative ones are taken as they come by a label-setting search: the result is
        then no shortest-path quantity.
    normalized : bool
        Divide by the number of pairs.
    sources : sequence of int, optional
        Count only paths that start at these nodes, and scale up to what all sources would give:
        by n - 1 over the number of sources that are not the node itself. Default: all nodes.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for n <= 2. With a single source that source has no data: NaN.

    Raises
    ------
    ValueError
        If `lengths` is not square in its last two dimensions or not symmetric, or holds a NaN or
        minus infinity.
    TypeError
        If `lengths` does not hold real numbers.

    Notes
    -----
    Paths tie where their float64 lengths are equal. Brandes, J. Math. Sociology 25, 2001; equal to
    ``networkx.betweenness_centrality`` of version 3.5 and later.

    Examples
    --------
    >>> inf = float("inf")
    >>> graph_betweenness_centrality([[0, 1, inf], [1, 0, 1], [inf, 1, 0]]).tolist()
    [0.0, 1.0, 0.0]
    """
    graph = _path_graph(lengths)
    n = graph.shape[-1]
    chosen = list(range(n)) if sources is None else [int(s) for s in sources]
    centrality = np.zeros(graph.shape[:-1])
    for g in np.ndindex(graph.shape[:-2]):
        for source in chosen:
            found = _shortest_paths(graph[g], source)
            dependency = dict.fromkeys(found.order, 0.0)
            for w in reversed(found.order):
                # Path counts that overflow make this NaN, as they should.
                with np.errstate(invalid="ignore"):
                    share = np.float64(1.0 + dependency[w]) / np.float64(found.paths[w])
                for v in found.predecessors[w]:
                    dependency[v] += float(found.paths[v] * share)
                if w != source:
                    centrality[g][w] += dependency[w]
    if n <= 2:
        return centrality
    pairs = (n - 1.0) * (n - 2.0) / 2.0 if normalized else 1.0
    scale = np.full(n, 0.5 / pairs)
    if len(chosen) < n:
        others = np.full(n, float(len(chosen)))
        others[chosen] -= 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            scale *= np.where(others > 0.0, (n - 1.0) / others, np.nan)
    result: FloatArray = centrality * scale
    return result


def graph_closeness_centrality(lengths: ArrayLike) -> FloatArray:
    """Return the closeness centrality of a dense undirected graph of path lengths.

    r / (sum of the distances to the r nodes that can be reached), times r / (n - 1).

    Parameters
    ----------
    lengths : array_like, shape (..., n, n)
        Symmetric edge lengths, real and not negative; infinity for no edge. The diagonal is not
        read.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for n = 1, and where all distances are zero.

    Raises
    ------
    ValueError
        If `lengths` is not square in its last two dimensions or not symmetric, or holds a NaN or
        a negative length.
    TypeError
        If `lengths` does not hold real numbers.

    Notes
    -----
    Freeman, Social Networks 1, 1979, with the correction of Wasserman and Faust for graphs that are
    not connected; equal to ``networkx.closeness_centrality``.

    Examples
    --------
    >>> graph_closeness_centrality([[0, 1, 4], [1, 0, 1], [4, 1, 0]]).round(6).tolist()
    [0.666667, 1.0, 0.666667]
    """
    graph = _path_graph(lengths)
    n = graph.shape[-1]
    off_diagonal = ~np.eye(n, dtype=bool)
    if (graph[..., off_diagonal] < 0.0).any():
        raise ValueError("lengths must not be negative")
    centrality = np.zeros(graph.shape[:-1])
    for g in np.ndindex(graph.shape[:-2]):
        for i in range(n):
            distance = _shortest_paths(graph[g], i).distance
            total, reached = sum(distance.values()), len(distance) - 1
            if total > 0.0:
                centrality[g][i] = reached / total * (reached / (n - 1))
    return centrality


def betweenness_centrality(
    x: ArrayLike, length: str = "one_minus", normalized: bool = True
) -> FloatArray:
    """Return the betweenness centrality of every row in the similarity graph.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers, finite.
    length : {"one_minus", "angle", "similarity"}
        The path length of an edge; see `path_lengths`. `similarity` is what a published script
        uses; with negative similarities it is no shortest-path quantity.
    normalized : bool
        Divide by the number of pairs.

    Returns
    -------
    ndarray, shape (..., n), float64
        `graph_betweenness_centrality` of `path_lengths(x, length)`.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or is not finite, or if `length` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> betweenness_centrality([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).tolist()
    [0.0, 1.0, 0.0]
    """
    rows = _rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_betweenness_centrality(path_lengths(rows, length), normalized)


def closeness_centrality(x: ArrayLike, length: str = "one_minus") -> FloatArray:
    """Return the closeness centrality of every row in the similarity graph.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers, finite.
    length : {"one_minus", "angle", "similarity"}
        The path length of an edge; see `path_lengths`.

    Returns
    -------
    ndarray, shape (..., n), float64
        `graph_closeness_centrality` of `path_lengths(x, length)`.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or is not finite, if `length` is unknown, or if it is
        `similarity` and a similarity is negative.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> closeness_centrality([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]).tolist()
    [1.0, 2.0, 2.0]
    """
    rows = _rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_closeness_centrality(path_lengths(rows, length))


# -------------------------------------------------------------------------------------------------
# Closest pairs


def closest_pairs(x: ArrayLike, decimals: int | None = None) -> ClosestPairs:
    """Return what the published greedy closest-pairs rule removes and keeps.

    Every filter's nearest other filter by cosine distance 1 - s_ij (ties: lowest index); filters
    sorted by that distance (stable); walk the list: a filter that is not yet marked redundant is
    kept, and its nearest is marked redundant. What is kept stays kept even if it is marked later.
    The removed are the filters that were marked before their turn came.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Filter vectors, real numbers, finite.
    decimals : int, optional
        Round the distances to so many decimals before anything else; one published script uses 5.

    Returns
    -------
    ClosestPairs
        `order`, `removed`, `kept`, `values`. With the similarity 1 - distance (after any rounding),
        `values` is 2 + the similarity of the pair that first marked it for a removed filter, and
        the similarity to its nearest other for the rest (-1 for a filter that has no other).
        `order` is by descending values, ties by lower index: first the removed in the order in
        which the walk marked them, then the rest, most similar first.

    Raises
    ------
    ValueError
        If `x` is not two-dimensional or not finite (the message names the first bad row), or if
        `decimals` is negative.
    TypeError
        If `x` does not hold real numbers or `decimals` is not an integer.

    Notes
    -----
    Distances and not similarities are compared: similarities that differ by less than the rounding
    of 1 - s are ties. Singh & Plumbley, Interspeech 2022, arXiv 2203.15751.

    Examples
    --------
    >>> pairs = closest_pairs([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [3.0, 0.0]])
    >>> pairs.kept.tolist(), pairs.removed.tolist(), pairs.order.tolist()
    ([0, 1, 3], [2], [2, 0, 3, 1])
    """
    rows = _real_array(x, "x")
    if rows.ndim != 2:
        raise ValueError(f"x must have shape (n, d); got shape {rows.shape}")
    _require_finite(rows, "x", "row")
    if decimals is not None:
        if isinstance(decimals, bool) or not isinstance(decimals, (int, np.integer)):
            raise TypeError(f"decimals must be an integer or None; got {type(decimals).__name__}")
        if decimals < 0:
            raise ValueError(f"decimals must be at least 0; got {decimals}")

    n = rows.shape[0]
    empty = np.empty(0, dtype=np.int64)
    if n == 0:
        return ClosestPairs(empty, empty, empty, np.empty(0))
    if n == 1:
        return ClosestPairs(np.zeros(1, np.int64), empty, np.zeros(1, np.int64), np.full(1, -1.0))

    distance = 1.0 - pairwise_cosine(rows)
    if decimals is not None:
        distance = np.round(distance, int(decimals))
    np.fill_diagonal(distance, np.inf)
    neighbour = distance.argmin(axis=1)  # the first of several minima
    to_neighbour = distance.min(axis=1)

    kept = np.zeros(n, dtype=bool)
    marked_at = np.full(n, np.inf)  # distance of the pair that first marked a filter
    for i in np.argsort(to_neighbour, kind="stable"):
        if np.isinf(marked_at[i]):
            kept[i] = True
            j = neighbour[i]
            marked_at[j] = min(marked_at[j], to_neighbour[i])

    values = np.where(kept, 1.0 - to_neighbour, 2.0 + (1.0 - marked_at))
    return ClosestPairs(
        order=_descending(values),
        removed=np.flatnonzero(~kept).astype(np.int64),
        kept=np.flatnonzero(kept).astype(np.int64),
        values=values,
    )


# -------------------------------------------------------------------------------------------------
# Baselines


def l1_norm(weight: ArrayLike) -> FloatArray:
    """Return the redundancy of the l1 baseline: minus the sum of magnitudes of every filter.

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, output filters first.

    Returns
    -------
    ndarray, shape (n,), float64
        -sum |W[o]|: the smallest filters are the most redundant.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions.
    TypeError
        If `weight` does not hold real numbers.

    Examples
    --------
    >>> l1_norm([[3.0, -4.0], [1.0, 0.0]]).tolist()
    [-7.0, -1.0]
    """
    with np.errstate(over="ignore"):
        norms: FloatArray = np.abs(_flat_filters(weight)).sum(axis=1)
    return 0.0 - norms


def l2_norm(weight: ArrayLike) -> FloatArray:
    """Return the redundancy of the l2 baseline: minus the Euclidean length of every filter.

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, output filters first.

    Returns
    -------
    ndarray, shape (n,), float64
        -|W[o]|, safe at any finite scale: the shortest filters are the most redundant.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions.
    TypeError
        If `weight` does not hold real numbers.

    Examples
    --------
    >>> l2_norm([[3.0, -4.0], [1.0, 0.0]]).tolist()
    [-5.0, -1.0]
    """
    return 0.0 - row_norms(_flat_filters(weight))


def geometric_median(weight: ArrayLike) -> FloatArray:
    """Return the redundancy of the geometric-median baseline (FPGM): -sum_j |W[i] - W[j]|.

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, output filters first.

    Returns
    -------
    ndarray, shape (n,), float64
        Minus the sum of Euclidean distances of the flattened filter to all others: the filter
        nearest to the layer's geometric median is the most redundant.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions.
    TypeError
        If `weight` does not hold real numbers.

    Notes
    -----
    He et al., CVPR 2019, arXiv 1811.00250. Cost O(n^2 c p).

    Examples
    --------
    >>> geometric_median([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]).tolist()
    [-15.0, -10.0, -15.0]
    """
    filters = _flat_filters(weight)
    distances = np.zeros(filters.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf is NaN, as it should be
        for i, filter_ in enumerate(filters):
            distances[i] = row_norms(filters - filter_).sum()
    return 0.0 - distances


# -------------------------------------------------------------------------------------------------
# Ranking


def dead_filters(weight: ArrayLike) -> IndexArray:
    """Return the filters whose 2-norm is below `DEAD_RATIO` times the layer's largest.

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, finite, output filters first.

    Returns
    -------
    ndarray, shape (k,), int64
        Indices, ascending. In a layer of zeros nothing is below the largest norm, so no filter is
        dead.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions or is not finite (the message names the first bad
        filter).
    TypeError
        If `weight` does not hold real numbers.

    Notes
    -----
    Cosine similarity is blind to length. Trained networks hold filters of length around 1e-18 whose
    directions are noise and look unique, so a bare centrality would keep the dead and cut the
    living.

    Examples
    --------
    >>> dead_filters([[1.0, 0.0], [1e-18, 0.0], [0.0, 0.0], [0.001, 0.0]]).tolist()
    [1, 2]
    """
    filters = _flat_filters(weight)
    _require_finite(filters, "weight", "filter")
    # One power of two for the whole layer: no norm overflows, and no ratio of norms changes.
    _, exponent = np.frexp(np.abs(filters).max(initial=0.0))
    norms = row_norms(np.ldexp(filters, -exponent))
    return np.flatnonzero(norms < DEAD_RATIO * norms.max(initial=0.0)).astype(np.int64)


def redundancy(
    weight: ArrayLike,
    scorer: str,
    edge: str = "signed",
    vectors: str = "auto",
    dead: str = "first",
    *,
    decimals: int | None = None,
    length: str = "one_minus",
) -> Ranking:
    """Rank a layer's filters by how redundant they are.

    Parameters
    ----------
    weight : array_like, shape (n, c, *kernel)
        Real numbers, finite, output filters first.
    scorer : {"degree", "eigenvector", "betweenness", "closeness", "pairs", "l1", "l2", "gm"}
        `weighted_degree`, `eigenvector_centrality`, `betweenness_centrality`,
        `closeness_centrality` or `closest_pairs` of the filter vectors, or one of the baselines
        `l1_norm`, `l2_norm`, `geometric_median` of the weight.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        Edge function of `degree` and `eigenvector`.
    vectors : {"auto", "rank1", "flatten"}
        Filter vectors of the scorers that compare filters.
    dead : {"first", "rank"}
        `first` gives dead filters the redundancy +inf and leaves them out of the graph (of the set
        of filters, for the baselines); `rank` treats them like any other.
    decimals : int, optional
        Rounding of the distances of `pairs`.
    length : {"one_minus", "angle", "similarity"}
        Path length of `betweenness` and `closeness`.

    Returns
    -------
    Ranking
        `values`, `order` (descending values, ties by lower index) and `dead` (listed under either
        rule).

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions or is not finite (the message names the first bad
        filter), or if a name is unknown; as `filter_vectors` and `closest_pairs` do.
    TypeError
        If `weight` does not hold real numbers.

    Examples
    --------
    >>> w = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1e-18, 0.0]]
    >>> ranking = redundancy(w, "degree")
    >>> ranking.order.tolist(), ranking.dead.tolist()
    ([3, 2, 0, 1], [3])
    """
    _require_choice(scorer, SCORERS, "scorer")
    _require_choice(edge, tuple(EDGES), "edge")
    _require_choice(length, tuple(LENGTHS), "length")
    _require_choice(vectors, KINDS, "vectors")
    _require_choice(dead, DEAD_RULES, "dead")
    indices = dead_filters(weight)
    filters = _flat_filters(weight)
    living = np.ones(filters.shape[0], dtype=bool)
    if dead == "first":
        living[indices] = False

    values = np.full(filters.shape[0], np.inf)
    if scorer == "degree":
        values[living] = weighted_degree(filter_vectors(weight, vectors)[living], edge)
    elif scorer == "eigenvector":
        values[living] = eigenvector_centrality(filter_vectors(weight, vectors)[living], edge)
    elif scorer == "betweenness":
        values[living] = betweenness_centrality(filter_vectors(weight, vectors)[living], length)
    elif scorer == "closeness":
        values[living] = closeness_centrality(filter_vectors(weight, vectors)[living], length)
    elif scorer == "pairs":
        values[living] = closest_pairs(filter_vectors(weight, vectors)[living], decimals).values
    elif scorer == "l1":
        values[living] = l1_norm(filters[living])
    elif scorer == "l2":
        values[living] = l2_norm(filters[living])
    else:
        values[living] = geometric_median(filters[living])
    return Ranking(values, _descending(values), indices)


def _descending(values: FloatArray) -> IndexArray:
    """Return the indices by descending value, ties by lower index."""
    return np.argsort(-values, kind="stable").astype(np.int64)


def kept_count(n: int, ratio: float) -> int:
    """Return how many of n filters a pruning ratio keeps: ceil((1 - ratio) n), at least one.

    Parameters
    ----------
    n : int
        Filters in the layer, at least 0.
    ratio : float
        Share to remove, in [0, 1].

    Returns
    -------
    int
        The count; 0 only for n = 0. Products within 1e-9 above a whole number count as that number,
        so the binary rounding of a decimal ratio never keeps a filter more: 0.7 of 10 keeps 3.

    Raises
    ------
    ValueError
        If `n` is negative or `ratio` is not in [0, 1].
    TypeError
        If `n` is not an integer or `ratio` is not a real number.

    Examples
    --------
    >>> kept_count(10, 0.9), kept_count(10, 0.7), kept_count(5, 0.5), kept_count(4, 1.0)
    (1, 3, 3, 1)
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n must be an integer; got {type(n).__name__}")
    if n < 0:
        raise ValueError(f"n must be at least 0; got {n}")
    if isinstance(ratio, bool) or not isinstance(ratio, Real):
        raise TypeError(f"ratio must be a real number; got {type(ratio).__name__}")
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"ratio must lie in [0, 1]; got {ratio}")
    kept = math.ceil((1.0 - float(ratio)) * int(n) - 1e-9)
    return min(int(n), max(1, kept))

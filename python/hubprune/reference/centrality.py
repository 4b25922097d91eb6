# SPDX-License-Identifier: MIT
"""The similarity graph and the centralities of its weights: degree, greedy degree, eigenvector."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, IndexArray, as_real_array, as_rows, require_finite
from .similarity import pairwise_cosine
from .vectors import SIGN_TOLERANCE

DEGENERACY_TOLERANCE: Final = 1e-9
"""Eigenvalues within this multiple of the spectral radius of the largest count as equal to it."""

SYMMETRY_TOLERANCE: Final = 1e-9
"""A graph is symmetric if w_ij and w_ji differ by at most this multiple of the largest weight."""


class GreedyDegree(NamedTuple):
    """The greedy order of the weighted degree; see `greedy_degree`."""

    order: IndexArray
    """(n,) removal order, first removed first."""
    degree: FloatArray
    """(n,) a row's degree when it was removed, or in the end if it was not."""


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


def greedy_degree(x: ArrayLike, edge: str = "signed", count: int | None = None) -> GreedyDegree:
    """Remove the row of the largest degree among those left, and repeat.

    degree_i = sum of f(s_ij) over the other rows j that are left; ties: the lowest index. After
    `count` removals the rest is ranked by its last degree.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Real numbers, finite.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        The edge function f.
    count : int, optional
        How many to remove, at least 1; all by default.

    Returns
    -------
    GreedyDegree
        `order` and `degree`.

    Raises
    ------
    ValueError
        If `x` is not two-dimensional or not finite (the message names the first bad row), if `edge`
        is unknown, or if `count` is below 1.
    TypeError
        If `x` does not hold real numbers or `count` is not an integer.

    Notes
    -----
    Degrees are correctly rounded sums: equal rows have equal degrees, whatever the order of the
    terms.

    Examples
    --------
    >>> rows = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]
    >>> greedy_degree(rows).order.tolist()
    [0, 4, 1, 2, 3]
    """
    rows = as_real_array(x, "x")
    if rows.ndim != 2:
        raise ValueError(f"x must have shape (n, d); got shape {rows.shape}")
    require_finite(rows, "x", "row")
    if count is not None:
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"count must be an integer or None; got {type(count).__name__}")
        if count < 1:
            raise ValueError(f"count must be at least 1; got {count}")
    weights = adjacency(rows, edge)
    n = len(weights)
    left = list(range(n))
    order: list[int] = []
    degree = np.zeros(n)

    def update() -> None:
        for i in left:
            degree[i] = math.fsum(weights[i, left])

    update()
    for _ in range(n if count is None else min(int(count), n)):
        hub = min(left, key=lambda i: (-degree[i], i))
        order.append(hub)
        left.remove(hub)
        update()
    order += sorted(left, key=lambda i: (-degree[i], i))
    return GreedyDegree(np.array(order, dtype=np.int64), degree)


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
    w = as_real_array(weights, "weights")
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
    rows = as_rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_eigenvector_centrality(adjacency(rows, edge))

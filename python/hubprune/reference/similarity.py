# SPDX-License-Identifier: MIT
"""Cosine similarities of rows: edge functions, all pairs, every row's nearest, closest pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import (
    FloatArray,
    IndexArray,
    as_real_array,
    as_rows,
    descending,
    require_choice,
    require_finite,
)
from .vectors import normalized_rows

EDGES: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = MappingProxyType(
    {
        "signed": lambda s: +s,
        "squared": lambda s: s * s,
        "abs": lambda s: np.asarray(np.abs(s)),
        "positive": lambda s: np.asarray(np.maximum(s, 0.0)),
        "shifted": lambda s: (1.0 + s) / 2.0,
    }
)
"""Edge functions f by name: ``s``, ``s^2``, ``|s|``, ``max(s, 0)`` and ``(1 + s) / 2``."""


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


def edge_weight(s: ArrayLike, edge: str = "signed") -> FloatArray:
    """Return the edge weight f(s) of similarities, entry by entry.

    Parameters
    ----------
    s : array_like, any shape
        Similarities.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        ``s``, ``s^2``, ``|s|``, ``max(s, 0)`` or ``(1 + s) / 2``.

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
    require_choice(edge, tuple(EDGES), "edge")
    return np.asarray(EDGES[edge](as_real_array(s, "s")))


def pairwise_cosine(
    x: ArrayLike,
    y: ArrayLike | None = None,
    edge: str = "signed",
    zero_diagonal: bool = False,
) -> FloatArray:
    """Return f(s_ij), ``s_ij = <x_i, y_j> / (|x_i| |y_j|)``, for all pairs of rows.

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
    rows = as_rows(x)
    require_choice(edge, tuple(EDGES), "edge")
    left = normalized_rows(rows)
    if y is None:
        right = left
    else:
        others = as_rows(y, "y")
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
    rows = as_real_array(x, "x")
    if rows.ndim != 2:
        raise ValueError(f"x must have shape (n, d); got shape {rows.shape}")
    require_finite(rows, "x", "row")
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
        distance = np.round(distance, min(int(decimals), 300))  # 10^309 is infinite
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
        order=descending(values),
        removed=np.flatnonzero(~kept).astype(np.int64),
        kept=np.flatnonzero(kept).astype(np.int64),
        values=values,
    )

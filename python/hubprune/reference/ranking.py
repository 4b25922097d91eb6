# SPDX-License-Identifier: MIT
"""A layer's filters ranked by redundancy: the scorers by name, dead filters, how many are kept."""

from __future__ import annotations

import math
from numbers import Real
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import (
    FloatArray,
    IndexArray,
    as_filters,
    as_flat_filters,
    descending,
    require_choice,
    require_finite,
)
from .centrality import eigenvector_centrality, greedy_degree, weighted_degree
from .low_rank import pivoted_cholesky
from .norms import geometric_median, l1_norm, l2_norm, operator_norm
from .paths import LENGTHS, betweenness_centrality, closeness_centrality
from .similarity import EDGES, closest_pairs, pairwise_cosine
from .vectors import KINDS, filter_vectors, row_norms

DEAD_RATIO: Final = 1e-3
"""A filter whose 2-norm is below this multiple of the layer's largest is dead."""

LANDMARK_TOLERANCE: Final = 1e-12
"""Less than this part of the largest filter is rounding: nothing is left to pick."""

SCORERS: Final = (
    "degree",
    "eigenvector",
    "betweenness",
    "closeness",
    "pairs",
    "l1",
    "l2",
    "gm",
    "landmarks",
    "opnorm",
)
"""The scorers `redundancy` knows."""

DEAD_RULES: Final = ("first", "rank")
"""What `redundancy` can do with dead filters: remove them first, or rank them like any other."""


class Ranking(NamedTuple):
    """A layer's filters ranked by redundancy; see `redundancy`."""

    values: FloatArray
    """(n,) redundancy, higher is removed first; +inf marks dead filters that are removed first."""
    order: IndexArray
    """(n,) removal order: descending values, ties by lower index."""
    dead: IndexArray
    """Indices of the dead filters, ascending."""


def landmarks(
    weight: ArrayLike, bias: ArrayLike | None = None, scale: ArrayLike | None = None
) -> FloatArray:
    r"""Return how well each filter is represented by the rest.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
        Real numbers, finite, output filters first.
    bias : array_like, shape (n,), optional
        Appended to each flattened filter.
    scale : array_like, shape (n,), optional
        What each filter contributes; 1 without it.

    Returns
    -------
    ndarray, shape (n,), float64
        Minus what `pivoted_cholesky` finds of the filter when it picks it, from the Gram matrix of
        the unit rows times their scale (over the largest one). Where nothing is left to pick:
        1 - scale / 2, above every pick.

    Raises
    ------
    TypeError, ValueError
        As `l2_norm`.

    Examples
    --------
    >>> landmarks([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    array([-1. ,  0.5, -1. ])
    """
    rows = as_flat_filters(weight)
    if bias is not None:
        rows = np.concatenate([rows, np.asarray(bias, dtype=np.float64)[:, None]], axis=1)
    size = np.ones(len(rows)) if scale is None else np.asarray(scale, dtype=np.float64)
    largest = size.max(initial=0.0)
    size = size / largest if largest > 0.0 else np.ones(len(rows))
    gram = pairwise_cosine(rows) * size[:, None] * size
    pivots, found = pivoted_cholesky(gram, LANDMARK_TOLERANCE)
    values: FloatArray = 1.0 - 0.5 * size
    values[pivots] = -found
    return values


def dead_filters(weight: ArrayLike) -> IndexArray:
    r"""Return the filters whose 2-norm is below `DEAD_RATIO` times the layer's largest.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
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
    filters = as_flat_filters(weight)
    require_finite(filters, "weight", "filter")
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
    sequential: bool = False,
    count: int | None = None,
    rule: str = "published",
    length: str = "one_minus",
) -> Ranking:
    r"""Rank a layer's filters by how redundant they are.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
        Real numbers, finite, output filters first.
    scorer : str
        One of `SCORERS`: `weighted_degree` ("degree"), `eigenvector_centrality`,
        `betweenness_centrality`, `closeness_centrality` or `closest_pairs` ("pairs") of the filter
        vectors, or one of `l1_norm`, `l2_norm`, `geometric_median` ("gm"), `operator_norm` and
        `landmarks` of the weight.
    edge : {"signed", "squared", "abs", "positive", "shifted"}
        Edge function of `degree` and `eigenvector`.
    vectors : {"auto", "rank1", "flatten"}
        Filter vectors of the scorers that compare filters.
    dead : {"first", "rank"}
        `first` gives dead filters the redundancy +inf and leaves them out of the graph (of the set
        of filters, for the baselines); `rank` treats them like any other.
    decimals : int, optional
        Rounding of the distances of `pairs`.
    sequential : bool
        `degree` in the order of `greedy_degree`: its values are places, from 1 (removed first) down
        to 1 / n.
    count : int, optional
        Removals of `sequential`.
    rule : {"published", "spectral"}
        Rule of `opnorm`.
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
    require_choice(scorer, SCORERS, "scorer")
    require_choice(edge, tuple(EDGES), "edge")
    require_choice(length, tuple(LENGTHS), "length")
    require_choice(vectors, KINDS, "vectors")
    require_choice(dead, DEAD_RULES, "dead")
    indices = dead_filters(weight)
    filters = as_flat_filters(weight)
    living = np.ones(filters.shape[0], dtype=bool)
    if dead == "first":
        living[indices] = False

    values = np.full(filters.shape[0], np.inf)
    if scorer == "degree" and sequential:
        order = greedy_degree(filter_vectors(weight, vectors)[living], edge, count).order
        places = np.empty(len(order))
        places[order] = np.arange(len(order), 0, -1) / max(1, len(order))
        values[living] = places
    elif scorer == "opnorm":
        values[living] = operator_norm(as_filters(weight)[living], rule)
    elif scorer == "degree":
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
    elif scorer == "landmarks":
        values[living] = landmarks(filters[living])
    else:
        values[living] = geometric_median(filters[living])
    return Ranking(values, descending(values), indices)


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

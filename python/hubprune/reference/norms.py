# SPDX-License-Identifier: MIT
"""Baselines that look at a filter's size: l1, l2, geometric median, operator norm."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, as_filters, as_flat_filters, require_choice, require_finite
from .vectors import leading_left_direction, row_norms

OPERATOR_NORM_RULES: Final = ("published", "spectral")
"""The rules `operator_norm` knows."""


def l1_norm(weight: ArrayLike) -> FloatArray:
    r"""Return the redundancy of the l1 baseline: minus the sum of magnitudes of every filter.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
        Real numbers, output filters first.

    Returns
    -------
    ndarray, shape (n,), float64
        ``-sum |W[o]|``: the smallest filters are the most redundant.

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
        norms: FloatArray = np.abs(as_flat_filters(weight)).sum(axis=1)
    return 0.0 - norms


def l2_norm(weight: ArrayLike) -> FloatArray:
    r"""Return the redundancy of the l2 baseline: minus the Euclidean length of every filter.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
        Real numbers, output filters first.

    Returns
    -------
    ndarray, shape (n,), float64
        ``-|W[o]|``, safe at any finite scale: the shortest filters are the most redundant.

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
    return 0.0 - row_norms(as_flat_filters(weight))


def geometric_median(weight: ArrayLike) -> FloatArray:
    r"""Return the redundancy of the geometric-median baseline (FPGM): ``-sum_j |W[i] - W[j]|``.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
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
    filters = as_flat_filters(weight)
    distances = np.zeros(filters.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf is NaN, as it should be
        for i, filter_ in enumerate(filters):
            distances[i] = row_norms(filters - filter_).sum()
    return 0.0 - distances


def operator_norm(weight: ArrayLike, rule: str = "published") -> FloatArray:
    r"""Return the redundancy of the operator-norm baseline: minus an importance of every filter.

    `published`: for channel j the n x p matrix B_j of its kernels in all filters, minus their mean
    over the filters, attains its operator norm at the unit vector v_j, ``|B_j v_j| = |B_j|_2``,
    signed so that the first filter's entry of B_j v_j is positive. The importance of filter o is
    (sum_j <B_j[o], v_j>)^2 over the largest of the layer. `spectral`: the operator norm (largest
    singular value) of the filter's own matrix A_o.

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
        Real numbers, finite, output filters first.
    rule : {"published", "spectral"}
        Which importance.

    Returns
    -------
    ndarray, shape (n,), float64
        Minus the importance; one value for all where every filter is the same.

    Raises
    ------
    ValueError
        If `weight` has fewer than two dimensions or is not finite, or if `rule` is unknown.
    TypeError
        If `weight` does not hold real numbers.

    Notes
    -----
    Singh & Plumbley, TASLP 2025, arXiv 2304.02319; the authors' script is followed. Where the first
    filter's entry is zero to rounding, that script divides by zero; here the sign rule of
    `filter_vectors` decides. The signs make the importance depend on which filter is first.

    Examples
    --------
    >>> w = [[[3.0, 0.0], [0.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]]  # n = 2, c = 2, p = 2
    >>> operator_norm(w, "spectral").tolist()
    [-4.0, -1.0]
    >>> operator_norm(w).round(12).tolist()  # of two centred filters, one is minus the other
    [-1.0, -1.0]
    """
    require_choice(rule, OPERATOR_NORM_RULES, "rule")
    w = as_filters(weight)
    require_finite(w, "weight", "filter")
    n = w.shape[0]
    if w.size == 0:
        return np.zeros(n)
    if rule == "spectral":
        return 0.0 - np.array([np.linalg.svd(a, compute_uv=False)[0] for a in w])
    _, exponent = np.frexp(np.abs(w).max())
    w = np.ldexp(w, -exponent)
    projection = np.zeros(n)
    for j in range(w.shape[1]):
        centred = w[:, j] - w[:, j].mean(axis=0)
        projection += centred @ leading_left_direction(centred.T)
    importance = projection**2
    return 0.0 - importance / (importance.max() or 1.0)

# SPDX-License-Identifier: MIT
"""The length and the direction of every row, and one vector for each filter of a layer."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import FloatArray, as_filters, as_flat_filters, as_rows, require_choice

SIGN_TOLERANCE: Final = 1e-10
"""A rank-1 vector's product with the first column counts as zero up to this multiple of sigma_1;
entries count as equally large up to this relative difference. The kernels use the same number."""

KINDS: Final = ("auto", "rank1", "flatten")
"""The filter vectors `filter_vectors` knows."""


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

    ``|x_i| = 2^e sqrt(sum_k (x_ik / 2^e)^2)``, with e the exponent of the row's largest magnitude.

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
    rows = as_rows(x)
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
    rows = as_rows(x)
    finite = np.isfinite(rows).all(axis=-1, keepdims=True)
    scaled, _ = _scaled_rows(np.where(finite, rows, 0.0))
    length = np.sqrt(np.sum(scaled * scaled, axis=-1, keepdims=True))
    unit = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    return np.where(finite, unit, np.nan)


def filter_vectors(weight: ArrayLike, kind: str = "auto") -> FloatArray:
    r"""Return one vector for each filter of a layer.

    `flatten` is the whole filter, d = c p. `rank1` is the leading left singular vector u1 of the
    matrix A_o = `weight[o].reshape(c, p).T` of p rows and c columns, d = p: the column direction of
    the best rank-1 approximation sigma_1 u1 v1'. `auto` is `rank1` if p > 1, else `flatten`.

    The sign of u1 makes <u1, first column of A_o> = sigma_1 v1[0] positive. Where the magnitude of
    that product is at most `SIGN_TOLERANCE` * sigma_1, it makes u1's largest-magnitude entry
    positive instead (magnitudes within `SIGN_TOLERANCE` of the largest, relative, are ties, and the
    lowest index among them decides).

    Parameters
    ----------
    weight : array_like, shape (n, c, \*kernel)
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
    w = as_filters(weight)
    require_choice(kind, KINDS, "kind")
    p = w.shape[2]
    if kind == "flatten" or (kind == "auto" and p <= 1):
        return np.array(as_flat_filters(weight))
    if p <= 1:
        raise ValueError(
            "kind 'rank1' needs a kernel of more than one element; got weight of shape "
            f"{np.asarray(weight).shape}: use kind='flatten'"
        )
    vectors = np.zeros((w.shape[0], p))
    for o, filter_ in enumerate(w):
        vectors[o] = leading_left_direction(filter_.T)
    return vectors


def leading_left_direction(a: FloatArray) -> FloatArray:
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

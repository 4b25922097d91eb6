# SPDX-License-Identifier: MIT
"""Similarity matrices from few of their columns: Nystroem, leverage scores, pivoted Cholesky."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, IndexArray
from .similarity import pairwise_cosine


def nystrom_columns(x: ArrayLike, landmarks: ArrayLike, edge: str = "signed") -> FloatArray:
    """Return the columns of the similarity matrix that belong to some rows.

    Parameters
    ----------
    x : array_like, shape (n, d)
        The rows.
    landmarks : array_like of int, shape (m,)
        Their numbers.
    edge : str
        As in `edge_weight`.

    Returns
    -------
    ndarray, shape (n, m), float64
        f(s_ij), the diagonal's entries included.

    Raises
    ------
    TypeError, ValueError
        As `pairwise_cosine`.

    Examples
    --------
    >>> nystrom_columns([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], [2])
    array([[-1.],
           [ 0.],
           [ 1.]])
    """
    return pairwise_cosine(x, edge=edge)[:, np.asarray(landmarks, dtype=np.int64)]


def nystrom(
    x: ArrayLike, landmarks: ArrayLike, *, rank: int | None = None, edge: str = "signed"
) -> FloatArray:
    """Return the Nystroem approximation C W_k^+ C' of the similarity matrix.

    Parameters
    ----------
    x : array_like, shape (n, d)
        The rows.
    landmarks : array_like of int, shape (m,)
        The rows whose columns are C; W = C[landmarks].
    rank : int, optional
        How many of W's directions of the largest ``|eigenvalue|`` are inverted. Directions below
        ``eps * m * |lambda|_max`` never are.
    edge : str
        As in `edge_weight`.

    Returns
    -------
    ndarray, shape (n, n), float64

    Raises
    ------
    TypeError, ValueError
        As `pairwise_cosine`.

    Notes
    -----
    Source: Williams & Seeger, NIPS 2000; Singh & Plumbley, ICASSP 2023 (arXiv 2210.17416).

    Examples
    --------
    >>> nystrom([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], [0])
    array([[ 1.,  0., -1.],
           [ 0.,  0.,  0.],
           [-1.,  0.,  1.]])
    """
    chosen = np.asarray(landmarks, dtype=np.int64)
    columns = nystrom_columns(x, chosen, edge)
    values, vectors = np.linalg.eigh(columns[chosen])
    size = np.abs(values)
    order = np.argsort(-size, kind="stable")
    noise = np.finfo(np.float64).eps * len(chosen) * size.max(initial=0.0)
    order = order[size[order] > noise][: rank if rank is not None else len(chosen)]
    inverse = (vectors[:, order] / values[order]) @ vectors[:, order].T
    approximation: FloatArray = columns @ inverse @ columns.T
    return approximation


def ridge_leverage(x: ArrayLike, ridge: float, edge: str = "signed") -> FloatArray:
    """Return the ridge leverage scores, the diagonal of K (K + ridge I)^-1.

    Parameters
    ----------
    x : array_like, shape (n, d)
        The rows; K is their similarity matrix.
    ridge : float
        Positive.
    edge : str
        As in `edge_weight`.

    Returns
    -------
    ndarray, shape (n,), float64
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        As `pairwise_cosine`.

    Notes
    -----
    Source: Alaoui & Mahoney, NIPS 2015; Musco & Musco, NIPS 2017 (arXiv 1605.07583).

    Examples
    --------
    >>> ridge_leverage([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 1.0).round(3).tolist()
    [0.333, 0.333, 0.5]
    """
    kernel = pairwise_cosine(x, edge=edge)
    scores = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), kernel)
    return np.diag(scores).astype(np.float64)


def pivoted_cholesky(a: ArrayLike, tolerance: float) -> tuple[IndexArray, FloatArray]:
    """Return the greedy pivots of a positive semi-definite matrix, and what each found.

    Parameters
    ----------
    a : array_like, shape (n, n)
        The matrix.
    tolerance : float
        Stop where the largest diagonal entry left is at most this multiple of the first.

    Returns
    -------
    pivots : ndarray, shape (k,), int64
        Always the row with the largest diagonal entry of what is left (ties: lowest index).
    residual : ndarray, shape (k,), float64
        That entry.

    Examples
    --------
    >>> pivots, residual = pivoted_cholesky([[1.0, 0.0], [0.0, 4.0]], 0.0)
    >>> pivots.tolist(), residual.tolist()
    ([1, 0], [4.0, 1.0])
    """
    left = np.array(a, dtype=np.float64)
    pivots: list[int] = []
    found: list[float] = []
    diagonal = np.diag(left).copy()
    floor = tolerance * diagonal.max(initial=0.0)
    while len(pivots) < len(left):
        pivot = int(np.argmax(diagonal))
        if not diagonal[pivot] > floor:
            break
        pivots.append(pivot)
        found.append(float(diagonal[pivot]))
        left -= np.outer(left[:, pivot], left[pivot]) / left[pivot, pivot]
        diagonal = np.diag(left).copy()
        diagonal[pivots] = -np.inf
    return np.array(pivots, dtype=np.int64), np.array(found)


def rejection_cholesky(h: ArrayLike, draws: ArrayLike, tolerance: float) -> IndexArray:
    """Return which candidates a block of randomly pivoted Cholesky accepts.

    Parameters
    ----------
    h : array_like, shape (b, b)
        What is left of the matrix at the candidates, drawn in proportion to its diagonal.
    draws : array_like, shape (b,)
        Uniform in [0, 1).
    tolerance : float
        A candidate of which at most this part is left is rejected.

    Returns
    -------
    ndarray, int64
        Candidate i is accepted if draws_i h_ii is below what the candidates accepted before it
        leave of h_ii.

    Notes
    -----
    Source: Epperly, Tropp & Webber, 2024 (arXiv 2410.03969).

    Examples
    --------
    >>> rejection_cholesky([[1.0, 1.0], [1.0, 1.0]], [0.5, 0.0], 1e-9).tolist()
    [0]
    """
    left = np.array(h, dtype=np.float64)
    whole = np.diag(left).copy()
    accepted: list[int] = []
    for i, draw in enumerate(np.asarray(draws, dtype=np.float64)):
        if left[i, i] > tolerance * whole[i] and draw * whole[i] < left[i, i]:
            left -= np.outer(left[:, i], left[i]) / left[i, i]
            accepted.append(i)
    return np.array(accepted, dtype=np.int64)

# SPDX-License-Identifier: MIT
"""Centralities of any dense graph given by its matrix of edge weights."""

from __future__ import annotations

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    Array,
    as_tensor,
    check_flag,
    check_has_values,
    check_iteration,
    like_input,
    shape_text,
    start_vector,
)
from .centrality import check_not_negative, sampled_sources

__all__ = ["betweenness_centrality", "closeness_centrality", "eigenvector_centrality"]


def eigenvector_centrality(
    weights: Array, *, start: Array | None = None, tol: float = 1e-6, max_iter: int = 100
) -> torch.Tensor:
    r"""Return the eigenvector centrality of an undirected dense graph.

    The eigenvector of the largest algebraic eigenvalue of `weights`, unit 2-norm, oriented to a
    non-negative sum. The diagonal counts as self loops.

    Parameters
    ----------
    weights : tensor or array, shape (..., n, n)
        Symmetric edge weights; float16, bfloat16, float32 or float64.
    start : tensor or array, shape (..., n), optional
        Where the search starts, as in `hubprune.eigenvector_centrality`.
    tol : float
        Wanted residual :math:`|W v - \lambda v| / |\lambda|`.
    max_iter : int
        The most products with the matrix.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for matrices that are not square and symmetric, a start that is
        not as above, tol <= 0 or max_iter < 1.
    RuntimeError
        If the residual is above tol after max_iter products.

    Notes
    -----
    Lanczos in float64, n^2 multiply-adds a product. Entries that are not finite make every entry
    NaN. Equivalent to ``torch.linalg.eigh(weights).eigenvectors[..., -1]``.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.graph.eigenvector_centrality(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([0.7071, 0.7071])
    """
    tensor = as_tensor(weights, "weights")
    _check_square(tensor, "weights")
    check_iteration(tol, max_iter)
    first = start_vector(start, tensor, "weights")
    _check_symmetric(tensor, "weights")
    vector: torch.Tensor = torch.ops.hubprune.graph_eigenvector_centrality(
        tensor, tol, max_iter, first
    )
    return like_input(vector, weights)


def betweenness_centrality(
    lengths: Array, *, normalized: bool = True, k: int | None = None, seed: int | None = None
) -> torch.Tensor:
    r"""Return the betweenness centrality of an undirected dense graph of path lengths.

    The share of the shortest paths between two other nodes that pass through a node, summed over
    all pairs; endpoints do not count.

    Parameters
    ----------
    lengths : tensor or array, shape (..., n, n)
        Symmetric lengths of the edges; infinity for no edge. The diagonal is not read. float16,
        bfloat16, float32 or float64. Zero lengths are edges. Negative ones are taken
        as NetworkX's label-setting search takes them: the result is then no shortest-path quantity.
    normalized : bool
        Divide by the number of pairs, (n - 1)(n - 2) / 2.
    k : int, optional
        Search from k random nodes only (1 to n) and scale up. Default: from all.
    seed : int, optional
        Of the k nodes; the same as ``networkx.betweenness_centrality`` takes with this seed.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy. 0 for n <= 2. With k = 1 the one
        source is NaN: it has no data.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for matrices that are not square and symmetric, or k outside
        [1, n].

    Notes
    -----
    Distances and sums in float64; paths tie where their float64 lengths are equal. Where zero
    lengths make the order of equal distances matter, it is NetworkX's, with neighbours by index.
    Path counts beyond the range of float64 give NaN. 20 n^2 bytes beside the lengths. Bitwise the
    same for any number of threads. On CUDA one block per source and 40 n bytes for each of at most
    1024 at once; the sources of k are copied to the device, which a graph capture refuses. A NaN or
    minus infinity makes every entry of its graph NaN. A progress bar is shown on a terminal if it
    takes long.
    Source: Brandes, 2001. Equivalent to ``networkx.betweenness_centrality(graph, weight="weight")``
    of version 3.5 and later.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> inf = float("inf")
    >>> path = torch.tensor([[0.0, 1.0, inf], [1.0, 0.0, 1.0], [inf, 1.0, 0.0]])
    >>> hp.graph.betweenness_centrality(path)
    tensor([0., 1., 0.])
    """
    tensor = as_tensor(lengths, "lengths")
    _check_square(tensor, "lengths")
    check_flag(normalized, "normalized")
    sources = sampled_sources(tensor.shape[-1], k, seed)
    _check_symmetric(tensor, "lengths")
    centrality: torch.Tensor = torch.ops.hubprune.betweenness_centrality(
        tensor, normalized, sources
    )
    return like_input(centrality, lengths)


def closeness_centrality(lengths: Array) -> torch.Tensor:
    r"""Return the closeness centrality of an undirected dense graph of path lengths.

    r / (sum of the distances to the r nodes that can be reached), times r / (n - 1).

    Parameters
    ----------
    lengths : tensor or array, shape (..., n, n)
        Symmetric lengths of the edges, not negative; infinity for no edge. The diagonal is not
        read. float16, bfloat16, float32 or float64.

    Returns
    -------
    tensor or array, shape (..., n)
        float64 for float64 input, else float32; NumPy for NumPy. 0 for n = 1, and where all
        distances are 0, as in NetworkX.

    Raises
    ------
    TypeError, ValueError
        For another type or dtype; for matrices that are not square and symmetric, or a negative
        length.

    Notes
    -----
    As `betweenness_centrality`. Source: Freeman, 1979; Wasserman & Faust, 1994. Equivalent to
    ``networkx.closeness_centrality(graph, distance="weight")``.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.graph.closeness_centrality(torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
    tensor([2., 2.])
    """
    tensor = as_tensor(lengths, "lengths")
    _check_square(tensor, "lengths")
    check_not_negative(tensor, "lengths")
    _check_symmetric(tensor, "lengths")
    centrality: torch.Tensor = torch.ops.hubprune.closeness_centrality(tensor)
    return like_input(centrality, lengths)


def _check_square(matrix: torch.Tensor, name: str) -> None:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"{name} must have shape (..., n, n); got shape {shape_text(matrix.shape)}"
        )
    check_has_values(matrix, name)


def _check_symmetric(matrix: torch.Tensor, name: str) -> None:
    if not _is_symmetric(matrix):
        difference = float((matrix - matrix.mT).abs().nan_to_num(posinf=torch.inf).max())
        raise ValueError(
            f"{name} must be symmetric: this is the centrality of an undirected graph; got "
            f"a largest difference of {difference:.1e} to its transpose"
        )


def _is_symmetric(weights: torch.Tensor) -> bool:
    """Whether (..., n, n) matrices equal their transposes; NaN equals NaN.

    Block by block: a whole transposed matrix is read against the grain of memory, which takes
    longer than finding its eigenvector.
    """
    size = 256
    for first in range(0, weights.shape[-1], size):
        for second in range(first, weights.shape[-1], size):
            block = weights[..., first : first + size, second : second + size]
            mirror = weights[..., second : second + size, first : first + size].mT
            if not torch.equal(block, mirror) and not torch.equal(
                block.nan_to_num(), mirror.nan_to_num()
            ):
                return False
    return True

# SPDX-License-Identifier: MIT
"""Centralities of any dense graph given by its matrix of edge weights."""

from __future__ import annotations

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import Array, as_tensor, like_input, shape_text
from .centrality import check_iteration

__all__ = ["eigenvector_centrality"]


def eigenvector_centrality(
    weights: Array, *, tol: float = 1e-6, max_iter: int = 100
) -> torch.Tensor:
    r"""Return the eigenvector centrality of an undirected dense graph.

    The eigenvector of the largest algebraic eigenvalue of `weights`, unit 2-norm, oriented to a
    non-negative sum. The diagonal counts as self loops.

    Parameters
    ----------
    weights : tensor or array, shape (..., n, n)
        Symmetric edge weights; float16, bfloat16, float32 or float64.
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
        For another type or dtype; for matrices that are not square and symmetric, tol <= 0 or
        max_iter < 1.
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
    if tensor.ndim < 2 or tensor.shape[-1] != tensor.shape[-2]:
        raise ValueError(
            f"weights must have shape (..., n, n); got shape {shape_text(tensor.shape)}"
        )
    check_iteration(tol, max_iter)
    if not _is_symmetric(tensor):
        difference = float((tensor - tensor.mT).abs().max())
        raise ValueError(
            "weights must be symmetric: this is the centrality of an undirected graph; got "
            f"a largest difference of {difference:.1e} to its transpose"
        )
    vector: torch.Tensor = torch.ops.hubprune.graph_eigenvector_centrality(tensor, tol, max_iter)
    return like_input(vector, weights)


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

# SPDX-License-Identifier: MIT
"""Filter vectors: one vector per filter of a layer, the nodes of its similarity graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)
from .arguments import (
    KINDS,
    Array,
    as_tensor,
    check_choice,
    check_weight,
    compute_dtype,
    like_input,
)

__all__ = ["filter_vectors", "resolve_kind"]


def resolve_kind(weight: torch.Tensor, kind: str) -> str:
    """Return "rank1" or "flatten" for `kind`, one of "auto", "rank1", "flatten".

    Raises
    ------
    ValueError
        If rank-1 vectors are asked of a kernel with one spatial position.
    """
    check_choice(kind, KINDS, "kind")
    p = math.prod(weight.shape[2:])
    if kind == "auto":
        return "rank1" if p > 1 else "flatten"
    if kind == "rank1" and p == 1:
        raise ValueError(
            "kind='rank1' needs a kernel of more than one position: a filter of shape "
            f"{tuple(weight.shape[1:])} has no direction to compare; use kind='flatten'"
        )
    return kind


def filter_vectors(weight: Array, kind: str = "auto") -> torch.Tensor:
    r"""Return one vector per filter.

    ``rank1``: the leading left singular vector :math:`u_1` of the filter's matrix
    :math:`A_o` (p positions x c channels), unit length, with the sign that makes
    :math:`\langle u_1, A_o e_1 \rangle > 0`; where that product is zero to rounding
    (1e-10 of the largest singular value), the sign that makes its largest entry positive.

    Parameters
    ----------
    weight : tensor or array, shape (n, c, \*kernel)
        float16, bfloat16, float32 or float64; n filters, c input channels.
    kind : {"auto", "rank1", "flatten"}
        "flatten" is the whole filter, d = c p. "auto" is "rank1" where p > 1, else "flatten".

    Returns
    -------
    tensor or array, shape (n, d)
        float64 for float64 weights, else float32; NumPy for NumPy. d = p or c p. Flattened filters
        share the memory of contiguous weights of that dtype.

    Raises
    ------
    TypeError
        For another type or dtype.
    ValueError
        For fewer than two dimensions, an unknown kind, or "rank1" with p = 1.

    Notes
    -----
    Cost: one read of the weights, n c p (q + 1) / 2 multiply-adds with q = min(p, c), and
    4/3 n q^3 for the eigenvectors; 3 x 3 kernels have a path of their own, bound by the read. The
    Gram matrix of the shorter side and its eigenvector are computed in float64. A zero filter gives
    the zero vector, a filter with NaN or infinity gives NaN. Bitwise the same for any number of
    threads.
    Source: Singh & Plumbley, Interspeech 2022 (arXiv 2203.15751).

    Equivalent to, up to the sign rule::

        A = weight.reshape(n, c, p).transpose(1, 2)
        vectors = torch.linalg.svd(A, full_matrices=False).U[..., 0]

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> hp.filter_vectors(torch.ones(2, 3, 2, 2))
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    tensor = as_tensor(weight, "weight")
    check_weight(tensor)
    if resolve_kind(tensor, kind) == "rank1":
        return like_input(rank1_vectors([tensor])[0][0], weight)
    return like_input(tensor.flatten(1).to(compute_dtype(tensor)), weight)


def rank1_vectors(
    weights: Sequence[torch.Tensor], dtype: torch.dtype | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the rank-1 vectors (n, p), in `dtype` if given, and the norms (n,) of valid weights.

    All layers (n, c, *kernel) go to the kernel at once; the norms are float64.
    """
    matrices = [
        weight.reshape(*weight.shape[:2], math.prod(weight.shape[2:])) for weight in weights
    ]
    vectors, norms = torch.ops.hubprune.rank1_vectors(matrices, dtype)
    return list(vectors), list(norms)

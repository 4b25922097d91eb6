# SPDX-License-Identifier: MIT
"""Operator norms of filters, and of the channels that filters share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from . import ops as _ops  # noqa: F401  (registers the operators)

__all__ = ["leading_projections", "spectral_norms"]

_BLOCK = 1 << 20  # weights in float64 at a time: 8 MiB, a few columns of the widest layers


def spectral_norms(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    r"""Return the largest singular value of every filter's p x c matrix, float64.

    Parameters
    ----------
    weights : sequence of tensors, each of shape (n, c, \*kernel)
        Finite, not empty; all layers at once.

    Returns
    -------
    list of tensors, shape (n,), float64
        The Euclidean norm of the filter where p = 1 or c = 1.

    Notes
    -----
    One read of the weights, as for rank-1 vectors: the root of the Gram matrix's largest
    eigenvalue. Bitwise the same for any number of threads. Equivalent to::

        A = weight.reshape(n, c, p).double()
        norms = torch.linalg.matrix_norm(A, ord=2)
    """
    norms: list[torch.Tensor] = torch.ops.hubprune.spectral_norms([*map(_filters, weights)])
    return norms


def leading_projections(weight: torch.Tensor) -> torch.Tensor:
    r"""Return the projections of the filters on the leading directions of their channels, float64.

    For channel j let :math:`B_j` be the n x p matrix of what the filters do with it, minus the mean
    of its rows, and :math:`v_j` the unit vector at which it attains its operator norm,
    :math:`|B_j v_j| = \|B_j\|_2`, with the sign that makes the first filter's entry of
    :math:`B_j v_j` positive. Then :math:`projection_o = \sum_j \langle B_j[o], v_j \rangle`.

    Parameters
    ----------
    weight : tensor, shape (n, c, \*kernel)
        Finite, not empty.

    Returns
    -------
    tensor, shape (n,), float64
        Up to a power of two that all filters of the layer share.

    Notes
    -----
    One read of the weights and n c p (p + 1) / 2 multiply-adds, in blocks of channels: memory does
    not grow with c. Where the first filter's entry is zero to rounding (the published script
    divides by it), :math:`v_j`'s largest entry is made positive, as for rank-1 vectors.
    """
    filters = _filters(weight)
    n, c, p = filters.shape
    scale = _power_of_two(filters)
    projections = torch.zeros(n, dtype=torch.float64, device=weight.device)
    step = max(1, _BLOCK // (n * p))
    for first in range(0, c, step):
        block = filters[:, first : first + step].double() * scale  # (n, channels, p)
        block = block - block.mean(0)
        matrices = block.transpose(0, 1).contiguous()  # (channels, n, p)
        directions = torch.ops.hubprune.rank1_vectors([matrices], torch.float64)[0][0]
        projections += (block * directions).flatten(1).sum(1)
    return projections


def _filters(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight as (n, c, p)."""
    return weight.reshape(*weight.shape[:2], math.prod(weight.shape[2:]))


def _power_of_two(filters: torch.Tensor) -> float:
    """Return what brings the largest weight to order 1."""
    smallest, largest = torch.aminmax(filters)  # abs() would write a second weight
    _, exponent = math.frexp(max(-float(smallest), float(largest)))
    return math.ldexp(1.0, min(-exponent, 1000))  # a subnormal's own scale would overflow

# SPDX-License-Identifier: MIT
"""The kernels as torch operators, ``torch.ops.hubprune.*``.

Registered with `torch.library.Library` (define, impl, fake), so they pass through
``torch.compile(fullgraph=True)`` and fake tensors, and cost a few microseconds to call. The
dispatcher chooses the CPU or the CUDA kernel by where the tensor lives. Outputs and scratch are
torch tensors: the kernels never allocate. Use the functions of the `hubprune` package, which
validate; these operators expect valid arguments.
"""

from __future__ import annotations

from . import filters, paths, similarity  # noqa: F401  (register their operators)
from .degree import DEGREE_ROUTE, DEGREE_ROUTES, weighted_degree_route
from .eigenvector import eigenvector_centrality_route
from .nystrom import rejection_cholesky, self_weights
from .registration import library

__all__ = [
    "DEGREE_ROUTE",
    "DEGREE_ROUTES",
    "eigenvector_centrality_route",
    "library",
    "rejection_cholesky",
    "self_weights",
    "weighted_degree_route",
]

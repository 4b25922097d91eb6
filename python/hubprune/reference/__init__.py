# SPDX-License-Identifier: MIT
"""The specification in code: every formula in float64 NumPy, slow and readable.

One notation everywhere: n filters, c input channels, p = product of the kernel's spatial sizes, d
features. Every kernel of the library has its twin here and is tested against it. Nothing here is
optimised: similarity graphs are stored whole (n x n), eigenvectors come from a full decomposition,
loops are loops.

Two habits are worth knowing before reading on:

- Inputs are converted to C-contiguous float64 first, so strides, byte order and read-only flags
  cannot change a result. Inputs are never written to.
- Inner products are summed by one and the same routine for every pair of rows, so two equal pairs
  of rows have the same similarity to the last bit. "Ties: lowest index" is then a statement about
  the data and not about a matrix product's blocking.

The modules build on one another in this order: `arrays`, `vectors`, `similarity`; on these
`centrality`, `paths`, `low_rank` and `norms`; last `ranking`.
"""

from __future__ import annotations

from .arrays import FloatArray as FloatArray
from .arrays import IndexArray as IndexArray
from .centrality import (
    DEGENERACY_TOLERANCE,
    SYMMETRY_TOLERANCE,
    GreedyDegree,
    adjacency,
    eigenvector_centrality,
    graph_eigenvector_centrality,
    greedy_degree,
    weighted_degree,
)
from .low_rank import nystrom, nystrom_columns, pivoted_cholesky, rejection_cholesky, ridge_leverage
from .norms import OPERATOR_NORM_RULES, geometric_median, l1_norm, l2_norm, operator_norm
from .paths import (
    LENGTHS,
    betweenness_centrality,
    closeness_centrality,
    graph_betweenness_centrality,
    graph_closeness_centrality,
    path_lengths,
)
from .paths import _shortest_paths as _shortest_paths  # the kernels name it as their twin
from .ranking import (
    DEAD_RATIO,
    DEAD_RULES,
    LANDMARK_TOLERANCE,
    SCORERS,
    Ranking,
    dead_filters,
    kept_count,
    landmarks,
    redundancy,
)
from .similarity import EDGES, ClosestPairs, closest_pairs, edge_weight, nearest, pairwise_cosine
from .vectors import KINDS, SIGN_TOLERANCE, filter_vectors, normalized_rows, row_norms

__all__ = [
    "DEAD_RATIO",
    "DEAD_RULES",
    "DEGENERACY_TOLERANCE",
    "EDGES",
    "KINDS",
    "LANDMARK_TOLERANCE",
    "LENGTHS",
    "OPERATOR_NORM_RULES",
    "SCORERS",
    "SIGN_TOLERANCE",
    "SYMMETRY_TOLERANCE",
    "ClosestPairs",
    "GreedyDegree",
    "Ranking",
    "adjacency",
    "betweenness_centrality",
    "closeness_centrality",
    "closest_pairs",
    "dead_filters",
    "edge_weight",
    "eigenvector_centrality",
    "filter_vectors",
    "geometric_median",
    "graph_betweenness_centrality",
    "graph_closeness_centrality",
    "graph_eigenvector_centrality",
    "greedy_degree",
    "kept_count",
    "l1_norm",
    "l2_norm",
    "landmarks",
    "nearest",
    "normalized_rows",
    "nystrom",
    "nystrom_columns",
    "operator_norm",
    "pairwise_cosine",
    "path_lengths",
    "pivoted_cholesky",
    "redundancy",
    "rejection_cholesky",
    "ridge_leverage",
    "row_norms",
    "weighted_degree",
]

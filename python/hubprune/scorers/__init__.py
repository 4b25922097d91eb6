# SPDX-License-Identifier: MIT
"""Scorers: how redundant each filter of a layer is, and in which order to remove them.

Every scorer returns a redundancy per filter (higher = removed first). Cosine is blind to length,
and trained networks carry many dead filters whose noise directions look unique, so a bare
centrality would keep the dead and cut the living. By default (``dead="first"``) every scorer
therefore removes the filters whose norm is below 1e-3 of the layer's largest first, and leaves them
out of the graph; ``dead="rank"`` treats them like any other, as the published scripts do.
"""

from __future__ import annotations

from .base import Contribution, Scorer
from .graph import Betweenness, Closeness, Eigenvector, WeightedDegree
from .landmarks import Landmarks, Random
from .norms import GeometricMedian, L1Norm, L2Norm, OperatorNorm
from .pairs import ClosestPairs, closest_pairs_walk
from .scores import DEAD_RATIO, Scores
from .scoring import SCORER_NAMES, filter_weight, make_scorer, score, score_model

__all__ = [
    "DEAD_RATIO",
    "SCORER_NAMES",
    "Betweenness",
    "Closeness",
    "ClosestPairs",
    "Contribution",
    "Eigenvector",
    "GeometricMedian",
    "L1Norm",
    "L2Norm",
    "Landmarks",
    "OperatorNorm",
    "Random",
    "Scorer",
    "Scores",
    "WeightedDegree",
    "closest_pairs_walk",
    "filter_weight",
    "make_scorer",
    "score",
    "score_model",
]

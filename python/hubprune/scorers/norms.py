# SPDX-License-Identifier: MIT
"""Scorers by the size of a filter, or by its distances to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import check_choice
from ..operator_norm import leading_projections, spectral_norms
from .base import Filters, Redundancy, Scorer


@dataclass(frozen=True, kw_only=True)
class L1Norm(Scorer):
    """Minus the l1 norm of the filter: small filters go first (Li et al., ICLR 2017)."""

    name: ClassVar[str] = "l1"

    def _redundancy(self, filters: Filters) -> Redundancy:
        rows = filters.weight.flatten(1)
        values = -torch.linalg.vector_norm(rows, ord=1, dim=1, dtype=torch.float64)
        return Redundancy(values, None, "minus the l1 norm of each filter")


@dataclass(frozen=True, kw_only=True)
class L2Norm(Scorer):
    """Minus the l2 norm of the filter: small filters go first."""

    name: ClassVar[str] = "l2"

    def _redundancy(self, filters: Filters) -> Redundancy:
        return Redundancy(-filters.norms, None, "minus the l2 norm of each filter")


@dataclass(frozen=True, kw_only=True)
class OperatorNorm(Scorer):
    """Minus an operator-norm importance: filters of small importance go first.

    `rule`
        "published": for every input channel, the direction at which the matrix of all filters
        (minus their mean) attains its operator norm; the importance of a filter is its projection
        on these directions, summed over the channels, squared and divided by the layer's largest,
        as the authors' script computes it. The signs of the directions are those of the first
        living filter's projections, so the rule favours that filter, and its result depends on the
        order of the filters.
        "spectral": the largest singular value of the filter's own p x c matrix.

    Source: Singh & Plumbley, IEEE/ACM TASLP 2025 (arXiv 2304.02319), for "published".
    """

    name: ClassVar[str] = "opnorm"
    rule: str = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.rule, ("published", "spectral"), "rule")

    def _redundancies(self, layers: Sequence[Filters]) -> list[Redundancy]:
        if self.rule == "published":
            return [self._published(filters) for filters in layers]
        route = "minus the largest singular value of each filter's matrix"
        norms = spectral_norms([filters.weight for filters in layers])
        return [Redundancy(-each, None, route) for each in norms]

    def _redundancy(self, filters: Filters) -> Redundancy:
        return self._redundancies([filters])[0]

    def _published(self, filters: Filters) -> Redundancy:
        projections = leading_projections(filters.weight).abs()
        largest = projections.amax()
        values = -(projections / torch.where(largest > 0.0, largest, 1.0)).square()
        route = "minus the squared projections on the leading directions of the channels"
        return Redundancy(values, None, route)


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Scorer):
    """Minus the sum of Euclidean distances to all other filters (FPGM; He et al., CVPR 2019)."""

    name: ClassVar[str] = "gm"

    def _redundancy(self, filters: Filters) -> Redundancy:
        # In float64: sums of distances differ less between filters than cosines do.
        rows = filters.weight.flatten(1).double()
        text = "minus the sum of distances to all other filters"
        return Redundancy(-torch.ops.hubprune.distance_sum(rows), None, text)

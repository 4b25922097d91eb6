# SPDX-License-Identifier: MIT
"""The scorer of the published greedy rule: one filter of each closest pair."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import check_count
from ..nystrom import Nystrom
from ..routes import route
from .base import Filters, Redundancy
from .graph import GraphScorer, check_approximate, explained_route


@dataclass(frozen=True, kw_only=True)
class ClosestPairs(GraphScorer):
    """The published greedy rule: of each closest pair, one filter is redundant.

    Every filter's nearest other by cosine distance (ties: lowest index); filters sorted by that
    distance (stable); walking the list, a filter not yet marked is kept and its nearest is marked.
    What is kept stays kept even if it is marked later. The rule decides the count itself.
    Values: 2 + the similarity of the pair that marked the filter, or the similarity to its nearest
    for the others. `decimals` rounds the distances first (one published script uses 5).
    `approximate` takes the nearest from a Nystroem factor, as the published faster variant does.
    Source: Singh & Plumbley, Interspeech 2022 (arXiv 2203.15751); ICASSP 2023 (arXiv 2210.17416).
    """

    name: ClassVar[str] = "pairs"
    decimals: int | None = None
    approximate: Nystrom | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_approximate(self.approximate, (Nystrom,))
        if self.decimals is not None:
            check_count(self.decimals, "decimals", least=0)
        if self.approximate is not None and self.decimals is not None:
            raise ValueError("decimals needs the exact distances: leave approximate=None")

    def _redundancy(self, filters: Filters) -> Redundancy:
        vectors = filters.graph().double()
        distance, index, route_text = self._nearest(vectors)
        removed = closest_pairs_walk(distance, index)
        values = 1.0 - distance
        if len(vectors) == 1:
            values = torch.full_like(values, -1.0)  # no other filter: the least redundant
        for filter_index, marking_distance in removed.items():
            values[filter_index] = 3.0 - marking_distance
        return Redundancy(values, len(removed), f"closest pairs by cosine; {route_text}")

    def _nearest(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, str]:
        """Return every filter's distance to its nearest other, which that is, and the route."""
        if self.decimals is not None:
            distance, index = _nearest_rounded(vectors, self.decimals)
            said = f"the whole matrix: distances rounded to {self.decimals} decimals can tie"
            return distance, index, said
        said = "fused nearest neighbours, no n x n matrix"
        if self.approximate is not None:
            chosen = route(vectors, "nearest", approximate=self.approximate)
            if not chosen.exact:
                started = time.perf_counter()
                factor = self.approximate.factor(vectors, "signed")
                similarity, index = factor.nearest()
                return 1.0 - similarity, index, explained_route(chosen, started, factor.explain)
            said = f"{said}; {chosen.reason}"
        similarity, index = torch.ops.hubprune.nearest(vectors)
        return 1.0 - similarity, index, said


def _nearest_rounded(vectors: torch.Tensor, decimals: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (distance, index) of every row's nearest other by rounded cosine distance."""
    n = len(vectors)
    distances, indices = [], []
    for first in range(0, n, 1024):
        block = vectors[first : first + 1024]
        cosines = torch.ops.hubprune.pairwise_cosine(block, vectors)
        # Ten to the power of 309 is infinite; no distance has a digit there.
        distance = torch.round(1.0 - cosines, decimals=min(decimals, 300))
        rows = torch.arange(len(block), device=vectors.device)
        distance[rows, first + rows] = torch.inf
        smallest = distance.amin(1)
        # argmin does not promise the first of equals; the first True of a mask is exact.
        index = (distance == smallest[:, None]).to(torch.uint8).argmax(1)
        distances.append(smallest)
        indices.append(index)
    if n == 1:
        return torch.full_like(vectors[:, 0], torch.nan), torch.tensor([-1], device=vectors.device)
    return torch.cat(distances), torch.cat(indices)


def closest_pairs_walk(distance: torch.Tensor, index: torch.Tensor) -> dict[int, float]:
    """Return {removed filter: distance of the pair that marked it} by the published rule."""
    order = torch.argsort(distance, stable=True).tolist()
    nearest, distances = index.tolist(), distance.tolist()
    marked: dict[int, float] = {}
    kept: set[int] = set()
    for i in order:
        if i in marked or nearest[i] < 0:
            continue
        kept.add(i)
        marked.setdefault(nearest[i], distances[i])
    return {i: d for i, d in marked.items() if i not in kept}

# SPDX-License-Identifier: MIT
"""Scorers by the centrality of a filter in the similarity graph of its layer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import (
    EDGES,
    KINDS,
    LENGTHS,
    check_choice,
    check_flag,
    check_iteration,
    compute_dtype,
)
from ..centrality import SIMILARITY_WARNING, check_not_negative, path_lengths
from ..greedy import check_removals
from ..nystrom import Nystrom
from ..ops import eigenvector_centrality_route, weighted_degree_route
from ..routes import Approximation, Route, route
from ..sampling import Sampled, sampled_degree
from ..vectors import rank1_vectors, resolve_kind
from .base import Filters, Redundancy, Scorer, filter_norms


@dataclass(frozen=True, kw_only=True)
class GraphScorer(Scorer):
    """A scorer that compares filter vectors: "rank1", "flatten", or "auto" (rank1 where p > 1)."""

    vectors: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.vectors, KINDS, "vectors")

    def _kind(self, weight: torch.Tensor) -> str:
        return resolve_kind(weight, self.vectors)

    def _describe_filters(
        self, weights: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor | None], list[torch.Tensor]]:
        vectors: list[torch.Tensor | None] = []
        norms: list[torch.Tensor] = []
        is_rank1 = [self._kind(weight) == "rank1" for weight in weights]
        rank1 = [weight for weight, chosen in zip(weights, is_rank1, strict=True) if chosen]
        directions = zip(*rank1_vectors(rank1, torch.float64), strict=True) if rank1 else iter(())
        for weight, chosen in zip(weights, is_rank1, strict=True):
            if chosen:
                layer_vectors, layer_norms = next(directions)
            else:
                layer_vectors = weight.flatten(1).to(compute_dtype(weight))
                layer_norms = filter_norms(weight)
            vectors.append(layer_vectors)
            norms.append(layer_norms)
        return vectors, norms


@dataclass(frozen=True, kw_only=True)
class WeightedDegree(GraphScorer):
    """Weighted degree centrality: the sum of a filter's edge weights.

    `edge` and `approximate` as in `hubprune.weighted_degree`. ``sequential=True`` removes the hub,
    updates every degree and repeats: the exact greedy order of `hubprune.greedy_degree` instead of
    the one-shot ranking; `count` stops it after so many removals. Its values are places in that
    order, from 1 (removed first) down to 1 / n: degrees at different times do not compare.
    Source: King, Singh & Plumbley, 2023 (arXiv 2305.03391).
    """

    name: ClassVar[str] = "degree"
    edge: str = "signed"
    approximate: Approximation | None = None
    sequential: bool = False
    count: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.edge, EDGES, "edge")
        check_approximate(self.approximate, (Nystrom, Sampled))
        check_removals(self.count)
        check_flag(self.sequential, "sequential")
        if self.count is not None and not self.sequential:
            raise ValueError("count needs sequential=True: the one-shot ranking removes nothing")
        if self.sequential and self.approximate is not None:
            raise ValueError("sequential=True is exact: leave approximate=None")

    def _redundancies(self, layers: Sequence[Filters]) -> list[Redundancy]:
        if self.approximate is not None:
            return [self._approximated(filters.graph()) for filters in layers]
        vectors = [filters.graph() for filters in layers]
        if self.sequential:
            return [self._greedy(rows) for rows in vectors]
        degrees = torch.ops.hubprune.weighted_degree(vectors, self.edge)
        return [
            Redundancy(
                degree.double(),
                None,
                f"weighted degree of {self._describe(rows.shape[1])}; "
                f"{weighted_degree_route(rows, self.edge)}",
            )
            for rows, degree in zip(vectors, degrees, strict=True)
        ]

    def _redundancy(self, filters: Filters) -> Redundancy:
        return self._redundancies([filters])[0]

    def _approximated(self, vectors: torch.Tensor) -> Redundancy:
        chosen = route(vectors, "weighted_degree", edge=self.edge, approximate=self.approximate)
        started = time.perf_counter()
        if isinstance(self.approximate, Nystrom) and not chosen.exact:
            factor = self.approximate.factor(vectors, self.edge)
            values, said = factor.degree(), factor.explain
        elif isinstance(self.approximate, Sampled) and not chosen.exact:
            sampled = sampled_degree(vectors, edge=self.edge, approximate=self.approximate)
            values, said = sampled.values, sampled.explain
        else:
            values, said = torch.ops.hubprune.weighted_degree([vectors], self.edge)[0], None
        return Redundancy(values.double(), None, explained_route(chosen, started, said))

    def _greedy(self, rows: torch.Tensor) -> Redundancy:
        n, d = rows.shape
        order, _ = torch.ops.hubprune.greedy_degree(rows, self.edge, self.count)
        values = torch.empty(n, dtype=torch.float64, device=rows.device)
        values[order] = torch.arange(n, 0, -1, dtype=torch.float64, device=rows.device) / n
        steps = n if self.count is None else min(self.count, n)
        rest = "" if steps == n else ", the rest by its last degree"
        return Redundancy(
            values,
            None,
            f"places in the greedy order of the weighted degree of {self._describe(d)}; "
            f"{steps} removals, every degree updated after each{rest}",
        )

    def _describe(self, d: int) -> str:
        return f"vectors of {d} features, edge {self.edge!r}"


@dataclass(frozen=True, kw_only=True)
class Eigenvector(GraphScorer):
    """Eigenvector centrality; parameters as in `hubprune.eigenvector_centrality`."""

    name: ClassVar[str] = "eigenvector"
    edge: str = "abs"
    approximate: Nystrom | None = None
    tol: float = 1e-10
    max_iter: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.edge, EDGES, "edge")
        check_approximate(self.approximate, (Nystrom,))
        check_iteration(self.tol, self.max_iter)

    def _redundancy(self, filters: Filters) -> Redundancy:
        vectors = filters.graph()
        if self.edge == "signed":
            warnings.warn(
                "scorer 'eigenvector' with edge='signed': the graph has negative weights, so the "
                "ranking may be meaningless; edge='abs' does not have this problem",
                UserWarning,
                stacklevel=3,
            )
        if self.approximate is not None:
            chosen = route(
                vectors, "eigenvector_centrality", edge=self.edge, approximate=self.approximate
            )
            if not chosen.exact:
                started = time.perf_counter()
                factor = self.approximate.factor(vectors, self.edge)
                values = factor.eigenvector(tol=self.tol, max_iter=self.max_iter)
                text = explained_route(chosen, started, factor.explain)
                return Redundancy(values.double(), None, text)
        values = torch.ops.hubprune.eigenvector_centrality(
            vectors, self.edge, self.tol, self.max_iter
        )
        how = eigenvector_centrality_route(vectors, self.edge)
        text = f"Lanczos on edge {self.edge!r}, d = {vectors.shape[1]}: {how}"
        return Redundancy(values.double(), None, text)


@dataclass(frozen=True, kw_only=True)
class _PathScorer(GraphScorer):
    """A scorer by shortest paths; `length` as in `hubprune.betweenness_centrality`."""

    length: str = "one_minus"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.length, LENGTHS, "length")

    def _lengths(self, filters: Filters) -> torch.Tensor:
        if self.length == "similarity":
            warnings.warn(f"scorer {self.name!r} with {SIMILARITY_WARNING}", stacklevel=4)
        return path_lengths(filters.graph(), self.length)

    def _route(self, lengths: torch.Tensor) -> str:
        return (
            f"{self.name} over shortest paths of length {self.length!r}, a label-setting search "
            f"from each of {lengths.shape[-1]} filters"
        )


@dataclass(frozen=True, kw_only=True)
class Betweenness(_PathScorer):
    """Betweenness centrality: how many shortest paths between others pass through a filter.

    `length="similarity"` is the published script's.
    Source: King, Singh & Plumbley, 2023 (arXiv 2305.03391).
    """

    name: ClassVar[str] = "betweenness"

    def _redundancy(self, filters: Filters) -> Redundancy:
        lengths = self._lengths(filters)
        values = torch.ops.hubprune.betweenness_centrality(lengths)
        return Redundancy(values, None, self._route(lengths))


@dataclass(frozen=True, kw_only=True)
class Closeness(_PathScorer):
    """Closeness centrality: the inverse of the mean path length to all other filters."""

    name: ClassVar[str] = "closeness"

    def _redundancy(self, filters: Filters) -> Redundancy:
        lengths = self._lengths(filters)
        if self.length == "similarity":  # the others cannot be negative
            label = f"layer {filters.name!r}: lengths" if filters.name else "lengths"
            check_not_negative(lengths, f"{label} (length={self.length!r})")
        values = torch.ops.hubprune.closeness_centrality(lengths)
        return Redundancy(values, None, self._route(lengths))


def check_approximate(value: object, kinds: tuple[type, ...]) -> None:
    if value is not None and not isinstance(value, kinds):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"approximate must be {names} or None; got {type(value).__name__}")


def explained_route(chosen: Route, started: float, said: Callable[[], str] | None = None) -> str:
    """Return the planner's choice, what it took, and what the approximation says of itself."""
    text = f"{chosen.explain()}\ntook {(time.perf_counter() - started) * 1e3:.3g} ms"
    return text if said is None else f"{text}\n{said()}"

# SPDX-License-Identifier: MIT
"""Scorers: how redundant each filter of a layer is, and in which order to remove them.

Every scorer returns a redundancy per filter (higher = removed first). Cosine is blind to length,
and trained networks carry many dead filters whose noise directions look unique, so a bare
centrality would keep the dead and cut the living. By default (``dead="first"``) every scorer
therefore removes the filters whose norm is below 1e-3 of the layer's largest first, and leaves them
out of the graph; ``dead="rank"`` treats them like any other, as the published scripts do.
"""

from __future__ import annotations

import time
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from .arguments import (
    EDGES,
    KINDS,
    LENGTHS,
    Array,
    as_tensor,
    check_choice,
    check_weight,
    compute_dtype,
)
from .centrality import SIMILARITY_WARNING, check_not_negative, path_lengths
from .greedy import check_count
from .nystrom import Nystrom
from .operator_norm import leading_projections, spectral_norms
from .ops import eigenvector_centrality_route, weighted_degree_route
from .reference import LANDMARK_TOLERANCE
from .routes import Approximation, Route, route
from .sampling import Sampled, sampled_degree
from .vectors import rank1_vectors, resolve_kind

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
    "filter_weight",
    "make_scorer",
    "score",
    "score_model",
]

#: A filter is dead if its norm is below this part of the layer's largest norm.
DEAD_RATIO = 1e-3

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class Scores:
    """The redundancy of a layer's n filters.

    Attributes
    ----------
    values : tensor, shape (n,), float64
        Redundancy, higher = removed first. Dead filters hold +inf (with ``dead="first"``).
    order : tensor, shape (n,), int64
        Removal order, first removed first: descending values, ties by lower index.
    dead : tensor, shape (k,), int64
        The dead filters, ascending; also listed with ``dead="rank"``.
    count : int or None
        How many filters the rule itself removes (closest pairs, the dead included), else None.
    scorer : str
        The scorer's name.
    vectors : str or None
        "rank1" or "flatten": what the graph compares; None where there is no graph.
    route : str
        How the values were computed, and why that way.
    """

    values: torch.Tensor
    order: torch.Tensor
    dead: torch.Tensor
    count: int | None
    scorer: str
    vectors: str | None
    route: str
    dead_rule: str
    _weight: torch.Tensor
    _comparable: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.values)

    def comparable(self) -> tuple[torch.Tensor, str]:
        """Return redundancies that compare over layers, (n,) float64, and what they are, in words.

        In the same order within the layer as `values`, dead filters with +inf. Landmarks: minus the
        part of the layer's energy that goes with the filter. Other scorers: `values` over the mean
        of their absolute finite values.
        """
        if self._comparable is not None:
            return (
                self._comparable,
                "minus the part of the layer's energy that goes with the filter",
            )
        values = self.values.double()
        finite = values[values.isfinite()]
        scale = float(finite.abs().mean()) if len(finite) else 0.0
        return values / (scale or 1.0), "in units of the layer's mean absolute redundancy"

    def nearest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every filter's nearest other by cosine: similarity (n,) and index (n,).

        All filters take part, the dead too. Index -1 and NaN where there is no other filter.
        """
        kind = self.vectors or resolve_kind(self._weight, "auto")
        vectors = _graph_vectors(self._weight, kind)
        similarity, index = torch.ops.hubprune.nearest(vectors)
        return similarity, index

    def explain(self) -> str:
        """Return which route ran and why, and name the dead filters."""
        n = len(self)
        lines = [f"{self.scorer}: {n} filters; {self.route}"]
        if len(self.dead):
            names = ", ".join(str(i) for i in self.dead.tolist())
            treatment = (
                "removed first and left out of the graph"
                if self.dead_rule == "first"
                else "ranked like any other (dead='rank')"
            )
            lines.append(
                f"{len(self.dead)} of {n} filters are dead (norm below {DEAD_RATIO:g} of the "
                f"largest), {treatment}: {names}"
            )
        else:
            lines.append(f"no dead filters (norm below {DEAD_RATIO:g} of the largest)")
        if self.count is not None:
            lines.append(f"the rule itself removes {self.count} filters")
        first = ", ".join(str(i) for i in self.order[:5].tolist())
        lines.append(f"removed first: {first}{', ...' if n > 5 else ''}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Contribution:
    """What makes a filter heard beyond its weight, for the scorer `Landmarks`.

    Attributes
    ----------
    bias : tensor, shape (n,), or None
        The layer's own.
    scale : tensor, shape (n,), or None
        |batch-norm gamma| times the norm of the next layers' slice for the channel. None: 1.
    """

    bias: torch.Tensor | None = None
    scale: torch.Tensor | None = None

    def take(self, indices: torch.Tensor) -> Contribution:
        """Return that of some filters."""
        return Contribution(
            None if self.bias is None else self.bias.index_select(0, indices),
            None if self.scale is None else self.scale.index_select(0, indices),
        )


@dataclass(frozen=True)
class _Redundancy:
    """What a scorer says of the filters it is given: values (n,), its own count, its route.

    `comparable`: values (n,) in the same order that compare over layers, if the rule has its own.
    """

    values: torch.Tensor
    count: int | None
    route: str
    comparable: torch.Tensor | None = None


def _among_dead(values: torch.Tensor, alive: torch.Tensor, n: int) -> torch.Tensor:
    """Put the values of the living into (n,), with inf for the dead."""
    placed = torch.full((n,), torch.inf, dtype=values.dtype, device=values.device)
    return placed.index_copy_(0, alive, values)


@dataclass(frozen=True)
class _Filters:
    """The filters of one layer that a rule ranks: weight (n, c, *kernel), graph vectors (n, d)."""

    name: str
    weight: torch.Tensor
    vectors: torch.Tensor | None
    contribution: Contribution

    def take(self, indices: torch.Tensor) -> _Filters:
        """Return some of them."""
        vectors = None if self.vectors is None else self.vectors.index_select(0, indices)
        weight = self.weight.index_select(0, indices)
        return _Filters(self.name, weight, vectors, self.contribution.take(indices))

    def graph(self) -> torch.Tensor:
        """Return the vectors of a scorer that compares filters."""
        if self.vectors is None:
            raise RuntimeError("this scorer was given no filter vectors")
        return self.vectors


@dataclass(frozen=True, kw_only=True)
class Scorer(ABC):
    """A rule that scores the filters of a layer. Subclasses are immutable and reusable."""

    name: ClassVar[str]
    dead: str = "first"

    def __post_init__(self) -> None:
        check_choice(self.dead, ("first", "rank"), "dead")

    #: Whether `plan` should find out what the filters contribute (`Contribution`).
    uses_contributions: ClassVar[bool] = False

    def score(
        self,
        weight: torch.Tensor,
        *,
        name: str | None = None,
        contribution: Contribution | None = None,
    ) -> Scores:
        """Return the `Scores` of a weight (n, c, *kernel); `name` is the layer's, for messages."""
        return self.score_layers([weight], [name], [contribution or Contribution()])[0]

    def score_layers(
        self,
        weights: Sequence[torch.Tensor],
        names: Sequence[str | None],
        contributions: Sequence[Contribution] | None = None,
    ) -> list[Scores]:
        """Return the `Scores` of several layers' weights (n, c, *kernel), computed together."""
        if not weights:
            return []
        labels = ["weight" if name is None else f"layer {name!r}: weight" for name in names]
        for weight, label in zip(weights, labels, strict=True):
            check_weight(weight, label)
            if weight.shape[0] == 0 or weight.numel() == 0:
                raise ValueError(f"{label} must not be empty; got shape {tuple(weight.shape)}")
        vectors, norms = self._describe_filters(weights)
        norms = _on_host(norms)
        for layer_norms, label in zip(norms, labels, strict=True):
            _check_finite(layer_norms, label)
        dead, ranked, alive = [], [], []
        for at, weight in enumerate(weights):
            is_dead = norms[at] < DEAD_RATIO * norms[at].max()
            dead.append(_indices(is_dead, weight))
            contribution = contributions[at] if contributions is not None else Contribution()
            filters = _Filters(names[at] or "", weight, vectors[at], contribution)
            living: torch.Tensor | None = None
            if self.dead == "first" and len(dead[at]):
                living = _indices(~is_dead, weight)
                filters = filters.take(living)
            alive.append(living)
            ranked.append(filters)
        results = self._redundancies(ranked)
        return [
            self._scores(weight, result, dead[at], alive[at])
            for at, (weight, result) in enumerate(zip(weights, results, strict=True))
        ]

    def _scores(
        self,
        weight: torch.Tensor,
        result: _Redundancy,
        dead: torch.Tensor,
        alive: torch.Tensor | None,
    ) -> Scores:
        values, count, comparable = result.values, result.count, result.comparable
        if alive is not None:
            values = _among_dead(result.values, alive, len(weight))
            if result.comparable is not None:
                comparable = _among_dead(result.comparable, alive, len(weight))
            count = None if result.count is None else result.count + len(dead)
        order = torch.argsort(values, descending=True, stable=True)
        kind = self._kind(weight)
        return Scores(
            values, order, dead, count, self.name, kind, result.route, self.dead, weight, comparable
        )

    def _describe_filters(
        self, weights: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor | None], list[torch.Tensor]]:
        """Return the graph vectors, where the rule has a graph, and the norms in float64."""
        return [None] * len(weights), [_row_norms(weight.flatten(1)) for weight in weights]

    def _redundancies(self, layers: Sequence[_Filters]) -> list[_Redundancy]:
        """Score finite, non-empty layers."""
        return [self._redundancy(filters) for filters in layers]

    @abstractmethod
    def _redundancy(self, filters: _Filters) -> _Redundancy:
        """Score one finite, non-empty layer."""

    def _kind(self, weight: torch.Tensor) -> str | None:
        return None


@dataclass(frozen=True, kw_only=True)
class _GraphScorer(Scorer):
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
        rank1 = [weight for weight in weights if self._kind(weight) == "rank1"]
        directions = iter(zip(*rank1_vectors(rank1, torch.float64), strict=True)) if rank1 else None
        for weight in weights:
            if directions is not None and self._kind(weight) == "rank1":
                layer_vectors, layer_norms = next(directions)
            else:
                layer_vectors = weight.flatten(1).to(compute_dtype(weight))
                layer_norms = _row_norms(weight.flatten(1))
            vectors.append(layer_vectors)
            norms.append(layer_norms)
        return vectors, norms


@dataclass(frozen=True, kw_only=True)
class WeightedDegree(_GraphScorer):
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
        _check_approximate(self.approximate, (Nystrom, Sampled))
        check_count(self.count)
        if self.count is not None and not self.sequential:
            raise ValueError("count needs sequential=True: the one-shot ranking removes nothing")
        if self.sequential and self.approximate is not None:
            raise ValueError("sequential=True is exact: leave approximate=None")

    def _redundancies(self, layers: Sequence[_Filters]) -> list[_Redundancy]:
        if self.approximate is not None:
            return [self._approximated(filters.graph()) for filters in layers]
        vectors = [filters.graph() for filters in layers]
        if self.sequential:
            return [self._greedy(rows) for rows in vectors]
        degrees = torch.ops.hubprune.weighted_degree(vectors, self.edge)
        return [
            _Redundancy(
                degree.double(),
                None,
                f"weighted degree of {self._describe(rows.shape[1])}; "
                f"{weighted_degree_route(rows, self.edge)}",
            )
            for rows, degree in zip(vectors, degrees, strict=True)
        ]

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        return self._redundancies([filters])[0]

    def _approximated(self, vectors: torch.Tensor) -> _Redundancy:
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
        return _Redundancy(values.double(), None, _route_text(chosen, started, said))

    def _greedy(self, rows: torch.Tensor) -> _Redundancy:
        n, d = rows.shape
        order, _ = torch.ops.hubprune.greedy_degree(rows, self.edge, self.count)
        values = torch.empty(n, dtype=torch.float64, device=rows.device)
        values[order] = torch.arange(n, 0, -1, dtype=torch.float64, device=rows.device) / n
        steps = n if self.count is None else min(self.count, n)
        rest = "" if steps == n else ", the rest by its last degree"
        return _Redundancy(
            values,
            None,
            f"places in the greedy order of the weighted degree of {self._describe(d)}; "
            f"{steps} removals, every degree updated after each{rest}",
        )

    def _describe(self, d: int) -> str:
        return f"{self.vectors} vectors, d = {d}, edge {self.edge!r}"


@dataclass(frozen=True, kw_only=True)
class Eigenvector(_GraphScorer):
    """Eigenvector centrality; parameters as in `hubprune.eigenvector_centrality`."""

    name: ClassVar[str] = "eigenvector"
    edge: str = "abs"
    approximate: Nystrom | None = None
    tol: float = 1e-10
    max_iter: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.edge, EDGES, "edge")
        _check_approximate(self.approximate, (Nystrom,))

    def _redundancy(self, filters: _Filters) -> _Redundancy:
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
                text = _route_text(chosen, started, factor.explain)
                return _Redundancy(values.double(), None, text)
        values = torch.ops.hubprune.eigenvector_centrality(
            vectors, self.edge, self.tol, self.max_iter
        )
        how = eigenvector_centrality_route(vectors, self.edge)
        text = f"Lanczos on edge {self.edge!r}, d = {vectors.shape[1]}: {how}"
        return _Redundancy(values.double(), None, text)


@dataclass(frozen=True, kw_only=True)
class _PathScorer(_GraphScorer):
    """A scorer by shortest paths; `length` as in `hubprune.betweenness_centrality`."""

    length: str = "one_minus"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.length, LENGTHS, "length")

    def _lengths(self, filters: _Filters) -> torch.Tensor:
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

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        lengths = self._lengths(filters)
        values = torch.ops.hubprune.betweenness_centrality(lengths)
        return _Redundancy(values, None, self._route(lengths))


@dataclass(frozen=True, kw_only=True)
class Closeness(_PathScorer):
    """Closeness centrality: the inverse of the mean path length to all other filters."""

    name: ClassVar[str] = "closeness"

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        lengths = self._lengths(filters)
        label = f"layer {filters.name!r}: lengths" if filters.name else "lengths"
        check_not_negative(lengths, f"{label} (length={self.length!r})")
        values = torch.ops.hubprune.closeness_centrality(lengths)
        return _Redundancy(values, None, self._route(lengths))


@dataclass(frozen=True, kw_only=True)
class ClosestPairs(_GraphScorer):
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
        _check_approximate(self.approximate, (Nystrom,))
        if self.approximate is not None and self.decimals is not None:
            raise ValueError("decimals needs the exact distances: leave approximate=None")

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        vectors = filters.graph().double()
        distance, index, route_text = self._nearest(vectors)
        removed = closest_pairs_walk(distance, index)
        values = 1.0 - distance
        if len(vectors) == 1:
            values = torch.full_like(values, -1.0)  # no other filter: the least redundant
        for filter_index, marking_distance in removed.items():
            values[filter_index] = 3.0 - marking_distance
        return _Redundancy(values, len(removed), f"closest pairs by cosine; {route_text}")

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
                return 1.0 - similarity, index, _route_text(chosen, started, factor.explain)
            said = f"{said}; {chosen.reason}"
        similarity, index = torch.ops.hubprune.nearest(vectors)
        return 1.0 - similarity, index, said


@dataclass(frozen=True, kw_only=True)
class L1Norm(Scorer):
    """Minus the l1 norm of the filter: small filters go first (Li et al., ICLR 2017)."""

    name: ClassVar[str] = "l1"

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        rows = filters.weight.flatten(1)
        values = -torch.linalg.vector_norm(rows, ord=1, dim=1, dtype=torch.float64)
        return _Redundancy(values, None, "minus the l1 norm of each filter")


@dataclass(frozen=True, kw_only=True)
class L2Norm(Scorer):
    """Minus the l2 norm of the filter: small filters go first."""

    name: ClassVar[str] = "l2"

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        values = -_row_norms(filters.weight.flatten(1))
        return _Redundancy(values, None, "minus the l2 norm of each filter")


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

    def _redundancies(self, layers: Sequence[_Filters]) -> list[_Redundancy]:
        if self.rule == "published":
            return [self._published(filters) for filters in layers]
        route = "minus the largest singular value of each filter's matrix"
        norms = spectral_norms([filters.weight for filters in layers])
        return [_Redundancy(-each, None, route) for each in norms]

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        return self._redundancies([filters])[0]

    def _published(self, filters: _Filters) -> _Redundancy:
        projections = leading_projections(filters.weight).abs()
        largest = projections.amax()
        values = -(projections / torch.where(largest > 0.0, largest, 1.0)).square()
        route = "minus the squared projections on the leading directions of the channels"
        return _Redundancy(values, None, route)


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Scorer):
    """Minus the sum of Euclidean distances to all other filters (FPGM; He et al., CVPR 2019)."""

    name: ClassVar[str] = "gm"

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        # In float64: sums of distances differ less between filters than cosines do.
        rows = filters.weight.flatten(1).double()
        text = "minus the sum of distances to all other filters"
        return _Redundancy(-torch.ops.hubprune.distance_sum(rows), None, text)


@dataclass(frozen=True, kw_only=True)
class Landmarks(Scorer):
    """What is best represented by the rest goes first: greedy pivoted Cholesky.

    The Gram matrix of the flattened filters with their bias appended, unit length, each scaled by
    what it contributes: |batch-norm gamma| times the norm of the next layers' slice for its channel
    (`plan` finds both; 1 where there is none). Values: minus what is left of a filter when the
    Cholesky picks it, which falls from pick to pick; filters that the others represent to rounding
    are above 0, the less they contribute the more.
    Over layers (``plan(..., global_=True)``) what is left of pick k counts as a part of what is
    left of picks 1 to k together: the part of its layer that goes with it once the later picks are
    gone. The parts that stay multiply to the layer's energy, and over layers in series to the
    network's; the first pick is its whole layer.
    Source: a rule of this library, on Nystroem's landmarks (Chen, Epperly, Tropp & Webber, 2022).
    """

    name: ClassVar[str] = "landmarks"
    uses_contributions: ClassVar[bool] = True

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        contribution = filters.contribution
        # In float64: which filter is left largest is decided by small differences.
        rows = filters.weight.flatten(1).double()
        if contribution.bias is not None:
            rows = torch.cat((rows, contribution.bias.to(rows.dtype)[:, None]), 1)
        scale = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
        if contribution.scale is not None:
            scale = contribution.scale.to(torch.float64)
            largest = scale.max()
            scale = scale / largest if bool(largest > 0.0) else torch.ones_like(scale)
        gram = torch.ops.hubprune.pairwise_cosine(rows) * scale[:, None] * scale
        order, left, rank = torch.ops.hubprune.pivoted_cholesky(gram, LANDMARK_TOLERANCE)
        picked = order[: int(rank)]
        values = 1.0 - 0.5 * scale  # of what is never picked: above every pick
        values[picked] = -left[: int(rank)]
        found = left[: int(rank)]
        comparable = values.clone()
        comparable[picked] = -found / found.cumsum(0)
        said = [] if contribution.bias is None else ["bias"]
        said += [] if contribution.scale is None else ["batch norm and next layers"]
        weighed = f"weighted by {' and '.join(said)}" if said else "unweighted"
        text = f"pivoted Cholesky of {len(rows)} filters, {weighed}; {int(rank)} represent the rest"
        return _Redundancy(values, None, text, comparable)


@dataclass(frozen=True, kw_only=True)
class Random(Scorer):
    """A control: uniform values from `seed` and the layer's name."""

    name: ClassVar[str] = "random"
    seed: int = 0

    def _redundancy(self, filters: _Filters) -> _Redundancy:
        # torch's CPU generator uses 32 bits of its seed: mix, do not shift.
        stream = zlib.crc32(f"{self.seed}:{filters.name}".encode())
        generator = torch.Generator().manual_seed(stream)
        values = torch.rand(len(filters.weight), generator=generator, dtype=torch.float64)
        return _Redundancy(values.to(filters.weight.device), None, f"random, seed {self.seed}")


_SCORERS: dict[str, Callable[[], Scorer]] = {
    scorer.name: scorer
    for scorer in (
        WeightedDegree,
        Eigenvector,
        Betweenness,
        Closeness,
        ClosestPairs,
        L1Norm,
        L2Norm,
        GeometricMedian,
        Landmarks,
        OperatorNorm,
        Random,
    )
}

#: The names `score` and `plan` understand.
SCORER_NAMES: tuple[str, ...] = tuple(_SCORERS)


def make_scorer(scorer: str | Scorer) -> Scorer:
    """Return a scorer from its name, or the scorer itself.

    Raises
    ------
    TypeError, ValueError
        For something else; for an unknown name.
    """
    if isinstance(scorer, Scorer):
        return scorer
    if not isinstance(scorer, str):
        raise TypeError(
            f"scorer must be a name or a hubprune.scorers.Scorer; got {type(scorer).__name__}"
        )
    if scorer not in _SCORERS:
        raise ValueError(f"scorer must be one of {', '.join(SCORER_NAMES)}; got {scorer!r}")
    return _SCORERS[scorer]()


def filter_weight(module: nn.Module) -> torch.Tensor:
    """Return a layer's weight as (n, c, *kernel), output filters first.

    A transposed convolution stores (c, n / groups, *kernel); its filters are brought to the front.
    A linear layer is (n, c).

    Raises
    ------
    TypeError
        For a module without filters.
    """
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        return module.weight.detach()
    if isinstance(module, _TRANSPOSED):
        weight = module.weight.detach()
        groups, kernel = module.groups, weight.shape[2:]
        grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], *kernel)
        return grouped.transpose(1, 2).reshape(-1, weight.shape[0] // groups, *kernel)
    raise TypeError(
        "expected a convolution (1-d to 3-d, transposed or not) or a linear layer; got "
        f"{type(module).__name__}"
    )


def score(
    weight_or_module: Array | nn.Module,
    scorer: str | Scorer = "degree",
    *,
    name: str | None = None,
    scale: torch.Tensor | None = None,
) -> Scores:
    r"""Score the filters of one layer.

    Parameters
    ----------
    weight_or_module : tensor, array or nn.Module
        A weight of shape (n, c, \*kernel), or a convolution (transposed ones score dim 1) or linear
        layer.
    scorer : str or Scorer
        One of `SCORER_NAMES`, such as "degree", or a configured instance.
    name : str, optional
        The layer's name, for messages.
    scale : tensor, shape (n,), optional
        What each filter contributes beyond its weight, for "landmarks"; `plan` finds it out.

    Returns
    -------
    Scores

    Raises
    ------
    TypeError
        For another type or dtype, or a module without filters.
    ValueError
        For an empty weight, an unknown scorer, or weights that are not finite (the first bad filter
        is named).

    Notes
    -----
    Rank-1 vectors and their graph are computed in float64, so the order is that of the formulas;
    flattened filters keep their dtype (orders agree where redundancies differ by more than 1e-6).

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> weight = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1e-9, 1e-9]])
    >>> scores = hp.score(weight)
    >>> scores.order, scores.dead
    (tensor([3, 1, 0, 2]), tensor([3]))
    """
    if isinstance(weight_or_module, nn.Module):
        weight = filter_weight(weight_or_module)
        as_tensor(weight, "weight")
    else:
        weight = as_tensor(weight_or_module, "weight")
    contribution = _own_contribution(weight_or_module)
    if scale is not None:
        if scale.shape != weight.shape[:1]:
            raise ValueError(
                f"scale must have shape ({weight.shape[0]},), one entry a filter; got shape "
                f"{tuple(scale.shape)}"
            )
        contribution = replace(contribution, scale=scale.to(weight.device))
    return make_scorer(scorer).score(weight, name=name, contribution=contribution)


def score_model(
    model: nn.Module, scorer: str | Scorer = "degree", layers: Iterable[str] | None = None
) -> dict[str, Scores]:
    """Score the layers of a model.

    Parameters
    ----------
    model : nn.Module
        Any model.
    scorer : str or Scorer
        As in `score`.
    layers : iterable of str, optional
        Qualified names. Default: every convolution, transposed ones too; linear layers only where
        they are named here.

    Returns
    -------
    dict of str to Scores
        By layer name, in the model's order (or that of `layers`).

    Raises
    ------
    TypeError, ValueError
        As `score`; ValueError for a name the model does not have, or a model without convolutions.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> list(hp.score_model(model))
    ['0']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    rule = make_scorer(scorer)
    modules = dict(model.named_modules())
    if layers is None:
        names = [key for key, m in modules.items() if isinstance(m, (*_CONVOLUTIONS, *_TRANSPOSED))]
        if not names:
            raise ValueError("model has no convolution to score; name its linear layers in layers=")
    else:
        names = [layers] if isinstance(layers, str) else list(layers)
        unknown = [key for key in names if key not in modules]
        if unknown:
            raise ValueError(f"model has no layer named {', '.join(map(repr, unknown))}")
    weights = [filter_weight(modules[key]) for key in names]
    for key, weight in zip(names, weights, strict=True):
        as_tensor(weight, f"layer {key!r}: weight")
    contributions = [_own_contribution(modules[key]) for key in names]
    return dict(zip(names, rule.score_layers(weights, names, contributions), strict=True))


def _own_contribution(layer: Array | nn.Module) -> Contribution:
    bias = layer.bias if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)) else None
    return Contribution(bias=None if bias is None else bias.detach())


def _check_approximate(value: object, kinds: tuple[type, ...]) -> None:
    if value is not None and not isinstance(value, kinds):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"approximate must be {names} or None; got {type(value).__name__}")


def _route_text(chosen: Route, started: float, said: Callable[[], str] | None = None) -> str:
    """Return the planner's choice, what it took, and what the approximation says of itself."""
    text = f"{chosen.explain()}\ntook {(time.perf_counter() - started) * 1e3:.3g} ms"
    return text if said is None else f"{text}\n{said()}"


def _on_host(norms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return all layers' norms on the CPU: one copy, and one wait, for those of a device."""
    host = list(norms)
    for device in dict.fromkeys(each.device for each in norms if each.device.type != "cpu"):
        chosen = [at for at, each in enumerate(norms) if each.device == device]
        together = torch.cat([norms[at] for at in chosen]).cpu()
        sizes = [len(norms[at]) for at in chosen]
        for at, each in zip(chosen, together.split(sizes), strict=True):
            host[at] = each
    return host


def _indices(mask: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return where `mask`, on the CPU, is true, beside `weight`; nothing is copied for nowhere."""
    found = torch.nonzero(mask).flatten()
    return found.to(weight.device) if len(found) else found.new_empty(0, device=weight.device)


def _check_finite(norms: torch.Tensor, label: str) -> None:
    """Raise and name the first filter whose norm is not finite."""
    bad = torch.nonzero(~norms.isfinite()).flatten()
    if len(bad):
        raise ValueError(
            f"{label} must be finite; filter {int(bad[0])} holds NaN or infinity "
            f"({len(bad)} of {len(norms)} filters do)"
        )


def _row_norms(rows: torch.Tensor) -> torch.Tensor:
    """Return the l2 norms in float64, also where a finite row's norm overflows float32."""
    norms: torch.Tensor = torch.ops.hubprune.row_norms(rows).double()
    if not bool(norms.isfinite().all()):
        norms = torch.ops.hubprune.row_norms(rows.double())
    return norms


def _graph_vectors(weight: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "rank1":
        return rank1_vectors([weight], torch.float64)[0][0]
    return weight.flatten(1).to(compute_dtype(weight))


def _nearest_rounded(vectors: torch.Tensor, decimals: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (distance, index) of every row's nearest other by rounded cosine distance."""
    n = len(vectors)
    distances, indices = [], []
    for first in range(0, n, 1024):
        block = vectors[first : first + 1024]
        cosines = torch.ops.hubprune.pairwise_cosine(block, vectors)
        distance = torch.round(1.0 - cosines, decimals=decimals)
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

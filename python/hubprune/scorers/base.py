# SPDX-License-Identifier: MIT
"""What all scorers share: dead filters, norms, the order, layers scored together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import check_choice, check_has_values, check_weight
from .scores import DEAD_RATIO, Scores


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
class Redundancy:
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
class Filters:
    """The filters of one layer that a rule ranks.

    weight (n, c, *kernel), l2 norms (n,) in float64, graph vectors (n, d).
    """

    name: str
    weight: torch.Tensor
    norms: torch.Tensor
    vectors: torch.Tensor | None
    contribution: Contribution

    def take(self, indices: torch.Tensor) -> Filters:
        """Return some of them."""
        vectors = None if self.vectors is None else self.vectors.index_select(0, indices)
        weight = self.weight.index_select(0, indices)
        norms = self.norms.index_select(0, indices)
        return Filters(self.name, weight, norms, vectors, self.contribution.take(indices))

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
            check_has_values(weight, label)
        vectors, lengths = self._describe_filters(weights)
        norms = _on_host(lengths)
        for layer_norms, label in zip(norms, labels, strict=True):
            _check_finite(layer_norms, label)
        dead, ranked, alive = [], [], []
        for at, weight in enumerate(weights):
            is_dead = norms[at] < DEAD_RATIO * norms[at].max()
            dead.append(_indices(is_dead, weight))
            contribution = contributions[at] if contributions is not None else Contribution()
            filters = Filters(names[at] or "", weight, lengths[at], vectors[at], contribution)
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
        result: Redundancy,
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
        return [None] * len(weights), [filter_norms(weight.flatten(1)) for weight in weights]

    def _redundancies(self, layers: Sequence[Filters]) -> list[Redundancy]:
        """Score finite, non-empty layers."""
        return [self._redundancy(filters) for filters in layers]

    @abstractmethod
    def _redundancy(self, filters: Filters) -> Redundancy:
        """Score one finite, non-empty layer."""

    def _kind(self, weight: torch.Tensor) -> str | None:
        return None


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
    if weight.device.type == "cpu":
        return found
    return found.to(weight.device) if len(found) else found.new_empty(0, device=weight.device)


def _check_finite(norms: torch.Tensor, label: str) -> None:
    """Raise and name the first filter whose norm is not finite."""
    if math.isfinite(float(norms.sum())):  # one look; of finite norms it may overflow
        return
    bad = torch.nonzero(~norms.isfinite()).flatten()
    if len(bad):
        raise ValueError(
            f"{label} must be finite; filter {int(bad[0])} holds NaN or infinity "
            f"({len(bad)} of {len(norms)} filters do)"
        )


def filter_norms(rows: torch.Tensor) -> torch.Tensor:
    """Return the l2 norms in float64, also where a finite row's norm overflows float32."""
    norms: torch.Tensor = torch.ops.hubprune.row_norms(rows).double()
    if not math.isfinite(float(norms.sum())):
        norms = torch.ops.hubprune.row_norms(rows.double())
    return norms

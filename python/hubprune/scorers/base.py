# SPDX-License-Identifier: MIT
"""What all scorers share: dead filters, norms, the order, layers scored together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..arguments import check_choice, check_has_values, check_weight
from .scores import DEAD_RATIO, Scores

_Norms: TypeAlias = "npt.NDArray[np.float64]"
_Mask: TypeAlias = "npt.NDArray[np.bool_]"

#: Layers on a device are sorted as one matrix while that has at most so many entries.
_SORTED_TOGETHER = 1 << 22


@dataclass(frozen=True)
class Contribution:
    """What makes a filter heard beyond its weight, for the scorer `Landmarks`.

    Attributes
    ----------
    bias : tensor, shape (n,), or None
        The layer's own.
    scale : tensor, shape (n,), or None
        ``|batch-norm gamma|`` times the norm of the next layers' slice for the channel. None: 1.
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
        """Return the `Scores` of a weight ``(n, c, *kernel)``; `name` is for messages."""
        return self.score_layers([weight], [name], [contribution or Contribution()])[0]

    def score_layers(
        self,
        weights: Sequence[torch.Tensor],
        names: Sequence[str | None],
        contributions: Sequence[Contribution] | None = None,
    ) -> list[Scores]:
        """Return the `Scores` of several layers' weights ``(n, c, *kernel)``, computed together."""
        if not weights:
            return []
        labels = ["weight" if name is None else f"layer {name!r}: weight" for name in names]
        for weight, label in zip(weights, labels, strict=True):
            check_weight(weight, label)
            if weight.shape[0] == 0 or weight.numel() == 0:
                raise ValueError(f"{label} must not be empty; got shape {tuple(weight.shape)}")
            check_has_values(weight, label)
        vectors, lengths = self._describe_filters(weights)
        masks = _dead_filters(weights, lengths, labels)
        dead, ranked, alive = [], [], []
        for at, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
            contribution = contributions[at] if contributions is not None else Contribution()
            filters = Filters(names[at] or "", weight, lengths[at], vectors[at], contribution)
            dead.append(_indices(mask, weight.device))
            living: torch.Tensor | None = None
            if self.dead == "first" and mask is not None:
                living = _indices(~mask, weight.device)
                filters = filters.take(living)
            alive.append(living)
            ranked.append(filters)
        results = [
            result if living is None else _with_dead(result, living, len(weight))
            for result, living, weight in zip(
                self._redundancies(ranked), alive, weights, strict=True
            )
        ]
        orders = removal_orders([result.values for result in results])
        return [
            Scores(
                result.values,
                order,
                its_dead,
                result.count,
                self.name,
                self._kind(weight),
                result.route,
                self.dead,
                weight,
                result.comparable,
            )
            for weight, result, order, its_dead in zip(weights, results, orders, dead, strict=True)
        ]

    def _describe_filters(
        self, weights: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor | None], list[torch.Tensor]]:
        """Return the graph vectors, where the rule has a graph, and `filter_norms`."""
        return [None] * len(weights), [filter_norms(weight) for weight in weights]

    def _redundancies(self, layers: Sequence[Filters]) -> list[Redundancy]:
        """Score finite, non-empty layers."""
        return [self._redundancy(filters) for filters in layers]

    @abstractmethod
    def _redundancy(self, filters: Filters) -> Redundancy:
        """Score one finite, non-empty layer."""

    def _kind(self, weight: torch.Tensor) -> str | None:
        return None


def filter_norms(weight: torch.Tensor) -> torch.Tensor:
    """Return the l2 norms (n,) in float64 of a weight (n, c, *kernel), as its own dtype's."""
    norms: torch.Tensor = torch.ops.hubprune.row_norms(weight.flatten(1))
    return norms.double()


def _dead_filters(
    weights: Sequence[torch.Tensor], lengths: list[torch.Tensor], labels: Sequence[str]
) -> list[_Mask | None]:
    """Return which filters of every layer are dead, on the host; None where none is.

    All layers' norms make one copy and one wait. Norms that overflowed float32 are replaced in
    `lengths`; a filter that holds NaN or infinity is an error.
    """
    norms = _on_host(lengths)
    sizes = [len(each) for each in lengths]
    starts = np.cumsum([0, *sizes[:-1]])
    with np.errstate(over="ignore", invalid="ignore"):
        all_finite = np.isfinite(norms.sum())  # one look; of finite norms it may overflow
    if not all_finite:
        for at, of_layer in enumerate(np.split(norms, starts[1:])):
            if not np.isfinite(of_layer).all():
                lengths[at] = filter_norms(weights[at].double())
                of_layer[:] = lengths[at].cpu().numpy()
                _check_finite(of_layer, labels[at])
    largest = np.maximum.reduceat(norms, starts)
    is_dead = norms < DEAD_RATIO * np.repeat(largest, sizes)
    if not is_dead.any():
        return [None] * len(sizes)
    return [mask if mask.any() else None for mask in np.split(is_dead, starts[1:])]


def _on_host(lengths: Sequence[torch.Tensor]) -> _Norms:
    """Return the norms of all layers, one after the other: one copy where they share a device."""
    if len({each.device for each in lengths}) > 1:
        lengths = [each.cpu() for each in lengths]
    norms: _Norms = torch.cat(list(lengths)).cpu().numpy()
    return norms


def _check_finite(norms: _Norms, label: str) -> None:
    """Raise and name the first filter whose norm is not finite."""
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise ValueError(
            f"{label} must be finite; filter {bad[0]} holds NaN or infinity "
            f"({len(bad)} of {len(norms)} filters do)"
        )


def _indices(mask: _Mask | None, device: torch.device) -> torch.Tensor:
    """Return where the mask is true; nothing is copied for nowhere."""
    if mask is None:
        return torch.empty(0, dtype=torch.int64, device=device)
    return torch.from_numpy(np.flatnonzero(mask)).to(device)


def _with_dead(result: Redundancy, alive: torch.Tensor, n: int) -> Redundancy:
    """Return what was said of the living filters, at `alive` of n, with inf for the dead."""

    def placed(values: torch.Tensor) -> torch.Tensor:
        full = torch.full((n,), torch.inf, dtype=values.dtype, device=values.device)
        return full.index_copy_(0, alive, values)

    return replace(
        result,
        values=placed(result.values),
        count=None if result.count is None else result.count + n - len(alive),
        comparable=None if result.comparable is None else placed(result.comparable),
    )


def removal_orders(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the removal order (n,) of every layer's values: descending, ties by lower index.

    On a device the layers are sorted together, padded to the longest: a sort of some thousand
    entries there is nothing but its launches.
    """
    longest = max(len(each) for each in values)
    alike = len({(each.device, each.dtype) for each in values}) == 1
    on_device = len(values) > 1 and alike and values[0].is_cuda
    if on_device and longest * len(values) <= _SORTED_TOGETHER:
        return sorted_together(values, longest)
    return [torch.argsort(each, descending=True, stable=True) for each in values]


def sorted_together(values: Sequence[torch.Tensor], longest: int) -> list[torch.Tensor]:
    """Return the removal orders of layers of one device and dtype by one sort."""
    padding = torch.full_like(values[0][:1], -torch.inf).expand(longest)
    parts = [part for each in values for part in (each, padding[len(each) :])]
    matrix = torch.cat(parts).view(len(values), longest)
    order = torch.argsort(matrix, dim=1, descending=True, stable=True)
    return [row[: len(each)] for row, each in zip(order.unbind(), values, strict=True)]

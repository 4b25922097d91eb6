# SPDX-License-Identifier: MIT
"""hubprune's scorers as importances of Torch-Pruning's pruners.

``tp.pruner.BasePruner(model, inputs, importance=CosineDegree(), ...)``: any scorer, by its name or
configured, is an importance through `ScorerImportance`; the others here are short for it.

Torch-Pruning's pruners cut whatever is not ignored, without a word: pass the classifier and the
input normalisation of an audio network as ``ignored_layers`` (of `hubprune.models.Cnn14`
``[model.fc_audioset, model.bn0]``), or 527 classes become 263. `hubprune.plan` keeps such layers by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch

from .. import scorers
from ..arguments import check_choice
from ..scorers import Scorer, Scores, filter_weight, make_scorer

try:
    import torch_pruning as tp
except ImportError as error:
    raise ImportError(
        f"hubprune.compat.torch_pruning needs Torch-Pruning: pip install torch-pruning ({error})"
    ) from error

__all__ = [
    "Betweenness",
    "ClosestPairs",
    "CosineDegree",
    "Eigenvector",
    "Landmarks",
    "OperatorNorm",
    "ScorerImportance",
]

_OUTPUTS = (tp.prune_conv_out_channels, tp.prune_linear_out_channels)
_DEPTHWISE = (tp.prune_depthwise_conv_out_channels,)


class ScorerImportance(tp.importance.GroupMagnitudeImportance):  # type: ignore[misc]
    """The importance of a group's channels by a hubprune scorer.

    Parameters
    ----------
    scorer : str or Scorer
        As in `hubprune.score`.
    group_reduction : {"first", "mean", "max"}
        Which layers of a group speak for it: the one it was asked for, or all that make the
        channels (the branches of a residual sum, say), by the mean or the largest of their
        importances.
    normalizer : str, callable or None
        Torch-Pruning's: "mean", "max", "sum", "standarization", "gaussian", None, ...

    Notes
    -----
    Redundancy c becomes importance ``max(c) - c``: never negative, as the normalizers expect,
    higher is kept. Dead filters (the scorer's ``dead="first"``) have importance 0, and then the
    living are raised by the n-th part of their spread, so that the dead go first. A scorer that
    decides a set (closest pairs) gives places in its removal order over n instead of values.
    Of equal filters the scorer's first, the one of the lowest index, goes first: their importances
    are a millionth (2^-20) of the largest apart, also in float32, because ``global_pruning`` takes
    all of what is equal and then, where that is a whole layer, nothing of it. In a layer that is
    all equal the importances are places over n.
    Scores see a layer's whole filters, whatever part of its channels the group names, and only
    where they are made: what the next layer does with a channel is not looked at. A group that no
    convolution or linear layer makes (one that starts at a batch norm on the input, say) has no
    importance, and the pruner leaves it whole; Torch-Pruning's own importances rank it by the batch
    norm's weights.

    Raises
    ------
    TypeError, ValueError
        For what is not a scorer, or an unknown reduction; on use, for weights that are not finite
        (the layer is named).

    Examples
    --------
    >>> import torch, torch_pruning as tp
    >>> from hubprune.compat.torch_pruning import ScorerImportance
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 2, 1))
    >>> pruner = tp.pruner.BasePruner(
    ...     model,
    ...     torch.randn(1, 1, 9, 9),
    ...     importance=ScorerImportance("degree"),
    ...     pruning_ratio=0.5,
    ...     ignored_layers=[model[1]],
    ... )
    >>> pruner.step()
    >>> model[0].out_channels
    4
    """

    def __init__(
        self,
        scorer: str | Scorer = "degree",
        *,
        group_reduction: str = "first",
        normalizer: str | Callable[[torch.Tensor], torch.Tensor] | None = "mean",
    ) -> None:
        check_choice(group_reduction, ("first", "mean", "max"), "group_reduction")
        super().__init__(group_reduction=group_reduction, normalizer=normalizer)
        self.scorer = make_scorer(scorer)

    @torch.no_grad()
    def __call__(self, group: Any) -> torch.Tensor | None:
        """Return the importance of each of the group's channels, or None if none is made here."""
        position = {root: at for at, root in enumerate(group[0].idxs)}
        reduced: torch.Tensor | None = None
        layers = 0
        for dep, idxs, root_idxs in _outputs(group):
            if any(root not in position for root in root_idxs):
                continue  # some of its channels are not the group's
            scores = self.scorer.score(filter_weight(dep.layer), name=dep.target.name)
            local = _importance(scores)
            places = torch.tensor([position[root] for root in root_idxs], device=local.device)
            chosen = local[torch.as_tensor(idxs, device=local.device)]
            if reduced is None:
                reduced = torch.zeros(len(position), dtype=local.dtype, device=local.device)
            how = "amax" if self.group_reduction == "max" else "mean"
            part = torch.zeros_like(reduced)
            part.scatter_reduce_(0, places, chosen, how, include_self=False)
            reduced = torch.maximum(reduced, part) if how == "amax" else reduced + part
            layers += 1
            if self.group_reduction == "first":
                break
        if reduced is None:
            return None
        if self.group_reduction == "mean":
            reduced = reduced / layers
        reduced = reduced.float()  # as Torch-Pruning's are, and one of its normalizers insists
        # A layer of one filter: a mean or maximum of 0 would make NaN of it.
        if not bool(reduced.any()):
            return reduced
        normalized: torch.Tensor = self._normalize(reduced, self.normalizer)
        return normalized


def _outputs(group: Any) -> Iterator[tuple[Any, list[int], list[int | None]]]:
    """Yield (dependency, channels, the group's channels) of the layers that make the channels.

    A depthwise convolution passes channels on: it is asked only where no other layer makes them.
    """
    items = [(dep, list(idxs), group[at].root_idxs) for at, (dep, idxs) in enumerate(group)]
    makers = [item for item in items if item[0].pruning_fn in _OUTPUTS]
    yield from makers or [item for item in items if item[0].pruning_fn in _DEPTHWISE]


def _importance(scores: Scores) -> torch.Tensor:
    """Return a non-negative importance of each filter, float64, higher is kept; none are equal."""
    n = len(scores)
    places = torch.arange(n, dtype=torch.float64, device=scores.values.device)
    order = scores.order
    ascending = places / n
    if scores.count is None:
        living = scores.values.isfinite()
        values = scores.values.masked_fill(~living, -torch.inf)
        importance = values.amax() - values
        spread = importance[living].amax() if bool(living.any()) else torch.zeros(())
        if not bool(living.all()):
            importance += (spread if float(spread) > 0.0 else spread + 1.0) / n
            importance.masked_fill_(~living, 0.0)
        # In the order of the values, whatever a greedy rule did; of equals in the scorer's.
        order = order[torch.argsort(importance[order], stable=True)]
        if float(importance.amax()) > 0.0:
            ascending = _told_apart(importance[order])
    return torch.empty_like(ascending).index_copy_(0, order, ascending)


def _told_apart(ascending: torch.Tensor) -> torch.Tensor:
    """Return ascending numbers, equal ones moved up by steps that float32 and a division keep."""
    step = ascending[-1] * 2.0**-20
    steps = torch.arange(len(ascending), dtype=ascending.dtype, device=ascending.device) * step
    pushed = torch.cummax(ascending - steps, 0).values + steps
    # What lies half a step or more above all before it stays what it is, to the bit.
    return torch.where(pushed - ascending > step / 2.0, pushed, ascending)


class _OfScorer(ScorerImportance):
    """An importance named after its scorer, which takes the scorer's options."""

    rule: ClassVar[type[Scorer]]

    def __init__(
        self,
        *,
        group_reduction: str = "first",
        normalizer: str | Callable[[torch.Tensor], torch.Tensor] | None = "mean",
        **options: Any,
    ) -> None:
        super().__init__(
            self.rule(**options), group_reduction=group_reduction, normalizer=normalizer
        )


class CosineDegree(_OfScorer):
    """Weighted degree; the options of `hubprune.scorers.WeightedDegree`, by keyword."""

    rule = scorers.WeightedDegree


class Eigenvector(_OfScorer):
    """Eigenvector centrality; the options of `hubprune.scorers.Eigenvector`, by keyword."""

    rule = scorers.Eigenvector


class Betweenness(_OfScorer):
    """Betweenness centrality; the options of `hubprune.scorers.Betweenness`, by keyword."""

    rule = scorers.Betweenness


class ClosestPairs(_OfScorer):
    """Closest pairs, as places; the options of `hubprune.scorers.ClosestPairs`, by keyword."""

    rule = scorers.ClosestPairs


class OperatorNorm(_OfScorer):
    """Operator norm; the options of `hubprune.scorers.OperatorNorm`, by keyword."""

    rule = scorers.OperatorNorm


class Landmarks(_OfScorer):
    """Landmarks, of the weights alone; the options of `hubprune.scorers.Landmarks`, by keyword."""

    rule = scorers.Landmarks

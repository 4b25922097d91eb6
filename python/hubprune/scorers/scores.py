# SPDX-License-Identifier: MIT
"""What a scorer says of the filters of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..arguments import compute_dtype
from ..vectors import rank1_vectors, resolve_kind

#: A filter is dead if its norm is below this part of the layer's largest norm.
DEAD_RATIO = 1e-3


@dataclass(frozen=True, eq=False)
class Scores:
    """The redundancy of a layer's n filters; prints as what `explain` says.

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

    def __repr__(self) -> str:
        own = "" if self.count is None else f", {self.count} for removal"
        return f"<Scores: {self.scorer} of {len(self)} filters, {len(self.dead)} dead{own}>"

    def __str__(self) -> str:
        return self.explain()

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
        vectors = graph_vectors(self._weight, kind)
        similarity, index = torch.ops.hubprune.nearest(vectors)
        return similarity, index

    def explain(self) -> str:
        """Return which route ran and why, and name the dead filters."""
        n = len(self)
        compared = "" if self.vectors is None else f" by their {self.vectors} vectors"
        lines = [f"{self.scorer}: {n} filters{compared}; {self.route}"]
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


def graph_vectors(weight: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "rank1":
        return rank1_vectors([weight], torch.float64)[0][0]
    return weight.flatten(1).to(compute_dtype(weight))

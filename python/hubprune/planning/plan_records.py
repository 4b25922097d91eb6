# SPDX-License-Identifier: MIT
"""What a plan remembers of how it was made, and how that is shown for one layer.

A `Step` holds the settings of a call, a `LayerRecord` the scores that decided in one layer;
`LayerExplanation` is the table that `PruningPlan.explain` makes of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..tables import text_table
from .budgets import shares_text

__all__ = ["ExplanationRow", "LayerExplanation", "LayerRecord", "Step", "compose_record"]


@dataclass(frozen=True)
class Step:
    """The settings of one call of `plan`.

    Attributes
    ----------
    scorer : str
        Its name, or how a configured scorer prints itself.
    ratio : float, dict of str to float, or None
        What was asked for, or what the budget led to; None where the scorer decided the count
        itself, or a budget decided with one threshold for all layers.
    round_to : int
        The kept filters are a multiple of it.
    global_ : bool
        One threshold for all layers.
    budget : dict of str to float, or None
        The shares of the model's parameters and multiply-adds that were allowed to remain.
    remaining : dict of str to float, or None
        With a budget, the shares of both that do remain, of the model the plan was made for.
    """

    scorer: str
    ratio: float | dict[str, float] | None
    round_to: int = 1
    global_: bool = False
    budget: dict[str, float] | None = None
    remaining: dict[str, float] | None = None

    def budget_text(self) -> str:
        """The budget and what remains, in words; empty without a budget."""
        if self.budget is None:
            return ""
        remain = shares_text(self.remaining or {})
        return f"budget: at most {shares_text(self.budget)}; {remain} remain"


@dataclass(frozen=True)
class LayerRecord:
    """Why the filters of one pruned layer were ordered as they were.

    Attributes
    ----------
    scores : tuple of float or None
        The redundancy that decided, one per filter, higher = removed first, inf = dead: the
        scorer's own value, or a mean over coupled layers (`meaning` says which). None: the filter
        was not up for removal.
    nearest : tuple of int
        The most similar other filter by cosine, -1 where none is known.
    similarity : tuple of float or None
        Its cosine.
    coupled : tuple of str
        The other layers whose filters are removed together with these.
    meaning : str
        What the scores are, in words.
    """

    scores: tuple[float | None, ...]
    nearest: tuple[int, ...]
    similarity: tuple[float | None, ...]
    coupled: tuple[str, ...] = ()
    meaning: str = ""


@dataclass(frozen=True)
class ExplanationRow:
    """One filter: what `PruningPlan.explain` says about it. Attributes as in `LayerRecord`."""

    index: int
    score: float | None
    removed: bool
    dead: bool
    nearest: int
    similarity: float | None


@dataclass(frozen=True)
class LayerExplanation:
    """What a plan does to one layer, filter by filter, first removed first; prints as a table.

    Attributes
    ----------
    layer : str
        The layer's name.
    scorer : str
        Who scored it.
    coupled : tuple of str
        Layers that lose the same channels.
    meaning : str
        What the scores are, in words.
    rows : tuple of ExplanationRow
        One per filter: removed ones first, then by falling score.
    """

    layer: str
    scorer: str
    coupled: tuple[str, ...]
    meaning: str
    rows: tuple[ExplanationRow, ...]

    def __str__(self) -> str:
        removed = sum(row.removed for row in self.rows)
        lines = [f"{self.layer}: {removed} of {len(self.rows)} filters removed by {self.scorer}"]
        if self.coupled:
            lines.append(f"the same channels go in {', '.join(self.coupled)}")
        if self.meaning:
            lines.append(f"score: {self.meaning}")
        table = text_table(
            ["filter", "score", "", "dead", "nearest", "similarity"],
            [
                [
                    str(row.index),
                    "-" if row.score is None else f"{row.score:.6g}",
                    "removed" if row.removed else "kept",
                    "dead" if row.dead else "",
                    str(row.nearest) if row.nearest >= 0 else "-",
                    "-" if row.similarity is None else f"{row.similarity:.6f}",
                ]
                for row in self.rows
            ],
        )
        return "\n".join([*lines, table])


def compose_record(
    first: LayerRecord | None, second: LayerRecord, back: Sequence[int]
) -> LayerRecord:
    """The second record in the first one's numbering, over the first where both speak."""
    if first is None:
        return second
    scores, nearest = list(first.scores), list(first.nearest)
    similarity = list(first.similarity)
    for now, original in enumerate(back):
        scores[original] = second.scores[now]
        neighbour = second.nearest[now]
        nearest[original] = back[neighbour] if neighbour >= 0 else -1
        similarity[original] = second.similarity[now]
    coupled = tuple(dict.fromkeys([*first.coupled, *second.coupled]))
    meaning = "; then ".join(dict.fromkeys((first.meaning, second.meaning)))
    return LayerRecord(tuple(scores), tuple(nearest), tuple(similarity), coupled, meaning)

# SPDX-License-Identifier: MIT
"""A plan: which filters of which layers stay, why, and everything that must be cut with them.

A `PruningPlan` needs neither the model nor example inputs again: it can be read, saved as JSON,
composed with another and applied (`hubprune.prune`). It is made by `hubprune.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..arguments import unknown_layer_text
from ..channels.paths import Reader, compose_readers
from ..cutting import Cut, SideKey
from ..tables import text_table
from .plan_file import FORMAT, VERSION, format_json, plan_fields
from .plan_records import ExplanationRow, LayerExplanation, LayerRecord, Step, compose_record

__all__ = ["PruningPlan", "check_plan"]


@dataclass(frozen=True)
class PruningPlan:
    """Which filters stay, why, and all the cuts that this takes. Made by `plan`.

    Attributes
    ----------
    layers : dict of str to tuple of int
        Each layer that loses filters -> the filters that stay, ascending. Coupled layers and
        depthwise convolutions that follow are included.
    filters : dict of str to int
        The same layers -> filters before.
    kept : dict of str to str
        Layers that stay whole -> the reason.
    dead : dict of str to tuple of int
        The layers of `layers` -> their dead filters, whether removed or not.
    scorer : str
        The scorer's name.
    cuts : tuple of Cut
        Every tensor axis that shrinks: the layers, what follows them, what reads them.
    records : dict of str to LayerRecord
        What `explain` shows.
    steps : tuple of Step
        The settings: one, or several after `then`.
    versions : dict of str to str
        Versions of hubprune and torch that made the plan.
    readers : dict of str to Reader
        Layers that lose inputs -> which filters those were and what they passed on the way: what
        `hubprune.prune` needs to compensate.
    """

    layers: dict[str, tuple[int, ...]]
    filters: dict[str, int]
    kept: dict[str, str]
    dead: dict[str, tuple[int, ...]]
    scorer: str
    cuts: tuple[Cut, ...] = ()
    records: dict[str, LayerRecord] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)

    def summary(self) -> str:
        """A table of the pruned layers, and the reasons of the others, as plain text."""
        before, after = sum(self.filters.values()), sum(map(len, self.layers.values()))
        rows = [
            [name, str(self.filters[name]), str(len(kept)), str(len(self.dead.get(name, ())))]
            for name, kept in self.layers.items()
        ]
        lines = [f"pruned by {self.scorer}: {after} of {before} filters stay"]
        if rows:
            total_dead = sum(map(len, self.dead.values()))
            rows.append(["total", str(before), str(after), str(total_dead)])
            lines.append(text_table(["layer", "filters", "kept", "dead"], rows))
        else:
            lines = ["nothing is pruned"]
        lines += [text for step in self.steps if (text := step.budget_text())]
        if self.kept:
            lines.append("kept whole:")
            width = max(map(len, self.kept))
            lines += [f"  {name.ljust(width)}  {why}" for name, why in self.kept.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        before, after = sum(self.filters.values()), sum(map(len, self.layers.values()))
        return (
            f"<PruningPlan: {after} of {before} filters of {len(self.layers)} layers stay, "
            f"scorer {self.scorer!r}>"
        )

    def __str__(self) -> str:
        return self.summary()

    def explain(self, layer: str) -> LayerExplanation:
        """Say for every filter of a pruned layer whether it goes, and why.

        Parameters
        ----------
        layer : str
            A name in `layers`.

        Returns
        -------
        LayerExplanation
            With index, score, removed, dead, nearest neighbour and its similarity per filter. In a
            composed plan (`then`) a filter keeps the score of the step that removed it, or else of
            the last step.

        Raises
        ------
        ValueError
            If the layer is kept whole (the message says why) or unknown.
        """
        if layer in self.kept:
            raise ValueError(f"layer {layer!r} is kept whole: {self.kept[layer]}")
        if layer not in self.layers:
            raise ValueError(unknown_layer_text("the plan", layer, [*self.layers, *self.kept]))
        record, stays = self.records[layer], set(self.layers[layer])
        dead = set(self.dead.get(layer, ()))
        rows = [
            ExplanationRow(
                index,
                record.scores[index],
                index not in stays,
                index in dead,
                record.nearest[index],
                record.similarity[index],
            )
            for index in range(self.filters[layer])
        ]
        rows.sort(key=lambda row: (not row.removed, -math.inf if row.score is None else -row.score))
        return LayerExplanation(layer, self.scorer, record.coupled, record.meaning, tuple(rows))

    def then(self, other: PruningPlan) -> PruningPlan:
        """Compose two plans: this one, then one that was made for the model pruned by this one.

        Parameters
        ----------
        other : PruningPlan
            Its indices refer to the model that this plan leaves.

        Returns
        -------
        PruningPlan
            For the original model: ``prune(m, a.then(b))`` equals ``prune(prune(m, a), b)``.

        Raises
        ------
        TypeError
            If `other` is no plan.
        ValueError
            If its sizes are not those that this plan leaves.
        """
        check_plan(other, "other")
        mine = {(cut.target, cut.side, cut.dim): cut for cut in self.cuts}
        composed = dict(mine)
        for cut in _split_cuts(mine, other.cuts):
            key = (cut.target, cut.side, cut.dim)
            first = mine.get(key)
            if first is not None and len(first.kept) != cut.size:
                raise ValueError(
                    f"the second plan must be made for the model pruned by the first: "
                    f"'{cut.target}' has {len(first.kept)} channels there; the plan is for "
                    f"{cut.size}"
                )
            composed[key] = cut if first is None else _compose_cut(first, cut)
        layers = dict(self.layers)
        dead, records, filters = dict(self.dead), dict(self.records), dict(self.filters)
        for name, kept in other.layers.items():
            back = self.layers.get(name, tuple(range(other.filters[name])))
            layers[name] = tuple(back[i] for i in kept)
            filters.setdefault(name, other.filters[name])
            again = (back[i] for i in other.dead.get(name, ()))
            dead[name] = tuple(sorted({*self.dead.get(name, ()), *again}))
            records[name] = compose_record(self.records.get(name), other.records[name], back)
        scorers = [self.scorer, other.scorer]
        return PruningPlan(
            layers=layers,
            filters=filters,
            kept={
                name: why for name, why in {**self.kept, **other.kept}.items() if name not in layers
            },
            dead=dead,
            scorer=self.scorer if len(set(scorers)) == 1 else ", then ".join(scorers),
            cuts=tuple(composed.values()),
            records=records,
            steps=self.steps + other.steps,
            versions=other.versions,
            readers=compose_readers(
                self.readers,
                other.readers,
                self.layers,
                {cut.target: cut.kept for cut in self.cuts if cut.side == "in"},
                {cut.target: cut.kept for cut in self.cuts if cut.side == "channels"},
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values: what `to_json` writes."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "versions": dict(self.versions),
            "scorer": self.scorer,
            "steps": [
                {
                    "scorer": step.scorer,
                    "ratio": step.ratio,
                    "round_to": step.round_to,
                    "global": step.global_,
                    **({} if step.budget is None else {"budget": dict(step.budget)}),
                    **({} if step.remaining is None else {"remaining": dict(step.remaining)}),
                }
                for step in self.steps
            ],
            "filters": dict(self.filters),
            "layers": {name: list(kept) for name, kept in self.layers.items()},
            "kept": dict(self.kept),
            "dead": {name: list(indices) for name, indices in self.dead.items()},
            "cuts": [
                {
                    "target": cut.target,
                    "side": cut.side,
                    "dim": cut.dim,
                    "size": cut.size,
                    "kept": list(cut.kept),
                }
                for cut in self.cuts
            ],
            "records": {
                name: {
                    "coupled": list(record.coupled),
                    "meaning": record.meaning,
                    "scores": ["inf" if s == math.inf else s for s in record.scores],
                    "nearest": list(record.nearest),
                    "similarity": list(record.similarity),
                }
                for name, record in self.records.items()
            },
            "readers": {
                name: {
                    "norm": reader.norm,
                    "paths": [
                        {
                            "layer": path.layer,
                            "norm": path.norm,
                            "rectified": path.rectified,
                            "filters": list(path.filters),
                            "positions": list(path.positions),
                            **(
                                {}
                                if path.norm_channels is None
                                else {"norm_channels": list(path.norm_channels)}
                            ),
                        }
                        for path in reader.paths
                    ],
                }
                for name, reader in self.readers.items()
            },
        }

    def to_json(self) -> str:
        """The plan as JSON text: versioned, a line per list, exact for `from_json`."""
        return format_json(self.to_dict()) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            JSON text. Unknown entries are ignored.

        Returns
        -------
        PruningPlan
            Equal to the one that was written.

        Raises
        ------
        TypeError
            If `text` is no string.
        ValueError
            If it is not JSON, not a plan, of a newer version, or inconsistent (the message says
            where).
        """
        return PruningPlan(**plan_fields(text))


def check_plan(value: object, name: str = "plan") -> None:
    """Require a plan."""
    if not isinstance(value, PruningPlan):
        raise TypeError(f"{name} must be a PruningPlan; got {type(value).__name__}")


def _split_cuts(first: Mapping[SideKey, Cut], second: Iterable[Cut]) -> Iterator[Cut]:
    """The second cuts; a convolution that the first made depthwise is cut on both its sides."""
    for cut in second:
        two_sided = (cut.target, "out", 0) in first or (cut.target, "in", 0) in first
        if cut.side == "channels" and two_sided:
            yield from (replace(cut, side="in"), replace(cut, side="out"))
        else:
            yield cut


def _compose_cut(first: Cut, second: Cut) -> Cut:
    kept = tuple(first.kept[i] for i in second.kept)
    return Cut(first.target, first.side, first.size, kept, first.dim)

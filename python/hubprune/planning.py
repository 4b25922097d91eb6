# SPDX-License-Identifier: MIT
"""Plans: which filters of which layers stay, why, and everything that must be cut with them.

`plan` scores the layers, asks `hubprune.channel_groups` what belongs together, and chooses. A
`PruningPlan` needs neither the model nor example inputs again: it can be read, saved as JSON,
composed with another and applied (`hubprune.prune`).
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from numbers import Real
from typing import Any

import torch
from torch import nn

from . import _native
from .budgets import QUANTITIES, Remains, check_budget, first_within, shares_text
from .channel_groups import Block, ChannelGroups, find_channel_groups
from .channel_paths import RECTIFIED, Path, Reader, compose_readers, find_readers
from .cutting import Cut
from .layer_kinds import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, is_depthwise
from .model_runs import ExampleInputs, check_example_inputs, check_model
from .scorers import Scorer, Scores, filter_weight, make_scorer, score

__all__ = [
    "BlockCounts",
    "ExplanationRow",
    "LayerExplanation",
    "LayerRecord",
    "PruningPlan",
    "Step",
    "kept_count",
    "plan",
    "plan_counts",
    "plan_to_counts",
    "text_table",
]

_FORMAT = "hubprune-plan"
_VERSION = 1

#: With one threshold for all layers, at most this part of a layer is removed: a layer may be all
#: redundancy by its scores, and still cut off everything behind it.
_GLOBAL_LIMIT = 0.9

Progress = Callable[[int, int, str], None]


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> str:
    """Align columns of text, the first to the left and the others to the right (or all `left`).

    Examples
    --------
    >>> print(text_table(["layer", "filters"], [["conv1", "16"]]))
    layer  filters
    conv1       16
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left or column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def kept_count(n: int, ratio: float) -> int:
    """How many of n filters a ratio keeps: ceil((1 - ratio) n), at least one.

    Parameters
    ----------
    n : int
        Filters, at least 1.
    ratio : float
        Part to remove, in [0, 1).

    Returns
    -------
    int
        The exact ceiling for the decimal that was written: 0.9 of 10 keeps 1, although
        (1 - 0.9) * 10 is a little more than 1 in binary.

    Examples
    --------
    >>> kept_count(10, 0.9), kept_count(5, 0.5), kept_count(3, 0.99)
    (1, 3, 1)
    """
    return max(1, n - math.floor(n * ratio + 1e-9))


# --- the plan ------------------------------------------------------------------------------------


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
        lines += [
            f"budget: at most {shares_text(step.budget)}; "
            f"{shares_text(step.remaining or {})} remain"
            for step in self.steps
            if step.budget is not None
        ]
        if self.kept:
            lines.append("kept whole:")
            width = max(map(len, self.kept))
            lines += [f"  {name.ljust(width)}  {why}" for name, why in self.kept.items()]
        return "\n".join(lines)

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
            raise ValueError(_unknown("the plan", layer, [*self.layers, *self.kept]))
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
        if not isinstance(other, PruningPlan):
            raise TypeError(f"other must be a PruningPlan; got {type(other).__name__}")
        mine = {(cut.target, cut.side, cut.dim): cut for cut in self.cuts}
        composed = dict(mine)
        for cut in other.cuts:
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
            records[name] = _compose_record(self.records.get(name), other.records[name], back)
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
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values: what `to_json` writes."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
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
        if not isinstance(text, str):
            raise TypeError(f"text must be a str; got {type(text).__name__}")
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the plan is not JSON: {error}") from error
        return _PlanReader(data).plan()


def _compose_cut(first: Cut, second: Cut) -> Cut:
    kept = tuple(first.kept[i] for i in second.kept)
    return Cut(first.target, first.side, first.size, kept, first.dim)


def _compose_record(
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


def format_json(value: Any, indent: str = "") -> str:
    """JSON with one line per list of plain values, so that a person can read it.

    Examples
    --------
    >>> print(format_json({"a": [1, 2], "b": {}}))
    {
      "a": [1, 2],
      "b": {}
    }
    """
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        items = [f"{inner}{json.dumps(k)}: {format_json(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + format_json(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON and which no plan holds."""
    raise ValueError(f"{name} is no number")


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a number; in Python true and false are integers too."""
    return isinstance(value, float | int) and not isinstance(value, bool)


class _PlanReader:
    """Checks parsed JSON entry by entry and makes a plan of it."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"the JSON text must have the format {_FORMAT!r}; got {found!r}")
        if data.get("version") != _VERSION:
            raise ValueError(
                f"the plan must have version {_VERSION}; got {data.get('version')!r}: it was "
                "written by another release of hubprune"
            )
        self.data = data

    def plan(self) -> PruningPlan:
        filters = {
            name: self._size(size, f"filters of '{name}'")
            for name, size in self._entry("filters", dict).items()
        }
        layers = {
            name: self._indices(kept, filters.get(name), f"layer '{name}'")
            for name, kept in self._entry("layers", dict).items()
        }
        if set(filters) != set(layers):
            name = min(set(filters) ^ set(layers))
            raise self._wrong(f"'{name}' must be both in layers and in filters")
        for key in ("dead", "records"):
            for name in self._entry(key, dict):
                if name not in layers:
                    raise self._wrong(f"'{name}' is in {key} but not in layers")
        kept = self._strings(self._entry("kept", dict), "kept")
        for name in kept:
            if name in layers:
                raise self._wrong(f"'{name}' must be in layers or in kept, not in both")
        dead = {
            name: self._indices(row, filters.get(name), f"dead filters of '{name}'", empty=True)
            for name, row in self._entry("dead", dict).items()
        }
        cuts = tuple(self._cut(cut) for cut in self._entry("cuts", list))
        self._check_layers(layers, filters, cuts)
        records = {
            name: self._record(record, name, filters)
            for name, record in self._entry("records", dict).items()
        }
        for name in layers:
            if name not in records:
                raise self._wrong(f"'{name}' must be in records")
        return PruningPlan(
            layers=layers,
            filters=filters,
            kept=kept,
            dead=dead,
            scorer=self._entry("scorer", str),
            cuts=cuts,
            records=records,
            steps=tuple(self._step(step) for step in self._entry("steps", list)),
            versions=self._strings(self._entry("versions", dict), "versions"),
            readers=self._readers(cuts),
        )

    def _readers(self, cuts: tuple[Cut, ...]) -> dict[str, Reader]:
        if "readers" not in self.data:  # written before plans knew them
            return {}
        inputs = {cut.target: cut.size for cut in cuts if cut.side == "in"}
        readers = {}
        for name, entry in self._entry("readers", dict).items():
            if name not in inputs:
                raise self._wrong(f"'{name}' is in readers but no input of it is cut")
            paths = tuple(
                self._path(path, name, inputs[name]) for path in self._entry("paths", list, entry)
            )
            readers[name] = Reader(paths, self._name_or_null(entry, "norm"))
        return readers

    def _path(self, entry: Any, reader: str, size: int) -> Path:
        where = f"a path to '{reader}'"
        rectified = self._entry("rectified", str, entry)
        if rectified not in RECTIFIED:
            raise self._wrong(f"rectified of {where} must be one of {', '.join(RECTIFIED)}")
        filters, positions = (
            self._entry("filters", list, entry),
            self._entry("positions", list, entry),
        )
        for row in (filters, positions):
            if any(type(i) is not int or i < 0 for i in row):
                raise self._wrong(f"{where} must have indices of at least 0")
        if len(filters) != len(positions) or len(set(positions)) != len(positions):
            raise self._wrong(f"{where} must have one filter for each position")
        if positions and max(positions) >= size:
            raise self._wrong(f"{where} must have positions in 0..{size - 1}")
        layer = self._entry("layer", str, entry)
        return Path(
            layer, self._name_or_null(entry, "norm"), rectified, tuple(filters), tuple(positions)
        )

    def _name_or_null(self, entry: dict[str, Any], key: str) -> str | None:
        return None if entry.get(key) is None else str(self._entry(key, str, entry))

    @staticmethod
    def _wrong(message: str) -> ValueError:
        return ValueError(f"the plan is damaged: {message}")

    def _entry(self, key: str, kind: type, within: Any = None) -> Any:
        source = self.data if within is None else within
        if not isinstance(source, dict) or not isinstance(source.get(key), kind):
            raise self._wrong(f"'{key}' must be a {kind.__name__}")
        return source[key]

    def _strings(self, entry: dict[str, Any], key: str) -> dict[str, str]:
        for name, value in entry.items():
            if not isinstance(value, str):
                raise self._wrong(f"'{name}' in '{key}' must be a str")
        return dict(entry)

    def _size(self, value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(f"{where} must be an int of at least 1; got {value!r}")
        return value

    def _indices(
        self, value: Any, size: int | None, where: str, *, empty: bool = False
    ) -> tuple[int, ...]:
        if not isinstance(value, list) or any(type(i) is not int for i in value):
            raise self._wrong(f"{where} must be a list of ints")
        if not value and not empty:
            raise self._wrong(f"{where} must keep at least one index")
        if any(a >= b for a, b in itertools.pairwise(value)):
            raise self._wrong(f"{where} must have ascending indices without repetition")
        if value and (size is None or value[0] < 0 or value[-1] >= size):
            raise self._wrong(f"{where} must have indices in 0..{(size or 0) - 1}; got {value[-1]}")
        return tuple(value)

    def _cut(self, entry: Any) -> Cut:
        target, side = self._entry("target", str, entry), self._entry("side", str, entry)
        where = f"the cut of '{target}' ({side})"
        if side not in ("out", "in", "channels", "parameter"):
            raise self._wrong(f"{where} must have a side out, in, channels or parameter")
        dim = self._entry("dim", int, entry)
        if dim < 0:
            raise self._wrong(f"{where} must have a dim of at least 0; got {dim}")
        size = self._size(self._entry("size", int, entry), where)
        return Cut(target, side, size, self._indices(entry.get("kept"), size, where), dim)

    def _check_layers(
        self, layers: dict[str, tuple[int, ...]], filters: dict[str, int], cuts: tuple[Cut, ...]
    ) -> None:
        keys = [(cut.target, cut.side, cut.dim) for cut in cuts]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise self._wrong(f"'{repeated[0]}' ({repeated[1]}) must be cut only once")
        by_layer = {c.target: c for c in cuts if c.side in ("out", "channels")}
        for name, kept in layers.items():
            cut = by_layer.get(name)
            if cut is None or (cut.kept, cut.size) != (kept, filters[name]):
                raise self._wrong(f"layer '{name}' must keep the same in layers and in cuts")

    def _record(self, entry: Any, name: str, filters: dict[str, int]) -> LayerRecord:
        n = filters.get(name)
        columns = {}
        for key in ("scores", "nearest", "similarity"):
            column = self._entry(key, list, entry)
            if len(column) != n:
                raise self._wrong(f"{key} of '{name}' must have {n} entries; got {len(column)}")
            columns[key] = column
        scores = [math.inf if s == "inf" else s for s in columns["scores"]]
        for number in (*scores, *columns["similarity"]):
            if number is not None and not _is_number(number):
                raise self._wrong(f"the record of '{name}' must hold numbers; got {number!r}")
        if any(type(i) is not int or not -1 <= i < (n or 0) for i in columns["nearest"]):
            raise self._wrong(f"nearest of '{name}' must have indices in -1..{(n or 0) - 1}")
        coupled = self._entry("coupled", list, entry)
        if not all(isinstance(other, str) for other in coupled):
            raise self._wrong(f"coupled of '{name}' must be a list of str")
        return LayerRecord(
            tuple(scores),
            tuple(columns["nearest"]),
            tuple(columns["similarity"]),
            tuple(coupled),
            self._entry("meaning", str, entry),
        )

    def _step(self, entry: Any) -> Step:
        scorer = self._entry("scorer", str, entry)
        ratio = entry.get("ratio")
        if isinstance(ratio, dict):
            valid = all(map(_is_number, ratio.values()))
        else:
            valid = ratio is None or _is_number(ratio)
        if not valid:
            raise self._wrong("the ratio of a step must be a number, a dict of numbers or null")
        round_to = self._size(entry.get("round_to"), "round_to of a step")
        global_ = self._entry("global", bool, entry)
        budget, remaining = (self._shares(entry, key) for key in ("budget", "remaining"))
        return Step(scorer, ratio, round_to, global_, budget, remaining)

    def _shares(self, entry: dict[str, Any], key: str) -> dict[str, float] | None:
        shares = entry.get(key)
        if shares is None:
            return None
        if not isinstance(shares, dict) or not all(
            name in QUANTITIES and _is_number(share) for name, share in shares.items()
        ):
            raise self._wrong(f"the {key} of a step must hold numbers for {', '.join(QUANTITIES)}")
        return shares


# --- making a plan -------------------------------------------------------------------------------


def plan(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    scorer: str | Scorer = "degree",
    ratio: float | Mapping[str, float] | None = None,
    budget: Mapping[str, float] | None = None,
    keep: Collection[str] = (),
    round_to: int = 1,
    global_: bool = False,
    progress: Progress | None = None,
) -> PruningPlan:
    """Decide which filters of a model to remove. The model is not touched.

    A ratio r keeps ceil((1 - r) n) of a layer's n filters, at least one, and removes those that the
    scorer ranks first. What must stay, stays, and the plan says why: layers that produce an output,
    the normalisation of the input and what couples with it, frozen front ends, and layers that
    cannot be traced or cut.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that Torch-Pruning can trace through autograd, on any device, in any mode.
    example_inputs : tensor, tuple or dict
        What the model is called with: one argument, several, or keyword arguments. Short inputs
        are enough; batch normalisation statistics and random states are left alone.
    scorer : str or Scorer, default "degree"
        As in `hubprune.score`.
    ratio : float, mapping of str to float, or None
        The part to remove, in [0, 1), from every convolution; or per layer, and then only the
        layers that are named, linear layers too. The name of a module that holds several stands for
        all convolutions in it. Default: 0.5, but a scorer that decides the count itself ("pairs")
        removes what it says.
    budget : mapping of str to float, optional
        Instead of a ratio: the share of the model's ``"parameters"``, of its ``"macs"``
        (multiply-adds), or of each, that may remain at most, in (0, 1]. All convolutions lose the
        same part, the smallest that meets the budget; with `global_`, filters go by one threshold
        for all layers, the fewest that meet it.
    keep : collection of str, default ()
        Layers, or modules that hold layers, to leave whole.
    round_to : int, default 1
        The kept filters become a multiple of it, rounded up (never down), at most all.
    global_ : bool, default False
        One threshold for all layers: `ratio` of all filters together, ranked by redundancy divided
        by the mean absolute redundancy of the layer ("landmarks": by the part of the layer's
        energy that goes with a filter). No layer loses more than 90 %.
    progress : callable (done, total, layer), optional
        Called after each layer is scored.

    Returns
    -------
    PruningPlan
        Apply it with `hubprune.prune`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a ratio or a name is wrong (close names are listed), a weight is not finite (layer and
        first bad filter are named), the example inputs do not fit or are on another device, the
        model is wrapped or cannot be copied, run or traced, or the budget cannot be met (the
        smallest share that can be reached and the layers that are kept whole are named).

    Warns
    -----
    UserWarning
        If the plan changes nothing, or leaves whole a layer that `ratio` names, with the reasons.

    Notes
    -----
    *Coupled layers* (added to each other, as in residual networks) lose the same channels, by the
    mean over the layers of each channel's place in the removal order. A channel goes first
    as dead only if it is dead in all of them; if the scorer decides the count, the smallest counts.
    A depthwise convolution follows the layer before it. Each group of a grouped convolution keeps
    the same number of channels, rounded up.

    Every plan is proven on the example inputs before it is returned: the pruned copy computes what
    the whole model computes with the removed channels ignored. A layer that fails is kept. Layers
    that run only in training, or only on other inputs, are not seen.

    *Budgets* count all parameters and the multiply-adds of `hubprune.report` on the example inputs,
    exactly: what the plan's last step says remains is what the report finds. Multiply-adds of
    layers other than convolutions and linear ones count as if nothing were removed.

    Memory: twice the model and the activations of one forward pass.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)
    ... )
    >>> decision = hp.plan(body, torch.zeros(1, 1, 8, 8), scorer="l2", ratio=0.75)
    >>> len(decision.layers["0"]), decision.kept
    (2, {'2': "produces the model's output"})
    """
    check_model(model)
    check_example_inputs(model, example_inputs)
    request = _Request(model, scorer, ratio, keep, round_to, global_, budget)
    return _decide(model, example_inputs, request, progress)[0]


BlockCounts = dict[tuple[tuple[str, ...], int], tuple[int, int]]
"""Blocks, by their layers and their number among the blocks of these layers -> how many units stay,
of how many."""


def plan_counts(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    scorer: str | Scorer,
    ratio: float | Mapping[str, float] | None,
    budget: Mapping[str, float] | None,
    keep: Collection[str],
    round_to: int,
    global_: bool,
) -> tuple[BlockCounts, PruningPlan]:
    """Decide how many units of each block stay, as `plan` does; return the plan too."""
    request = _Request(model, scorer, ratio, keep, round_to, global_, budget)
    result, counts = _decide(model, example_inputs, request, None)
    return counts, result


def plan_to_counts(
    model: nn.Module,
    example_inputs: ExampleInputs,
    counts: BlockCounts,
    *,
    scorer: str | Scorer,
    ratio: float | Mapping[str, float] | None,
    keep: Collection[str],
    round_to: int,
) -> PruningPlan:
    """Plan to leave so many units of each block, of a model that may have fewer than it had.

    `ratio` tells which layers are pruned, not how much. The plan's step records the part that each
    layer loses.

    Warns
    -----
    UserWarning
        If a block cannot be brought to its count.
    """
    request = _Request(model, scorer, ratio, keep, round_to, False)
    request.counts = counts
    result, reached = _decide(model, example_inputs, request, None)
    lost = {name: 1 - len(kept) / result.filters[name] for name, kept in result.layers.items()}
    failed = [key for key, (kept, whole) in counts.items() if kept < whole and key not in reached]
    if failed:
        names = ", ".join(dict.fromkeys(name for layers, _ in failed for name in layers))
        warnings.warn(f"this step cannot prune {names} any further", stacklevel=3)
    return replace(result, steps=(replace(request.step, ratio=lost),))


def _decide(
    model: nn.Module, example_inputs: ExampleInputs, request: _Request, progress: Progress | None
) -> tuple[PruningPlan, BlockCounts]:
    if request.scorer.uses_contributions:
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
        bench = _ScoreBench(request, progress, _scales(groups, request.modules))
    else:
        bench = _ScoreBench(request, progress, {})
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
    choices = [_Choice(block, bench) for block in groups.blocks]
    kept = dict(groups.kept)
    if request.counts is not None:
        keys = _block_keys(groups)
        for choice in choices:
            n = len(choice.block.units)
            count, _ = request.counts.get(keys[choice.block.number], (n, n))
            choice.keep(min(n, count), request.round_to)
        choices = _proven(groups, choices, kept)
    elif request.budget is None:
        request.set_counts(choices, bench)
        choices = _proven(groups, choices, kept)
    else:
        remains = Remains(model, example_inputs, groups.sides)
        choices = _within_budget(request, bench, groups, choices, kept, remains)
    result = _assemble(request, bench, groups, choices, kept, example_inputs)
    if request.counts is None:
        _warn_of_whole_layers(result, request)
    return result, _block_counts(groups, choices)


def _block_keys(groups: ChannelGroups) -> dict[int, tuple[tuple[str, ...], int]]:
    """How to know a block again in the same model with fewer filters: by its number here."""
    seen: Counter[tuple[str, ...]] = Counter()
    keys = {}
    for block in groups.blocks:
        keys[block.number] = (block.layers, seen[block.layers])
        seen[block.layers] += 1
    return keys


def _block_counts(groups: ChannelGroups, choices: Iterable[_Choice]) -> BlockCounts:
    keys = _block_keys(groups)
    return {
        keys[choice.block.number]: (
            len(choice.block.units) - len(choice.removed),
            len(choice.block.units),
        )
        for choice in choices
    }


def _scales(groups: ChannelGroups, modules: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Return, for every layer, how much of each filter the network hears: (n,), float64.

    |gamma| of the first batch norm that its channel passes, times the norm of the weights with
    which the next layers read it; a factor is 1 where there is none.
    """
    gamma: dict[int, float] = {}
    heard: dict[int, float] = {}
    for (target, side, dim), units in groups.sides.items():
        module = modules.get(target)
        if side == "channels" and isinstance(module, BATCH_NORMS) and module.weight is not None:
            for unit, value in zip(units, module.weight.detach().abs().tolist(), strict=False):
                gamma.setdefault(unit, value)
        if side == "in" and dim == 0 and module is not None:
            squares = _input_squares(module, len(units))
            if squares is None:
                continue
            for unit, square in zip(units, squares.tolist(), strict=True):
                heard[unit] = heard.get(unit, 0.0) + square
    return {
        target: torch.tensor(
            [
                gamma.get(u, 1.0) * math.sqrt(heard[u]) if u in heard else gamma.get(u, 1.0)
                for u in units
            ],
            dtype=torch.float64,
        )
        for (target, side, _), units in groups.sides.items()
        if side == "out" and target in modules
    }


def _input_squares(module: nn.Module, count: int) -> torch.Tensor | None:
    """Return the squared norm of the weights that read each input channel, (count,)."""
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().double()
        return weight.square().sum(0)
    if isinstance(module, CONVOLUTIONS) and module.groups == 1:
        weight = module.weight.detach().double()
        inputs = 0 if isinstance(module, TRANSPOSED) else 1
        return weight.square().transpose(0, inputs).flatten(1).sum(1)
    return None


def _unknown(owner: str, name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
    return f"{owner} has no layer {name!r}{hint}"


def _check_ratio(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where} must be a number in [0, 1); got {type(value).__name__}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"{where} must be in [0, 1); got {value}")
    return float(value)


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        bad = torch.nonzero(~parameter.detach().isfinite())
        if not len(bad):
            continue
        layer, _, leaf = name.rpartition(".")
        module = model.get_submodule(layer)
        if leaf == "weight" and isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            bad = torch.nonzero(~filter_weight(module).detach().isfinite())
            raise ValueError(
                f"layer {layer!r}: weight must be finite; filter {int(bad[0, 0])} holds NaN or "
                "infinity"
            )
        where = ", ".join(map(str, bad[0].tolist()))
        value = float(parameter.detach()[tuple(bad[0])])
        raise ValueError(f"parameter {name!r} must be finite; entry {where} is {value}")


class _Request:
    """The arguments of `plan`, checked and resolved to layer names."""

    def __init__(
        self,
        model: nn.Module,
        scorer: str | Scorer,
        ratio: float | Mapping[str, float] | None,
        keep: Collection[str],
        round_to: int,
        global_: bool,
        budget: Mapping[str, float] | None = None,
    ) -> None:
        self.scorer = make_scorer(scorer)
        self.budget = None if budget is None else check_budget(budget)
        self.counts: BlockCounts | None = None  # `plan_to_counts`: instead of ratio and budget
        if self.budget is not None and ratio is not None:
            raise ValueError("give ratio or budget, not both: the budget decides the ratio")
        self.modules = dict(model.named_modules())
        self.layers = {
            name: module
            for name, module in self.modules.items()
            if isinstance(module, (*CONVOLUTIONS, nn.Linear))
        }
        if isinstance(round_to, bool) or not isinstance(round_to, int):
            raise TypeError(f"round_to must be an int; got {type(round_to).__name__}")
        if round_to < 1:
            raise ValueError(f"round_to must be at least 1; got {round_to}")
        self.round_to = round_to
        self.global_ = bool(global_)
        self.named: set[str] = set()  # layers that the caller wrote out
        self.ratios = self._resolve_ratio(
            0.0 if budget is not None else ratio
        )  # layer -> ratio, None: the scorer's own count
        self.veto = self._resolve_veto(model, keep)
        own_count = ratio is None and any(r is None for r in self.ratios.values())
        stored = dict(ratio) if isinstance(ratio, Mapping) else ratio
        self.step = Step(
            scorer=scorer if isinstance(scorer, str) else repr(scorer),
            ratio=None if own_count or budget is not None else 0.5 if stored is None else stored,
            round_to=round_to,
            global_=self.global_,
            budget=self.budget,
        )

    def _resolve_ratio(self, ratio: float | Mapping[str, float] | None) -> dict[str, float | None]:
        convolutions = [
            name
            for name, module in self.layers.items()
            if not isinstance(module, nn.Linear) and not is_depthwise(module)
        ]
        decides_itself = self.scorer.name == "pairs"
        if ratio is None and decides_itself:
            if self.global_:
                raise ValueError(
                    "global_=True needs a ratio: the scorer 'pairs' decides the count of each "
                    "layer by itself"
                )
            return dict.fromkeys(convolutions)
        if not isinstance(ratio, Mapping):
            checked = _check_ratio(0.5 if ratio is None else ratio, "ratio")
            return dict.fromkeys(convolutions, checked)
        if self.global_:
            raise ValueError("global_=True needs one ratio for all layers; got a mapping")
        resolved: dict[str, float | None] = {}
        for name, value in ratio.items():
            part = _check_ratio(value, f"ratio[{name!r}]")
            module = self._module(name, "ratio")
            if name in self.layers:
                if is_depthwise(module):
                    raise ValueError(
                        f"ratio[{name!r}]: a depthwise convolution follows the layer before it; "
                        "name that layer"
                    )
                self.named.add(name)
                resolved[name] = part
                continue
            inside = [inner for inner in convolutions if inner.startswith(f"{name}.")]
            if not inside:
                raise ValueError(
                    f"ratio[{name!r}]: a {type(module).__name__} cannot be pruned; name "
                    "convolutions, linear layers, or modules that hold convolutions"
                )
            for inner in inside:
                if inner not in ratio:
                    resolved[inner] = part
        return resolved

    def _module(self, name: Any, argument: str) -> nn.Module:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must name layers by str; got {type(name).__name__}")
        if name not in self.modules:
            raise ValueError(f"{argument}: {_unknown('the model', name, self.modules)}")
        module: nn.Module = self.modules[name]
        return module

    def _resolve_veto(self, model: nn.Module, keep: Collection[str]) -> dict[str, str]:
        if isinstance(keep, str) or not isinstance(keep, Collection):
            raise TypeError(
                f"keep must be a collection of layer names, such as ['conv1']; got "
                f"{type(keep).__name__}"
            )
        veto: dict[str, str] = {}
        for name in keep:
            self._module(name, "keep")
            for layer in self.layers:
                if layer == name or layer.startswith(f"{name}."):
                    veto[layer] = "named in keep"
        # In a model that is frozen as a whole, being frozen does not mark a front end.
        if any(parameter.requires_grad for parameter in model.parameters()):
            for name, module in self.layers.items():
                own = list(module.parameters(recurse=False))
                frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
                if frozen and name not in self.named:
                    veto.setdefault(name, "front end: its parameters are frozen (requires_grad)")
        return veto

    def set_counts(self, choices: list[_Choice], bench: _ScoreBench) -> None:
        """Fill in how many units each block keeps."""
        if self.global_:
            self._set_global_counts(choices, bench)
            return
        for choice in choices:
            asked = {self.ratios[name] for name in choice.block.layers if name in self.ratios}
            if len(asked) > 1:
                wanted = {n: self.ratios[n] for n in choice.block.layers if n in self.ratios}
                raise ValueError(
                    f"ratio must be the same for coupled layers, which lose the same channels; "
                    f"got {wanted}"
                )
            (ratio,) = asked
            n = len(choice.block.units)
            if ratio is not None:
                choice.keep(kept_count(n, ratio), self.round_to)
                continue
            counts = [bench[name].count or 0 for name in choice.scored]
            choice.keep(max(1, n - min(counts)), self.round_to)

    def set_counts_within(
        self, choices: list[_Choice], bench: _ScoreBench, remains: Remains
    ) -> bool:
        """Remove as little as meets the budget, or all that can go; return whether it is met."""
        budget = self.budget or {}

        def within() -> bool:
            return remains.within(budget, {u for choice in choices for u in choice.removed})

        if self.global_:
            sequence = _global_sequence(choices, bench)

            def apply(number: int) -> None:
                counts = Counter(sequence[:number])
                for at, choice in enumerate(choices):
                    choice.keep(len(choice.block.units) - counts[at], self.round_to)

            last = len(sequence)
        else:
            sizes = {len(choice.block.units) for choice in choices}
            ratios = sorted({Fraction(k, n) for n in {1, *sizes} for k in range(n)})

            def apply(number: int) -> None:
                ratio = float(ratios[number])
                self.ratios = dict.fromkeys(self.ratios, ratio)
                self.step = replace(self.step, ratio=ratio)
                for choice in choices:
                    choice.keep(kept_count(len(choice.block.units), ratio), self.round_to)

            last = len(ratios) - 1

        def meets(number: int) -> bool:
            apply(number)
            return within()

        found = first_within(last + 1, meets)
        apply(last if found is None else found)
        shares = remains.shares({u for choice in choices for u in choice.removed})
        self.step = replace(self.step, remaining=shares)
        return found is not None

    def _set_global_counts(self, choices: list[_Choice], bench: _ScoreBench) -> None:
        """One threshold: the most redundant units of all blocks go until the budget is spent."""
        ratio = next(iter(self.ratios.values()), 0.0) or 0.0
        ranked: list[tuple[float, int, int]] = []
        total = 0
        for number, choice in enumerate(choices):
            choice.use_values(bench)
            total += len(choice.block.units) * choice.filters_per_unit
            ranked += [(-s, number, i) for i, s in enumerate(choice.redundancy)]
        budget = total - kept_count(total, ratio) if total else 0
        removed = [0] * len(choices)
        for _, number, _ in sorted(ranked):
            choice = choices[number]
            limit = math.floor(_GLOBAL_LIMIT * len(choice.block.units) + 1e-9)
            if removed[number] < limit and choice.filters_per_unit <= budget:
                removed[number] += 1
                budget -= choice.filters_per_unit
        for choice, count in zip(choices, removed, strict=True):
            choice.keep(len(choice.block.units) - count, self.round_to)


class _ScoreBench:
    """Scores of the layers: all that were asked for at once, others when they are needed."""

    def __init__(
        self, request: _Request, progress: Progress | None, scales: Mapping[str, torch.Tensor]
    ) -> None:
        self._request = request
        self._scales = scales
        self._scores: dict[str, Scores] = {}
        asked = [name for name in request.ratios if name not in request.veto]
        for number, name in enumerate(asked, start=1):
            self[name]
            if progress is not None:
                progress(number, len(asked), name)

    def __getitem__(self, name: str) -> Scores:
        if name not in self._scores:
            module = self._request.layers[name]
            scale = self._scales.get(name)
            self._scores[name] = score(module, self._request.scorer, name=name, scale=scale)
        return self._scores[name]


class _Choice:
    """Which units of one block go."""

    def __init__(self, block: Block, bench: _ScoreBench) -> None:
        self.block = block
        modules = bench._request.layers
        convolutions = [n for n in block.layers if not isinstance(modules[n], nn.Linear)]
        self.scored = tuple(convolutions or block.layers)
        self.filters_per_unit = sum(len(block.channels[name][0]) for name in self.scored)
        self.removed: set[int] = set()
        self.meaning = (
            f"{bench[self.scored[0]].scorer} of {self.scored[0]}, higher goes first"
            if self.lone
            else f"mean place in the removal orders of {', '.join(self.scored)} (1 = first)"
        )
        places = []  # (filters of all scored layers in the unit) place in the removal order
        first = [True] * len(block.units)
        for name in self.scored:
            scores = bench[name]
            n = len(scores)
            place = [0.0] * n
            for position, index in enumerate(scores.order.tolist()):
                place[index] = 1.0 - position / max(1, n - 1)
            dead = scores.values.isposinf().tolist()
            for unit, channels in enumerate(block.channels[name]):
                first[unit] = first[unit] and all(dead[c] for c in channels)
            places.append([[place[c] for c in channels] for channels in block.channels[name]])
        self.redundancy = [
            math.inf if dead_everywhere else _mean([p for layer in places for p in layer[unit]])
            for unit, dead_everywhere in enumerate(first)
        ]
        self._order = sorted(
            range(len(block.units)),
            # Among the dead of a lone layer the scorer's own order stands.
            key=lambda u: (not first[u], -_mean([p for layer in places for p in layer[u]]), u),
        )

    @property
    def lone(self) -> bool:
        """Whether the units are single filters of one layer, so that its own scores decide."""
        return len(self.scored) == 1 and self.filters_per_unit == 1

    def use_values(self, bench: _ScoreBench) -> None:
        """Rank by redundancies that are comparable over layers (`Scores.comparable`)."""
        totals = [0.0] * len(self.block.units)
        first = [True] * len(totals)
        unit_of = ""
        for name in self.scored:
            values, unit_of = bench[name].comparable()
            values = values.double().cpu()
            finite = values[values.isfinite()]
            relative = values.clamp(max=float(finite.max()) if len(finite) else 0.0)
            for unit, channels in enumerate(self.block.channels[name]):
                totals[unit] += float(relative[list(channels)].sum())
                first[unit] = first[unit] and bool(values[list(channels)].isposinf().all())
        self.redundancy = [
            math.inf if dead else total / self.filters_per_unit
            for total, dead in zip(totals, first, strict=True)
        ]
        if not self.lone:
            self.meaning = f"mean over {', '.join(self.scored)} of the redundancy, {unit_of}"
            self._order.sort(key=lambda unit: (-self.redundancy[unit], unit))

    def score(self, unit: int, bench: _ScoreBench) -> float:
        """What decided about one unit: `meaning` says what it is."""
        if self.lone:
            name = self.scored[0]
            return float(bench[name].values[self.block.channels[name][unit][0]])
        return self.redundancy[unit]

    def keep(self, count: int, round_to: int) -> None:
        """Choose `count` units to stay, the same number in each cell, a multiple of `round_to`."""
        cells = self.block.cell_count
        size = len(self.block.units) // cells
        per_cell = math.ceil(count / cells)
        while per_cell < size and per_cell * cells % round_to:
            per_cell += 1
        self.removed = set()
        for cell in sorted(set(self.block.cells)):
            order = [u for u in self._order if self.block.cells[u] == cell]
            self.removed.update(self.block.units[u] for u in order[: size - per_cell])


def _global_sequence(choices: list[_Choice], bench: _ScoreBench) -> list[int]:
    """In which order one threshold for all layers takes units: the choice's number for each."""
    ranked: list[tuple[float, int, int]] = []
    for number, choice in enumerate(choices):
        choice.use_values(bench)
        ranked += [(-s, number, i) for i, s in enumerate(choice.redundancy)]
    left = [math.floor(_GLOBAL_LIMIT * len(choice.block.units) + 1e-9) for choice in choices]
    sequence = []
    for _, number, _ in sorted(ranked):
        if left[number]:
            left[number] -= 1
            sequence.append(number)
    return sequence


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _proven(groups: ChannelGroups, choices: list[_Choice], kept: dict[str, str]) -> list[_Choice]:
    """The choices that pass the proof together; the others are kept, with what went wrong."""
    cuts = groups.cuts({unit for choice in choices for unit in choice.removed})
    if not cuts or groups.failure(cuts) is None:
        return choices
    passed: list[_Choice] = []
    for choice in choices:
        trial = {unit for other in (*passed, choice) for unit in other.removed}
        reason = groups.failure(groups.cuts(trial))
        if reason is None:
            passed.append(choice)
        else:
            kept.update(dict.fromkeys(choice.block.layers, f"cannot be pruned: {reason}"))
    return passed


def _within_budget(
    request: _Request,
    bench: _ScoreBench,
    groups: ChannelGroups,
    choices: list[_Choice],
    kept: dict[str, str],
    remains: Remains,
) -> list[_Choice]:
    """The choices that meet the budget and pass the proof; raises ValueError if none do."""
    while True:
        met = request.set_counts_within(choices, bench, remains)
        passed = _proven(groups, choices, kept) if met else choices
        if not met:
            raise _budget_error(request, groups, kept)
        if len(passed) == len(choices):
            return choices
        choices = passed  # the others must lose more


def _budget_error(request: _Request, groups: ChannelGroups, kept: Mapping[str, str]) -> ValueError:
    reachable = request.step.remaining or {}
    whole = {
        name: _reason(name, module, request, groups, kept)
        for name, module in request.layers.items()
        if not any(name in (*block.layers, *block.followers) for block in groups.blocks)
        or name in kept
    }
    limits = ["every layer keeps at least " + ("10 %" if request.global_ else "one filter")]
    if request.round_to > 1:
        limits.append(f"a multiple of round_to={request.round_to}")
    reasons = "".join(f"\n  {name}: {why}" for name, why in whole.items())
    return ValueError(
        f"budget: at most {shares_text(request.budget or {})} may remain, but the least that "
        f"pruning can reach is {shares_text(reachable)} ({', and '.join(limits)}). Kept whole:"
        f"{reasons or ' no layer'}"
    )


def _assemble(
    request: _Request,
    bench: _ScoreBench,
    groups: ChannelGroups,
    choices: list[_Choice],
    kept: dict[str, str],
    example_inputs: ExampleInputs,
) -> PruningPlan:
    removed = {unit for choice in choices for unit in choice.removed}
    cuts = groups.cuts(removed)
    by_layer = {cut.target: cut for cut in cuts if cut.side in ("out", "channels")}
    pruned = [name for name in request.layers if name in by_layer]
    by_unit = {
        unit: (choice, position)
        for choice in choices
        for position, unit in enumerate(choice.block.units)
    }
    # Followers (depthwise, linear) that nobody asked to score have no dead filters of their own.
    followers = {
        name
        for name, module in request.layers.items()
        if is_depthwise(module) or isinstance(module, nn.Linear)
    }
    scored = {name for name in pruned if name in request.ratios or name not in followers}
    reasons: dict[str, str] = {}
    for name, module in request.modules.items():
        if name in by_layer:
            continue
        if name in groups.input_norms:
            reasons[name] = "normalises the model's input"
        elif name in request.layers:
            reasons[name] = _reason(name, module, request, groups, kept)
    return PruningPlan(
        layers={name: by_layer[name].kept for name in pruned},
        filters={name: by_layer[name].size for name in pruned},
        kept=reasons,
        dead={name: tuple(bench[name].dead.tolist()) if name in scored else () for name in pruned},
        scorer=request.scorer.name,
        cuts=cuts,
        records={name: _layer_record(name, bench, groups, by_unit) for name in pruned},
        steps=(request.step,),
        versions={"hubprune": _native.__version__, "torch": str(torch.__version__)},
        readers=find_readers(request.modules[""], example_inputs, groups, cuts),
    )


def _reason(
    name: str,
    module: nn.Module,
    request: _Request,
    groups: ChannelGroups,
    kept: Mapping[str, str],
) -> str:
    """Why a convolution or linear layer stays whole."""
    if name in kept:
        return kept[name]
    if name in request.veto:
        return request.veto[name]
    if name in groups.outputs:
        return "produces the model's output"
    if is_depthwise(module):
        return "depthwise: follows the layer before it, which is kept"
    if name not in request.ratios:
        if isinstance(module, nn.Linear):
            return "linear layers are pruned only when named in ratio"
        return "not named in ratio"
    ratio = request.ratios[name]
    if request.counts is not None:
        asked = "this step"
    elif ratio is None:
        asked = "the scorer"
    else:
        asked = "the threshold" if request.global_ else f"ratio {ratio:g}"
    bounds = [f"round_to={request.round_to}"] if request.round_to > 1 else []
    if any(name in block.layers and block.cell_count > 1 for block in groups.blocks):
        bounds.append("the groups of a grouped convolution stay equally large")
    because = f" ({', '.join(bounds)})" if bounds else ""
    return f"{asked} removes none of its filters{because}"


def _layer_record(
    name: str,
    bench: _ScoreBench,
    groups: ChannelGroups,
    by_unit: Mapping[int, tuple[_Choice, int]],
) -> LayerRecord:
    """What decided about each filter of one pruned layer."""
    is_follower = (name, "channels", 0) in groups.sides
    units = groups.sides[name, "channels" if is_follower else "out", 0]
    scores: list[float | None] = []
    coupled: dict[str, None] = {}
    meanings: dict[str, None] = {}
    scored = False
    for unit in units:
        if unit not in by_unit:
            scores.append(None)
            continue
        choice, position = by_unit[unit]
        scored = scored or name in choice.scored
        meanings[choice.meaning] = None
        scores.append(choice.score(position, bench))
        coupled.update(dict.fromkeys((*choice.block.layers, *choice.block.followers)))
    coupled.pop(name, None)
    nearest, similarity = [-1] * len(units), [None] * len(units)
    if scored:
        cosine, index = bench[name].nearest()
        nearest = index.tolist()
        similarity = [c if i >= 0 else None for c, i in zip(cosine.tolist(), nearest, strict=True)]
    meaning = "; ".join(meanings)
    return LayerRecord(tuple(scores), tuple(nearest), tuple(similarity), tuple(coupled), meaning)


def _warn_of_whole_layers(result: PruningPlan, request: _Request) -> None:
    whole = {name: why for name, why in result.kept.items() if name in request.named}
    if not result.layers:
        lines = "".join(f"\n  {name}: {why}" for name, why in result.kept.items())
        warnings.warn(f"the plan changes nothing:{lines or ' no layer'}", UserWarning, stacklevel=4)
    elif any(request.ratios[name] for name in whole):
        lines = "".join(f"\n  {name}: {why}" for name, why in whole.items() if request.ratios[name])
        warnings.warn(f"layers named in ratio are kept:{lines}", UserWarning, stacklevel=4)

# SPDX-License-Identifier: MIT
"""The JSON text of a plan: how it is laid out, and reading it with every entry checked.

A file may come from anywhere, so nothing of it is used before it is known to be what a plan holds;
the messages say which entry is damaged.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any, TypedDict

from ..channels.paths import RECTIFIED, Path, Reader
from ..cutting import Cut
from .budgets import QUANTITIES
from .plan_records import LayerRecord, Step

__all__ = ["FORMAT", "VERSION", "OtherVersionError", "PlanFields", "format_json", "plan_fields"]

FORMAT = "hubprune-plan"
VERSION = 1


class OtherVersionError(ValueError):
    """The plan is whole, but of another version."""


class PlanFields(TypedDict):
    """The attributes of a `PruningPlan`, by name."""

    layers: dict[str, tuple[int, ...]]
    filters: dict[str, int]
    kept: dict[str, str]
    dead: dict[str, tuple[int, ...]]
    scorer: str
    cuts: tuple[Cut, ...]
    records: dict[str, LayerRecord]
    steps: tuple[Step, ...]
    versions: dict[str, str]
    readers: dict[str, Reader]


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


def plan_fields(text: str) -> PlanFields:
    """The attributes of the plan that `PruningPlan.to_json` wrote.

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
    return _PlanReader(data).fields()


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are not JSON and which no plan holds."""
    raise ValueError(f"{name} is no number")


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a number; in Python true and false are integers too."""
    return isinstance(value, float | int) and not isinstance(value, bool)


class _PlanReader:
    """Checks parsed JSON entry by entry and makes a plan of it."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"the JSON text must have the format {FORMAT!r}; got {found!r}")
        if data.get("version") != VERSION:
            raise OtherVersionError(
                f"the plan must have version {VERSION}; got {data.get('version')!r}: it was "
                "written by another release of hubprune"
            )
        self.data = data

    def fields(self) -> PlanFields:
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
        return PlanFields(
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
        channels = filters  # also in files older than the entry
        if entry.get("norm_channels") is not None:
            channels = self._entry("norm_channels", list, entry)
        for row in (filters, positions, channels):
            if any(type(i) is not int or i < 0 for i in row):
                raise self._wrong(f"{where} must have indices of at least 0")
        if len(filters) != len(positions):  # added filters reach the same position
            raise self._wrong(f"{where} must have one filter for each position")
        if len(channels) != len(filters):
            raise self._wrong(f"{where} must have one channel of its norm for each filter")
        if positions and max(positions) >= size:
            raise self._wrong(f"{where} must have positions in 0..{size - 1}")
        layer = self._entry("layer", str, entry)
        return Path(
            layer,
            self._name_or_null(entry, "norm"),
            rectified,
            tuple(filters),
            tuple(positions),
            tuple(channels),
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

# SPDX-License-Identifier: MIT
"""What a comparison of scorers found: rows, tables, plots, files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .json_numbers import all_numbers, all_writable
from .plots import ComparisonPoint, comparison_plot

__all__ = ["UNPRUNED", "Comparison", "ComparisonRow", "Summary"]

#: The scorer's name in the rows of the control that is fine-tuned without being pruned.
UNPRUNED = "unpruned"
_FORMAT = "comparison 1"


@dataclass(frozen=True)
class ComparisonRow:
    """One model: pruned by one rule (or not at all) and fine-tuned (or not), with one seed.

    Attributes
    ----------
    scorer : str
        Its label; "unpruned" for that control.
    rule : str
        The scorer with its options.
    ratio : float or None
        Part of the filters to remove; None: unpruned, or the rule decides.
    compensate : str
        As in `hubprune.prune`.
    seed : int
        Of the base network, the fine-tuning and the random scorer.
    before, after : dict of str to dict, or None
        Metrics on "valid" (and "test"), before and after fine-tuning; None: not fine-tuned.
    best_epoch : int or None
        Whose weights `after` is of; 0: no epoch was better than the model before.
    parameters, macs, parameters_before, macs_before : int
        Of this model, and of the unpruned one.
    filters : dict of str to int
        What is kept of each layer that was cut.
    pruning_seconds, finetuning_seconds : float
        Spent.
    energy : dict or None
        Of fine-tuning, if it was measured.
    model : str
        A hash of the base network's weights.
    """

    scorer: str
    rule: str
    ratio: float | None
    compensate: str
    seed: int
    before: dict[str, dict[str, float]]
    after: dict[str, dict[str, float]] | None
    best_epoch: int | None
    parameters: int
    macs: int
    parameters_before: int
    macs_before: int
    filters: dict[str, int]
    pruning_seconds: float
    finetuning_seconds: float
    energy: dict[str, Any] | None
    model: str

    @property
    def group(self) -> tuple[str, float | None, str]:
        """What the seeds are taken together by: scorer, ratio, compensate."""
        return self.scorer, self.ratio, self.compensate


@dataclass(frozen=True)
class Summary:
    """A mean over seeds, and the sample standard deviation where there are two or more."""

    mean: float
    spread: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Of one value per seed."""
        if len(values) < 2:
            return cls(statistics.fmean(values), None)
        finite = all(map(math.isfinite, values))
        return cls(statistics.fmean(values), statistics.stdev(values) if finite else math.nan)

    def text(self, digits: int = 4, sign: str = "") -> str:
        """Such as "0.8312 ± 0.0041"."""
        spread = "" if self.spread is None else f" ± {self.spread:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{spread}"


@dataclass(frozen=True)
class Comparison:
    """What `hubprune.compare` found; prints as its table.

    Attributes
    ----------
    rows : tuple of ComparisonRow
        One per scorer, ratio, compensation and seed; the unpruned control first.
    metric : str
        What is compared.
    lower_is_better : bool
        Whether less of it is better.
    data : str
        "test", or "valid" where there was no test data: where the tables and plots are measured.
    configuration : dict
        The options, JSON-able.
    """

    rows: tuple[ComparisonRow, ...]
    metric: str
    lower_is_better: bool
    data: str
    configuration: dict[str, Any]

    @property
    def finetuned(self) -> bool:
        """Whether the models were fine-tuned."""
        return all(row.after is not None for row in self.rows)

    def value(self, row: ComparisonRow, when: str = "after") -> float:
        """The metric of a row, "before" or "after" fine-tuning.

        Raises
        ------
        ValueError
            If the row was not fine-tuned and `when` is "after".
        """
        found = row.before if when == "before" else row.after
        if found is None:
            raise ValueError("the models were not fine-tuned: there is no value after it")
        return found[self.data][self.metric]

    def groups(self) -> dict[tuple[str, float | None, str], list[ComparisonRow]]:
        """The rows by scorer, ratio and compensation, in order; each list has a row per seed."""
        found: dict[tuple[str, float | None, str], list[ComparisonRow]] = {}
        for row in self.rows:
            found.setdefault(row.group, []).append(row)
        return found

    def summary(
        self, group: tuple[str, float | None, str], when: str | None = None
    ) -> tuple[Summary, Summary]:
        """The metric of a group, and its difference to the unpruned control seed by seed.

        Parameters
        ----------
        group : (scorer, ratio, compensate)
            A key of `groups`.
        when : {"before", "after"}, optional
            Default: after fine-tuning, if there was any. The control is measured at the same time:
            after, it was fine-tuned too.
        """
        when = when or ("after" if self.finetuned else "before")
        value = Summary.of([self.value(row, when) for row in self.groups()[group]])
        return value, self.difference(group, (UNPRUNED, None, "none"), when)

    def difference(
        self,
        group: tuple[str, float | None, str],
        other: tuple[str, float | None, str],
        when: str | None = None,
    ) -> Summary:
        """How much more a group has of the metric than another, seed by seed.

        Parameters
        ----------
        group, other : (scorer, ratio, compensate)
            Keys of `groups`, such as ``("degree", 0.5, "none")`` and ``("random", 0.5, "none")``.
        when : {"before", "after"}, optional
            Default: after fine-tuning, if there was any.

        Raises
        ------
        KeyError
            If there is no such group.
        """
        when = when or ("after" if self.finetuned else "before")
        groups = self.groups()
        control = {row.seed: self.value(row, when) for row in groups[other]}
        return Summary.of([self.value(row, when) - control[row.seed] for row in groups[group]])

    def table(self) -> str:
        """A markdown table: a line per scorer, ratio and compensation, mean and spread over seeds.

        Returns
        -------
        str
            Parameters and MACs left in percent; the metric before fine-tuning, after it, and its
            differences to the control that was fine-tuned in the same way without being pruned, and
            to the scorer "random" at the same ratio.
        """
        header = ["scorer", "ratio"]
        compensated = any(row.compensate != "none" for row in self.rows)
        header += ["compensate"] if compensated else []
        header += ["parameters, %", "MACs, %", "before fine-tuning" if self.finetuned else "value"]
        header += ["after fine-tuning"] if self.finetuned else []
        header += ["minus unpruned", "minus random"]
        lines = []
        for group, rows in self.groups().items():
            scorer, ratio, compensate = group
            line = [scorer, "" if ratio is None else f"{ratio:g}"]
            line += [compensate] if compensated else []
            for part in ("parameters", "macs"):
                line.append(f"{100 * _left(rows, part).mean:.1f}")
            line.append(self.summary(group, "before")[0].text())
            if self.finetuned:
                line.append(self.summary(group, "after")[0].text())
            line.append("" if scorer == UNPRUNED else self.summary(group)[1].text(sign="+"))
            random = "random", ratio, compensate  # none for a rule that decides the count itself
            alike = scorer != "random" and random in self.groups()
            line.append(self.difference(group, random).text(sign="+") if alike else "")
            lines.append(line)
        seeds = len({row.seed for row in self.rows})
        better = "lower" if self.lower_is_better else "higher"
        spread = f"mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
        control = ", which was fine-tuned in the same way" if self.finetuned else ""
        note = (
            f"{self.metric} on the {self.data} data ({better} is better); {spread}. "
            f"Differences are taken seed by seed: to the unpruned model{control}, and to as many "
            "filters removed at random."
        )
        return f"{_markdown(header, lines)}\n\n{note}"

    def __str__(self) -> str:
        return self.table()

    def plot(self, path: str | os.PathLike[str], *, title: str = "") -> Path:
        """Draw the metric against the parameters and the MACs that are left.

        Parameters
        ----------
        path : str or os.PathLike
            The PNG file to write; an older one is replaced only when the new one is complete.
        title : str, optional
            What is compared.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the file's name ends otherwise than in .png.
        """
        if Path(path).suffix.lower() != ".png":
            raise ValueError(f"path must end in .png; got {os.fspath(path)!r}")
        points, baselines = [], {}
        for group, rows in self.groups().items():
            scorer, _, compensate = group
            value, _ = self.summary(group)
            if scorer == UNPRUNED:
                if self.finetuned:
                    first = self.summary(group, "before")[0]
                    baselines["unpruned, as it came"] = (first.mean, 0.0)
                name = "unpruned, fine-tuned" if self.finetuned else "unpruned"
                baselines[name] = (value.mean, value.spread or 0.0)
                continue
            points.append(
                ComparisonPoint(
                    scorer=scorer,
                    variant="" if compensate == "none" else compensate,
                    value=value.mean,
                    spread=value.spread or 0.0,
                    parameters=_left(rows, "parameters").mean,
                    macs=_left(rows, "macs").mean,
                )
            )
        seeds = len({row.seed for row in self.rows})
        label = self.metric.replace("_", " ") + f" ({self.data})"
        if seeds > 1:
            label += f"\n(mean of {seeds} seeds; bars: standard deviation)"
        return comparison_plot(points, path, label=label, baselines=baselines, title=title)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON-able values; "Infinity" and "NaN" are texts."""
        return {
            "format": _FORMAT,
            "metric": self.metric,
            "lower_is_better": self.lower_is_better,
            "data": self.data,
            "configuration": self.configuration,
            "rows": all_writable([asdict(row) for row in self.rows]),
        }

    def to_json(self) -> str:
        """The comparison as JSON text, for `from_json`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Read what `to_json` has written.

        Raises
        ------
        ValueError
            If it is something else; the message says what is missing.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"text must be the JSON of a comparison: {error}") from error
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise ValueError(f"text must be the JSON of a comparison, with format {_FORMAT!r}")
        try:
            return cls(
                rows=tuple(row_of(entry) for entry in data["rows"]),
                metric=data["metric"],
                lower_is_better=data["lower_is_better"],
                data=data["data"],
                configuration=data["configuration"],
            )
        except KeyError as error:
            raise ValueError(f"the comparison lacks {error}") from error

    def to_csv(self) -> str:
        """A line per row: what `ComparisonRow` holds, a column per data set, time and metric."""
        columns = [
            (part, when, name)
            for part in ("valid", "test")
            for when in ("before", "after")
            for name in dict.fromkeys(
                name
                for row in self.rows
                for name in ((row.before if when == "before" else row.after) or {}).get(part, {})
            )
        ]
        plain = [
            each.name
            for each in fields(ComparisonRow)
            if each.name not in ("before", "after", "filters", "energy")
        ]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ["_".join(column) for column in columns]
        writer.writerow([*plain, *names, "energy_kwh", "energy_kg_co2"])
        for row in self.rows:
            values = []
            for part, when, name in columns:
                found = (row.before if when == "before" else row.after) or {}
                values.append(found.get(part, {}).get(name, ""))
            energy = row.energy or {}
            entries = [getattr(row, name) for name in plain]
            writer.writerow(
                ["" if entry is None else entry for entry in entries]
                + [*values, energy.get("kwh", ""), energy.get("kg_co2", "")]
            )
        return text.getvalue()


def row_of(entry: Any) -> ComparisonRow:
    """A row from its JSON-able values.

    Raises
    ------
    ValueError
        If entries are missing or unknown.
    """
    names = {each.name for each in fields(ComparisonRow)}
    if not isinstance(entry, dict) or set(entry) != names:
        found = set(entry) if isinstance(entry, dict) else set()
        odd = sorted(names ^ found)
        raise ValueError(f"a row must have its entries; missing or unknown: {', '.join(odd)}")
    metrics = {when: all_numbers(entry[when]) for when in ("before", "after")}
    return ComparisonRow(**(entry | metrics))


def _left(rows: Sequence[ComparisonRow], part: str) -> Summary:
    """What is left of "parameters" or "macs", as a part of the whole."""
    whole = [getattr(row, f"{part}_before") for row in rows]
    return Summary.of(
        [
            getattr(row, part) / before if before else math.nan
            for row, before in zip(rows, whole, strict=True)
        ]
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *(len(line[i]) for line in (header, *rows))) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    return "\n".join([line(header), f"|{rule}|", *(line(row) for row in rows)])

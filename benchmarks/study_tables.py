# SPDX-License-Identifier: MIT
"""The study's tables and plots, from its JSON.

Usage: python benchmarks/study_tables.py RESULTS.json FOLDER, for the plots; the tables are written
by benchmarks/table.py.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hubprune.file_writing import replaced_file
from hubprune.plots import ComparisonPoint, comparison_plot, figure_class

Row = dict[str, Any]


def spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def of_seeds(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean and standard deviation."""
    return f"{statistics.fmean(values):{sign}.{digits}f} ± {spread(values):.{digits}f}"


def grouped(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of all seeds together."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def paired(rows: Sequence[Row], control: Sequence[Row], name: str = "value") -> list[float]:
    """Differences seed by seed."""
    other = {row["seed"]: row[name] for row in control}
    return [row[name] - other[row["seed"]] for row in rows]


def fewer(rows: Sequence[Row], name: str) -> str:
    """How much is gone, in percent, on average over the seeds."""
    gone = 100 * (1 - statistics.fmean(row[name] for row in rows))
    return f"{gone:.0f} %"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def instruments_table(part: dict[str, Any]) -> str:
    """Part a: a line per cut and compensation, a column per font."""
    groups = grouped(part["rows"], "scorer", "cut", "compensate", "unlabelled", "font")
    fonts = list(dict.fromkeys(row["font"] for row in part["rows"]))
    lines = []
    for scorer, cut, how, unlabelled in dict.fromkeys(key[:-1] for key in groups):
        cells = []
        for font in fonts:
            rows = groups.get((scorer, cut, how, unlabelled, font))
            cells.append("" if rows is None else of_seeds([row["value"] for row in rows], 3))
        rows = next(
            rows for key, rows in groups.items() if key[:-1] == (scorer, cut, how, unlabelled)
        )
        gone = (
            ["", ""] if scorer == "unpruned" else [fewer(rows, "parameters"), fewer(rows, "macs")]
        )
        what = "" if scorer == "unpruned" else how + (f", {unlabelled}" if unlabelled else "")
        lines.append([scorer, cut, what, *gone, *cells])
    header = ["scorer", "filters cut", "compensation", "fewer parameters", "fewer MACs"]
    return markdown([*header, *(f"AUC, {font}" for font in fonts)], lines)


def tuned_table(part: dict[str, Any], network: str) -> str:
    """Part b: before and after fine-tuning."""
    rows = [row for row in part["rows"] if row["network"] == network and row["tuned"]]
    groups = grouped(rows, "scorer", "ratio")
    control = groups["unpruned", None]
    lines = []
    for (scorer, ratio), some in groups.items():
        whole = ratio is None
        lines.append(
            [
                scorer,
                "" if whole else f"{ratio:.0%}",
                *(["", ""] if whole else [fewer(some, "parameters"), fewer(some, "macs")]),
                of_seeds([100 * row["before"] for row in some], 1),
                of_seeds([100 * row["value"] for row in some], 1),
                "" if whole else of_seeds([100 * d for d in paired(some, control)], 1, "+"),
            ]
        )
    header = ["scorer", "cut", "fewer parameters", "fewer MACs", "before, %", "fine-tuned, %"]
    return markdown([*header, "to the control, points"], lines)


def full_table(part: dict[str, Any]) -> str:
    """Part b, CREPE full: without fine-tuning, a column per compensation."""
    rows = [row for row in part["rows"] if row["network"] == "full" and not row["tuned"]]
    groups = grouped(rows, "scorer", "ratio", "compensate")
    ways = list(dict.fromkeys(key[2] for key in groups))
    lines = []
    for scorer, ratio in dict.fromkeys(key[:2] for key in groups):
        some = groups[scorer, ratio, "none"]
        whole = ratio is None
        lines.append(
            [
                scorer,
                "" if whole else f"{ratio:.0%}",
                *(["", ""] if whole else [fewer(some, "parameters"), fewer(some, "macs")]),
                *(
                    of_seeds([100 * row["value"] for row in groups[scorer, ratio, how]], 1)
                    if (scorer, ratio, how) in groups
                    else ""
                    for how in ways
                ),
            ]
        )
    header = ["scorer", "cut", "fewer parameters", "fewer MACs", *(f"{how}, %" for how in ways)]
    return markdown(header, lines)


def scenes_table(part: dict[str, Any]) -> str:
    """Part c: before and after fine-tuning, and the difference to the fine-tuned control."""
    groups = grouped(part["rows"], "scorer", "cut", "compensate", "fraction")
    control = groups["unpruned", "", "none", 1.0]
    lines = []
    for (scorer, cut, how, fraction), some in groups.items():
        whole = scorer == "unpruned"
        all_clips = groups.get((scorer, cut, how, 1.0), some)
        lines.append(
            [
                scorer,
                cut,
                "" if whole else how,
                f"{fraction:.0%}",
                *(["", ""] if whole else [fewer(some, "parameters"), fewer(some, "macs")]),
                of_seeds([100 * row["before"] for row in some], 1),
                of_seeds([100 * row["value"] for row in some], 1),
                "" if whole else of_seeds([100 * d for d in paired(some, control)], 1, "+"),
                ""
                if fraction == 1.0
                else of_seeds([100 * d for d in paired(some, all_clips)], 1, "+"),
            ]
        )
    header = [
        "scorer",
        "filters cut",
        "compensation",
        "clips",
        "fewer parameters",
        "fewer MACs",
        "before, %",
    ]
    header += ["fine-tuned, %", "to the control, points", "to all clips, points"]
    return markdown(header, lines)


def study_tables(report: dict[str, Any]) -> dict[str, str]:
    """The tables of the parts that the report holds, by name."""
    makers: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
        "study instruments table": ("instruments", instruments_table),
        "study tiny table": ("pitch", partial(tuned_table, network="tiny")),
        "study tuned table": ("pitch", partial(tuned_table, network="full")),
        "study full table": ("pitch", full_table),
        "study scenes table": ("scenes", scenes_table),
    }
    return {name: make(report[part]) for name, (part, make) in makers.items() if part in report}


def instruments_plot(part: dict[str, Any], path: Path) -> None:
    """Half of the filters: the AUC of every scorer by compensation, a panel per font."""
    rows = [row for row in part["rows"] if row["cut"].startswith("50 %")]
    rows = [row for row in rows if row["unlabelled"] in ("", row["font"])]
    fonts = list(dict.fromkeys(row["font"] for row in part["rows"]))
    ways = list(dict.fromkeys(row["compensate"] for row in rows))
    labels = {"none": "none", "interpolate": "interpolated, data-free"}
    labels["interpolate+recalibrate"] = "interpolated and recalibrated, 96 unlabelled clips"
    styles = (("#7F7F7F", "x"), ("#0072B2", "o"), ("#D55E00", "s"))
    names = {
        (scorer, cut): scorer + cut.removeprefix("50 %").replace(", ", ",\n")
        for scorer, cut in dict.fromkeys((row["scorer"], row["cut"]) for row in rows)
    }
    figure = figure_class()(figsize=(11.0, 5.4), dpi=120, layout="constrained")
    for axes, font in zip(
        figure.subplots(1, len(fonts), sharey=True, squeeze=False)[0], fonts, strict=True
    ):
        for number, how in enumerate(ways):
            groups = grouped(
                [row for row in rows if row["font"] == font and row["compensate"] == how],
                "scorer",
                "cut",
            )
            color, marker = styles[number]
            axes.errorbar(
                [list(names).index(key) + 0.18 * (number - 1) for key in groups],
                [statistics.fmean(row["value"] for row in some) for some in groups.values()],
                yerr=[spread([row["value"] for row in some]) for some in groups.values()],
                color=color,
                marker=marker,
                linestyle="none",
                capsize=3,
                label=labels[how],
            )
        whole = [
            row["value"]
            for row in part["rows"]
            if (row["scorer"], row["font"]) == ("unpruned", font)
        ]
        axes.axhline(
            statistics.fmean(whole), color="black", linestyle="--", linewidth=1.2, label="unpruned"
        )
        axes.set_title(font, fontsize=11)
        axes.set_xticks(range(len(names)), list(names.values()), rotation=40, ha="right")
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_ylabel(
            "AUC (mean of the seeds; bars: standard deviation)" if font == fonts[0] else ""
        )
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4, frameon=False)
    with replaced_file(path) as file:
        figure.savefig(file, format="png")


def against_size(rows: Sequence[Row], cut: str, path: Path, label: str, title: str) -> None:
    """A metric in percent against what is left of the parameters and of the multiply-adds.

    `cut` is the entry of a row that tells how much was removed.
    """
    points, baselines = [], {}
    for (scorer, _), some in grouped(rows, "scorer", cut).items():
        values = [100 * row["value"] for row in some]
        if scorer == "unpruned":
            baselines["unpruned"] = (statistics.fmean(values), spread(values))
            continue
        points.append(
            ComparisonPoint(
                scorer=scorer,
                variant="",
                value=statistics.fmean(values),
                spread=spread(values),
                parameters=statistics.fmean(row["parameters"] for row in some),
                macs=statistics.fmean(row["macs"] for row in some),
            )
        )
    comparison_plot(points, path, label=label, baselines=baselines, title=title)


def plots(report: dict[str, Any], folder: Path) -> None:
    """Draw the plots of the parts that the report holds."""
    seeds = "(mean of the seeds; bars: standard deviation)"
    if "instruments" in report:
        instruments_plot(report["instruments"], folder / "study-instruments.png")
    if "pitch" in report:
        rows = report["pitch"]["rows"]
        for network, name in (("tiny", "study-pitch.png"), ("full", "study-pitch-full.png")):
            against_size(
                [row for row in rows if row["network"] == network and row["tuned"]],
                "ratio",
                folder / name,
                f"raw pitch accuracy, %\n{seeds}",
                f"CREPE {network}, fine-tuned",
            )
    if "scenes" in report:
        rows = [row for row in report["scenes"]["rows"] if row["fraction"] == 1.0]
        rows = [row for row in rows if row["compensate"] == "none"]
        against_size(
            rows,
            "cut",
            folder / "study-scenes.png",
            f"accuracy on the test clips, %\n{seeds}",
            "DCASE 2021 baseline on rendered scenes, fine-tuned",
        )


def main() -> None:
    """Draw."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    plots(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))


if __name__ == "__main__":
    main()

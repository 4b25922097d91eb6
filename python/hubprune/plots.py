# SPDX-License-Identifier: MIT
"""Plots of the demo and of comparisons: quality against the size that is left, a line per scorer.

matplotlib is optional and imported when a plot is drawn. Figures are made without pyplot: no
display, no global state.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .file_writing import replaced_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

__all__ = [
    "AccuracyPoint",
    "ComparisonPoint",
    "accuracy_plot",
    "comparison_plot",
    "figure_class",
]

# Okabe & Ito's palette, and Tol's muted one for what came later, distinct under the common colour
# blindnesses; the marker tells the lines apart in grey too.
_STYLES = {
    "degree": ("#0072B2", "o"),
    "eigenvector": ("#56B4E9", "s"),
    "pairs": ("#D55E00", "*"),
    "l1": ("#009E73", "^"),
    "l2": ("#E69F00", "v"),
    "gm": ("#CC79A7", "D"),
    "landmarks": ("#882255", "P"),
    "betweenness": ("#332288", "<"),
    "closeness": ("#44AA99", "h"),
    "opnorm": ("#999933", "p"),
    "random": ("#7F7F7F", "x"),
}
_OTHERS = ("#000000", "X")
_LEGEND_INCHES = 0.7  # of the height of a figure, for two or three rows
_VARIANTS = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class AccuracyPoint:
    """One pruned model in the plot.

    Attributes
    ----------
    scorer : str
        Its name; points of one name become a line, a single point stands alone.
    accuracy, low, high : float
        In [0, 1]: the value, and the band around it (the same three times where there is none).
    error : float
        One standard error, in [0, 1]: a bar on either side.
    parameters, macs : float
        What is left, in [0, 1] of the whole model.
    """

    scorer: str
    accuracy: float
    low: float
    high: float
    error: float
    parameters: float
    macs: float


def accuracy_plot(
    rows: Sequence[AccuracyPoint], path: str | os.PathLike[str], *, baseline: float, title: str = ""
) -> Path:
    """Draw accuracy against what is left of the parameters and of the multiply-adds.

    Parameters
    ----------
    rows : sequence of AccuracyPoint
        At least one.
    path : str or os.PathLike
        The PNG file to write; an older one is replaced only when the new one is complete.
    baseline : float
        Accuracy of the whole model, in [0, 1]: a horizontal line.
    title : str, optional
        What is pruned and measured.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one point; got none")
    figure = figure_class()(figsize=(11.0, 5.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, "parameters"), (right, "macs")):
        for scorer in dict.fromkeys(row.scorer for row in rows):
            _line(axes, [row for row in rows if row.scorer == scorer], measure)
        axes.axhline(100 * baseline, color="black", linestyle="--", linewidth=1.2, label="unpruned")
        _frame(axes, measure, max(0.0, _lowest(rows, measure) - 4.0))
    left.set_ylim(0.0, 102.0)
    left.set_ylabel("Raw Pitch Accuracy within 50 cents, %\n(bars: one standard error)")
    return _saved(figure, left, path, title)


@dataclass(frozen=True)
class ComparisonPoint:
    """One pruned model in a comparison, over its seeds.

    Attributes
    ----------
    scorer : str
        Its label.
    variant : str
        How the removed filters are compensated; "" for not at all.
    value, spread : float
        The metric's mean and standard deviation.
    parameters, macs : float
        What is left, in [0, 1] of the whole model.
    """

    scorer: str
    variant: str
    value: float
    spread: float
    parameters: float
    macs: float


def comparison_plot(
    points: Sequence[ComparisonPoint],
    path: str | os.PathLike[str],
    *,
    label: str,
    baselines: Mapping[str, tuple[float, float]],
    title: str = "",
) -> Path:
    """Draw a metric against what is left of the parameters and of the multiply-adds.

    Parameters
    ----------
    points : sequence of ComparisonPoint
        At least one; those of one scorer and variant become a line.
    path : str or os.PathLike
        The PNG file to write; an older one is replaced only when the new one is complete.
    label : str
        The metric, for its axis.
    baselines : mapping of str to (mean, standard deviation)
        Horizontal lines, with a band.
    title : str, optional
        What is compared.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no points.
    """
    if not points:
        raise ValueError("points must hold at least one point; got none")
    figure = figure_class()(figsize=(11.0, 5.4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    lines = list(dict.fromkeys((point.scorer, point.variant) for point in points))
    variants = list(dict.fromkeys(["", *(point.variant for point in points)]))
    styles = _styles(dict.fromkeys(point.scorer for point in points))
    drawn: list[tuple[Axes, float, ErrorbarContainer]] = []
    for axes, measure in ((left, "parameters"), (right, "macs")):
        for number, (scorer, variant) in enumerate(lines):
            of_line = [p for p in points if (p.scorer, p.variant) == (scorer, variant)]
            aside = 2.5 * (number - (len(lines) - 1) / 2)
            line = _comparison_line(axes, of_line, measure, styles[scorer], variants.index(variant))
            drawn.append((axes, aside, line))
        for number, (name, (mean, spread)) in enumerate(baselines.items()):
            style = ("--", ":")[number % 2]
            axes.axhline(mean, color="black", linestyle=style, linewidth=1.2, label=name)
            if spread:
                axes.axhspan(mean - spread, mean + spread, color="black", alpha=0.08, linewidth=0)
        _frame(axes, measure, 0.0)
    left.set_ylabel(label, parse_math=False)
    _move_aside(drawn)
    return _saved(figure, left, path, title, most_columns=6)


def _move_aside(drawn: Sequence[tuple[Axes, float, ErrorbarContainer]]) -> None:
    """Move lines by so many points: bars of equal sizes would hide each other.

    The limits are settled before, of the values as they are.
    """
    from matplotlib.transforms import ScaledTranslation

    for axes in dict.fromkeys(axes for axes, _, _ in drawn):
        axes.set_ylim(axes.get_ylim())
    for axes, aside, line in drawn:
        moved = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
        for artist in line.get_children():
            artist.set_transform(moved)


def _styles(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker by name: the scorer's own; of other labels one that nothing else has."""
    found = {name: _STYLES[name] for name in names if name in _STYLES}
    colors, markers = zip(*_STYLES.values(), strict=True)
    known = [_OTHERS, *_STYLES.values()]
    mixed = [
        (color, markers[(number + shift) % len(markers)])
        for shift in range(1, len(markers))
        for number, color in enumerate(colors)
    ]
    free = itertools.cycle([each for each in [*known, *mixed] if each not in found.values()])
    return {name: found[name] if name in found else next(free) for name in names}


def _comparison_line(
    axes: Axes,
    points: Sequence[ComparisonPoint],
    measure: str,
    style: tuple[str, str],
    variant: int,
) -> ErrorbarContainer:
    color, marker = style
    points = sorted(points, key=lambda point: _left(point, measure))
    name = points[0].scorer + (f", {points[0].variant}" if points[0].variant else "")
    # matplotlib leaves names that begin with _ out of the legend.
    name = f" {name}" if name.startswith("_") else name
    return axes.errorbar(
        [100.0 * _left(point, measure) for point in points],
        [point.value for point in points],
        yerr=[point.spread for point in points],
        color=color,
        marker=marker,
        markersize=11 if marker == "*" else 7,
        markerfacecolor="none",
        markeredgewidth=1.6,
        linestyle="none" if len(points) == 1 else _VARIANTS[variant % len(_VARIANTS)],
        linewidth=1.6,
        elinewidth=1.2,
        capsize=3.5,
        label=name,
    )


def figure_class() -> type[Figure]:
    """Import matplotlib's Figure, or say what to install.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib; install it with: pip install "hubprune[demo]"'
        ) from error
    return Figure


def _frame(axes: Axes, measure: str, least: float) -> None:
    """Label and scale the size, from `least` per cent on; a quiet grid, no box."""
    axes.set_xlabel("parameters left, %" if measure == "parameters" else "MACs left, %")
    axes.set_xlim(least, 101.0)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _saved(
    figure: Figure,
    left: Axes,
    path: str | os.PathLike[str],
    title: str,
    most_columns: int | None = None,
) -> Path:
    """Add the legend under both axes and the title, and write the file."""
    handles, labels = left.get_legend_handles_labels()
    for columns in range(min(most_columns or len(labels), len(labels)), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a $ is a $
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()  # it would be cut off on both sides
    # A legend of many lines makes the picture taller, not the axes flat.
    legend_inches = legend.get_window_extent().height / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0.0, legend_inches - _LEGEND_INCHES))
    if title:
        figure.suptitle(title, fontsize=12, parse_math=False)
    with replaced_file(path) as file:
        figure.savefig(file, format="png")
    return Path(path)


def _lowest(rows: Sequence[AccuracyPoint], measure: str) -> float:
    return 100.0 * min(_left(row, measure) for row in rows)


def _left(row: AccuracyPoint | ComparisonPoint, measure: str) -> float:
    return row.parameters if measure == "parameters" else row.macs


def _line(axes: Axes, rows: Sequence[AccuracyPoint], measure: str) -> None:
    scorer = rows[0].scorer
    color, marker = _STYLES.get(scorer, _OTHERS)
    rows = sorted(rows, key=lambda row: _left(row, measure))
    x = [100.0 * _left(row, measure) for row in rows]
    y = [100.0 * row.accuracy for row in rows]
    low, high = [100.0 * row.low for row in rows], [100.0 * row.high for row in rows]
    banded = low != high
    axes.plot(
        x,
        y,
        color=color,
        marker=marker,
        markersize=11 if marker == "*" else 7,
        markerfacecolor="none",  # hollow: those underneath show
        markeredgewidth=1.6,
        linestyle="none" if len(rows) == 1 else "-",
        linewidth=1.6,
        zorder=2.0 if banded else 3.0,
        label=f"{scorer} (mean, range)" if banded else scorer,
    )
    axes.errorbar(
        x,
        y,
        yerr=[100.0 * row.error for row in rows],
        fmt="none",
        ecolor=color,
        elinewidth=1.4,
        capsize=3.5,
        zorder=2.5,
    )
    if banded:
        if len(rows) == 1:
            axes.vlines(x, low, high, color=color, linewidth=2.5, alpha=0.5, zorder=1.5)
        else:
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, zorder=1.0)

# SPDX-License-Identifier: MIT
"""One pruning run as one HTML page: what was cut, how alike the filters were, what is left.

The page needs nothing but itself: style, script and pictures are inside, and its content security
policy forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from numbers import Real
from pathlib import Path

from torch import nn

from .. import _native
from ..arguments import check_choice
from ..cutting import check_cuts
from ..file_writing import replaced_file
from ..model_runs import check_model
from ..planning.plan_records import Step
from ..planning.pruning_plan import PruningPlan, check_plan
from ..progress import Progress
from ..report import REST, LayerReport, Report, RestReport
from .drawings import share_bar
from .layer_graph import Alikeness, alikeness, layer_graph, layer_vectors
from .layer_panel import layer_panel
from .markup import Markup, element, measure, number, table

__all__ = ["write_page"]

Metrics = Mapping[str, Mapping[str, float]]


def write_page(
    path: str | os.PathLike[str],
    model: nn.Module,
    plan: PruningPlan,
    report: Report,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    metrics: Metrics | None = None,
    kind: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Write a pruning run as one HTML file that needs no network and nothing beside it.

    Parameters
    ----------
    path : str or os.PathLike
        The file; an older one is replaced only when the new one is complete.
    model : torch.nn.Module
        The model before pruning, with the weights the plan was made for: what the filters were.
    plan : PruningPlan
        From `hubprune.plan`.
    report : Report
        From ``hubprune.report(model, pruned, example_inputs, plan=plan)``.
    title : str, optional
        The heading; default the model's class.
    notes : sequence of str, default ()
        Lines under the heading, such as where the weights come from.
    metrics : mapping of str to mapping of str to float, optional
        Columns of measured values by stage, such as ``{"unpruned": {"accuracy": 0.7}, "pruned":
        {"accuracy": 0.6}}``.
    kind : {"auto", "flatten"}, default "auto"
        What the similarities compare, as in `hubprune.filter_vectors`; a plan made by a scorer
        with ``vectors="flatten"`` needs the same here.
    progress : callable (done, total, layer), optional
        Called before each layer is drawn, and at the end.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the plan does not fit the model, the report is of another model or plan, a weight or a
        metric is not finite, or `kind` is unknown.
    OSError
        If the file cannot be written.

    Notes
    -----
    Cost: the n x n cosines of each pruned layer, and O(n^2) for their clusters; 4096 filters of a
    wider layer. A heat map shows at most 320 x 320 means of blocks, a filter graph 256 filters; the
    page says so where it happens, and a CNN14 stays under 5 MB. The same arguments give the same
    bytes.

    Examples
    --------
    >>> import tempfile, torch, hubprune as hp
    >>> body = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.Conv1d(4, 2, 3))
    >>> example = torch.zeros(1, 1, 9)
    >>> plan = hp.plan(body, example)
    >>> report = hp.report(body, hp.prune(body, plan), example, plan=plan)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = hp.write_page(folder + "/page.html", body, plan, report)
    ...     page.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    _check(model, plan, report, kind)
    stages = _checked_metrics(metrics)
    _check_words(title, notes)
    heading = f"Pruning of {type(model).__name__}" if title is None else title
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"path: {Path(path).absolute().parent} does not exist")
    modules = dict(model.named_modules())
    rows: list[_Row] = []
    panels: list[Markup] = []
    for done, layer in enumerate(report.layers):
        if progress is not None:
            progress(done, len(report.layers), layer.name)
        if layer.filters_before is None:
            rows.append(_Row(layer, None, None, None, "", _NO_FILTERS))
            continue
        try:
            vectors = layer_vectors(modules[layer.name], kind)
        except ValueError as error:
            raise ValueError(f"layer {layer.name!r}: {error}") from error
        whole = alikeness(vectors)
        if layer.name not in plan.layers:
            rows.append(_Row(layer, whole, None, None, "", plan.kept.get(layer.name, "")))
            continue
        kept = plan.layers[layer.name]
        left = alikeness(vectors[list(kept)])
        anchor = f"layer-{done}"
        dead = len(plan.dead.get(layer.name, ()))
        rows.append(_Row(layer, whole, left, dead, anchor, ""))
        graph = layer_graph(vectors, kept)
        explanation = plan.explain(layer.name)
        panels.append(layer_panel(layer, explanation, graph, anchor, composed=len(plan.steps) > 1))
    if progress is not None:
        progress(len(report.layers), len(report.layers), "")
    body = [
        _header(heading, notes, plan),
        _totals(report),
        _metrics_table(stages),
        _layers(rows, report.rest),
        _alikenesses(rows),
        _panels(panels),
        _reading(),
        element("footer", f"Made by hubprune {_native.__version__}. This page is one file."),
    ]
    with replaced_file(path) as file:
        file.write_text(_document(heading, body), encoding="utf-8")
    return Path(path)


def _check(model: nn.Module, plan: PruningPlan, report: Report, kind: str) -> None:
    check_model(model, quantised=True)
    check_plan(plan)
    if not isinstance(report, Report):
        raise TypeError(f"report must be a Report; got {type(report).__name__}")
    check_choice(kind, ("auto", "flatten"), "kind")
    check_cuts(model, plan.cuts)
    modules = dict(model.named_modules())
    known = {layer.name: layer for layer in report.layers}
    for name in known:
        if name not in modules:
            raise ValueError(f"report must be of this model; it has a layer {name!r}")
    for name, kept in plan.layers.items():
        layer = known.get(name)
        if layer is None:
            raise ValueError(f"report must be of this plan; it lacks the layer {name!r}")
        before, after = layer.filters_before, layer.filters_after
        if (before, after) != (plan.filters[name], len(kept)):
            raise ValueError(
                f"report must be of this plan; layer {name!r} goes from {plan.filters[name]} to "
                f"{len(kept)} filters in the plan and from {before} to {after} in the report"
            )


def _check_words(title: object, notes: object) -> None:
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be a str; got {type(title).__name__}")
    if isinstance(notes, str) or not isinstance(notes, Sequence):
        raise TypeError(
            f"notes must be a sequence of str, such as ['a line']; got {type(notes).__name__}"
        )
    for note in notes:
        if not isinstance(note, str):
            raise TypeError(f"notes must hold str; got {type(note).__name__}")


def _checked_metrics(metrics: Metrics | None) -> Metrics:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must map stages to values; got {type(metrics).__name__}")
    for stage, values in metrics.items():
        if not isinstance(stage, str):
            raise TypeError(f"metrics must have names of str; got {stage!r}")
        if not isinstance(values, Mapping):
            raise TypeError(
                f"metrics[{stage!r}] must map names to numbers; got {type(values).__name__}"
            )
        for name, value in values.items():
            if not isinstance(name, str):
                raise TypeError(f"metrics[{stage!r}] must have names of str; got {name!r}")
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(
                    f"metrics[{stage!r}][{name!r}] must be a number; got {type(value).__name__}"
                )
            if not math.isfinite(value):
                raise ValueError(f"metrics[{stage!r}][{name!r}] must be finite; got {value}")
    return {
        stage: {name: float(value) for name, value in values.items()}
        for stage, values in metrics.items()
    }


# --- the parts of the page ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A layer in the table: how alike its filters were and are, where its panel is, why whole."""

    layer: LayerReport
    whole: Alikeness | None  # None: it has no filters
    left: Alikeness | None
    dead: int | None  # the plan's: a report need not have been told the plan
    anchor: str
    reason: str


def _header(heading: str, notes: Sequence[str], plan: PruningPlan) -> Markup:
    before, after = sum(plan.filters.values()), sum(map(len, plan.layers.values()))
    dead = sum(map(len, plan.dead.values()))
    layers = "layer" if len(plan.layers) == 1 else "layers"
    facts = [
        ("filters", f"{after:,} of {before:,} stay in {len(plan.layers)} pruned {layers}"),
        ("dead", f"{dead:,} filters of those layers, by their norm"),
        ("scorer", plan.scorer),
    ]
    for number_, step in enumerate(plan.steps, start=1):
        name = f"step {number_}" if len(plan.steps) > 1 else "how"
        facts.append((name, _step(step, plan.scorer)))
    facts += plan.versions.items()
    terms = [part for key, value in facts for part in (element("dt", key), element("dd", value))]
    lines = [element("p", note, class_="quiet") for note in notes]
    return element("header", element("h1", heading), *lines, element("dl", *terms))


def _step(step: Step, scorer: str) -> str:
    if step.ratio is None:
        ratio = f"the {'scorer' if step.budget is None else 'budget'} decides how many"
    elif isinstance(step.ratio, dict):
        ratio = "ratio " + ", ".join(f"{value:g} of {name}" for name, value in step.ratio.items())
    else:
        ratio = f"ratio {step.ratio:g}"
    words = [ratio] if step.scorer == scorer else [ratio, step.scorer]
    if step.budget is not None:
        words.append(step.budget_text())
    if step.round_to > 1:
        words.append(f"kept counts are multiples of {step.round_to}")
    if step.global_:
        words.append("one threshold for all layers")
    return "; ".join(words)


def _totals(report: Report) -> Markup:
    before, after = report.before, report.after
    rows = [
        ("parameters", before.parameters, after.parameters, f"{before.parameters:,}"),
        ("multiply-adds (MACs)", before.macs, after.macs, f"{before.macs:,}"),
        ("bytes", before.bytes, after.bytes, f"{before.bytes:,}"),
    ]
    cells = [[name, text, f"{last:,}", *_left(first, last)] for name, first, last, text in rows]
    caption = "What the whole network takes."
    if before.seconds is not None and after.seconds is not None:
        caption += " Times are medians on the machine that wrote this page."
        times = [f"{each * 1e3:.2f} ms" for each in (before.seconds, after.seconds)]
        cells.append(["time of one call", *times, *_left(before.seconds, after.seconds)])
        spreads = [(each.seconds_spread or 0.0) * 1e3 for each in (before, after)]
        cells.append(["largest - smallest time", *(f"{each:.2f} ms" for each in spreads), "", ""])
    heading = element("h2", "Before and after")
    return element(
        "section", heading, table(caption, ["", "before", "after", "left", "less"], cells)
    )


def _left(before: float, after: float) -> list[str]:
    if not before:
        return [number(None), number(None)]
    share = after / before
    bar = Markup(f"{share_bar(share)}{100 * share:.1f} %")
    return [bar, number(100 * (1 - share), 1) + " %"]


def _metrics_table(metrics: Metrics) -> Markup:
    if not metrics:
        return Markup("")
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    rows = [[name, *(measure(values.get(name)) for values in metrics.values())] for name in names]
    body = table("Measured on the caller's data.", ["", *metrics], rows)
    return element("section", element("h2", "What it does"), body)


_NO_FILTERS = "has no filters: at most its input is cut"


def _layers(rows: Sequence[_Row], rest: RestReport) -> Markup:
    cells = [
        [
            _name(row),
            row.layer.kind,
            _count(row.layer.filters_before),
            _count(row.layer.filters_after),
            _count(row.dead),
            *_amounts(row.layer),
            row.reason,
        ]
        for row in rows
    ]
    if not rest.empty:
        cells.append([REST, *[""] * 4, *_amounts(rest), ""])
    header = ["layer", "kind", "filters", "after", "dead", "MACs", "after", "parameters", "after"]
    header.append("why it stays whole")
    body = table("What each layer takes.", header, cells, words=(1, 9))
    return element("section", element("h2", "Layers"), body)


def _alikenesses(rows: Sequence[_Row]) -> Markup:
    cells = [
        [
            _name(row),
            number(row.whole.mean),
            number(row.left.mean) if row.left is not None else "",
            number(row.whole.largest),
            number(row.left.largest) if row.left is not None else "",
        ]
        for row in rows
        if row.whole is not None
    ]
    if not cells:
        return Markup("")
    caption = "Similarity: cosine over all pairs of different filters, before and among those kept."
    header = ["layer", "mean similarity", "after", "largest similarity", "after"]
    heading = element("h2", "How alike the filters are")
    return element("section", heading, table(caption, header, cells))


def _name(row: _Row) -> str:
    name = row.layer.name
    return element("a", name, href=f"#{row.anchor}") if row.anchor else name


def _count(value: int | None) -> str:
    return number(None) if value is None else f"{value:,}"


def _amounts(row: LayerReport | RestReport) -> list[str]:
    values = (row.macs_before, row.macs_after, row.parameters_before, row.parameters_after)
    return [f"{value:,}" for value in values]


def _panels(panels: Sequence[Markup]) -> Markup:
    heading = element("h2", "Layer by layer")
    if not panels:
        return element("section", heading, element("p", "Nothing is pruned."))
    buttons = [
        element(
            "button", text, attributes={"type": "button", "data-open": value, "hidden": "hidden"}
        )
        for text, value in (("Open all", "yes"), ("Close all", "no"))
    ]
    first = Markup(panels[0].replace("<details", "<details open", 1))
    return element("section", heading, element("p", *buttons, class_="buttons"), first, *panels[1:])


_READING = (
    "Every filter is a node, every pair of filters has a similarity: the cosine of their vectors, "
    "1 for the same direction, -1 for opposite ones, 0 for nothing in common.",
    "Redundancy is what the scorer gives a filter; the highest goes first. A dead filter is far "
    "shorter than the longest of its layer and goes before all others.",
    "The stand-in of a cut filter is the most similar filter that stays. Nothing is added to it: "
    "it shows how much of the cut filter's direction is still there.",
)


def _reading() -> Markup:
    heading = element("h2", "How to read this")
    return element("section", heading, *(element("p", each) for each in _READING))


def _document(title: str, body: Sequence[Markup]) -> str:
    style, script = _resource("page.css"), _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style)),
    ]
    main = element("main", *body)
    page = element(
        "html",
        element("head", *head),
        element("body", main, element("script", Markup(script))),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")

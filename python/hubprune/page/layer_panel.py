# SPDX-License-Identifier: MIT
"""One pruned layer on the report page: its scores, its similarities, what stands in for what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..planning.plan_records import ExplanationRow, LayerExplanation
from ..report import LayerReport
from .drawings import (
    MOST_CELLS,
    MOST_NODES,
    Bars,
    Node,
    colour_bar,
    filter_graph,
    heat_map,
    histogram,
)
from .layer_graph import LayerGraph
from .markup import Markup, element, number, table

__all__ = ["layer_panel"]

_BINS = 40

#: Rounding of float32 filters and of another processor's kernels stays far below; other weights
#: do not.
_SAME = 1e-3


def layer_panel(
    layer: LayerReport,
    explanation: LayerExplanation,
    graph: LayerGraph,
    anchor: str,
    *,
    composed: bool = False,
) -> Markup:
    """Draw one layer as a box to open.

    Parameters
    ----------
    layer : LayerReport
        Its numbers.
    explanation : LayerExplanation
        From `PruningPlan.explain`.
    graph : LayerGraph
        Its cosines.
    anchor : str
        The box's id on the page.
    composed : bool
        Whether several plans made this one: then the plan's neighbours are those of its steps.
    """
    rows = sorted(explanation.rows, key=lambda row: row.index)
    removed = [row for row in explanation.rows if row.removed]  # first removed first
    size = f"{layer.filters_before:,} to {layer.filters_after:,} filters, {layer.kind}"
    notes: list[Markup] = []
    if explanation.coupled:
        text = f"The same channels go in {', '.join(explanation.coupled)}."
        notes.append(element("p", text, class_="quiet"))
    if not composed and _other_weights(rows, graph):
        text = (
            "The similarities in the plan are not those of these weights: the plan was made for "
            "other weights, or compares other vectors. The scores are the plan's, the similarities "
            "drawn here are of these weights."
        )
        notes.append(element("p", text, class_="note"))
    figures = [
        _scores(rows, explanation.meaning),
        _similarities(rows, graph),
        _heat_map(rows, graph),
        _graph(rows, graph),
    ]
    inside = element(
        "div", *notes, element("div", *figures, class_="figures"), _stand_ins(removed, graph)
    )
    summary = element(
        "summary", element("strong", layer.name), element("span", size, class_="quiet")
    )
    return element("details", summary, inside, class_="layer", id=anchor)


def _other_weights(rows: Sequence[ExplanationRow], graph: LayerGraph) -> bool:
    """Whether the plan's nearest similarities are those of other weights."""
    gaps = [
        abs(row.similarity - float(graph.nearest_similarity[row.index]))
        for row in rows
        if row.similarity is not None
    ]
    return any(not gap <= _SAME for gap in gaps)


def _figure(title: str, picture: Markup, *captions: str) -> Markup:
    caption = element("figcaption", *captions)
    return element("figure", element("h3", title), picture, caption)


def _key(style: str, text: str) -> Markup:
    return element("span", element("span", class_=f"key {style}"), text)


def _keys(*keys: Markup) -> Markup:
    return element("div", *keys, class_="keys")


# --- histograms -----------------------------------------------------------------------------------


def _scores(rows: Sequence[ExplanationRow], meaning: str) -> Markup:
    title = "Redundancy of the filters"
    kept: list[float] = []
    cut: list[float] = []
    dead = 0
    for row in rows:
        if row.score is None:
            continue
        if math.isinf(row.score):
            dead += 1
        else:
            (cut if row.removed else kept).append(row.score)
    both = kept + cut
    if not both:
        return _figure(title, element("p", "No filter has a finite score."))
    edges = _edges(min(both), max(both))
    counts = [np.histogram(each, edges)[0].tolist() for each in (kept, cut)]
    words = (
        f"Histogram of the redundancy of {len(both)} filters, {min(both):.4g} to {max(both):.4g}; "
        f"{len(cut)} cut, {len(kept)} kept"
    )
    picture = histogram(
        edges.tolist(),
        [Bars(counts[0], "kept"), Bars(counts[1], "cut")],
        label="redundancy",
        unit="filters",
        description=words,
    )
    left_out = f" {dead} dead filters, which go first, have no value." if dead else ""
    keys = _keys(_key("kept", f"kept ({len(kept)})"), _key("cut", f"cut ({len(cut)})"))
    return _figure(title, picture, keys, f"{meaning}.{left_out}" if meaning else left_out)


def _edges(low: float, high: float) -> npt.NDArray[np.float64]:
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-30):  # one value: a bar in the middle
        half = 0.05 * abs(low) or 0.5
        low, high = low - half, high + half
    return np.linspace(low, high, _BINS + 1)


def _similarities(rows: Sequence[ExplanationRow], graph: LayerGraph) -> Markup:
    title = "Similarity of all pairs"
    m = len(graph.compared)
    if m < 2:
        return _figure(title, element("p", "One filter has nothing to be compared with."))
    stays = np.array([not rows[i].removed for i in graph.compared])
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    counts = []
    for chosen in (np.ones(m, dtype=bool), stays):
        square = graph.similarity[np.ix_(chosen, chosen)]
        pairs = square[np.triu_indices(len(square), 1)]
        counts.append(np.histogram(pairs, edges)[0])
    total, left = (int(each.sum()) for each in counts)
    shares = [(100 * each / max(int(each.sum()), 1)).tolist() for each in counts]
    high = f"{shares[0][-1]:.3g} % of all {total:,} pairs are above 0.95"
    if left:
        high += f", {shares[1][-1]:.3g} % of the {left:,} pairs of filters that stay"
    picture = histogram(
        edges.tolist(),
        [Bars(shares[0], "all")],
        label="cosine",
        unit="% of the pairs",
        description=f"Histogram of the similarities: {high}",
        outline=shares[1] if left else None,
    )
    keys = _keys(_key("all", "all pairs"), _key("line", "pairs of kept filters"))
    return _figure(title, picture, keys, f"{high}.{_compared(rows, graph)}")


def _compared(rows: Sequence[ExplanationRow], graph: LayerGraph) -> str:
    if len(graph.compared) == len(rows):
        return ""
    return f" Shown for {len(graph.compared):,} of {len(rows):,} filters, evenly spaced."


# --- the heat map and the graph -------------------------------------------------------------------


def _heat_map(rows: Sequence[ExplanationRow], graph: LayerGraph) -> Markup:
    m = len(graph.compared)
    cut = np.array([rows[i].removed for i in graph.compared])
    source = heat_map(graph.similarity, graph.order, cut)
    words = (
        f"Heat map of the {m} x {m} similarities, filters in the order of their clusters: from "
        f"{number(float(graph.similarity.min()), 2)} to 1"
    )
    image = element("img", src=source, alt=words, class_="heat")
    caption = "Ordered by average linkage: look-alikes are neighbours, clusters are squares."
    if m > MOST_CELLS:
        caption += (
            f" Each of the {MOST_CELLS} x {MOST_CELLS} cells is the mean of a block of pairs."
        )
    keys = _keys(_key("kept", "kept"), _key("cut", "cut (strip under the map)"))
    return _figure(
        "Similarities by cluster",
        Markup(image + colour_bar()),
        keys,
        caption + _compared(rows, graph),
    )


def _graph(rows: Sequence[ExplanationRow], graph: LayerGraph) -> Markup:
    m = len(graph.compared)
    # Evenly spaced along the clusters: every cluster has its share of the picture.
    count = min(m, MOST_NODES)
    chosen = np.sort(graph.order[np.arange(count) * m // count])
    nodes = []
    for i in chosen:
        row = rows[int(graph.compared[i])]
        nodes.append(Node(row.index, _style(row), _said(row, graph)))
    kept = sum(node.style == "kept" for node in nodes)
    words = (
        f"Graph of {count} filters, each joined with the 3 most similar of them: "
        f"{kept} kept, {count - kept} cut"
    )
    picture = filter_graph(graph.similarity[np.ix_(chosen, chosen)], nodes, description=words)
    caption = (
        "Each filter is joined with its 3 most similar ones; look-alikes lie close together. Point "
        "at a filter for its number."
    )
    if count < len(rows):
        caption += (
            f" {count} of {len(rows):,} filters are drawn, evenly spaced along the clusters, and "
            "joined among themselves."
        )
    keys = [_key("kept", "kept"), _key("cut", "cut")]
    if any(node.style == "dead" for node in nodes):
        keys.append(_key("dead", "cut, dead"))
    return _figure("Filter graph", picture, _keys(*keys), caption)


def _style(row: ExplanationRow) -> str:
    if not row.removed:
        return "kept"
    return "dead" if row.dead else "cut"


def _said(row: ExplanationRow, graph: LayerGraph) -> str:
    if not row.removed:
        return f"filter {row.index}: kept, redundancy {_score(row)}"
    stand_in = int(graph.stand_in[row.index])
    similarity = number(float(graph.stand_in_similarity[row.index]))
    dead = ", dead" if row.dead else ""
    return (
        f"filter {row.index}: cut{dead}, redundancy {_score(row)}; {stand_in} stays ({similarity})"
    )


# --- the table ------------------------------------------------------------------------------------


def _score(row: ExplanationRow) -> str:
    if row.score is None:
        return number(None)
    return "dead" if math.isinf(row.score) else f"{row.score:.6g}".replace("-", "\N{MINUS SIGN}")


def _stand_ins(removed: Sequence[ExplanationRow], graph: LayerGraph) -> Markup:
    body = [
        [
            str(row.index),
            _score(row),
            "yes" if row.dead else "",
            str(row.nearest) if row.nearest >= 0 else number(None),
            number(row.similarity, 4),
            str(graph.stand_in[row.index]),
            number(float(graph.stand_in_similarity[row.index]), 4),
        ]
        for row in removed
    ]
    header = ["filter cut", "redundancy", "dead", "most similar", "cosine", "stand-in", "cosine"]
    caption = "First removed first. Stand-in: the most similar filter that stays."
    summary = element("summary", f"Which filter was cut for which: {len(removed):,} filters")
    return element("details", summary, table(caption, header, body), class_="pairs")

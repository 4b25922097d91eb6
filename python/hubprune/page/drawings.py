# SPDX-License-Identifier: MIT
"""The pictures of the report page: histograms and the filter graph as SVG, the heat map as PNG.

Colours are classes (see ``page.css``), so that one picture serves light and dark. Nothing is told
by colour alone: cut filters are squares, and every picture carries its numbers in words.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .markup import Markup, element

__all__ = [
    "MOST_CELLS",
    "MOST_NODES",
    "Bars",
    "Node",
    "block_means",
    "colour_bar",
    "filter_graph",
    "heat_map",
    "histogram",
    "png",
    "share_bar",
    "spring_layout",
]

#: A heat map has at most this many rows; more filters are averaged.
MOST_CELLS = 320

#: ... and at least this many pixels: the strip below would be as tall as the map of two filters.
_LEAST_PIXELS = 24

#: A filter graph shows at most this many filters.
MOST_NODES = 256

_EDGES_PER_NODE = 3
_WIDTH, _HEIGHT = 460.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 12.0, 44.0

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


# --- histograms -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bars:
    """One series of a histogram: how many values each bin holds; later ones stand on earlier."""

    counts: Sequence[float]
    style: str


def histogram(
    edges: Sequence[float],
    series: Sequence[Bars],
    *,
    label: str,
    unit: str,
    description: str,
    outline: Sequence[float] | None = None,
) -> Markup:
    """Draw stacked bars over bins, and an outline of other counts over the same bins.

    Parameters
    ----------
    edges : sequence of float
        The k + 1 ends of the bins, ascending.
    series : sequence of Bars
        Each with k counts.
    label, unit : str
        What the axes show.
    description : str
        The picture in words, for who cannot see it.
    outline : sequence of float, optional
        k counts.
    """
    low, high = edges[0], edges[-1]
    totals = np.sum([bars.counts for bars in series], axis=0)
    largest = max(float(np.max(totals)), max(outline or [0.0]), 1e-300)
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def across(value: float) -> float:
        return _LEFT + wide * (value - low) / (high - low)

    def up(value: float) -> float:
        return _TOP + tall * (1 - value / largest)

    parts = [element("title", description)]
    for tick in _ticks(0.0, largest, 4):
        level = f"{up(tick):.1f}"
        ends: dict[str, str | float] = {"x1": _LEFT, "x2": _WIDTH - _RIGHT}
        parts.append(element("line", attributes=ends, y1=level, y2=level, class_="grid"))
        parts.append(_text(_LEFT - 6, up(tick) + 4, f"{tick:g}", "tick end"))
    ticks = _ticks(low, high, 6)
    for tick, text in zip(ticks, _tick_texts(ticks), strict=True):
        parts.append(_text(across(tick), _HEIGHT - _BOTTOM + 16, text, "tick"))
    floor = np.zeros(len(edges) - 1)
    for bars in series:
        path = []
        for i, count in enumerate(bars.counts):
            if count > 0:
                x, x2 = across(edges[i]), across(edges[i + 1])
                y, bottom = up(floor[i] + count), up(floor[i])
                path.append(f"M{x:.1f} {y:.1f}H{x2 - 0.6:.1f}V{bottom:.1f}H{x:.1f}z")
        parts.append(element("path", d="".join(path), class_=bars.style))
        floor = floor + np.asarray(bars.counts)
    if outline is not None:
        steps = [f"M{across(edges[0]):.1f} {up(0):.1f}"]
        for i, count in enumerate(outline):
            steps.append(f"V{up(count):.1f}H{across(edges[i + 1]):.1f}")
        parts.append(element("path", d="".join([*steps, f"V{up(0):.1f}"]), class_="outline"))
    base = f"{up(0):.1f}"
    parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base, y2=base, class_="axis"))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 8, label, "label"))
    middle = _TOP + tall / 2
    parts.append(
        element(
            "text",
            unit,
            x=12,
            y=f"{middle:.1f}",
            class_="label",
            transform=f"rotate(-90 12 {middle:.1f})",
        )
    )
    return _picture(_WIDTH, _HEIGHT, parts)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in [low, high]."""
    rough = (high - low) / about
    if not rough > 0 or not math.isfinite(rough):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [(first + i) * step for i in range(math.floor(high / step + 1e-9) - first + 1)]


def _tick_texts(ticks: Sequence[float]) -> list[str]:
    """Numbers with as many digits as tell them apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 0.0
    largest = max(abs(tick) for tick in ticks)
    digits = 4
    if step > 0.0 and largest > 0.0:  # a step has two digits at most
        digits = max(digits, math.floor(math.log10(largest / step)) + 3)
    rounded = [0.0 if abs(tick) < 1e-6 * step else tick for tick in ticks]
    return [f"{tick:.{digits}g}".replace("-", "\N{MINUS SIGN}") for tick in rounded]


def _text(x: float, y: float, text: str, style: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", class_=style)


def _picture(width: float, height: float, parts: Sequence[Markup], style: str = "") -> Markup:
    named = {"class": style} if style else {}
    view = f"0 0 {width:g} {height:g}"
    return element("svg", *parts, attributes={"role": "img", "viewBox": view, **named})


def share_bar(share: float) -> Markup:
    """Draw how much of a whole is left: a bar of one colour in a frame; for beside a number."""
    filled = 100.0 * min(max(share, 0.0), 1.0)
    parts = [
        element("rect", x=0, y=0, width=100, height=10, class_="whole"),
        element("rect", x=0, y=0, width=f"{filled:.1f}", height=10, class_="kept"),
    ]
    view = {"viewBox": "0 0 100 10", "class": "share", "aria-hidden": "true"}
    return element("svg", *parts, attributes={**view, "preserveAspectRatio": "none"})


# --- the heat map ---------------------------------------------------------------------------------


def heat_map(similarity: Floats, order: npt.NDArray[np.int64], cut: npt.NDArray[np.bool_]) -> str:
    """Draw a similarity matrix in an order, with a strip under it that shows what is cut.

    Parameters
    ----------
    similarity : ndarray, shape (m, m)
        Cosines.
    order : ndarray, shape (m,)
        Which row comes first, second, ...
    cut : ndarray, shape (m,)
        In the matrix's own numbering.

    Returns
    -------
    str
        A PNG as a data URI: a pixel per pair, more of few filters, or one per block of pairs of
        more than `MOST_CELLS`.
    """
    means = block_means(similarity[np.ix_(order, order)], MOST_CELLS)
    shade = _block_shares(cut[order].astype(np.float64), len(means))
    zoom = -(-_LEAST_PIXELS // len(means))
    means, shade = means.repeat(zoom, 0).repeat(zoom, 1), shade.repeat(zoom)
    m = len(means)
    # 0..240 are cosines from -1 to 1; the strip mixes the colours of kept and cut in 9 steps.
    pixels = np.rint((means.clip(-1, 1) + 1) * 120).astype(np.uint8)
    strip = np.tile((242 + np.rint(shade * 8)).astype(np.uint8), (max(2, m // 24), 1))
    gap = np.full((max(1, m // 80), m), _CLEAR, dtype=np.uint8)
    image = png(np.vstack([pixels, gap, strip]), _palette(), clear=_CLEAR)
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


def colour_bar() -> Markup:
    """Draw the colours of `heat_map` from -1 to 1."""
    palette = _palette()
    parts = [
        element(
            "rect",
            x=f"{24 + 4.8 * i:.1f}",
            y=0,
            width=5,
            height=10,
            fill="#" + palette[4 * i].tobytes().hex(),
        )
        for i in range(61)
    ]
    parts.append(_text(20, 9.5, "\N{MINUS SIGN}1", "tick end"))
    parts.append(_text(324, 9.5, "1", "tick"))
    view: dict[str, str | float] = {"viewBox": "0 0 336 12", "aria-hidden": "true"}
    return element("svg", *parts, attributes=view, class_="scale")


def block_means(matrix: Floats, most: int) -> Floats:
    """Average a square matrix in blocks, so that at most `most` rows and columns are left.

    Examples
    --------
    >>> block_means(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]), 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if len(matrix) <= most:
        return matrix
    starts, sizes = _blocks(len(matrix), most)
    sums = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    result: Floats = sums / np.outer(sizes, sizes)
    return result


def _block_shares(values: Floats, count: int) -> Floats:
    starts, sizes = _blocks(len(values), count)
    result: Floats = np.add.reduceat(values, starts) / sizes
    return result


def _blocks(n: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    ends = np.arange(count + 1, dtype=np.int64) * n // count
    return ends[:-1], np.diff(ends)


# ColorBrewer's RdBu (Brewer, 2003): distinct under every common colour blindness.
_BLUES = ("053061", "2166ac", "4393c3", "92c5de", "d1e5f0")
_REDS = ("fddbc7", "f4a582", "d6604d", "b2182b", "67001f")
_DIVERGING = (*_BLUES, "f7f7f7", *_REDS)
_KEPT, _CUT = "0072b2", "d55e00"
_CLEAR = 241  # between map and strip: whatever the page's colour is


def _palette() -> Bytes:
    stops = np.array([_rgb(each) for each in _DIVERGING], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, 241)
    colours = [np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    palette = np.zeros((256, 3))
    palette[:241] = np.stack(colours, axis=1)
    mix = np.linspace(0, 1, 9)[:, None]
    palette[242:251] = (1 - mix) * np.array(_rgb(_KEPT)) + mix * np.array(_rgb(_CUT))
    return np.rint(palette).astype(np.uint8)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (0, 2, 4)]


def png(pixels: Bytes, palette: Bytes, *, clear: int | None = None) -> bytes:
    """Encode an indexed image.

    Parameters
    ----------
    pixels : ndarray, shape (height, width), uint8
        Rows of the palette.
    palette : ndarray, shape (k, 3), uint8
        Red, green, blue; k at most 256.
    clear : int, optional
        The row of the palette that lets the background through.

    Returns
    -------
    bytes
        A PNG (W3C, third edition): 8 bits, colour type 3, no filter.
    """
    height, width = pixels.shape
    rows = np.hstack([np.zeros((height, 1), dtype=np.uint8), pixels])
    opaque = b"" if clear is None else b"\xff" * clear + b"\0"

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.tobytes()),
            chunk(b"tRNS", opaque) if opaque else b"",
            chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )


# --- the filter graph -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A filter in the graph: its index, "kept", "cut" or "dead", and what to say about it."""

    index: int
    style: str
    words: str


def filter_graph(similarity: Floats, nodes: Sequence[Node], *, description: str) -> Markup:
    """Draw filters as nodes, each joined with the most similar others.

    Parameters
    ----------
    similarity : ndarray, shape (m, m)
        Cosines of these nodes, m at most `MOST_NODES`.
    nodes : sequence of Node
        One per row.
    description : str
        The picture in words.
    """
    width, height, margin = 640.0, 560.0, 18.0
    edges = _nearest_edges(similarity)
    place = spring_layout(similarity, edges)
    x = margin + place[:, 0] * (width - 2 * margin)
    y = margin + place[:, 1] * (height - 2 * margin)
    paths: dict[str, list[str]] = {"weak": [], "middle": [], "strong": []}
    for i, j in edges:
        s = similarity[i, j]
        kind = "strong" if s >= 0.9 else "middle" if s >= 0.6 else "weak"
        paths[kind].append(f"M{x[i]:.1f} {y[i]:.1f}L{x[j]:.1f} {y[j]:.1f}")
    parts = [element("title", description)]
    parts += [
        element("path", d="".join(d), class_=f"edge {kind}") for kind, d in paths.items() if d
    ]
    r = 5.0 if len(nodes) <= 128 else 4.0
    for i, node in enumerate(nodes):
        words = element("title", node.words)
        if node.style == "kept":
            at: dict[str, str | float] = {"cx": f"{x[i]:.1f}", "cy": f"{y[i]:.1f}", "r": r}
            parts.append(element("circle", words, attributes=at, class_="kept"))
        else:
            at = {"x": f"{x[i] - r:.1f}", "y": f"{y[i] - r:.1f}", "width": 2 * r, "height": 2 * r}
            parts.append(element("rect", words, attributes=at, class_=node.style))
    if len(nodes) <= 64:
        parts += [
            _text(x[i] + r + 2, y[i] - r, str(node.index), "node") for i, node in enumerate(nodes)
        ]
    return _picture(width, height, parts, "graph")


def _nearest_edges(similarity: Floats) -> list[tuple[int, int]]:
    """Every node with its most similar others; no pair twice."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    k = min(_EDGES_PER_NODE, len(others) - 1)
    closest = np.argsort(-others, axis=1, kind="stable")[:, :k]
    return sorted(
        {(min(i, int(j)), max(i, int(j))) for i in range(len(others)) for j in closest[i]}
    )


def spring_layout(similarity: Floats, edges: Sequence[tuple[int, int]]) -> Floats:
    """Place nodes in the unit square, similar ones close together; the same at every call.

    Parameters
    ----------
    similarity : ndarray, shape (m, m)
        Cosines.
    edges : sequence of (int, int)
        What the springs join.

    Returns
    -------
    ndarray, shape (m, 2)

    Notes
    -----
    Starts from classical scaling of 1 - s (Torgerson, 1952) and takes 80 steps of spring forces
    (Fruchterman & Reingold, 1991) with a pull to the middle, O(m^2) each. Nothing is random.
    """
    m = len(similarity)
    if m < 2:
        return np.full((m, 2), 0.5)
    distance = 1.0 - similarity
    centred = distance - distance.mean(0) - distance.mean(1)[:, None] + distance.mean()
    axes = _leading_axes(-0.5 * centred, 2)
    axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    place = _in_unit_square(axes)
    # Duplicates start at one point, where no force can part them: set each on a small spiral.
    turn = np.arange(m) * math.pi * (3 - math.sqrt(5))
    radius = 0.02 * np.sqrt((np.arange(m) + 0.5) / m)
    place = place + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    joined = np.zeros((m, m))
    for i, j in edges:
        joined[i, j] = joined[j, i] = max(similarity[i, j], 0.0)
    ideal = 0.7 / math.sqrt(m)
    for step in range(80):
        # An m x m array per coordinate: sums over a last axis of two take three times as long.
        apart = [column[:, None] - column[None] for column in place.T]
        gap = np.maximum(np.sqrt(apart[0] ** 2 + apart[1] ** 2), 1e-6)
        push = ideal**2 / gap**2 - joined * gap / ideal
        np.fill_diagonal(push, 0.0)
        pushed = np.stack([np.einsum("ij,ij->i", push, each) for each in apart], axis=1)
        # The pull to the middle keeps clusters that nothing joins from flying apart, which would
        # leave each a dot when the picture is scaled to its frame.
        move = pushed + 2.0 * (place.mean(0) - place) / ideal
        length = np.sqrt((move**2).sum(1)).clip(1e-12)
        heat = 0.05 * (1 - step / 80)
        place = place + move * (np.minimum(length, heat) / length)[:, None]
    return _in_unit_square(place)


def _leading_axes(gram: Floats, count: int) -> Floats:
    """Coordinates (m, count) on the leading axes of a Gram matrix (m, m).

    Subspace iteration from a fixed start: all m eigenvectors of a layer of 500 filters take a
    second, and the springs move the points anyway.
    """
    m = len(gram)
    start = np.random.default_rng(0).standard_normal((m, min(m, 4 * count)))
    basis, _ = np.linalg.qr(start)
    for _ in range(40):
        basis, _ = np.linalg.qr(gram @ basis)
    values, turned = np.linalg.eigh(basis.T @ gram @ basis)
    last = slice(None, -count - 1, -1)
    axes: Floats = (basis @ turned[:, last]) * np.sqrt(values[last].clip(0))
    return axes


def _in_unit_square(place: Floats) -> Floats:
    low, span = place.min(0), np.ptp(place, axis=0)
    return np.where(span > 1e-9, (place - low) / np.where(span > 1e-9, span, 1.0), 0.5)

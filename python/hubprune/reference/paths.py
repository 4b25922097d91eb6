# SPDX-License-Identifier: MIT
"""Path lengths of the similarity graph, and the centralities of its shortest paths."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, as_real_array, as_rows, require_choice
from .similarity import pairwise_cosine

LENGTHS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = MappingProxyType(
    {
        "one_minus": lambda s: 1.0 - s,
        "angle": lambda s: np.asarray(np.arccos(s)),
        "similarity": lambda s: +s,
    }
)
"""Path lengths of an edge by name: 1 - s, arccos(s) and the similarity s itself."""


class _ShortestPaths(NamedTuple):
    """What a single-source search leaves behind."""

    order: list[int]
    """Nodes as they were settled, the source first; what cannot be reached is missing."""
    predecessors: dict[int, list[int]]
    """The nodes before each on its shortest paths."""
    paths: list[float]
    """Twice the number of shortest paths to each node."""
    distance: dict[int, float]
    """Length of the shortest path to each reached node."""


def path_lengths(x: ArrayLike, length: str = "one_minus") -> FloatArray:
    """Return the path length of every edge of the similarity graph, zero on the diagonal.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers.
    length : {"one_minus", "angle", "similarity"}
        1 - s, arccos(s) in radians, or the similarity s itself.

    Returns
    -------
    ndarray, shape (..., n, n), float64

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or `length` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> path_lengths([[1.0, 0.0], [-1.0, 0.0]]).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    require_choice(length, tuple(LENGTHS), "length")
    lengths = LENGTHS[length](pairwise_cosine(x))
    i = np.arange(lengths.shape[-1])
    lengths[..., i, i] = 0.0
    return lengths


def _path_graph(lengths: ArrayLike) -> FloatArray:
    """Return checked lengths (..., n, n)."""
    graph = as_real_array(lengths, "lengths")
    if graph.ndim < 2 or graph.shape[-1] != graph.shape[-2]:
        raise ValueError(f"lengths must have shape (..., n, n); got shape {graph.shape}")
    if np.isnan(graph).any() or np.isneginf(graph).any():
        raise ValueError("lengths must be finite, or infinity for no edge; got a NaN or -infinity")
    if (graph != np.swapaxes(graph, -1, -2)).any():
        raise ValueError("lengths must be symmetric: paths of an undirected graph")
    return graph


def _shortest_paths(lengths: FloatArray, source: int) -> _ShortestPaths:
    """Search (n, n) lengths from one node: label-setting Dijkstra with path counts.

    Written to do what NetworkX does, also where that is not a shortest path: a settled node keeps
    its distance even if a negative length would shorten it, and a zero length back to a settled
    node adds to that node's path count. Labels of equal distance settle in the order in which they
    were given: by the settled node that gave them, then by index.
    """
    n = lengths.shape[0]
    order: list[int] = []
    predecessors: dict[int, list[int]] = {v: [] for v in range(n)}
    paths = [0.0] * n
    paths[source] = 1.0
    distance: dict[int, float] = {}
    label = {source: 0.0}
    heap = [(0.0, 0, source, source)]
    pushed = 1
    while heap:
        at, _, before, v = heapq.heappop(heap)
        if v in distance:
            continue
        paths[v] += paths[before]  # the source counts itself: all counts are doubled
        order.append(v)
        distance[v] = at
        for w in range(n):
            if w == v or np.isposinf(lengths[v, w]):
                continue
            through = at + float(lengths[v, w])
            if w not in distance and (w not in label or through < label[w]):
                label[w] = through
                heapq.heappush(heap, (through, pushed, v, w))
                pushed += 1
                paths[w] = 0.0  # the first path is counted when w is settled
                predecessors[w] = [v]
            elif through == label[w]:
                paths[w] += paths[v]
                predecessors[w].append(v)
    return _ShortestPaths(order, predecessors, paths, distance)


def graph_betweenness_centrality(
    lengths: ArrayLike, normalized: bool = True, sources: Sequence[int] | None = None
) -> FloatArray:
    """Return the betweenness centrality of a dense undirected graph of path lengths.

    The sum over pairs {s, t} of other nodes of the share of the shortest s-t paths that pass
    through a node; divided by the number of pairs, (n - 1)(n - 2) / 2, if `normalized`.

    Parameters
    ----------
    lengths : array_like, shape (..., n, n)
        Symmetric edge lengths, real; infinity for no edge. The diagonal is not read. Zero lengths
        are edges. Negative ones are taken as they come by a label-setting search: the result is
        then no shortest-path quantity.
    normalized : bool
        Divide by the number of pairs.
    sources : sequence of int, optional
        Count only paths that start at these nodes, and scale up to what all sources would give:
        by n - 1 over the number of sources that are not the node itself. Default: all nodes.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for n <= 2. With a single source that source has no data: NaN.

    Raises
    ------
    ValueError
        If `lengths` is not square in its last two dimensions or not symmetric, or holds a NaN or
        minus infinity.
    TypeError
        If `lengths` does not hold real numbers.

    Notes
    -----
    Paths tie where their float64 lengths are equal. Brandes, J. Math. Sociology 25, 2001; equal to
    ``networkx.betweenness_centrality`` of version 3.5 and later.

    Examples
    --------
    >>> inf = float("inf")
    >>> graph_betweenness_centrality([[0, 1, inf], [1, 0, 1], [inf, 1, 0]]).tolist()
    [0.0, 1.0, 0.0]
    """
    graph = _path_graph(lengths)
    n = graph.shape[-1]
    chosen = list(range(n)) if sources is None else [int(s) for s in sources]
    centrality = np.zeros(graph.shape[:-1])
    for g in np.ndindex(graph.shape[:-2]):
        for source in chosen:
            found = _shortest_paths(graph[g], source)
            dependency = dict.fromkeys(found.order, 0.0)
            for w in reversed(found.order):
                # Path counts that overflow make this NaN, as they should.
                with np.errstate(invalid="ignore"):
                    share = np.float64(1.0 + dependency[w]) / np.float64(found.paths[w])
                for v in found.predecessors[w]:
                    dependency[v] += float(found.paths[v] * share)
                if w != source:
                    centrality[g][w] += dependency[w]
    if n <= 2:
        return centrality
    pairs = (n - 1.0) * (n - 2.0) / 2.0 if normalized else 1.0
    scale = np.full(n, 0.5 / pairs)
    if len(chosen) < n:
        others = np.full(n, float(len(chosen)))
        others[chosen] -= 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            scale *= np.where(others > 0.0, (n - 1.0) / others, np.nan)
    result: FloatArray = centrality * scale
    return result


def graph_closeness_centrality(lengths: ArrayLike) -> FloatArray:
    """Return the closeness centrality of a dense undirected graph of path lengths.

    r / (sum of the distances to the r nodes that can be reached), times r / (n - 1).

    Parameters
    ----------
    lengths : array_like, shape (..., n, n)
        Symmetric edge lengths, real and not negative; infinity for no edge. The diagonal is not
        read.

    Returns
    -------
    ndarray, shape (..., n), float64
        Zero for n = 1, and where all distances are zero.

    Raises
    ------
    ValueError
        If `lengths` is not square in its last two dimensions or not symmetric, or holds a NaN or
        a negative length.
    TypeError
        If `lengths` does not hold real numbers.

    Notes
    -----
    Freeman, Social Networks 1, 1979, with the correction of Wasserman and Faust for graphs that are
    not connected; equal to ``networkx.closeness_centrality``.

    Examples
    --------
    >>> graph_closeness_centrality([[0, 1, 4], [1, 0, 1], [4, 1, 0]]).round(6).tolist()
    [0.666667, 1.0, 0.666667]
    """
    graph = _path_graph(lengths)
    n = graph.shape[-1]
    off_diagonal = ~np.eye(n, dtype=bool)
    if (graph[..., off_diagonal] < 0.0).any():
        raise ValueError("lengths must not be negative")
    centrality = np.zeros(graph.shape[:-1])
    for g in np.ndindex(graph.shape[:-2]):
        for i in range(n):
            distance = _shortest_paths(graph[g], i).distance
            total, reached = sum(distance.values()), len(distance) - 1
            if total > 0.0:
                centrality[g][i] = reached / total * (reached / (n - 1))
    return centrality


def betweenness_centrality(
    x: ArrayLike, length: str = "one_minus", normalized: bool = True
) -> FloatArray:
    """Return the betweenness centrality of every row in the similarity graph.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers, finite.
    length : {"one_minus", "angle", "similarity"}
        The path length of an edge; see `path_lengths`. `similarity` is what a published script
        uses; with negative similarities it is no shortest-path quantity.
    normalized : bool
        Divide by the number of pairs.

    Returns
    -------
    ndarray, shape (..., n), float64
        `graph_betweenness_centrality` of `path_lengths(x, length)`.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or is not finite, or if `length` is unknown.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> betweenness_centrality([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).tolist()
    [0.0, 1.0, 0.0]
    """
    rows = as_rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_betweenness_centrality(path_lengths(rows, length), normalized)


def closeness_centrality(x: ArrayLike, length: str = "one_minus") -> FloatArray:
    """Return the closeness centrality of every row in the similarity graph.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
        Real numbers, finite.
    length : {"one_minus", "angle", "similarity"}
        The path length of an edge; see `path_lengths`.

    Returns
    -------
    ndarray, shape (..., n), float64
        `graph_closeness_centrality` of `path_lengths(x, length)`.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or is not finite, if `length` is unknown, or if it is
        `similarity` and a similarity is negative.
    TypeError
        If `x` does not hold real numbers.

    Examples
    --------
    >>> closeness_centrality([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]).tolist()
    [1.0, 2.0, 2.0]
    """
    rows = as_rows(x)
    if not np.isfinite(rows).all():
        raise ValueError("x must be finite; got a NaN or an infinity")
    return graph_closeness_centrality(path_lengths(rows, length))

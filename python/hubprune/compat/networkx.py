# SPDX-License-Identifier: MIT
"""NetworkX's backend "hubprune": centralities of undirected graphs, as dense matrices.

Made for complete graphs, such as those of the published centrality scripts. Nothing is called from
here by hand: with hubprune installed, NetworkX (3.4 or later) finds it by itself::

    NETWORKX_BACKEND_PRIORITY=hubprune python script.py            # every call it can speed up
    nx.betweenness_centrality(G, weight="weight", backend="hubprune")   # this call

Betweenness and closeness run on hubprune's kernels, eigenvector centrality is NetworkX's iteration
on a matrix; degree centrality is here for graphs that are converted already.

The values are NetworkX's: distances and ties to the bit, sums to rounding. What it cannot do it
says in `can_run`, or by NotImplementedError once the edges are read, and NetworkX does it itself:

- graphs of fewer than 20 nodes, or of less than 10 % of a complete graph's edges (`should_run`),
  where NetworkX is as quick or a dense matrix the wrong form;
- weights that NetworkX does not add in float64: float32 (of NumPy scalars; ``from_numpy_array``
  makes floats of them), other NumPy and torch scalars, fractions, integers beyond 2**53 / n, and
  numbers so large that a path's length overflows;
- betweenness with self loops that rounding swallows, since NetworkX counts those as paths. The
  diagonal of ``1 - x @ x.T`` makes such loops; ``np.fill_diagonal(lengths, 0)`` before
  ``nx.from_numpy_array`` makes none.

NetworkX keeps conversions (``G.__networkx_cache__``) and does not see ``G[u][v]["weight"] = 1``: it
warns, and goes on with the old weights. ``G.add_edge(u, v, weight=1)`` is seen, and
``nx.config.cache_converted_graphs = False`` turns it off.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import torch

from .. import ops as _ops  # noqa: F401  (registers the operators)

__all__ = [
    "DenseGraph",
    "betweenness_centrality",
    "can_run",
    "closeness_centrality",
    "convert_from_nx",
    "convert_to_nx",
    "degree_centrality",
    "eigenvector_centrality",
    "should_run",
]

Matrix = npt.NDArray[np.float64]

#: Below this many nodes NetworkX itself is as quick.
SMALL = 20
#: Below this share of a complete graph's edges a dense matrix is the wrong form.
SPARSE = 0.1


class DenseGraph:
    """An undirected graph without parallel edges: n nodes and (n, n) matrices."""

    __networkx_backend__ = "hubprune"

    def __init__(
        self,
        nodes: list[Hashable],
        edges: npt.NDArray[np.bool_],
        attributes: dict[str, Matrix],
        in_node_order: bool,
        original: nx.Graph | None = None,
    ) -> None:
        self.nodes = nodes
        #: (n, n), symmetric; the diagonal holds the self loops.
        self.edges = edges
        #: Edge attributes by name, (n, n) each; defined where there is an edge.
        self.attributes = attributes
        #: Whether every node lists its neighbours in the order of the nodes.
        self.in_node_order = in_node_order
        #: A copy of the NetworkX graph, with all its attributes; None where NetworkX converted.
        self.original = original

    def __len__(self) -> int:
        """Return n."""
        return len(self.nodes)

    def __iter__(self) -> Iterator[Hashable]:
        """Iterate over the nodes."""
        return iter(self.nodes)

    def __contains__(self, node: object) -> bool:
        """Return whether this is one of the nodes."""
        return node in self.nodes

    def number_of_nodes(self) -> int:
        """Return n."""
        return len(self)

    order = number_of_nodes

    def number_of_edges(self) -> int:
        """Return the number of edges, self loops included."""
        return int(np.triu(self.edges).sum())

    def is_directed(self) -> bool:
        """Return False."""
        return False

    def is_multigraph(self) -> bool:
        """Return False."""
        return False

    def weights(self, attribute: str | None, missing: float) -> Matrix:
        """Return an attribute of the edges (1 for None), and `missing` where there is no edge.

        Raises
        ------
        NotImplementedError
            If an edge's is NaN, infinite or so large that sums overflow, or the attribute was not
            converted.
        """
        if attribute is not None and attribute not in self.attributes:
            if self.original is None:
                raise NotImplementedError(f"edge attribute {attribute!r} was not converted")
            self.attributes |= _matrices(self.original, {attribute: 1})[1]
        given = np.ones(self.edges.shape) if attribute is None else self.attributes[attribute]
        present = given[self.edges]
        if not np.isfinite(present).all():
            raise NotImplementedError(f"edge attribute {attribute!r} holds NaN or infinity")
        if np.abs(present).max(initial=0.0) > np.finfo(np.float64).max / len(self):
            raise NotImplementedError(f"edge attribute {attribute!r}: a path's sum may overflow")
        return np.where(self.edges, given, missing)

    def component_sizes(self) -> npt.NDArray[np.int64]:
        """Return the size of every node's connected component, (n,)."""
        sizes = np.zeros(len(self), dtype=np.int64)
        for start in range(len(self)):
            if sizes[start]:
                continue
            reached = np.zeros(len(self), dtype=bool)
            reached[start] = True
            frontier = reached
            while frontier.any():
                frontier = self.edges[frontier].any(axis=0) & ~reached
                reached |= frontier
            sizes[reached] = reached.sum()
        return sizes


# --- conversion -----------------------------------------------------------------------------------
def convert_from_nx(
    graph: Any,
    *,
    edge_attrs: Mapping[str, Any] | None = None,
    node_attrs: Mapping[str, Any] | None = None,
    preserve_edge_attrs: bool = False,
    preserve_node_attrs: bool = False,
    preserve_graph_attrs: bool = False,
    preserve_all_attrs: bool = False,
    name: str | None = None,
    graph_name: str | None = None,
) -> DenseGraph:
    """Return a NetworkX graph as matrices.

    NetworkX itself asks, with the called function's `name`, for what that call reads. Everybody
    else gets a graph with all its attributes, those of nodes and of the graph too.

    Raises
    ------
    NotImplementedError
        For directed graphs, parallel edges, or edge attributes that are no real numbers or that
        NetworkX adds in another precision than float64.
    """
    if isinstance(graph, DenseGraph):
        return graph
    if graph.is_directed() or graph.is_multigraph():
        raise NotImplementedError("only undirected graphs without parallel edges are supported")
    edges, attributes, in_node_order = _matrices(graph, dict(edge_attrs or {}))
    # Not for preserve_graph_attrs alone: NetworkX always asks for that.
    whole = name is None or preserve_edge_attrs or preserve_node_attrs or preserve_all_attrs
    return DenseGraph(
        list(graph), edges, attributes, in_node_order, graph.copy() if whole else None
    )


def _matrices(
    graph: nx.Graph, defaults: dict[str, Any]
) -> tuple[npt.NDArray[np.bool_], dict[str, Matrix], bool]:
    """Return a `DenseGraph`'s edges, their attributes, and whether they are in node order.

    `defaults`: the attributes' names, and what holds for edges without them.
    """
    n = len(graph)
    index = {node: i for i, node in enumerate(graph)}
    edges = np.zeros((n, n), dtype=bool)
    attributes = {key: np.zeros((n, n)) for key in defaults}
    in_node_order = True
    for i, (_, neighbours) in enumerate(graph.adjacency()):
        columns = np.fromiter((index[node] for node in neighbours), np.intp, len(neighbours))
        in_node_order = in_node_order and bool((columns[1:] > columns[:-1]).all())
        edges[i, columns] = True
        for key, default in defaults.items():
            row = [data.get(key, default) for data in neighbours.values()]
            attributes[key][i, columns] = _real_numbers(row, f"edge attribute {key!r}", n)
    return edges, attributes, in_node_order


#: Numbers that NetworkX adds in float64, or exactly. In float32 weights, say, it adds in float32.
_NUMBERS = frozenset({bool, int, float, np.bool_, np.int64, np.float64})


def _real_numbers(values: list[Any], what: str, n: int) -> npt.NDArray[Any]:
    """Return numbers as an array, if sums of n of them are NetworkX's."""
    kinds = set(map(type, values))  # an array of them would hide a float32 among floats
    if not kinds <= _NUMBERS:
        names = ", ".join(sorted(kind.__name__ for kind in kinds - _NUMBERS))
        raise NotImplementedError(f"{what} must hold int, float or bool; got {names}")
    if not kinds <= {float, np.float64}:
        whole = [value for value in values if not isinstance(value, float)]
        if min(whole) < -(2**53 // n) or max(whole) > 2**53 // n:
            raise NotImplementedError(f"{what} holds integers beyond 2**53 / {n}")
    return np.array(values, dtype=np.float64)


def convert_to_nx(result: Any, *, name: str | None = None) -> Any:
    """Return a `DenseGraph` as a NetworkX graph; anything else as it is."""
    if not isinstance(result, DenseGraph):
        return result
    if result.original is not None:
        return result.original.copy()
    graph = nx.Graph()
    graph.add_nodes_from(result.nodes)
    for i, j in zip(*(axis.tolist() for axis in np.nonzero(np.triu(result.edges))), strict=True):
        data = {key: values[i, j].item() for key, values in result.attributes.items()}
        graph.add_edge(result.nodes[i], result.nodes[j], **data)
    return graph


# --- what runs here -------------------------------------------------------------------------------
def can_run(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | str:
    """Return True, or why a call with these arguments is not for this backend."""
    if name not in _FUNCTIONS:
        return f"{name} is not implemented"
    try:
        bound = inspect.signature(_FUNCTIONS[name]).bind(*args, **kwargs)
    except TypeError as error:  # of a NetworkX that is newer than this file, or a mistake
        return f"the arguments are not known: {error}"
    bound.apply_defaults()
    options = bound.arguments
    graph = options["G"]
    if not isinstance(graph, (nx.Graph, DenseGraph)):
        return f"graphs of type {type(graph).__name__} are not supported"
    if graph.is_directed() or graph.is_multigraph():
        return "only undirected graphs without parallel edges are supported"
    if len(graph) == 0:
        return "the graph has no nodes"
    weight = options.get("weight", options.get("distance"))
    if weight is not None and not isinstance(weight, str):
        return "edge weights must be an edge attribute's name"
    if options.get("u") is not None:
        return "NetworkX is quicker for one node's closeness"
    if options.get("sp") is not None:
        return "with shortest paths that are given there is nothing left to speed up"
    k = options.get("k")
    if k is None or k == len(graph):
        return True
    if not isinstance(k, int) or not 1 <= k <= len(graph):
        return f"k must be an integer from 1 to {len(graph)}"
    if options["endpoints"]:
        return "endpoints=True together with k is not supported"
    if tuple(map(int, re.findall(r"\d+", nx.__version__)[:2])) < (3, 5):
        return "NetworkX before 3.5 scales sampled sources in another way"
    return True


def should_run(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | str:
    """Return True, or why a call that can run here is better left to NetworkX."""
    graph = args[0] if args else kwargs["G"]
    if isinstance(graph, DenseGraph):
        return True
    if name == "degree_centrality":
        return "NetworkX counts neighbours in less time than a conversion takes"
    n = len(graph)
    if n < SMALL:
        return f"NetworkX is as quick on fewer than {SMALL} nodes"
    if graph.number_of_edges() < SPARSE * n * (n - 1) / 2:
        return f"the graph has less than {SPARSE:.0%} of a complete graph's edges"
    return True


# --- centralities ---------------------------------------------------------------------------------
# Signatures, names and return types are NetworkX's.
def betweenness_centrality(
    G: DenseGraph,  # noqa: N803
    k: int | None = None,
    normalized: bool = True,
    weight: str | None = None,
    endpoints: bool = False,
    seed: Any = None,
) -> dict[Hashable, float]:
    """Return what ``networkx.betweenness_centrality`` does."""
    n = len(G)
    lengths = G.weights(weight, np.inf)
    lengthens = _every_edge_lengthens(lengths)
    if not G.in_node_order and not lengthens:
        raise NotImplementedError(
            "zero or negative lengths: NetworkX's answer then depends on the order in which edges "
            "were added"
        )
    loops = lengths.diagonal()[G.edges.diagonal()]
    if loops.size and not lengthens:
        raise NotImplementedError("self loops beside zero or negative lengths")
    if (np.abs(loops) <= _slack(lengths)).any():
        raise NotImplementedError(
            "self loops so short that a path may be as long with one as without: NetworkX counts "
            "it twice then"
        )
    sources = None
    if k is not None and k != n:
        index = {node: i for i, node in enumerate(G.nodes)}
        sources = [index[node] for node in seed.sample(G.nodes, k)]
    graph = torch.from_numpy(lengths)
    if not endpoints:
        sums = torch.ops.hubprune.betweenness_centrality(graph, bool(normalized), sources)
        return dict(zip(G.nodes, sums.tolist(), strict=True))
    # Both ends of every path count: a node's own pairs, one for each node it reaches.
    own = torch.from_numpy(G.component_sizes() - 1)
    sums = torch.ops.hubprune.betweenness_centrality(graph, False) + own
    if normalized and n > 1:
        sums = sums * (2.0 / (n * (n - 1.0)))
    return dict(zip(G.nodes, sums.tolist(), strict=True))


def _every_edge_lengthens(lengths: Matrix) -> bool:
    """Whether every path is longer than its parts, whatever the rounding: no order matters then.

    The rule of csrc/cpu/path_graph.h.
    """
    others = _lengths_between(lengths)
    return not others.size or bool(others.min() > _slack(lengths))


def _slack(lengths: Matrix) -> float:
    """Return what rounding can change in any path's length at most."""
    longest = float(_lengths_between(lengths).max(initial=0.0))
    return 8.0 * float(np.finfo(np.float64).eps) * len(lengths) * longest


def _lengths_between(lengths: Matrix) -> Matrix:
    return lengths[np.isfinite(lengths) & ~np.eye(len(lengths), dtype=bool)]


def closeness_centrality(
    G: DenseGraph,  # noqa: N803
    u: Hashable = None,
    distance: str | None = None,
    wf_improved: bool = True,
    *,
    sp: None = None,  # of NetworkX 3.7; `can_run` leaves another value to it
) -> dict[Hashable, float]:
    """Return what ``networkx.closeness_centrality`` does."""
    n = len(G)
    lengths = G.weights(distance, np.inf)
    if (lengths < 0.0).any():
        raise NotImplementedError("negative lengths: NetworkX has the error message")
    closeness = torch.ops.hubprune.closeness_centrality(torch.from_numpy(lengths)).numpy()
    if not wf_improved:
        reached = G.component_sizes() - 1
        closeness = np.where(reached > 0, closeness * (n - 1) / np.maximum(reached, 1), 0.0)
    return dict(zip(G.nodes, closeness.tolist(), strict=True))


def degree_centrality(G: DenseGraph) -> dict[Hashable, float]:  # noqa: N803
    """Return what ``networkx.degree_centrality`` does: it does not weigh edges."""
    if len(G) <= 1:
        return dict.fromkeys(G.nodes, 1)
    degree = G.edges.sum(axis=1) + G.edges.diagonal()  # a self loop counts twice
    scale = 1.0 / (len(G) - 1.0)
    return dict(zip(G.nodes, (degree * scale).tolist(), strict=True))


def eigenvector_centrality(
    G: DenseGraph,  # noqa: N803
    max_iter: int = 100,
    tol: float = 1e-6,
    nstart: Mapping[Hashable, float] | None = None,
    weight: str | None = None,
) -> dict[Hashable, float]:
    """Return what ``networkx.eigenvector_centrality`` does: its iteration, by matrix products."""
    if nstart is not None and list(nstart) != G.nodes:
        raise NotImplementedError("nstart must list every node, in the order of the nodes")
    weights = G.weights(weight, 0.0)
    given = [1] * len(G) if nstart is None else list(nstart.values())
    start = _real_numbers(given, "nstart", len(G))
    if not start.any():
        raise nx.NetworkXError("initial vector cannot have all zero values")
    total = sum(given)  # as NetworkX does: rounding in another order may change its sign
    if total == 0 or not math.isfinite(total):
        raise NotImplementedError(f"nstart sums to {total}")
    with np.errstate(all="ignore"):
        x = start / total
        for _ in range(max_iter):
            before = x
            # Not `@`: BLAS sums in an order that depends on the number of threads.
            x = before + np.einsum("ij,j->i", weights, before)
            x = x / (math.hypot(*x.tolist()) or 1.0)
            if not np.isfinite(x).all():
                raise NotImplementedError("the iteration overflows")
            if float(np.abs(x - before).sum()) < len(G) * tol:
                return dict(zip(G.nodes, x.tolist(), strict=True))
    raise nx.PowerIterationFailedConvergence(max_iter)


_FUNCTIONS: dict[str, Callable[..., dict[Hashable, float]]] = {
    "betweenness_centrality": betweenness_centrality,
    "closeness_centrality": closeness_centrality,
    "degree_centrality": degree_centrality,
    "eigenvector_centrality": eigenvector_centrality,
}

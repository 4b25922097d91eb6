# SPDX-License-Identifier: MIT
"""The cases: one piece of work each, done by hubprune and by its peers on the same input."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from ..centrality import eigenvector_centrality, weighted_degree
from ..scorers import WeightedDegree, score_model
from ..similarity import nearest, pairwise_cosine
from ..vectors import filter_vectors
from .exact import degree_errors, exact_degree, exact_nearest, in_float64, nearest_errors
from .inputs import network, rows, weights
from .packages import peer_needs
from .peers import (
    ABS_PEERS,
    Peers,
    abs_degree_bf16,
    abs_degree_chunked,
    cosine_naive,
    cosine_numpy,
    cosine_sklearn,
    cosine_torchmetrics,
    edge_weights,
    eigenvector_eigsh,
    eigenvector_power,
    nearest_chunked,
    nearest_naive,
    nearest_sklearn,
    rank1_gram,
    rank1_svd,
    signed_degree_closed,
    squared_degree_closed,
)

OURS = "hubprune"


@dataclass(frozen=True)
class Case:
    """One piece of work, done by hubprune and by its peers on the same input.

    Attributes
    ----------
    name : str
        Operation and size.
    inputs : callable
        Makes the input; called once.
    routes : mapping of str to callable
        What does the work, given the input; `OURS` is hubprune.
    exact : callable
        The result in float64, given the input; shares no code with hubprune's kernels.
    errors : callable
        The float64 errors of a result, given the result and what `exact` gave.
    bound, peer_bound : float
        The largest error allowed of ours; the 99th percentile allowed of a peer's.
    pairs, bytes, flops : float
        What the operation needs at least: pairs of rows compared, bytes read and written once,
        multiplications and additions. Figures of the operation, not counts of any route.
    unit : str
        Which of them says most about the speed: "GP/s", "GB/s", "GFLOP/s"; "" for none.
    left_out : mapping of str to str
        Peers that do not run here, with the reason.
    unchecked : frozenset of str
        Routes that compute another quantity: shown beside the others, compared with none.
    """

    name: str
    inputs: Callable[[], Any]
    routes: Mapping[str, Callable[[Any], Any]]
    exact: Callable[[Any], Any]
    errors: Callable[[Any, Any], torch.Tensor]
    bound: float = 1e-6
    peer_bound: float = 1e-3
    pairs: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    unit: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()


def _routes(
    ours: Callable[[Any], Any], peers: Peers, left_out: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the fields `routes` and `left_out`: without the peers that are not installed."""
    out = dict(left_out or {})
    routes = {OURS: ours}
    for name, call in peers.items():
        needed = peer_needs(name)
        if name in out:
            continue
        if needed is not None and importlib.util.find_spec(needed[0]) is None:
            out[name] = f"{needed[0]} is not installed"
        else:
            routes[name] = call
    return {"routes": routes, "left_out": out}


def vectors_case(
    name: str,
    shapes: Sequence[Sequence[int]],
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Rank-1 filter vectors of layers with these weight shapes (n, c, *kernel)."""
    given = {"torch bmm + eigh": rank1_gram, "torch svd": rank1_svd} if peers is None else peers

    def each(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda layers: [call(weight) for weight in layers]

    sizes = [(n, c, int(np.prod(kernel))) for n, c, *kernel in shapes]
    return Case(
        name=name,
        inputs=lambda: weights(shapes),
        **_routes(each(filter_vectors), {key: each(call) for key, call in given.items()}, left_out),
        exact=lambda layers: [rank1_gram(weight.double()) for weight in layers],
        errors=lambda result, exact: torch.cat(
            [(in_float64(r) - e).abs().amax(1) for r, e in zip(result, exact, strict=True)]
        ),
        bytes=sum(4.0 * n * p * (c + 1) for n, c, p in sizes),
        # The Gram matrix of the shorter side, one triangle with its diagonal.
        flops=sum(float(n) * c * p * (min(p, c) + 1) for n, c, p in sizes),
        unit="GB/s",
    )


def degree_case(
    name: str,
    n: int,
    d: int,
    *,
    edge: str = "abs",
    precision: str = "highest",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Weighted degree of n rows of length d; edge "abs", "signed" or "squared"."""
    pairs = n * (n - 1) / 2
    given: Peers
    if edge == "abs":
        given = dict(ABS_PEERS)
        if precision == "medium":
            given = {"torch bfloat16": abs_degree_bf16, **given}
        flops, count, unit = 2.0 * d * pairs, pairs, "GP/s" if d <= 64 else "GFLOP/s"
    elif edge == "signed":
        given = {"torch closed form": signed_degree_closed}
        flops, count, unit = 4.0 * n * d, 0.0, "GB/s"
    else:
        given = {"torch closed form": squared_degree_closed}
        flops, count, unit = 2.0 * n * d * (1.5 * d + 1), 0.0, "GB/s" if d <= 64 else "GFLOP/s"
    if peers is not None:
        given = peers
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(partial(weighted_degree, edge=edge, precision=precision), given, left_out),
        exact=partial(exact_degree, edge=edge),
        errors=degree_errors,
        # bfloat16 has 8 bits: 2e-4 to 4e-3 of a cosine, of which a sum keeps the mean.
        bound=1e-6 if precision == "highest" else 3e-3,
        pairs=count,
        bytes=4.0 * n * (d + 1),
        flops=flops,
        unit=unit,
        peer_bound=1e-3 if precision == "highest" else 1e-2,
    )


def nearest_case(
    name: str,
    n: int,
    d: int,
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """The most similar other row of n rows of length d."""
    given = {
        "torch chunked": nearest_chunked,
        "torch naive": nearest_naive,
        "scikit-learn": nearest_sklearn,
    }
    pairs = n * (n - 1) / 2
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(nearest, given if peers is None else peers, left_out),
        exact=exact_nearest,
        errors=nearest_errors,
        pairs=pairs,
        bytes=4.0 * n * (d + 3),
        flops=2.0 * d * pairs,
        unit="GP/s" if d <= 64 else "GFLOP/s",
    )


def cosine_case(
    name: str,
    n: int,
    d: int,
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """The matrix of cosines of n rows of length d."""
    given = {
        "torch naive": cosine_naive,
        "numpy syrk": cosine_numpy,
        "scikit-learn": cosine_sklearn,
        "torchmetrics": cosine_torchmetrics,
    }
    pairs = n * (n - 1) / 2
    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(pairwise_cosine, given if peers is None else peers, left_out),
        exact=lambda x: cosine_naive(x.double()),
        errors=lambda result, exact: (in_float64(result) - exact).abs_().flatten(),
        bytes=4.0 * n * (n + d),
        flops=2.0 * d * pairs,
        unit="GB/s" if d <= 64 else "GFLOP/s",
    )


def eigenvector_case(
    name: str,
    n: int,
    d: int,
    *,
    edge: str = "abs",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """Eigenvector centrality of n rows of length d; edge "abs" or "squared"."""
    given = {
        "scipy eigsh": partial(eigenvector_eigsh, edge=edge),
        "torch power 50": partial(eigenvector_power, edge=edge),
    }
    pairs = n * (n - 1) / 2

    def exact(x: torch.Tensor) -> torch.Tensor:
        vector = torch.linalg.eigh(edge_weights(x.double(), edge)).eigenvectors[:, -1]
        oriented: torch.Tensor = vector if vector.sum() >= 0 else -vector
        return oriented

    return Case(
        name=name,
        inputs=lambda: rows(n, d),
        **_routes(
            partial(eigenvector_centrality, edge=edge), given if peers is None else peers, left_out
        ),
        exact=exact,
        errors=lambda result, exact: (in_float64(result) - exact).abs(),
        bytes=4.0 * n * (d + 1),
        flops=2.0 * d * pairs,
    )


def network_case(
    name: str,
    shapes: Sequence[Sequence[int]],
    *,
    edge: str = "abs",
    peers: Peers | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Case:
    """A whole network scored: rank-1 vectors and weighted degree of every layer.

    A route gets the pair (`network` of the weights, list of the weights).
    """
    degree = signed_degree_closed if edge == "signed" else abs_degree_chunked
    given = {
        "torch eigh + degree": lambda pair: [degree(rank1_gram(w)) for w in pair[1]],
    }
    scorer = WeightedDegree(edge=edge)
    sizes = [(n, c, int(np.prod(kernel))) for n, c, *kernel in shapes]

    def inputs() -> Any:
        layers = weights(shapes)
        return network(layers), layers

    def ours(pair: Any) -> list[torch.Tensor]:
        return [scores.values for scores in score_model(pair[0], scorer).values()]

    def errors(result: Any, exact: list[torch.Tensor]) -> torch.Tensor:
        pairs = zip(result, exact, strict=True)
        return torch.cat([((in_float64(r) - e) / e.abs().clamp_min(1)).abs() for r, e in pairs])

    return Case(
        name=name,
        inputs=inputs,
        **_routes(ours, given if peers is None else peers, left_out),
        exact=lambda pair: [degree(rank1_gram(w.double())) for w in pair[1]],
        errors=errors,
        # One vector of the wrong sign moves a peer's signed sums by its similarity to each filter.
        peer_bound=1.0,
        bytes=sum(4.0 * n * (c * p + 1) for n, c, p in sizes),
        flops=sum(float(n) * c * p * (min(p, c) + 1) for n, c, p in sizes)
        + (sum(n * (n - 1.0) * p for n, _, p in sizes) if edge == "abs" else 0.0),
        unit="GB/s",
    )

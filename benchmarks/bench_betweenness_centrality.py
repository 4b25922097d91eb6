# SPDX-License-Identifier: MIT
"""Betweenness centrality of the similarity graph, path lengths 1 - s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

import hubprune as hp
from hubprune.bench import OURS, Case, rows
from peers import betweenness_igraph, betweenness_networkx, betweenness_scipy, path_lengths


def exact_betweenness(x: torch.Tensor) -> torch.Tensor:
    """scipy's searches, without edges that a detour over a near row makes useless.

    Those edges are on no shortest path; leaving them out makes the widest layer a matter of
    seconds. Gaussian rows have no ties.
    """
    lengths = path_lengths(x.double())
    n = len(lengths)
    distances = lengths.fill_diagonal_(np.inf)
    for v, row in enumerate(distances.clone()):
        nearest = row.topk(min(32, n - 1), largest=False).indices
        detour = (row[nearest, None] + lengths[nearest]).amin(0)
        distances[v, row > detour + 1e-9] = np.inf
    both = torch.minimum(distances, distances.T)
    return betweenness_scipy(both)


def betweenness_case(
    name: str, n: int, peers: Mapping[str, Any], left_out: Mapping[str, str]
) -> Case:
    return Case(
        name=f"betweenness_centrality / {name}, {n} x 9",
        inputs=lambda: rows(n, 9),
        routes={OURS: hp.betweenness_centrality, **peers},
        exact=exact_betweenness,
        errors=lambda result, exact: (result.double() - exact).abs(),
        bytes=4.0 * n * (9 + 1),
        # An addition and a comparison for each source and edge, both ways: all of them tried.
        flops=2.0 * n**3,
        left_out=left_out,
    )


def scipy_route(x: torch.Tensor) -> torch.Tensor:
    return betweenness_scipy(path_lengths(x.double()).fill_diagonal_(np.inf))


IGRAPH = {"igraph": betweenness_igraph}
SCIPY = {"scipy dijkstra": scipy_route}
NETWORKX = {"networkx": betweenness_networkx}
NO_PARALLEL = {"nx-parallel": "0.3, its newest, does not import beside NetworkX 3.6"}
SLOW = {"networkx": "grows as n^3.5: 10 s at 256, hours at 2048", **NO_PARALLEL}

CASES = [
    betweenness_case("CNN14 conv2 rank-1", 64, {**IGRAPH, **SCIPY, **NETWORKX}, NO_PARALLEL),
    betweenness_case("CNN14 conv4 rank-1", 128, {**IGRAPH, **SCIPY, **NETWORKX}, NO_PARALLEL),
    betweenness_case("CNN14 conv6 rank-1", 256, {**IGRAPH, **SCIPY, **NETWORKX}, NO_PARALLEL),
    betweenness_case("VGGish conv6 rank-1", 512, {**IGRAPH, **SCIPY}, SLOW),
    betweenness_case("CNN14 conv9 rank-1", 1024, {**IGRAPH, **SCIPY}, SLOW),
    betweenness_case(
        "CNN14 conv12 rank-1",
        2048,
        {"scipy dijkstra on useful edges": exact_betweenness},
        {**SLOW, "igraph": "minutes", "scipy dijkstra": "40 s"},
    ),
]


def test_betweenness_centrality(
    case: Case, route: str, replay: Callable[[Case, str], None]
) -> None:
    replay(case, route)

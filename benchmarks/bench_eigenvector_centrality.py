# SPDX-License-Identifier: MIT
"""Eigenvector centrality of the similarity graph."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from hubprune.bench import Case, eigenvector_case
from peers import eigenvector_graphblas, eigenvector_networkx

#: nx-parallel has no eigenvector centrality.
NETWORKX = {
    "networkx": eigenvector_networkx,
    "networkx, backend graphblas": eigenvector_graphblas,
}
SLOW = {"networkx": "building the graph takes seconds"}


def beside_networkx(case: Case, edge: str, left_out: Mapping[str, str]) -> Case:
    """The same case with NetworkX and its backends among the peers."""
    peers = {name: partial(peer, edge=edge) for name, peer in NETWORKX.items()}

    def inputs() -> torch.Tensor:
        importlib.import_module("graphblas_algorithms")  # or its first call would be timed with it
        rows: torch.Tensor = case.inputs()
        return rows

    routes: dict[str, Callable[[Any], Any]] = {
        **case.routes,
        **{name: peer for name, peer in peers.items() if name not in left_out},
    }
    return replace(case, inputs=inputs, routes=routes, left_out={**case.left_out, **left_out})


def case(name: str, n: int, d: int, *, edge: str = "abs") -> Case:
    return eigenvector_case(f"eigenvector_centrality {edge} / {name}, {n} x {d}", n, d, edge=edge)


CASES = [
    beside_networkx(case("VGGish conv6 rank-1", 512, 9), "abs", {}),
    beside_networkx(case("CNN14 conv9 rank-1", 1024, 9), "abs", SLOW),
    beside_networkx(case("CNN14 conv12 rank-1", 2048, 9), "abs", SLOW),
    beside_networkx(case("CNN14 conv12 rank-1", 2048, 9, edge="squared"), "squared", SLOW),
    case("CREPE full conv1", 1024, 512),
]


def test_eigenvector_centrality(
    case: Case, route: str, replay: Callable[[Case, str], None]
) -> None:
    replay(case, route)

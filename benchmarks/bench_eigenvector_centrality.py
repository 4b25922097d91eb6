# SPDX-License-Identifier: MIT
"""Eigenvector centrality of the similarity graph."""

from __future__ import annotations

from collections.abc import Callable

from hubprune.bench import Case, eigenvector_case

CASES = [
    eigenvector_case("eigenvector_centrality abs / VGGish conv6 rank-1, 512 x 9", 512, 9),
    eigenvector_case("eigenvector_centrality abs / CNN14 conv9 rank-1, 1024 x 9", 1024, 9),
    eigenvector_case("eigenvector_centrality abs / CNN14 conv12 rank-1, 2048 x 9", 2048, 9),
    eigenvector_case(
        "eigenvector_centrality squared / CNN14 conv12 rank-1, 2048 x 9", 2048, 9, edge="squared"
    ),
    eigenvector_case("eigenvector_centrality abs / CREPE full conv1, 1024 x 512", 1024, 512),
]


def test_eigenvector_centrality(
    case: Case, route: str, replay: Callable[[Case, str], None]
) -> None:
    replay(case, route)

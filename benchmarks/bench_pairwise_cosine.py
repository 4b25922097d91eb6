# SPDX-License-Identifier: MIT
"""The matrix of cosines."""

from __future__ import annotations

from collections.abc import Callable

from hubprune.bench import Case, cosine_case

CASES = [
    cosine_case("pairwise_cosine / CNN14 conv12 rank-1, 2048 x 9", 2048, 9),
    cosine_case("pairwise_cosine / DCASE conv3 rank-1, 32 x 49", 32, 49),
    cosine_case("pairwise_cosine / 2048 x 256", 2048, 256),
    cosine_case("pairwise_cosine / CREPE full conv1, 1024 x 512", 1024, 512),
    cosine_case("pairwise_cosine / VGGish conv6 flattened, 512 x 4608", 512, 4608),
]


def test_pairwise_cosine(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)

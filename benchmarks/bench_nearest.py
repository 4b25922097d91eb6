# SPDX-License-Identifier: MIT
"""Nearest other filter."""

from __future__ import annotations

from collections.abc import Callable

from hubprune.bench import Case, nearest_case

CASES = [
    nearest_case("nearest / CNN14 conv12 rank-1, 2048 x 9", 2048, 9),
    nearest_case("nearest / DCASE conv3 rank-1, 32 x 49", 32, 49),
    nearest_case("nearest / CREPE full conv1, 1024 x 512", 1024, 512),
    nearest_case("nearest / VGGish conv6 flattened, 512 x 4608", 512, 4608),
    nearest_case(
        "nearest / 16384 x 9",
        16384,
        9,
        left_out={"torch naive": "slower than in chunks at 2048 already, and 1 GB"},
    ),
]


def test_nearest(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)

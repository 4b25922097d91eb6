# SPDX-License-Identifier: MIT
"""Rank-1 filter vectors of real networks' layers."""

from __future__ import annotations

from collections.abc import Callable

from hubprune.bench import Case, vectors_case
from layers import CNN14_SHAPES, CREPE_FULL_CONV2, DCASE21_SHAPES, VGGISH_SHAPES

CASES = [
    vectors_case("filter_vectors / CNN14, 12 layers", CNN14_SHAPES),
    vectors_case("filter_vectors / CNN14 conv12, 2048x2048x3x3", CNN14_SHAPES[-1:]),
    vectors_case("filter_vectors / VGGish, 6 layers", VGGISH_SHAPES),
    vectors_case("filter_vectors / DCASE baseline, 3 layers of 7x7", DCASE21_SHAPES),
    vectors_case("filter_vectors / CREPE conv2, 128x1024x64x1", [CREPE_FULL_CONV2]),
]


def test_filter_vectors(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)

# SPDX-License-Identifier: MIT
"""Nearest other filter at CNN14's width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import hubprune as hp
from layers import rows
from peers import nearest_chunked

X = rows(2048, 9)
EXACT, _ = nearest_chunked(X.double())  # the oracle is not our code
ROUTES = {"hubprune": hp.nearest, "torch chunked": nearest_chunked}


@pytest.mark.benchmark(group="nearest / CNN14 block 6")
@pytest.mark.parametrize("route", ROUTES)
def test_cnn14_block6(route: str, measure: Callable[..., Any]) -> None:
    measure(
        route,
        lambda: ROUTES[route](X),
        lambda result: (result[0] - EXACT).abs(),
        1e-6,
    )

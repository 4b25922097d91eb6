# SPDX-License-Identifier: MIT
"""Weighted degree at CNN14's widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import hubprune as hp
from layers import rows
from peers import abs_degree_chunked, abs_degree_naive, signed_degree_closed

ABS = {
    "hubprune": lambda x: hp.weighted_degree(x, edge="abs"),
    "torch chunked": abs_degree_chunked,
    "torch naive": abs_degree_naive,
}
SIGNED = {"hubprune": hp.weighted_degree, "torch closed form": signed_degree_closed}
SIZES = {"CNN14 block 6": (2048, 9), "16384 x 9": (16384, 9), "2048 x 1024": (2048, 1024)}


def run(
    routes: dict[str, Callable[[torch.Tensor], torch.Tensor]],
    route: str,
    edge: str,
    size: tuple[int, int],
    measure: Callable[..., Any],
) -> None:
    x = rows(*size)
    # The oracle is not our code: the peers in float64.
    exact = (abs_degree_chunked if edge == "abs" else signed_degree_closed)(x.double())
    scale = exact.abs().clamp_min(1.0)
    # Relative to the degree; the naive torch sum loses more, and is held to less.
    bound = 1e-6 if route == "hubprune" else 1e-4
    measure(
        route,
        lambda: routes[route](x),
        lambda degree: ((degree - exact) / scale).abs(),
        bound,
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("route", ABS)
def test_abs(route: str, size: str, benchmark: Any, measure: Callable[..., Any]) -> None:
    benchmark.group = f"weighted_degree abs / {size}"
    run(ABS, route, "abs", SIZES[size], measure)


@pytest.mark.parametrize("size", ["CNN14 block 6", "16384 x 9"])
@pytest.mark.parametrize("route", SIGNED)
def test_signed(route: str, size: str, benchmark: Any, measure: Callable[..., Any]) -> None:
    benchmark.group = f"weighted_degree signed / {size}"
    run(SIGNED, route, "signed", SIZES[size], measure)

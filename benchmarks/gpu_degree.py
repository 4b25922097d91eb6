# SPDX-License-Identifier: MIT
"""Lines of the weighted degree on a device: short rows, closed forms, long rows by every route."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch

import hubprune as hp
from gpu_clock import Route
from gpu_exact import degree_error, signed_error, squares_error
from gpu_lines import Line, Ours, Peer, compared_on_rows, pair_rate, pair_work
from gpu_peers import (
    CACHED_ENTRIES,
    PRECISIONS,
    closed_form_signed,
    closed_form_squares,
    eager_degree,
    eager_degree_at,
    other_peer,
)
from hubprune import _native
from hubprune.ops import DEGREE_ROUTE, DEGREE_ROUTES


def by_route(route: str, run: Route) -> Route:
    """Return `run` with the degree forced to one of `DEGREE_ROUTES`."""

    def inside(value: Any) -> Any:
        os.environ[DEGREE_ROUTE] = route
        try:
            return run(value)
        finally:
            del os.environ[DEGREE_ROUTE]

    return inside


def abs_degree(x: torch.Tensor, precision: str | None = None) -> torch.Tensor:
    return hp.weighted_degree(x, edge="abs", precision=precision)


def degree_by(route: str, precision: str) -> Route:
    """Return the absolute degree by a route."""
    return by_route(route, lambda x: abs_degree(x, precision))


#: Of rows of at most 32 features.
SHORT_ROUTES = ("tiles", "mma")


def routes_here() -> list[str]:
    """Return the routes of long rows that this device has.

    HUBPRUNE_WITHOUT_SM90=1 leaves out that one.
    """
    hopper = _native.sm90_available(torch.cuda.current_device())
    wanted = hopper and os.environ.get("HUBPRUNE_WITHOUT_SM90") != "1"
    missing = {"mma"} if wanted else {"mma", "sm90"}
    return [route for route in DEGREE_ROUTES if route not in missing]


def degree_lines(n: int, d: int) -> list[Line]:
    """In float32; from 16 384 rows on beside torch's bfloat16 too, which has its own error.

    And, while 128 rows of the matrix fit the L2 cache, beside panels that stay there.
    """
    peers = [Peer("X X', abs-sum", eager_degree)]
    if n >= 16384:
        peers.append(Peer("X X', abs-sum in bfloat16", lambda x: eager_degree(x, torch.bfloat16)))
    if 16384 <= n <= CACHED_ENTRIES // 128:
        cached = partial(eager_degree, entries=CACHED_ENTRIES)
        peers.append(Peer("X X', abs-sum in panels of 32 MiB", cached))
    ours = [Ours("weighted_degree abs", abs_degree, work=pair_work(n, d))]
    return compared_on_rows(n, d, ours, peers, degree_error, pair_rate(n))


def other_lines(n: int, d: int, precision: str, package: str) -> list[Line]:
    """The degree as it is computed by default beside another package's."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return abs_degree(x, precision)

    ours = [Ours(f"weighted_degree abs, {precision}", run, PRECISIONS[precision].bound)]
    peers = [other_peer(package, precision)]
    return compared_on_rows(n, d, ours, peers, degree_error, pair_rate(n))


def signed_lines(n: int, d: int) -> list[Line]:
    """The default edge: the sum of the unit rows, and a product of each with it."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.weighted_degree(x, edge="signed")

    ours = [Ours("weighted_degree signed", run, work={"copy": 4.0 * n * (d + 1)})]
    peers = [Peer("closed form in float32", closed_form_signed)]
    rate = n * d * 4 / 1e6, "GB/s of x"
    return compared_on_rows(n, d, ours, peers, signed_error, rate)


def squares_lines(n: int, d: int) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.weighted_degree(x, edge="squared")

    # The Gram matrix, one triangle of it, and a form for every row.
    work = {"copy": 4.0 * n * (d + 1), "float32": 2.0 * n * d * (1.5 * d + 1)}
    ours = [Ours("weighted_degree squared", run, work=work)]
    peers = [Peer("closed form in float32", closed_form_squares)]
    rate = n * d * 4 / 1e6, "GB/s of x"
    return compared_on_rows(n, d, ours, peers, squares_error, rate)


def route_name(route: str, precision: str) -> str:
    return f"weighted_degree abs, {route}, {precision}"


def by_routes(n: int, d: int, precision: str, routes: Iterable[str]) -> list[Ours]:
    """Return routes at one precision."""
    asked = PRECISIONS[precision]
    in_planes = pair_work(n, d, "bfloat16", asked.products)
    return [
        Ours(
            route_name(route, precision),
            degree_by(route, precision),
            asked.bound,
            pair_work(n, d) if route == "tiles" else in_planes,
        )
        for route in routes
    ]


def torch_at(precision: str) -> list[Peer]:
    """Return torch's own product at a precision; for "high" in float32 too."""
    names = [precision, "highest"] if precision == "high" else [precision]
    return [
        Peer(f"X X', abs-sum in {PRECISIONS[name].eager}", eager_degree_at(name)) for name in names
    ]


def long_lines(n: int, d: int, precision: str, *routes: str) -> list[Line]:
    """Routes at one precision, beside torch's own product at it."""
    ours, peers = by_routes(n, d, precision, routes), torch_at(precision)
    rate = n * (n - 1) * d / 1e9, "TFLOP/s"
    return compared_on_rows(n, d, ours, peers, degree_error, rate)


def short_lines(n: int, d: int, precision: str) -> list[Line]:
    """A warp's matrix units beside torch's own product at a precision."""
    ours, peers = by_routes(n, d, precision, ["mma"]), torch_at(precision)
    return compared_on_rows(n, d, ours, peers, degree_error, pair_rate(n))


def short_million_lines(n: int, d: int) -> list[Line]:
    """... at every precision beside our tiles: `degree_lines` has torch's times, of seconds."""
    ours = [own for precision in PRECISIONS for own in by_routes(n, d, precision, ["mma"])]
    peers = [Peer(route_name("tiles", "highest"), degree_by("tiles", "highest"))]
    return compared_on_rows(n, d, ours, peers, degree_error, pair_rate(n))

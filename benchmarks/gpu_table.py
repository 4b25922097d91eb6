# SPDX-License-Identifier: MIT
"""Time the CUDA kernels beside torch eager in one process, with their errors beside the times.

Usage: python benchmarks/gpu_table.py OUT [--quick] [--commit NAME]

Writes OUT/gpu_table.json and OUT/gpu_table.md. Every line holds ours and the peer's median over
interleaved repetitions (device events; inputs rotate, so that no call finds its input where the
call before left it), and both errors against float64 on the same input. Exits with 1 without a
device, or if an error of ours is above its bound.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune import _native
from hubprune.config import configuration
from hubprune.ops import DEGREE_ROUTE, DEGREE_ROUTES
from layers import CNN14
from peers import rank1_gram

ERROR_BOUND = 1e-6  # of a cosine, a vector entry, and a degree relative to its sum of magnitudes
BUDGET_MS = 1500.0  # for the repetitions of one line
CEILING_VALUES = 2**28  # that are copied
CEILING_ROWS = 8192  # of the matrices that are multiplied
DEVICE = "cuda"
CHUNK_ENTRIES = 2**28  # of the peer's similarity panel: 1 GiB of float32


@dataclass(frozen=True)
class Line:
    """One line of the table; times are medians in milliseconds."""

    operation: str
    shape: str
    ms: float
    rate: float
    unit: str
    error: float
    peer: str
    peer_ms: float
    peer_error: float
    repetitions: int
    bound: float = ERROR_BOUND
    work: float = 0.0  # the fewest bytes or operations that the result takes
    ceiling: str = ""  # the entry of `ceilings` that limits the work, if one does

    def percent(self, ceilings: dict[str, float]) -> float | None:
        """Return the part of the ceiling that was reached, in percent."""
        return self.work / self.ms / ceilings[self.ceiling] * 100 if self.ceiling else None

    @property
    def times_faster(self) -> float:
        return self.peer_ms / self.ms


Route = Callable[[Any], Any]


def interleaved_medians(
    routes: Sequence[Route], inputs: Sequence[Any], budget_ms: float = BUDGET_MS
) -> tuple[list[float], int]:
    """Return each route's median time in ms, all routes taking turns on rotating inputs."""

    def once(route: Route, value: Any) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        route(value)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    warm_up = sum(once(route, inputs[0]) for _ in range(2) for route in routes) / 2
    repetitions = int(min(50, max(5, budget_ms / max(warm_up, 1e-3))))
    times: list[list[float]] = [[] for _ in routes]
    for repetition in range(repetitions):
        for at, route in enumerate(routes):
            times[at].append(once(route, inputs[repetition % len(inputs)]))
    return [statistics.median(each) for each in times], repetitions


def ceilings() -> dict[str, float]:
    """Measure what this device reaches, a millisecond: bytes copied, operations of products."""
    source = torch.randn(CEILING_VALUES, device=DEVICE)
    target = torch.empty_like(source)
    (ms,), _ = interleaved_medians([lambda pair: pair[1].copy_(pair[0])], [(source, target)])
    found = {"copy": 2.0 * 4 * len(source) / ms}
    n = CEILING_ROWS
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("float64", torch.float64, "highest"),
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        square = torch.randn(n, n, device=DEVICE).to(dtype)
        product = torch.empty_like(square)
        torch.set_float32_matmul_precision(precision)
        try:
            (ms,), _ = interleaved_medians(
                [lambda pair: torch.mm(pair[0], pair[0], out=pair[1])], [(square, product)]
            )
        finally:
            torch.set_float32_matmul_precision(before)
        found[name] = 2.0 * n**3 / ms
    return found


def gaussian(*shape: int, copies: int = 3) -> list[torch.Tensor]:
    """Return inputs to rotate among: one where the copies would take more than 4 GB."""
    size = torch.Size(shape).numel() * 4
    generator = torch.Generator(device=DEVICE).manual_seed(sum(shape))
    return [
        torch.randn(*shape, device=DEVICE, generator=generator)
        for _ in range(copies if copies * size < 4e9 else 1)
    ]


# --- degree ---------------------------------------------------------------------------------------
def unit_rows(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=1)


def eager_degree(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    rows = max(256, CHUNK_ENTRIES // len(x))
    return torch.cat([(block @ unit.T).abs().sum(1) for block in unit.split(rows)]) - 1


def sampled_cosines(x: torch.Tensor, count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some row numbers and their float64 cosines with every row, 0 with themselves."""
    some = torch.linspace(0, len(x) - 1, min(count, len(x)), device=x.device).long()
    unit = unit_rows(x[some].double())
    panels = [unit @ unit_rows(block.double()).T for block in x.split(65536)]
    cosines = torch.cat(panels, dim=1).clamp(-1, 1)
    cosines[torch.arange(len(some), device=x.device), some] = 0
    return some, cosines


def relative_error(sums: torch.Tensor, some: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest error of some sums, relative to their exact values."""
    return float(((sums[some].double() - exact) / exact).abs().max())


def abs_degree(x: torch.Tensor) -> torch.Tensor:
    return hp.weighted_degree(x, edge="abs")


def degree_line(n: int, d: int) -> Line:
    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([abs_degree, eager_degree], inputs)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)

    def error(degree: torch.Tensor) -> float:
        return relative_error(degree, some, exact)

    return Line(
        operation="weighted_degree abs",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * (n - 1) / 2 / ms / 1e6,
        unit="G pairs/s",
        error=error(abs_degree(inputs[0])),
        peer="X X', abs, sum",
        peer_ms=peer_ms,
        peer_error=error(eager_degree(inputs[0])),
        repetitions=repetitions,
        work=float(n) * (n - 1) * d,
        ceiling="float32",
    )


def other_peers() -> dict[str, Route]:
    """Return the same degree by what else is installed: torch.compile, CuPy."""
    found: dict[str, Route] = {}
    if importlib.util.find_spec("triton"):
        found["torch.compile of X X', abs, sum"] = torch.compile(eager_degree)
    if importlib.util.find_spec("cupy"):
        import cupy

        def by_cupy(x: torch.Tensor) -> torch.Tensor:
            # On torch's stream, or the events around it would not see its work.
            with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
                rows = cupy.from_dlpack(x)
                unit = rows / cupy.linalg.norm(rows, axis=1, keepdims=True)
                return torch.from_dlpack(cupy.abs(unit @ unit.T).sum(axis=1) - 1)

        found["CuPy X X', abs, sum"] = by_cupy
    return found


def other_lines(n: int, d: int) -> list[Line]:
    """The degree beside each of `other_peers`."""
    line = degree_line(n, d)
    inputs = gaussian(n, d)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)
    found = []
    for name, peer in other_peers().items():
        (ms, peer_ms), repetitions = interleaved_medians([abs_degree, peer], inputs)
        error = relative_error(peer(inputs[0]), some, exact)
        times = {"ms": ms, "peer_ms": peer_ms, "rate": line.rate * line.ms / ms}
        named = {"peer": name, "peer_error": error, "repetitions": repetitions}
        found.append(replace(line, **times, **named))
    return found


def closed_form_squares(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    return ((unit @ (unit.T @ unit)) * unit).sum(1) - 1


def squares_line(n: int, d: int) -> Line:
    def ours(x: torch.Tensor) -> torch.Tensor:
        return hp.weighted_degree(x, edge="squared")

    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([ours, closed_form_squares], inputs)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.square().sum(1)

    def error(degree: torch.Tensor) -> float:
        return relative_error(degree, some, exact)

    return Line(
        operation="weighted_degree squared",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * d * 4 / ms / 1e6,
        unit="GB/s of x",
        error=error(ours(inputs[0])),
        peer="closed form in float32",
        peer_ms=peer_ms,
        peer_error=error(closed_form_squares(inputs[0])),
        repetitions=repetitions,
        work=3.0 * 4 * n * d,
        ceiling="copy",
    )


# --- sum of distances -----------------------------------------------------------------------------
def distance_line(n: int, d: int) -> Line:
    def ours(x: torch.Tensor) -> torch.Tensor:
        sums: torch.Tensor = torch.ops.hubprune.distance_sum(x)
        return sums

    def eager(x: torch.Tensor) -> torch.Tensor:
        rows = max(256, CHUNK_ENTRIES // len(x))
        return torch.cat([torch.cdist(block, x).sum(1) for block in x.split(rows)])

    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([ours, eager], inputs)
    some = torch.linspace(0, n - 1, min(32, n), device=inputs[0].device).long()
    mode = "donot_use_mm_for_euclid_dist"
    exact = torch.cdist(inputs[0][some].double(), inputs[0].double(), compute_mode=mode).sum(1)

    def error(sums: torch.Tensor) -> float:
        return relative_error(sums, some, exact)

    return Line(
        operation="distance_sum",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * (n - 1) / 2 / ms / 1e6,
        unit="G pairs/s",
        error=error(ours(inputs[0])),
        peer="cdist, sum",
        peer_ms=peer_ms,
        peer_error=error(eager(inputs[0])),
        repetitions=repetitions,
        work=float(n) * (n - 1) * d,
        ceiling="float32",
    )


# --- degree of long rows --------------------------------------------------------------------------
@dataclass(frozen=True)
class Precision:
    """What a precision of the degree stands for."""

    bound: float  # of the error, relative to the degree
    dtype: torch.dtype  # of torch's product at that precision
    eager: str  # how torch computes it
    products: int  # of bfloat16 planes


PRECISIONS = {
    "highest": Precision(1e-6, torch.float32, "float32", 6),
    "high": Precision(1.5e-5, torch.float32, "tf32", 3),
    "medium": Precision(1e-2, torch.bfloat16, "bfloat16", 1),
}


def degree_by(route: str, precision: str) -> Route:
    """Return the absolute degree by one of `DEGREE_ROUTES`."""

    def run(x: torch.Tensor) -> torch.Tensor:
        os.environ[DEGREE_ROUTE] = route
        try:
            return hp.weighted_degree(x, edge="abs", precision=precision)
        finally:
            del os.environ[DEGREE_ROUTE]

    return run


def eager_degree_at(precision: str) -> Route:
    """Return the absolute degree by torch's own product at a precision."""

    def run(x: torch.Tensor) -> torch.Tensor:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            unit = unit_rows(x).to(PRECISIONS[precision].dtype)
            rows = max(256, CHUNK_ENTRIES // len(x))
            panels = (block @ unit.T for block in unit.split(rows))
            return torch.cat([s.float().abs().sum(1) for s in panels]) - 1
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def routes_here() -> list[str]:
    """Return the routes that this device has."""
    hopper = _native.sm90_available(torch.cuda.current_device())
    return [route for route in DEGREE_ROUTES if hopper or route != "sm90"]


def long_lines(n: int, d: int) -> list[Line]:
    """Every route at every precision, beside torch's own product at that precision."""
    inputs = gaussian(n, d)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)

    def error(degree: torch.Tensor) -> float:
        return relative_error(degree, some, exact)

    found = []
    routes = routes_here()
    for name, precision in PRECISIONS.items():
        ours = [degree_by(route, name) for route in routes]
        eager = eager_degree_at(name)
        (*times, peer_ms), repetitions = interleaved_medians([*ours, eager], inputs)
        for route, run, ms in zip(routes, ours, times, strict=True):
            found.append(
                Line(
                    operation=f"weighted_degree abs, {route}, {name}",
                    shape=f"{n} x {d}",
                    ms=ms,
                    rate=n * (n - 1) * d / ms / 1e9,
                    unit="TFLOP/s",
                    error=error(run(inputs[0])),
                    peer=f"X X', abs, sum in {precision.eager}",
                    peer_ms=peer_ms,
                    peer_error=error(eager(inputs[0])),
                    repetitions=repetitions,
                    bound=precision.bound,
                    work=float(n) * (n - 1) * d * (1 if route == "tiles" else precision.products),
                    ceiling="float32" if route == "tiles" else "bfloat16",
                )
            )
    return found


# --- nearest --------------------------------------------------------------------------------------
def eager_nearest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    unit = unit_rows(x)
    rows = max(256, CHUNK_ENTRIES // len(x))
    best = []
    for first in range(0, len(x), rows):
        s = unit[first : first + rows] @ unit.T
        s.diagonal(first).fill_(-2)
        best.append(s.max(1))
    return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])


def nearest_line(n: int, d: int) -> Line:
    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([hp.nearest, eager_nearest], inputs)
    some, cosines = sampled_cosines(inputs[0])
    cosines[torch.arange(len(some), device=some.device), some] = -2
    exact = cosines.max(1).values

    def error(result: tuple[torch.Tensor, torch.Tensor]) -> float:
        similarity, index = result
        at_index = cosines.gather(1, index[some][:, None])[:, 0]
        wrong = torch.maximum((similarity[some].double() - exact).abs(), exact - at_index)
        return float(wrong.max())

    return Line(
        operation="nearest",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * (n - 1) / 2 / ms / 1e6,
        unit="G pairs/s",
        error=error(hp.nearest(inputs[0])),
        peer="X X', max",
        peer_ms=peer_ms,
        peer_error=error(eager_nearest(inputs[0])),
        repetitions=repetitions,
        work=2.0 * n * (n - 1) * d,
        ceiling="float32",
    )


# --- eigenvector centrality -----------------------------------------------------------------------
def eager_product(x: torch.Tensor, edge: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return v -> W v in the dtype of x: implicit, stored where it fits, else panels of rows."""
    unit = unit_rows(x)
    if edge == "squared":

        def implicit(v: torch.Tensor) -> torch.Tensor:
            gram = unit.T @ (v[:, None] * unit)
            return ((unit @ gram) * unit).sum(1) - v

        return implicit
    size = len(x) ** 2 * x.element_size()
    if 2 * size < torch.cuda.mem_get_info()[0]:
        graph = (unit @ unit.T).abs_()
        graph.fill_diagonal_(0)
        return lambda v: graph @ v
    panels = unit.split(max(256, CHUNK_ENTRIES // len(x)))
    return lambda v: torch.cat([(panel @ unit.T).abs_() @ v for panel in panels]) - v


def eager_eigenvector(x: torch.Tensor, edge: str, tol: float = 1e-6) -> torch.Tensor:
    """Power iteration from ones, until the residual is small or has not shrunk for three products.

    It waits for each residual.
    """
    product = eager_product(x, edge)
    v = torch.full((len(x),), len(x) ** -0.5, dtype=x.dtype, device=x.device)
    least, idle = float("inf"), 0
    for _ in range(500):
        w = product(v)
        value = v @ w
        residual = float((w - value * v).norm() / value)
        idle = 0 if residual < least else idle + 1
        least = min(least, residual)
        if residual <= tol or idle == 3:
            break
        v = w / w.norm()
    return v


def eigenvector_line(n: int, d: int, edge: str) -> Line:
    def ours(x: torch.Tensor) -> torch.Tensor:
        return hp.eigenvector_centrality(x, edge=edge, tol=1e-6)

    def eager(x: torch.Tensor) -> torch.Tensor:
        return eager_eigenvector(x, edge)

    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([ours, eager], inputs)
    exact = eager_eigenvector(inputs[0].double(), edge, 1e-12)

    def error(vector: torch.Tensor) -> float:
        return float((vector.double() - exact).norm())

    through = "through the d x d Gram matrix" if edge == "squared" else "X X', abs"
    return Line(
        operation=f"eigenvector_centrality {edge}",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n / ms / 1e3,
        unit="M rows/s",
        error=error(ours(inputs[0])),
        peer=f"power iteration, {through}",
        peer_ms=peer_ms,
        peer_error=error(eager(inputs[0])),
        repetitions=repetitions,
        bound=2e-6,  # of a vector of length 1: the residual that was asked for over the gap
    )


# --- betweenness and closeness --------------------------------------------------------------------
def path_line(operation: str, n: int, d: int) -> Line:
    """Beside our own CPU kernel: nothing else computes these on weighted graphs on a GPU."""
    x = gaussian(n, d, copies=1)[0].double()
    lengths = 1 - hp.pairwise_cosine(x)

    def ours(graph: torch.Tensor) -> torch.Tensor:
        centrality: torch.Tensor = getattr(torch.ops.hubprune, operation)(graph)
        return centrality

    (ms,), repetitions = interleaved_medians([ours], [lengths])
    exact, peer_ms, peer_name = on_the_host(ours, lengths)
    return Line(
        operation=operation,
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * n / ms / 1e6,
        unit="G steps/s",
        error=float((ours(lengths).cpu() - exact).abs().max() / exact.max()),
        peer=peer_name,
        peer_ms=peer_ms,
        peer_error=0.0,
        repetitions=repetitions,
    )


# --- greedy orders --------------------------------------------------------------------------------
def eager_greedy_degree(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    weights = (unit @ unit.T).abs().fill_diagonal_(0)
    degree = weights.sum(1)
    order = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for step in range(len(x)):
        hub = degree.argmax()
        order[step] = hub
        degree -= weights[hub]
        degree[hub] = -torch.inf
    return order


def eager_cholesky(a: torch.Tensor) -> torch.Tensor:
    """Return what is left at every pivot of a matrix of full rank."""
    factor = torch.empty_like(a)
    left = a.diagonal().clone()
    residual = torch.empty_like(left)
    for step in range(len(a)):
        pivot = left.argmax()
        residual[step] = left[pivot]
        known = factor[:step]
        factor[step] = (a[pivot] - known[:, pivot] @ known) / left[pivot].sqrt()
        left -= factor[step].square()
        left[pivot] = -torch.inf
    return residual


def shortfall(x: torch.Tensor, order: torch.Tensor) -> float:
    """Return how far a removed row's degree is below the largest, relative to it, at most."""
    unit = unit_rows(x.double())
    weights = (unit @ unit.T).abs().fill_diagonal_(0)
    left = weights.sum(1)
    worst = torch.zeros((), dtype=torch.float64, device=x.device)
    for hub in order:
        worst = torch.maximum(worst, (left.max() - left[hub]) / left.max().clamp(min=1))
        left -= weights[hub]
        left[hub] = -torch.inf
    return float(worst)


def on_the_host(run: Route, value: torch.Tensor) -> tuple[Any, float, str]:
    """Return our CPU kernel's result, its time in milliseconds and its name."""
    there = value.cpu()
    began = time.perf_counter()  # once: it can take seconds
    result = run(there)
    ms = (time.perf_counter() - began) * 1e3
    return result, ms, f"hubprune, CPU, {torch.get_num_threads()} threads"


def greedy_lines(n: int, d: int) -> list[Line]:
    """Beside our own CPU kernel, and beside a loop of torch's operations."""

    def ours(x: torch.Tensor) -> torch.Tensor:
        return hp.greedy_degree(x, edge="abs")[0]

    inputs = gaussian(n, d)
    (ms, eager_ms), repetitions = interleaved_medians([ours, eager_greedy_degree], inputs)
    host_order, host_ms, host_name = on_the_host(ours, inputs[0])
    line = Line(
        operation="greedy_degree abs",
        shape=f"{n} x {d}",
        ms=ms,
        rate=n / ms,
        unit="k removals/s",
        error=shortfall(inputs[0], ours(inputs[0])),
        peer=host_name,
        peer_ms=host_ms,
        peer_error=shortfall(inputs[0], host_order.to(inputs[0].device)),
        repetitions=repetitions,
    )
    eager_error = shortfall(inputs[0], eager_greedy_degree(inputs[0]))
    return [line, replace(line, peer="torch loop", peer_ms=eager_ms, peer_error=eager_error)]


def cholesky_lines(n: int) -> list[Line]:
    """Of a matrix of full rank; beside our own CPU kernel, and a loop of torch's operations."""

    def ours(a: torch.Tensor) -> torch.Tensor:
        residual: torch.Tensor = torch.ops.hubprune.pivoted_cholesky(a, 1e-12)[1]
        return residual

    rows = gaussian(n, 2 * n, copies=1)[0].double()
    a = rows @ rows.T
    (ms, eager_ms), repetitions = interleaved_medians([ours, eager_cholesky], [a])
    exact, host_ms, host_name = on_the_host(ours, a)

    def error(residual: torch.Tensor) -> float:
        return float((residual.cpu() - exact).abs().max() / exact[0])

    line = Line(
        operation="pivoted_cholesky",
        shape=f"{n} x {n}, full rank",
        ms=ms,
        rate=n / ms,
        unit="k pivots/s",
        error=error(ours(a)),
        peer=host_name,
        peer_ms=host_ms,
        peer_error=0.0,
        repetitions=repetitions,
        work=8.0 * n**3 / 6,  # the fewest bytes: of the rows not yet chosen alone
        ceiling="copy",
    )
    eager_error = error(eager_cholesky(a))
    return [line, replace(line, peer="torch loop", peer_ms=eager_ms, peer_error=eager_error)]


# --- rank-1 vectors -------------------------------------------------------------------------------
def vectors_line(name: str, n: int, c: int, *kernel: int) -> Line:
    inputs = gaussian(n, c, *kernel)
    (ms, peer_ms), repetitions = interleaved_medians([hp.filter_vectors, rank1_gram], inputs)
    some = slice(0, n, max(1, n // 32))
    exact = hp.reference.filter_vectors(inputs[0][some].double().cpu().numpy(), "rank1")

    def error(vectors: torch.Tensor) -> float:
        return float(abs(vectors[some].double().cpu().numpy() - exact).max())

    return Line(
        operation="filter_vectors rank1",
        shape=f"{name}: {n} x {c} x {' x '.join(map(str, kernel))}",
        ms=ms,
        rate=inputs[0].numel() * 4 / ms / 1e6,
        unit="GB/s",
        error=error(hp.filter_vectors(inputs[0])),
        peer="bmm, eigh",
        peer_ms=peer_ms,
        peer_error=error(rank1_gram(inputs[0])),
        repetitions=repetitions,
        work=4.0 * inputs[0].numel(),
        ceiling="copy",
    )


# --- a whole network ------------------------------------------------------------------------------
def network_lines(sizes: Sequence[tuple[int, int]] = CNN14) -> list[Line]:
    """Vectors and degree of CNN14: layer by layer, in grouped launches, and these in a graph.

    And as `score_model`, which also finds dead filters, sorts, and waits for the norms.
    """
    weights = [gaussian(n, c, 3, 3, copies=1)[0] for n, c in sizes]

    def ours(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        return [abs_degree(hp.filter_vectors(w)) for w in layers]

    def together(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        vectors, _ = torch.ops.hubprune.rank1_vectors([w.flatten(2) for w in layers])
        degrees: list[torch.Tensor] = torch.ops.hubprune.weighted_degree(vectors, "abs")
        return degrees

    def scored(_: list[torch.Tensor]) -> list[torch.Tensor]:
        return [scores.values for scores in hp.score_model(model, rule).values()]

    rule = hp.scorers.WeightedDegree(edge="abs")

    def eager(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        return [eager_degree(rank1_gram(w)) for w in layers]

    model = torch.nn.Sequential()
    for w in weights:
        layer = torch.nn.Conv2d(w.shape[1], w.shape[0], 3, device="meta", bias=False)
        layer.weight = torch.nn.Parameter(w)
        model.append(layer)
    together(weights)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = together(weights)

    def replay(_: list[torch.Tensor]) -> list[torch.Tensor]:
        graph.replay()
        return captured

    routes = [ours, together, replay, scored, eager]
    (*times, peer_ms), repetitions = interleaved_medians(routes, [weights])
    exact = [
        hp.reference.weighted_degree(
            hp.reference.filter_vectors(w.double().cpu().numpy(), "rank1"), "abs"
        )
        for w in weights[:6]
    ]

    def error(degrees: list[torch.Tensor]) -> float:
        return max(
            float(abs(degree.double().cpu().numpy() / wanted - 1).max())
            for degree, wanted in zip(degrees, exact, strict=False)
        )

    size = sum(w.numel() for w in weights) * 4
    *errors, peer_error = [error(route(weights)) for route in routes]
    return [
        Line(
            operation=operation,
            shape="CNN14, 12 layers",
            ms=time,
            rate=size / time / 1e6,
            unit="GB/s",
            error=own_error,
            peer="bmm, eigh, X X', abs, sum",
            peer_ms=peer_ms,
            peer_error=peer_error,
            repetitions=repetitions,
            work=float(size),
            ceiling="copy",
        )
        for operation, time, own_error in zip(
            (
                "vectors and degree, layer by layer",
                "vectors and degree, grouped",
                "vectors and degree, grouped, graph",
                "score_model, degree abs",
            ),
            times,
            errors,
            strict=True,
        )
    ]


def lines(quick: bool) -> list[Line]:
    """Measure everything; `quick` leaves out what takes more than a second."""
    found = [
        vectors_line("CNN14 block 2", 128, 128, 3, 3),
        vectors_line("CREPE layer 2", 128, 1024, 64, 1),
        vectors_line("DCASE 2021", 32, 16, 7, 7),
        degree_line(64, 9),
        degree_line(2048, 9),
        degree_line(2048, 1024),
        nearest_line(2048, 9),
        squares_line(2048, 9),
        distance_line(2048, 9),
        eigenvector_line(2048, 9, "abs"),
        path_line("betweenness_centrality", 512, 9),
        path_line("closeness_centrality", 512, 9),
        *greedy_lines(2048, 9),
        *cholesky_lines(2048),
    ]
    if not quick:
        found += [
            vectors_line("CNN14 block 6", 2048, 2048, 3, 3),
            vectors_line("wide kernels", 256, 300, 17, 17),
            degree_line(16384, 9),
            *other_lines(16384, 9),
            *other_lines(4096, 1024),
            degree_line(65536, 9),
            *long_lines(2048, 18432),
            *long_lines(16384, 4608),
            degree_line(1_000_000, 9),
            nearest_line(65536, 9),
            squares_line(1_000_000, 9),
            squares_line(65536, 128),
            distance_line(2048, 4608),
            eigenvector_line(65536, 9, "abs"),
            eigenvector_line(1_000_000, 9, "squared"),
            path_line("betweenness_centrality", 2048, 9),
            path_line("closeness_centrality", 2048, 9),
            nearest_line(2048, 18432),
            *network_lines(),
        ]
    return found


def driver_version() -> str:
    try:
        run = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip().splitlines()[0]


def environment(commit: str) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "driver": driver_version(),
        "torch_cuda": torch.version.cuda,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "commit": commit,
        "configuration": configuration(),
        "ceilings": ceilings(),
    }


def of_ceiling(line: Line, machine: dict[str, Any]) -> str:
    percent = line.percent(machine["ceilings"])
    return "" if percent is None else f"{percent:.0f}% {line.ceiling}"


def markdown(found: list[Line], machine: dict[str, Any]) -> str:
    """Return the table with one sentence on where it was measured."""
    own = machine["configuration"]
    rows = [
        "| operation | shape | hubprune, ms | rate | of the ceiling | error | peer | ms | error "
        "| times faster |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {line.operation} | {line.shape} | {line.ms:.3g} | {line.rate:.3g} {line.unit} | "
        f"{of_ceiling(line, machine)} | {line.error:.0e} | {line.peer} | {line.peer_ms:.3g} | "
        f"{line.peer_error:.0e} | {line.times_faster:.2g} |"
        for line in found
    ]
    rows += [
        "",
        f"{machine['device']}, driver {machine['driver']}, hubprune {own['hubprune']} at "
        f"{machine['commit']} (CUDA runtime {own['cuda']['runtime']}), torch {own['torch']} "
        f"(CUDA {machine['torch_cuda']}), float32 products in {machine['matmul_precision']} "
        "precision. Medians of interleaved repetitions; errors against float64: absolute for "
        "vectors and cosines, relative for degrees. Ceilings measured there: "
        + ", ".join(
            f"{name} {rate / 1e6:.3g} GB/s"
            if name == "copy"
            else f"{name} {rate / 1e9:.3g} TFLOP/s"
            for name, rate in machine["ceilings"].items()
        )
        + ".",
    ]
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for gpu_table.json and gpu_table.md")
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    parser.add_argument("--commit", default="unknown", help="name of the measured source")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured", file=sys.stderr)
        return 1
    found = lines(arguments.quick)
    machine = environment(arguments.commit)
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": machine,
        "lines": [{**asdict(line), "times_faster": line.times_faster} for line in found],
    }
    (arguments.out / "gpu_table.json").write_text(json.dumps(report, indent=2) + "\n")
    text = markdown(found, machine)
    (arguments.out / "gpu_table.md").write_text(text)
    print(text)
    wrong = [line for line in found if not line.error <= line.bound]
    for line in wrong:
        print(
            f"{line.operation} {line.shape}: error {line.error} above {line.bound}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

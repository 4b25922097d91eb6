# SPDX-License-Identifier: MIT
"""Time the CUDA kernels beside torch eager in one process, with their errors beside the times.

Usage: python benchmarks/gpu_table.py OUT [--group NAME] [--resume] [--quick] [--commit NAME]

Writes OUT/gpu_table.json and OUT/gpu_table.md anew after every line. A line holds ours and the
peer's median over interleaved repetitions, and both errors against float64 on the same input. Times
are between two events on the stream; 256 MB are written just before the first, so that nothing is
found in the L2 cache. They hold what the host takes to launch, which is most of a short call: where
a call of a few milliseconds can be captured in a graph, the time of a replay is beside it.

A line that fails is listed with its reason. The exit code is 2 without a device; 14 if an error of
ours is above its bound; 15 if a line failed. Any other: a line ended the process, by a hang of more
than LINE_SECONDS or a fault: run again with --resume for the lines behind it. The groups, the
riskiest last, can be separate processes with one OUT: --resume keeps what the others wrote.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune import _native
from hubprune.config import configuration
from hubprune.ops import DEGREE_ROUTE, DEGREE_ROUTES
from journal import NO_DEVICE, Journal
from layers import CNN14
from peers import rank1_gram

ERROR_BOUND = 1e-6  # of a cosine, a vector entry, and a degree relative to its sum of magnitudes
BUDGET_MS = 1000.0  # for the repetitions of one line
SLOW_MS = 500.0  # all routes once: from here on three repetitions, not five
GRAPH_MS = 5.0  # of a call: what is longer is no matter of launches
LINE_SECONDS = 60.0  # that a line may take; then it hangs
FLUSH_VALUES = 2**26  # that are written before every call: 256 MB, more than any L2 cache
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
    graph_ms: float | None  # of a replay; None where it was not captured
    rate: float
    unit: str
    error: float
    peer: str
    peer_ms: float
    peer_graph_ms: float | None
    peer_error: float
    repetitions: int
    bound: float = ERROR_BOUND
    work: float = 0.0  # the fewest bytes or operations that the result takes
    ceiling: str = ""  # the entry of `ceilings` that limits the work, if one does

    def percent(self, ceilings: dict[str, float]) -> float | None:
        """Return the part of the ceiling that was reached, in percent."""
        ceiling = ceilings.get(self.ceiling)
        best = self.ms if self.graph_ms is None else min(self.ms, self.graph_ms)
        return self.work / best / ceiling * 100 if ceiling else None

    @property
    def times_faster(self) -> float:
        """By the calls' times, as a caller sees them."""
        return self.peer_ms / self.ms


Route = Callable[[Any], Any]


@dataclass(frozen=True)
class Ours:
    """One of our ways to a result."""

    operation: str
    run: Route
    bound: float = ERROR_BOUND
    work: float = 0.0
    ceiling: str = ""
    capturable: bool = True


@dataclass(frozen=True)
class Peer:
    """Somebody else's; not capturable is what waits for the device."""

    name: str
    run: Route
    capturable: bool = True


@dataclass(frozen=True)
class Timing:
    """Of one route: the first call's result, and median times in milliseconds."""

    result: Any
    ms: float
    graph_ms: float | None
    replayed: Any  # the result of the replays, None without


# --- the clock ------------------------------------------------------------------------------------
@functools.cache
def flush_buffer() -> torch.Tensor:
    return torch.empty(FLUSH_VALUES, device=DEVICE)


def once(route: Route, value: Any) -> tuple[float, Any]:
    """Return the time of a call in ms and its result."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush_buffer().zero_()
    start.record()
    result = route(value)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)), result


def captured(route: Route, value: Any) -> tuple[Route, Any] | None:
    """Return replays of a call and their result; None if it cannot be captured."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = route(value)
    except RuntimeError as error:
        print(f"not captured in a graph: {error}", file=sys.stderr)
        return None
    return lambda _: graph.replay(), result


def interleaved(
    routes: Sequence[Route],
    value: Any,
    budget_ms: float = BUDGET_MS,
    capturable: Sequence[bool] = (),
) -> tuple[list[Timing], int]:
    """Return each route's times and the repetitions, all routes taking turns."""
    first = [once(route, value)[1] for route in routes]  # loads and compiles: no time of it counts
    estimates = [once(route, value)[0] for route in routes]
    replays = [
        captured(route, value) if wanted and ms < GRAPH_MS else None
        for route, wanted, ms in zip(
            routes, capturable or [False] * len(routes), estimates, strict=True
        )
    ]
    if any(replays):  # capturing gives torch's memory back to the device
        for route in routes:
            once(route, value)
    a_pass = max(sum(estimates), 1e-3)
    repetitions = int(min(50, max(3 if a_pass > SLOW_MS else 5, budget_ms / a_pass)))
    times: list[list[float]] = [[] for _ in routes]
    graph_times: list[list[float]] = [[] for _ in routes]
    for _ in range(repetitions):
        for at, route in enumerate(routes):
            times[at].append(once(route, value)[0])
            replay = replays[at]
            if replay is not None:
                graph_times[at].append(once(replay[0], value)[0])
    found = [
        Timing(
            result,
            statistics.median(times[at]),
            statistics.median(graph_times[at]) if graph_times[at] else None,
            replay[1] if replay else None,
        )
        for at, (result, replay) in enumerate(zip(first, replays, strict=True))
    ]
    return found, repetitions


def compared(
    shape: str,
    value: Any,
    ours: Sequence[Ours],
    peers: Sequence[Peer],
    error: Callable[[Any], float],
    rate: tuple[float, str],
    known_peers: Iterable[tuple[str, float, float]] = (),
) -> list[Line]:
    """Return a line for each of ours and each peer.

    `rate` is what is done in a millisecond if a call takes one, and its unit. Of `known_peers`
    (name, ms, error) are known already.
    """
    every = [*ours, *peers]
    timings, repetitions = interleaved(
        [each.run for each in every], value, capturable=[each.capturable for each in every]
    )
    others = [
        (peer.name, each.ms, each.graph_ms, error(each.result))
        for peer, each in zip(peers, timings[len(ours) :], strict=True)
    ]
    others += [(name, ms, None, its_error) for name, ms, its_error in known_peers]
    found = []
    for own, each in zip(ours, timings, strict=False):
        results = [each.result] + ([] if each.replayed is None else [each.replayed])
        largest = max((error(result) for result in results), key=lambda e: (e != e, e))
        found += [
            Line(
                operation=own.operation,
                shape=shape,
                ms=each.ms,
                graph_ms=each.graph_ms,
                rate=rate[0] / each.ms,
                unit=rate[1],
                error=largest,
                peer=name,
                peer_ms=peer_ms,
                peer_graph_ms=peer_graph_ms,
                peer_error=peer_error,
                repetitions=repetitions,
                bound=own.bound,
                work=own.work,
                ceiling=own.ceiling,
            )
            for name, peer_ms, peer_graph_ms, peer_error in others
        ]
    return found


def ceilings() -> dict[str, float]:
    """Measure what this device reaches, a millisecond: bytes copied, operations of products."""
    source = torch.randn(CEILING_VALUES, device=DEVICE)
    target = torch.empty_like(source)
    (copy,), _ = interleaved([lambda pair: pair[1].copy_(pair[0])], (source, target))
    found = {"copy": 2.0 * 4 * len(source) / copy.ms}
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
            (mm,), _ = interleaved(
                [lambda pair: torch.mm(pair[0], pair[0], out=pair[1])], (square, product)
            )
        finally:
            torch.set_float32_matmul_precision(before)
        found[name] = 2.0 * n**3 / mm.ms
    return found


def gaussian(*shape: int) -> torch.Tensor:
    generator = torch.Generator(device=DEVICE).manual_seed(sum(shape))
    return torch.randn(*shape, device=DEVICE, generator=generator)


# --- degree ---------------------------------------------------------------------------------------
def unit_rows(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """In two passes over x, whatever the dtype of the result."""
    inverse = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12).reciprocal()
    return torch.mul(x, inverse, out=torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device))


def panel_rows(n: int) -> int:
    return max(256, CHUNK_ENTRIES // n)


def eager_degree(x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The fewest passes that torch's operations take: a panel is written once and read once."""
    unit = unit_rows(x, dtype)
    if dtype == torch.bfloat16:  # rows that start at multiples of 16 bytes
        unit = torch.nn.functional.pad(unit, (0, -unit.shape[1] % 8))
    panels = (block @ unit.T for block in unit.split(panel_rows(len(x))))
    sums = [torch.linalg.vector_norm(s, 1, dim=1, dtype=torch.float32) for s in panels]
    return torch.cat(sums) - 1


def plain_degree(x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """As it is written down, for a compiler to fuse."""
    unit = torch.nn.functional.normalize(x, dim=1).to(dtype)
    panels = [block @ unit.T for block in unit.split(panel_rows(len(x)))]
    return torch.cat([s.float().abs().sum(1) for s in panels]) - 1


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


def degree_error(x: torch.Tensor) -> Callable[[torch.Tensor], float]:
    """Return the relative error of absolute degrees of x."""
    some, cosines = sampled_cosines(x)
    exact = cosines.abs().sum(1)
    return lambda degree: relative_error(degree, some, exact)


def abs_degree(x: torch.Tensor) -> torch.Tensor:
    return hp.weighted_degree(x, edge="abs")


def degree_lines(n: int, d: int) -> list[Line]:
    """In float32; from 16 384 rows on beside torch's bfloat16 too, which has its own error."""
    x = gaussian(n, d)
    peers = [Peer("X X', abs-sum", eager_degree)]
    if n >= 16384:
        peers.append(Peer("X X', abs-sum in bfloat16", lambda x: eager_degree(x, torch.bfloat16)))
    work = float(n) * (n - 1) * d
    ours = [Ours("weighted_degree abs", abs_degree, work=work, ceiling="float32")]
    rate = n * (n - 1) / 2 / 1e6, "G pairs/s"
    return compared(f"{n} x {d}", x, ours, peers, degree_error(x), rate)


def cupy_degree() -> Route:
    import cupy

    def run(x: torch.Tensor) -> torch.Tensor:
        # On torch's stream, or the events around it would not see its work.
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            rows = cupy.from_dlpack(x)
            unit = rows / cupy.linalg.norm(rows, axis=1, keepdims=True)
            return torch.from_dlpack(cupy.abs(unit @ unit.T).sum(axis=1) - 1)

    return run


def other_peers(precision: str) -> list[Peer]:
    """Return the same degree by what else is installed: torch.compile, CuPy (float32 only)."""
    found = []
    if importlib.util.find_spec("triton"):
        compiled = torch.compile(plain_degree, dynamic=False)
        run = with_precision(precision, lambda x: compiled(x, PRECISIONS[precision].dtype))
        name = f"torch.compile of X X', abs, sum in {PRECISIONS[precision].eager}"
        found.append(Peer(name, run, capturable=False))
    if precision == "highest" and importlib.util.find_spec("cupy"):
        found.append(Peer("CuPy X X', abs, sum", cupy_degree(), capturable=False))
    return found


def other_lines(n: int, d: int, precision: str) -> list[Line]:
    """The degree as it is computed by default beside `other_peers`."""
    x = gaussian(n, d)

    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.weighted_degree(x, edge="abs", precision=precision)

    ours = [Ours(f"weighted_degree abs, {precision}", run, PRECISIONS[precision].bound)]
    rate = n * (n - 1) / 2 / 1e6, "G pairs/s"
    return compared(f"{n} x {d}", x, ours, other_peers(precision), degree_error(x), rate)


def closed_form_squares(x: torch.Tensor) -> torch.Tensor:
    unit = unit_rows(x)
    return ((unit @ (unit.T @ unit)) * unit).sum(1) - 1


def squares_lines(n: int, d: int) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.weighted_degree(x, edge="squared")

    x = gaussian(n, d)
    some, cosines = sampled_cosines(x)
    exact = cosines.square().sum(1)

    def error(degree: torch.Tensor) -> float:
        return relative_error(degree, some, exact)

    ours = [Ours("weighted_degree squared", run, work=3.0 * 4 * n * d, ceiling="copy")]
    peers = [Peer("closed form in float32", closed_form_squares)]
    rate = n * d * 4 / 1e6, "GB/s of x"
    return compared(f"{n} x {d}", x, ours, peers, error, rate)


# --- sum of distances -----------------------------------------------------------------------------
def distance_lines(n: int, d: int) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        sums: torch.Tensor = torch.ops.hubprune.distance_sum(x)
        return sums

    def eager(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.cdist(block, x).sum(1) for block in x.split(panel_rows(len(x)))])

    x = gaussian(n, d)
    some = torch.linspace(0, n - 1, min(32, n), device=x.device).long()
    mode = "donot_use_mm_for_euclid_dist"
    exact = torch.cdist(x[some].double(), x.double(), compute_mode=mode).sum(1)

    def error(sums: torch.Tensor) -> float:
        return relative_error(sums, some, exact)

    work = float(n) * (n - 1) * d
    ours = [Ours("distance_sum", run, work=work, ceiling="float32")]
    rate = n * (n - 1) / 2 / 1e6, "G pairs/s"
    return compared(f"{n} x {d}", x, ours, [Peer("cdist, sum", eager)], error, rate)


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


def by_route(route: str, run: Route) -> Route:
    """Return `run` with the degree forced to one of `DEGREE_ROUTES`."""

    def inside(value: Any) -> Any:
        os.environ[DEGREE_ROUTE] = route
        try:
            return run(value)
        finally:
            del os.environ[DEGREE_ROUTE]

    return inside


def degree_by(route: str, precision: str) -> Route:
    """Return the absolute degree by a route."""
    return by_route(route, lambda x: hp.weighted_degree(x, edge="abs", precision=precision))


def with_precision(precision: str, run: Route) -> Route:
    """Return `run` with torch's float32 products in a precision."""

    def inside(x: torch.Tensor) -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            return run(x)
        finally:
            torch.set_float32_matmul_precision(before)

    return inside


def eager_degree_at(precision: str) -> Route:
    """Return the absolute degree by torch's own product at a precision."""
    return with_precision(precision, lambda x: eager_degree(x, PRECISIONS[precision].dtype))


def routes_here() -> list[str]:
    """Return the routes that this device has; HUBPRUNE_WITHOUT_SM90=1 leaves out that one."""
    hopper = _native.sm90_available(torch.cuda.current_device())
    wanted = hopper and os.environ.get("HUBPRUNE_WITHOUT_SM90") != "1"
    return [route for route in DEGREE_ROUTES if wanted or route != "sm90"]


def long_lines(n: int, d: int, precision: str, *routes: str) -> list[Line]:
    """Routes at one precision, beside torch's own product at it; "high" beside float32 too."""
    x = gaussian(n, d)
    asked = PRECISIONS[precision]
    pair_work = float(n) * (n - 1) * d
    ours = [
        Ours(
            f"weighted_degree abs, {route}, {precision}",
            degree_by(route, precision),
            asked.bound,
            pair_work * (1 if route == "tiles" else asked.products),
            "float32" if route == "tiles" else "bfloat16",
        )
        for route in routes
    ]
    peers = [
        Peer(f"X X', abs-sum in {PRECISIONS[name].eager}", eager_degree_at(name))
        for name in ([precision, "highest"] if precision == "high" else [precision])
    ]
    rate = pair_work / 1e9, "TFLOP/s"
    return compared(f"{n} x {d}", x, ours, peers, degree_error(x), rate)


# --- nearest --------------------------------------------------------------------------------------
def eager_nearest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    unit = unit_rows(x)
    rows = panel_rows(len(x))
    best = []
    for first in range(0, len(x), rows):
        s = unit[first : first + rows] @ unit.T
        s.diagonal(first).fill_(-2)
        best.append(s.max(1))
    return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])


def nearest_lines(n: int, d: int) -> list[Line]:
    x = gaussian(n, d)
    some, cosines = sampled_cosines(x)
    cosines[torch.arange(len(some), device=some.device), some] = -2
    exact = cosines.max(1).values

    def error(result: tuple[torch.Tensor, torch.Tensor]) -> float:
        similarity, index = result
        at_index = cosines.gather(1, index[some][:, None])[:, 0]
        wrong = torch.maximum((similarity[some].double() - exact).abs(), exact - at_index)
        return float(wrong.max())

    work = 2.0 * n * (n - 1) * d
    ours = [Ours("nearest", hp.nearest, work=work, ceiling="float32")]
    rate = n * (n - 1) / 2 / 1e6, "G pairs/s"
    return compared(f"{n} x {d}", x, ours, [Peer("X X', max", eager_nearest)], error, rate)


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
    panels = unit.split(panel_rows(len(x)))
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


def eigenvector_lines(n: int, d: int, edge: str) -> list[Line]:
    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.eigenvector_centrality(x, edge=edge, tol=1e-6)

    def eager(x: torch.Tensor) -> torch.Tensor:
        return eager_eigenvector(x, edge)

    x = gaussian(n, d)
    exact = eager_eigenvector(x.double(), edge, 1e-12)

    def error(vector: torch.Tensor) -> float:
        return float((vector.double() - exact).norm())

    through = "through the d x d Gram matrix" if edge == "squared" else "X X', abs"
    # The bound is of a vector of length 1: the residual that was asked for over the gap.
    ours = [Ours(f"eigenvector_centrality {edge}", run, bound=2e-6)]
    peers = [Peer(f"power iteration, {through}", eager, capturable=False)]
    return compared(f"{n} x {d}", x, ours, peers, error, (n / 1e3, "M rows/s"))


# --- betweenness and closeness --------------------------------------------------------------------
def on_the_host(run: Route, value: torch.Tensor) -> tuple[Any, float, str]:
    """Return our CPU kernel's result, its time in milliseconds and its name."""
    there = value.cpu()
    began = time.perf_counter()  # once: it can take seconds
    result = run(there)
    ms = (time.perf_counter() - began) * 1e3
    return result, ms, f"hubprune, CPU, {torch.get_num_threads()} threads"


def path_lines(operation: str, n: int, d: int) -> list[Line]:
    """Beside our own CPU kernel: nothing else computes these on weighted graphs on a GPU."""
    lengths = 1 - hp.pairwise_cosine(gaussian(n, d).double())

    def run(graph: torch.Tensor) -> torch.Tensor:
        centrality: torch.Tensor = getattr(torch.ops.hubprune, operation)(graph)
        return centrality

    exact, host_ms, host = on_the_host(run, lengths)

    def error(centrality: torch.Tensor) -> float:
        return float((centrality.cpu() - exact).abs().max() / exact.max())

    ours = [Ours(operation, run)]
    rate = n * n / 1e6, "G steps/s"
    return compared(f"{n} x {d}", lengths, ours, [], error, rate, [(host, host_ms, 0.0)])


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


def greedy_lines(n: int, d: int) -> list[Line]:
    """Beside our own CPU kernel, and beside a loop of torch's operations."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return hp.greedy_degree(x, edge="abs")[0]

    x = gaussian(n, d)
    host_order, host_ms, host = on_the_host(run, x)

    def error(order: torch.Tensor) -> float:
        return shortfall(x, order)

    ours = [Ours("greedy_degree abs", run)]
    peers = [Peer("torch loop", eager_greedy_degree, capturable=False)]
    known = [(host, host_ms, error(host_order.to(x.device)))]
    return compared(f"{n} x {d}", x, ours, peers, error, (n, "k removals/s"), known)


def cholesky_lines(n: int) -> list[Line]:
    """Of a matrix of full rank; beside our own CPU kernel, and a loop of torch's operations."""

    def run(a: torch.Tensor) -> torch.Tensor:
        residual: torch.Tensor = torch.ops.hubprune.pivoted_cholesky(a, 1e-12)[1]
        return residual

    rows = gaussian(n, 2 * n).double()
    a = rows @ rows.T
    exact, host_ms, host = on_the_host(run, a)

    def error(residual: torch.Tensor) -> float:
        return float((residual.cpu() - exact).abs().max() / exact[0])

    # The fewest bytes: of the rows not yet chosen alone.
    ours = [Ours("pivoted_cholesky", run, work=8.0 * n**3 / 6, ceiling="copy")]
    peers = [Peer("torch loop", eager_cholesky, capturable=False)]
    shape = f"{n} x {n}, full rank"
    return compared(shape, a, ours, peers, error, (n, "k pivots/s"), [(host, host_ms, 0.0)])


# --- rank-1 vectors -------------------------------------------------------------------------------
def vectors_lines(name: str, n: int, c: int, *kernel: int) -> list[Line]:
    weight = gaussian(n, c, *kernel)
    some = slice(0, n, max(1, n // 32))
    exact = hp.reference.filter_vectors(weight[some].double().cpu().numpy(), "rank1")

    def error(vectors: torch.Tensor) -> float:
        return float(abs(vectors[some].double().cpu().numpy() - exact).max())

    size = 4.0 * weight.numel()
    ours = [Ours("filter_vectors rank1", hp.filter_vectors, work=size, ceiling="copy")]
    peers = [Peer("bmm, eigh", rank1_gram, capturable=False)]
    shape = f"{name}: {n} x {c} x {' x '.join(map(str, kernel))}"
    return compared(shape, weight, ours, peers, error, (size / 1e6, "GB/s"))


# --- a whole network ------------------------------------------------------------------------------
def layer_by_layer(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    return [abs_degree(hp.filter_vectors(w)) for w in weights]


def grouped(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    vectors, _ = torch.ops.hubprune.rank1_vectors([w.flatten(2) for w in weights])
    degrees: list[torch.Tensor] = torch.ops.hubprune.weighted_degree(vectors, "abs")
    return degrees


def model_scores(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """As a user calls it: also finds dead filters, sorts, and waits for the norms."""
    rule = hp.scorers.WeightedDegree(edge="abs")
    return [scores.values for scores in hp.score_model(model_of(weights), rule).values()]


def model_of(weights: list[torch.Tensor]) -> torch.nn.Sequential:
    model = torch.nn.Sequential()
    for w in weights:
        layer = torch.nn.Conv2d(w.shape[1], w.shape[0], 3, device="meta", bias=False)
        layer.weight = torch.nn.Parameter(w)
        model.append(layer)
    return model


NETWORK_WAYS = {
    "vectors and degree, layer by layer": layer_by_layer,
    "vectors and degree, grouped": grouped,
    "score_model, degree abs": model_scores,
}


@functools.cache
def network_degrees(sizes: tuple[tuple[int, int], ...]) -> list[Any]:
    return [
        hp.reference.weighted_degree(
            hp.reference.filter_vectors(gaussian(n, c, 3, 3).double().cpu().numpy(), "rank1"), "abs"
        )
        for n, c in sizes
    ]


def network_lines(way: str, sizes: Sequence[tuple[int, int]] = CNN14) -> list[Line]:
    """Vectors and degree of CNN14 by one of `NETWORK_WAYS`."""

    def eager(weights: list[torch.Tensor]) -> list[torch.Tensor]:
        return [eager_degree(rank1_gram(w)) for w in weights]

    weights = [gaussian(n, c, 3, 3) for n, c in sizes]
    exact = network_degrees(tuple(sizes[:6]))

    def error(degrees: list[torch.Tensor]) -> float:
        return max(
            float(abs(degree.double().cpu().numpy() / wanted - 1).max())
            for degree, wanted in zip(degrees, exact, strict=False)
        )

    size = sum(w.numel() for w in weights) * 4.0
    run = NETWORK_WAYS[way]
    ours = [Ours(way, run, work=size, ceiling="copy", capturable=run is not model_scores)]
    peers = [Peer("bmm, eigh, X X', abs-sum", eager, capturable=False)]
    shape = f"CNN14, {len(weights)} layers"
    return compared(shape, weights, ours, peers, error, (size / 1e6, "GB/s"))


# --- the table ------------------------------------------------------------------------------------
Task = tuple[str, Callable[[], list[Line]]]


def task(make: Callable[..., list[Line]], *arguments: Any) -> Task:
    """Return the name of a call and the call."""
    shown = ", ".join(map(str, arguments))
    return f"{make.__name__}({shown})", lambda: make(*arguments)


def long_tasks(routes: Sequence[str], quick: bool) -> list[Task]:
    """Routes at every precision; tiles ignore it, and are measured at "highest" alone."""
    shapes = [(2048, 1024)] if quick else [(2048, 18432), (16384, 4608), (65536, 4608)]
    found = []
    for n, d in shapes:
        for precision in PRECISIONS:
            wanted = [each for each in routes if each != "tiles" or precision == "highest"]
            if wanted:
                found.append(task(long_lines, n, d, precision, *wanted))
    return found


def groups(quick: bool) -> dict[str, list[Task]]:
    """Return the lines of each group; `quick` leaves out what takes more than a second."""
    core = [
        task(vectors_lines, "CNN14 block 2", 128, 128, 3, 3),
        task(vectors_lines, "CREPE layer 2", 128, 1024, 64, 1),
        task(vectors_lines, "DCASE 2021", 32, 16, 7, 7),
        task(degree_lines, 64, 9),
        task(degree_lines, 2048, 9),
        task(degree_lines, 2048, 1024),
        task(nearest_lines, 2048, 9),
        task(squares_lines, 2048, 9),
        task(distance_lines, 2048, 9),
    ]
    paths = [
        task(eigenvector_lines, 2048, 9, "abs"),
        task(path_lines, "betweenness_centrality", 512, 9),
        task(path_lines, "closeness_centrality", 512, 9),
        task(greedy_lines, 2048, 9),
        task(cholesky_lines, 2048),
    ]
    network: list[Task] = []
    peers: list[Task] = []
    if not quick:
        core += [
            task(vectors_lines, "CNN14 block 6", 2048, 2048, 3, 3),
            task(vectors_lines, "wide kernels", 256, 300, 17, 17),
            task(degree_lines, 16384, 9),
            task(degree_lines, 65536, 9),
            task(degree_lines, 1_000_000, 9),
            task(nearest_lines, 65536, 9),
            task(nearest_lines, 2048, 18432),
            task(squares_lines, 1_000_000, 9),
            task(squares_lines, 65536, 128),
            task(distance_lines, 2048, 4608),
        ]
        network = [task(network_lines, way) for way in NETWORK_WAYS]
        paths += [
            task(eigenvector_lines, 65536, 9, "abs"),
            task(eigenvector_lines, 1_000_000, 9, "squared"),
            task(path_lines, "betweenness_centrality", 2048, 9),
            task(path_lines, "closeness_centrality", 2048, 9),
        ]
        peers = [
            task(other_lines, 16384, 9, "highest"),
            task(other_lines, 4096, 1024, "highest"),
            task(other_lines, 16384, 4608, "high"),
            task(other_lines, 16384, 4608, "medium"),
        ]
    here = routes_here()
    return {
        "core": core,
        "network": network,
        "paths": paths,
        "long": long_tasks([route for route in here if route != "sm90"], quick),
        "sm90": long_tasks([route for route in here if route == "sm90"], quick),
        "peers": peers,
    }


GROUPS = ("core", "network", "paths", "long", "sm90", "peers")


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
    }


def of_ceiling(line: Line, machine: dict[str, Any]) -> str:
    percent = line.percent(machine.get("ceilings", {}))
    return "" if percent is None else f"{percent:.0f}% {line.ceiling}"


def shown_ms(ms: float, graph_ms: float | None) -> str:
    return f"{ms:.3g}" if graph_ms is None else f"{ms:.3g} ({graph_ms:.3g})"


def measured_lines(journal: Journal, names: Iterable[str]) -> list[Line]:
    return [
        Line(**{field: value for field, value in each.items() if field != "times_faster"})
        for name in names
        for each in journal.results.get(name, [])
    ]


def missed_bounds(lines: Sequence[Line]) -> list[str]:
    return [
        f"{line.operation} {line.shape}: error {line.error:.2e} above {line.bound:.1e}"
        for line in lines
        if not line.error <= line.bound
    ]


def markdown(journal: Journal) -> str:
    """Return the table, what failed, and one sentence on where it was measured."""
    machine = journal.machine
    own = machine["configuration"]
    lines = measured_lines(journal, journal.results)
    rows = [
        "| operation | shape | hubprune, ms (graph) | rate | of the ceiling | error | peer "
        "| ms (graph) | error | times faster |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {line.operation} | {line.shape} | {shown_ms(line.ms, line.graph_ms)} | "
        f"{line.rate:.3g} {line.unit} | {of_ceiling(line, machine)} | {line.error:.0e} | "
        f"{line.peer} | {shown_ms(line.peer_ms, line.peer_graph_ms)} | {line.peer_error:.0e} | "
        f"{line.times_faster:.2g} |"
        for line in lines
    ]
    wrong = missed_bounds(lines) + [f"{name}: {why}" for name, why in journal.failed.items()]
    if wrong:
        rows += ["", "Failed:", "", *(f"- {each}" for each in wrong)]
    rows += [
        "",
        f"{machine['device']}, driver {machine['driver']}, hubprune {own['hubprune']} at "
        f"{machine['commit']} (CUDA runtime {own['cuda']['runtime']}), torch {own['torch']} "
        f"(CUDA {machine['torch_cuda']}), float32 products in {machine['matmul_precision']} "
        "precision. Medians of interleaved repetitions, nothing in the L2 cache; (graph): of a "
        "replay, which launches at once. Errors against float64: absolute for vectors and "
        "cosines, relative for degrees. Ceilings measured there: "
        + ", ".join(
            f"{name} {rate / 1e6:.3g} GB/s"
            if name == "copy"
            else f"{name} {rate / 1e9:.3g} TFLOP/s"
            for name, rate in machine.get("ceilings", {}).items()
        )
        + ".",
    ]
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for gpu_table.json and gpu_table.md")
    parser.add_argument("--group", choices=GROUPS, help="these lines only")
    parser.add_argument("--resume", action="store_true", help="keep what OUT has, go on behind it")
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    parser.add_argument("--commit", default="unknown", help="name of the measured source")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured", file=sys.stderr)
        return NO_DEVICE
    journal = Journal(arguments.out / "gpu_table.json", arguments.resume, markdown)
    journal.machine = {**environment(arguments.commit), **journal.machine}

    def measured_ceilings() -> list[dict[str, Any]]:
        journal.machine["ceilings"] = ceilings()
        return []

    def results(make: Callable[[], list[Line]]) -> list[dict[str, Any]]:
        return [{**asdict(line), "times_faster": line.times_faster} for line in make()]

    names = ["ceilings"]
    journal.run("ceilings", measured_ceilings, LINE_SECONDS)
    for group, tasks in groups(arguments.quick).items():
        if arguments.group in (None, group):
            for name, make in tasks:
                names.append(name)
                journal.run(name, functools.partial(results, make), LINE_SECONDS)
    print(markdown(journal))
    return journal.exit_code(names, missed_bounds(measured_lines(journal, names)))


if __name__ == "__main__":
    sys.exit(main())

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


def interleaved_medians(routes: Sequence[Route], inputs: Sequence[Any]) -> tuple[list[float], int]:
    """Return each route's median time in ms, all routes taking turns on rotating inputs."""

    def once(route: Route, value: Any) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        route(value)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    warm_up = sum(once(route, inputs[0]) for _ in range(2) for route in routes) / 2
    repetitions = int(min(50, max(5, BUDGET_MS / max(warm_up, 1e-3))))
    times: list[list[float]] = [[] for _ in routes]
    for repetition in range(repetitions):
        for at, route in enumerate(routes):
            times[at].append(once(route, inputs[repetition % len(inputs)]))
    return [statistics.median(each) for each in times], repetitions


def ceilings() -> dict[str, float]:
    """Measure what this device reaches, a millisecond: bytes copied, operations of products."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    (ms,), _ = interleaved_medians([lambda pair: pair[1].copy_(pair[0])], [(source, target)])
    found = {"copy": 2.0 * 4 * len(source) / ms}
    n = 8192
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("float64", torch.float64, "highest"),
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        square = torch.randn(n, n, device="cuda").to(dtype)
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
    generator = torch.Generator(device="cuda").manual_seed(sum(shape))
    return [
        torch.randn(*shape, device="cuda", generator=generator)
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


def abs_degree(x: torch.Tensor) -> torch.Tensor:
    return hp.weighted_degree(x, edge="abs")


def degree_line(n: int, d: int) -> Line:
    inputs = gaussian(n, d)
    (ms, peer_ms), repetitions = interleaved_medians([abs_degree, eager_degree], inputs)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)

    def error(degree: torch.Tensor) -> float:
        return float(((degree[some].double() - exact) / exact).abs().max())

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
        error = float(((peer(inputs[0])[some].double() - exact) / exact).abs().max())
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
        return float(((degree[some].double() - exact) / exact).abs().max())

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
        return float(((sums[some].double() - exact) / exact).abs().max())

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
LONG_BOUNDS = {"highest": 1e-6, "high": 1.5e-5, "medium": 1e-2}


def long_lines(n: int, d: int, routes: Sequence[str]) -> list[Line]:
    """Every route at every precision, beside torch's own product at that precision."""
    inputs = gaussian(n, d)
    some, cosines = sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)

    def error(degree: torch.Tensor) -> float:
        return float(((degree[some].double() - exact) / exact).abs().max())

    def routed(route: str, precision: str) -> Route:
        def run(x: torch.Tensor) -> torch.Tensor:
            os.environ[DEGREE_ROUTE] = route
            try:
                return hp.weighted_degree(x, edge="abs", precision=precision)
            finally:
                del os.environ[DEGREE_ROUTE]

        return run

    def peer(precision: str, dtype: torch.dtype) -> Route:
        def run(x: torch.Tensor) -> torch.Tensor:
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision(precision)
            try:
                unit = unit_rows(x).to(dtype)
                rows = max(256, CHUNK_ENTRIES // len(x))
                panels = (block @ unit.T for block in unit.split(rows))
                return torch.cat([s.float().abs().sum(1) for s in panels]) - 1
            finally:
                torch.set_float32_matmul_precision(before)

        return run

    found = []
    for precision, dtype, name, products in (
        ("highest", torch.float32, "X X', abs, sum in float32", 6),
        ("high", torch.float32, "X X', abs, sum in tf32", 3),
        ("medium", torch.bfloat16, "X X', abs, sum in bfloat16", 1),
    ):
        ours = [routed(route, precision) for route in routes]
        eager = peer(precision, dtype)
        (*times, peer_ms), repetitions = interleaved_medians([*ours, eager], inputs)
        for route, run, ms in zip(routes, ours, times, strict=True):
            found.append(
                Line(
                    operation=f"weighted_degree abs, {route}, {precision}",
                    shape=f"{n} x {d}",
                    ms=ms,
                    rate=n * (n - 1) * d / ms / 1e9,
                    unit="TFLOP/s",
                    error=error(run(inputs[0])),
                    peer=name,
                    peer_ms=peer_ms,
                    peer_error=error(eager(inputs[0])),
                    repetitions=repetitions,
                    bound=LONG_BOUNDS[precision],
                    work=float(n) * (n - 1) * d * (1 if route == "tiles" else products),
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


# --- betweenness and closeness --------------------------------------------------------------------
def path_line(operation: str, n: int, d: int) -> Line:
    """Beside our own CPU kernel: nothing else computes these on weighted graphs on a GPU."""
    x = gaussian(n, d, copies=1)[0].double()
    lengths = 1 - hp.pairwise_cosine(x)
    there = lengths.cpu()

    def ours(graph: torch.Tensor) -> torch.Tensor:
        centrality: torch.Tensor = getattr(torch.ops.hubprune, operation)(graph)
        return centrality

    (ms,), repetitions = interleaved_medians([ours], [lengths])
    began = time.perf_counter()  # once: it takes seconds
    exact = ours(there)
    peer_ms = (time.perf_counter() - began) * 1e3
    return Line(
        operation=operation,
        shape=f"{n} x {d}",
        ms=ms,
        rate=n * n / ms / 1e6,
        unit="G steps/s",
        error=float((ours(lengths).cpu() - exact).abs().max() / exact.max()),
        peer=f"hubprune, CPU, {torch.get_num_threads()} threads",
        peer_ms=peer_ms,
        peer_error=0.0,
        repetitions=repetitions,
    )


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
def network_lines() -> list[Line]:
    """Vectors and degree of CNN14: layer by layer, in grouped launches, and these in a graph."""
    weights = [gaussian(n, c, 3, 3, copies=1)[0] for n, c in CNN14]

    def ours(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        return [abs_degree(hp.filter_vectors(w)) for w in layers]

    def together(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        vectors, _ = torch.ops.hubprune.rank1_vectors([w.flatten(2) for w in layers])
        degrees: list[torch.Tensor] = torch.ops.hubprune.weighted_degree(vectors, "abs")
        return degrees

    def eager(layers: list[torch.Tensor]) -> list[torch.Tensor]:
        return [eager_degree(rank1_gram(w)) for w in layers]

    together(weights)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = together(weights)

    def replay(_: list[torch.Tensor]) -> list[torch.Tensor]:
        graph.replay()
        return captured

    routes = [ours, together, replay, eager]
    (ms, grouped_ms, graph_ms, peer_ms), repetitions = interleaved_medians(routes, [weights])
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
    errors = [error(route(weights)) for route in routes]
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
            peer_error=errors[3],
            repetitions=repetitions,
            work=float(size),
            ceiling="copy",
        )
        for operation, time, own_error in (
            ("vectors and degree, layer by layer", ms, errors[0]),
            ("vectors and degree, grouped", grouped_ms, errors[1]),
            ("vectors and degree, grouped, graph", graph_ms, errors[2]),
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
        path_line("betweenness_centrality", 512, 9),
        path_line("closeness_centrality", 512, 9),
    ]
    if not quick:
        hopper = _native.sm90_available(torch.cuda.current_device())
        routes = [route for route in DEGREE_ROUTES if hopper or route != "sm90"]
        found += [
            vectors_line("CNN14 block 6", 2048, 2048, 3, 3),
            vectors_line("wide kernels", 256, 300, 17, 17),
            degree_line(16384, 9),
            *other_lines(16384, 9),
            *other_lines(4096, 1024),
            degree_line(65536, 9),
            *long_lines(2048, 18432, routes),
            *long_lines(16384, 4608, routes),
            degree_line(1_000_000, 9),
            nearest_line(65536, 9),
            squares_line(1_000_000, 9),
            squares_line(65536, 128),
            distance_line(2048, 4608),
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

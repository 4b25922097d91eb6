# SPDX-License-Identifier: MIT
"""Measure what each CPU kernel costs against what the machine can do, and how the cost grows.

Usage: python benchmarks/cost_model.py benchmarks/results/cost_model.json docs/performance.md

Measures the ceilings (one read of memory, multiply-adds in registers), times every kernel on one
thread at four sizes or more, fits time = a * size^e, and rewrites the table of docs/performance.md.
Takes about two minutes; run it on a machine that does nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hubprune as hp
from hubprune import _native
from hubprune.config import configuration

BEGIN, END = "<!-- cost table -->", "<!-- end of cost table -->"


@dataclass(frozen=True)
class Point:
    """One measurement: seconds are the best of the repetitions."""

    size: float
    seconds: float
    bytes: float
    multiply_adds: float


@dataclass(frozen=True)
class Kernel:
    """A kernel, the variable that grows, and its model: bytes and multiply-adds of a size."""

    name: str
    variable: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], Any]]
    bytes: Callable[[int], float]
    multiply_adds: Callable[[int], float]
    bound: str  # which ceiling the share is of: "read" or "multiply-add"


def rows(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n * 31 + d))


def degree(n: int, d: int, edge: str, precision: str = "highest") -> Callable[[], Any]:
    x = rows(n, d)
    return lambda: hp.weighted_degree(x, edge=edge, precision=precision)


def vectors(n: int, c: int) -> Callable[[], Any]:
    weight = rows(n, c * 9).reshape(n, c, 3, 3)
    return lambda: hp.filter_vectors(weight)


def call(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


KERNELS = (
    Kernel(
        "row_norms, d = 4608", "n", (256, 512, 1024, 4096),
        lambda n: call(hp.row_norms, rows(n, 4608)),
        lambda n: 4 * n * 4608, lambda n: n * 4608, "read",
    ),
    Kernel(
        "filter_vectors, 3 x 3, n = 1024", "c", (64, 256, 1024, 4096),
        lambda c: vectors(1024, c),
        lambda c: 36 * 1024 * c, lambda c: 45 * 1024 * c, "read",
    ),
    Kernel(
        "weighted_degree signed, d = 9", "n", (10**4, 10**5, 10**6, 4 * 10**6),
        lambda n: degree(n, 9, "signed"),
        lambda n: 2 * 36 * n, lambda n: 4 * 9 * n, "read",
    ),
    Kernel(
        "weighted_degree squared, d = 9", "n", (10**4, 10**5, 10**6, 4 * 10**6),
        lambda n: degree(n, 9, "squared"),
        lambda n: 2 * 36 * n, lambda n: (2 * 9 + 45 + 54) * n, "read",
    ),
    Kernel(
        "weighted_degree signed, n = 2048", "d", (64, 576, 4608, 18432),
        lambda d: degree(2048, d, "signed"),
        lambda d: 2 * 4 * 2048 * d, lambda d: 4 * 2048 * d, "read",
    ),
    Kernel(
        "weighted_degree abs, d = 9", "n", (1024, 2048, 4096, 16384),
        lambda n: degree(n, 9, "abs"),
        lambda n: 36 * n, lambda n: n * n * 9 / 2, "multiply-add",
    ),
    Kernel(
        "weighted_degree abs, n = 4096, short rows", "d", (4, 9, 25, 64),
        lambda d: degree(4096, d, "abs"),
        lambda d: 4 * 4096 * d, lambda d: 4096**2 * d / 2, "multiply-add",
    ),
    Kernel(
        "weighted_degree abs, n = 2048, long rows", "d", (128, 512, 2048, 8192),
        lambda d: degree(2048, d, "abs"),
        lambda d: 4 * 2048 * d, lambda d: 2048**2 * d / 2, "multiply-add",
    ),
    Kernel(
        "weighted_degree abs, n = 2048, medium", "d", (128, 512, 2048, 8192),
        lambda d: degree(2048, d, "abs", "medium"),
        lambda d: 4 * 2048 * d, lambda d: 2048**2 * d / 2, "multiply-add",
    ),
    Kernel(
        "nearest, d = 9", "n", (1024, 2048, 4096, 16384),
        lambda n: call(hp.nearest, rows(n, 9)),
        lambda n: 36 * n, lambda n: n * n * 9 / 2, "multiply-add",
    ),
    Kernel(
        "nearest, n = 2048, long rows", "d", (128, 512, 2048, 8192),
        lambda d: call(hp.nearest, rows(2048, d)),
        lambda d: 4 * 2048 * d, lambda d: 2048**2 * d / 2, "multiply-add",
    ),
    Kernel(
        "pairwise_cosine into out, d = 256", "n", (512, 1024, 2048, 4096),
        lambda n: into(rows(n, 256)),
        lambda n: 4 * n * n, lambda n: n * n * 128, "multiply-add",
    ),
    Kernel(
        "eigenvector_centrality abs, d = 9", "n", (512, 1024, 2048, 4096),
        lambda n: call(hp.eigenvector_centrality, rows(n, 9)),
        lambda n: 4 * n * n, lambda n: n * n * 9 / 2, "multiply-add",
    ),
)  # fmt: skip


def into(x: torch.Tensor) -> Callable[[], Any]:
    out = torch.empty(len(x), len(x))
    return lambda: hp.pairwise_cosine(x, edge="abs", out=out)


def best_seconds(run: Callable[[], Any], budget: float = 1.5) -> float:
    """Return the fastest of the repetitions that fit the budget, at least five."""
    run()
    fastest, spent, count = float("inf"), 0.0, 0
    while count < 5 or (spent < budget and count < 200):
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        fastest, spent, count = min(fastest, seconds), spent + seconds, count + 1
    return fastest


def ceilings(threads: int) -> dict[str, float]:
    """Return bytes read and float32 multiply-adds a second."""
    memory = torch.ones(80_000_000)  # 320 MB: beyond any cache
    read = best_seconds(lambda: _native.read_memory_cpu(memory.data_ptr(), memory.numel(), threads))
    rounds = 5_000_000
    done = _native.multiply_add_cpu(1, threads) * rounds * threads
    return {
        "read": memory.numel() * 4 / read,
        "multiply-add": done / best_seconds(lambda: _native.multiply_add_cpu(rounds, threads)),
    }


def measure(kernel: Kernel) -> list[Point]:
    points = []
    for size in kernel.sizes:
        seconds = best_seconds(kernel.prepare(size))
        points.append(Point(size, seconds, kernel.bytes(size), kernel.multiply_adds(size)))
    return points


def exponent(points: list[Point]) -> float:
    """Return e of time = a * size^e, by least squares on the logarithms."""
    sizes, seconds = (np.log([getattr(p, key) for p in points]) for key in ("size", "seconds"))
    return float(np.polyfit(sizes, seconds, 1)[0])


def text_of(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def table(report: dict[str, Any]) -> str:
    """Return the Markdown table of a report."""
    limits = report["ceilings"]["1"]
    lines = [
        "| kernel | sizes | time, one thread | grows as | read, GB/s (share) "
        "| multiply-adds, G/s (share) |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in report["kernels"].items():
        points = [Point(**point) for point in entry["points"]]
        variable, last = entry["variable"], points[-1]
        read, done = last.bytes / last.seconds, last.multiply_adds / last.seconds
        lines.append(
            f"| {name} | {variable} = {', '.join(f'{p.size:,}' for p in points)} | "
            f"{', '.join(text_of(p.seconds) for p in points)} | "
            f"{variable}^{entry['exponent']:.2f} | "
            f"{read / 1e9:.3g} ({read / limits['read']:.0%}) | "
            f"{done / 1e9:.3g} ({done / limits['multiply-add']:.0%}) |"
        )
    machine = report["machine"]
    ceiling = "; ".join(
        f"{threads} thread{'s' if threads != '1' else ''}: {limit['read'] / 1e9:.3g} GB/s read, "
        f"{limit['multiply-add'] / 1e9:.4g} G float32 multiply-adds/s"
        for threads, limit in report["ceilings"].items()
    )
    lines += [
        "",
        f"Level {machine['simd']['in_use']}, torch {machine['torch']}. Ceilings measured in the "
        f"same run: {ceiling}. Times are the best of at least five; shares are of the largest "
        "size, by the model's bytes and multiply-adds (those of the method, not of an "
        "instruction count).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, save, rewrite the table."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    result, page = map(Path, sys.argv[1:])
    before = torch.get_num_threads()
    report: dict[str, Any] = {"ceilings": {}, "kernels": {}}
    for threads in sorted({1, before}):
        report["ceilings"][str(threads)] = ceilings(threads)
    torch.set_num_threads(1)
    report["machine"] = configuration()
    for kernel in KERNELS:
        points = measure(kernel)
        report["kernels"][kernel.name] = {
            "variable": kernel.variable,
            "bound": kernel.bound,
            "exponent": exponent(points),
            "points": [asdict(point) for point in points],
        }
        print(kernel.name, *(text_of(point.seconds) for point in points), sep="  ", flush=True)
    torch.set_num_threads(before)
    result.write_text(json.dumps(report, indent=2) + "\n")
    head, rest = page.read_text().split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{table(report)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()

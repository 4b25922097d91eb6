# SPDX-License-Identifier: MIT
"""Fit the planner's cost model: python benchmarks/fit_routes.py python/hubprune/route_costs.json

Every route of `hubprune.routes` is timed over sizes from a small layer to 10^5 rows, one thread. A
route's time is fitted as seconds + a * (multiply-adds at this machine's peak) + b * (bytes at its
read speed), without negative terms, least squares of the relative error. The file also keeps what
was measured and what the fit says of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

import hubprune as hp
from cost_model import best_seconds
from hubprune.routes import machine, work

SHORT = [(64, 9), (512, 9), (2048, 9), (8192, 9), (512, 49), (2048, 49), (4096, 25), (4096, 64)]
LONG = [(64, 576), (256, 2304), (512, 4608), (1024, 1024), (2048, 512), (2048, 4608), (4096, 256)]
WIDE = [(64, 9), (2048, 9), (100_000, 9), (1_000_000, 9), (512, 4608), (2048, 18432), (10_000, 64)]
GRAM = [(512, 9), (2048, 9), (100_000, 9), (1_000_000, 9), (4096, 64), (16384, 256)]
NYSTROM = [
    (512, 576, 64), (2048, 4608, 128), (2048, 4608, 512), (2048, 18432, 256), (8192, 1024, 256),
    (20_000, 576, 128), (4096, 4608, 256), (2048, 9, 64), (16384, 9, 256),
]  # fmt: skip


def degree(n: int, d: int, edge: str) -> Callable[[], Any]:
    x = torch.randn(n, d)
    return lambda: hp.weighted_degree(x, edge=edge, precision="highest")


def eigenvector(n: int, d: int, edge: str) -> Callable[[], Any]:
    x = torch.randn(n, d).abs() + 0.1
    return lambda: torch.ops.hubprune.eigenvector_centrality(x, edge, 1e-6, 500)


def landmarks(n: int, d: int, m: int) -> Callable[[], Any]:
    x = torch.randn(n, d)
    return lambda: hp.nystrom(x, m, generator=0).degree()


def main() -> None:
    """Measure, fit, write."""
    target = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    routes: dict[str, tuple[str, list[tuple[tuple[int, ...], Callable[[], Any]]]]] = {
        "closed form": ("weighted_degree", [(s, degree(*s, "signed")) for s in WIDE]),
        "Gram matrix": ("weighted_degree", [(s, degree(*s, "squared")) for s in GRAM]),
        "fused tiles, short rows": ("weighted_degree", [(s, degree(*s, "abs")) for s in SHORT]),
        "fused tiles, long rows": ("weighted_degree", [(s, degree(*s, "abs")) for s in LONG]),
        "implicit products": (
            "eigenvector_centrality",
            [(s, eigenvector(*s, "shifted")) for s in WIDE],
        ),
        "stored graph": (
            "eigenvector_centrality",
            [(s, eigenvector(*s, "abs")) for s in SHORT + LONG],
        ),
        "Nystroem": ("weighted_degree", [(s, landmarks(*s)) for s in NYSTROM]),
    }
    here = machine(1)
    costs, measured = {}, {}
    for name, (operation, points) in routes.items():
        terms, seconds = [], []
        for sizes, call in points:
            multiply_adds, size = work(operation, name.split(",")[0], *sizes)
            terms.append([1.0, multiply_adds / here.multiply_adds, size / here.read])
            seconds.append(best_seconds(call))
        a, t = np.array(terms), np.array(seconds)
        factors, _ = nnls(a / t[:, None], np.ones(len(t)))
        ratio = (a @ factors) / t
        costs[name] = [float(f"{factor:.4g}") for factor in factors]
        measured[name] = [
            {"sizes": list(sizes), "seconds": float(f"{s:.4g}"), "predicted": float(f"{p * s:.4g}")}
            for (sizes, _), s, p in zip(points, t, ratio, strict=True)
        ]
        print(f"{name}: {costs[name]}, predicted / measured {ratio.min():.2f} to {ratio.max():.2f}")
    report = {
        "machine": {"multiply_adds": here.multiply_adds, "read": here.read, "threads": 1},
        "costs": costs,
        "measured": measured,
    }
    target.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

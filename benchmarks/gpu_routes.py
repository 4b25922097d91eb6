# SPDX-License-Identifier: MIT
"""Find out on a device which route of the weighted degree is fastest where.

Usage: python benchmarks/gpu_routes.py OUT

Times every route (tiles, panels, sm90 on Hopper) at every precision over a grid of shapes, beside
torch's own product. Writes OUT/gpu_routes.json and OUT/gpu_routes.md: the table, and for each
precision from how many features on a route was the fastest of all larger ones measured. Those
numbers belong into `hubprune.panel_route.PANEL_FEATURES` and `hubprune.ops.degree`, with the
device's name. About a minute. Exits with 1 without a device, or if an error is above its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import gpu_table

ROWS = (1024, 2048, 4096, 16384)
FEATURES = (64, 128, 256, 512, 1024, 2048, 4608, 18432)
MOST_VALUES = 2**28  # of an input: 1 GiB
BUDGET_MS = 100.0  # for the repetitions of one shape and precision


@dataclass(frozen=True)
class Cell:
    """One shape at one precision; milliseconds and errors by route, torch's own as "torch"."""

    n: int
    d: int
    precision: str
    ms: dict[str, float]
    error: dict[str, float]

    @property
    def fastest(self) -> str:
        """The fastest of our routes."""
        return min((route for route in self.ms if route != "torch"), key=self.ms.__getitem__)


def cell(n: int, d: int, precision: str, inputs: list[torch.Tensor]) -> Cell:
    """Measure all routes at one precision on inputs (n, d)."""
    runs = {route: gpu_table.degree_by(route, precision) for route in gpu_table.routes_here()}
    runs["torch"] = gpu_table.eager_degree_at(precision)
    times, _ = gpu_table.interleaved_medians(list(runs.values()), inputs, BUDGET_MS)
    some, cosines = gpu_table.sampled_cosines(inputs[0])
    exact = cosines.abs().sum(1)
    errors = {
        route: gpu_table.relative_error(run(inputs[0]), some, exact) for route, run in runs.items()
    }
    return Cell(n, d, precision, dict(zip(runs, times, strict=True)), errors)


def measured(rows: tuple[int, ...] = ROWS, features: tuple[int, ...] = FEATURES) -> list[Cell]:
    """Measure the grid, shapes whose input would be too large left out."""
    found = []
    for n in rows:
        for d in features:
            if n * d <= MOST_VALUES:
                inputs = gpu_table.gaussian(n, d)
                found += [cell(n, d, name, inputs) for name in gpu_table.PRECISIONS]
    return found


def thresholds(cells: list[Cell]) -> dict[str, dict[str, int]]:
    """Return by precision and route: from how many features on it was never beaten by another."""
    found: dict[str, dict[str, int]] = {}
    for precision in dict.fromkeys(each.precision for each in cells):
        of_precision = [each for each in cells if each.precision == precision]
        widths = sorted({each.d for each in of_precision})
        for d in widths:
            winners = {each.fastest for each in of_precision if each.d >= d}
            if len(winners) == 1:
                found.setdefault(precision, {})[winners.pop()] = d
                break
    return found


def markdown(cells: list[Cell], device: str) -> str:
    """Return the table, the fastest of our routes in bold, and the thresholds."""
    routes = list(cells[0].ms)
    lines = [
        f"| precision | n x d | {' | '.join(f'{route}, ms' for route in routes)} | error |",
        "|---|---|" + "---|" * (len(routes) + 1),
    ]
    for each in cells:
        times = [
            f"**{each.ms[route]:.3g}**" if route == each.fastest else f"{each.ms[route]:.3g}"
            for route in routes
        ]
        lines.append(
            f"| {each.precision} | {each.n} x {each.d} | {' | '.join(times)} | "
            f"{each.error[each.fastest]:.0e} |"
        )
    lines += ["", f"Measured on {device}; medians of interleaved repetitions."]
    for precision, best in thresholds(cells).items():
        lines += [f"{precision}: {route} from d = {d} on." for route, d in best.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for gpu_routes.json and gpu_routes.md")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured", file=sys.stderr)
        return 1
    cells = measured()
    device = torch.cuda.get_device_name()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = {"device": device, "cells": [asdict(each) for each in cells]}
    report["thresholds"] = thresholds(cells)
    (arguments.out / "gpu_routes.json").write_text(json.dumps(report, indent=2) + "\n")
    text = markdown(cells, device)
    (arguments.out / "gpu_routes.md").write_text(text)
    print(text)
    wrong = [
        f"{each.precision} {each.n} x {each.d} by {route}: error {error}"
        for each in cells
        for route, error in each.error.items()
        if route != "torch" and not error <= gpu_table.PRECISIONS[each.precision].bound
    ]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

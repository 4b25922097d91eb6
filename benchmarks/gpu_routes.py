# SPDX-License-Identifier: MIT
"""Find out on a device which route of the weighted degree is fastest where.

Usage: python benchmarks/gpu_routes.py OUT [--resume] [--commit NAME]

Times every route (tiles, panels, sm90 on Hopper; of short rows tiles and mma) at every precision
over a grid of shapes, and over the raw filters of a whole network, beside torch's own product.
Writes OUT/gpu_routes.json and OUT/gpu_routes.md anew after every shape: the table, and for each
precision and number of rows from how many features on one route is not slower than others; of short
rows for each number of features from how many rows on. Those numbers belong into
`hubprune.panel_route.PANEL_FEATURES` and `hubprune.ops.degree`, with the device's name. All is
said of calls, which for small shapes compares what the host launches, and of replays of a graph,
which compare the kernels. A route whose error is above its bound is no candidate. One or two
minutes; the exit codes are gpu_table.py's. Behind a shape that ended the process, --resume goes on
without sm90.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gpu_clock import Route, interleaved
from gpu_degree import SHORT_ROUTES, by_route, degree_by, routes_here
from gpu_exact import degree_error
from gpu_lines import Error, gaussian, largest
from gpu_peers import PRECISIONS, eager_degree_at
from gpu_report import environment, not_captured, run_noting_captures
from journal import NO_DEVICE, Journal
from layers import CNN14

ROWS = (128, 256, 512, 1024, 2048, 4096, 16384)
FEATURES = (64, 128, 256, 512, 1024, 2048, 4608, 18432)
SHORT_ROWS = (512, 2048, 8192, 32768)
SHORT_FEATURES = (4, 9, 16, 25, 32)
MOST_VALUES = 2**28  # of an input: 1 GiB
BUDGET_MS = 100.0  # for the repetitions of one shape and precision
SHAPE_SECONDS = 40.0  # that a shape may take; then it hangs
NOISE = 1.03  # of two times: closer ones are the same
SHIFTED = (2048, 4608)  # also measured with a mean of 0.5: cosines near 1/5, sums that grow with n


class Rivals(NamedTuple):
    """A route, those it is compared with, and whether for each number of rows or of features."""

    route: str
    others: tuple[str, ...]
    fixed: str = "n"

    @property
    def along(self) -> str:
        return "d" if self.fixed == "n" else "n"

    def named(self, replayed: bool) -> str:
        """Return what is compared, of calls or of replays."""
        text = f"{self.route} beside {' and '.join(self.others)}"
        return f"{text}, replayed" if replayed else text


RIVALS = (
    Rivals("panels", ("tiles",)),
    Rivals("sm90", ("tiles", "panels")),
    Rivals("mma", ("tiles",), "d"),
)
COMPARISONS = [(rivals, replayed) for rivals in RIVALS for replayed in (False, True)]


@dataclass(frozen=True)
class Cell:
    """One shape at one precision; milliseconds and errors by route, torch's own as "torch"."""

    shape: str
    n: int  # 0 where the shape is no part of the grid
    d: int
    precision: str
    ms: dict[str, float]
    error: dict[str, float]
    graph_ms: dict[str, float] = field(default_factory=dict)  # of replays, where there are any

    def candidate_ms(self, route: str, replayed: bool = False) -> float:
        """Return the time of a route, infinite if it is missing or its error above the bound."""
        right = self.error.get(route, float("inf")) <= PRECISIONS[self.precision].bound
        times = self.graph_ms if replayed else self.ms
        return times.get(route, float("inf")) if right else float("inf")

    @property
    def fastest(self) -> str:
        """The fastest of our routes that are right; "none" without one."""
        ours = [route for route in self.ms if self.candidate_ms(route) < float("inf")]
        return min((r for r in ours if r != "torch"), key=self.ms.__getitem__, default="none")

    def shown(self, route: str) -> str:
        """Return the cell of a route: of a call, of a replay, and the error."""
        ms = f"{self.ms[route]:.3g}" if route in self.ms else "-"
        ms = f"**{ms}**" if route == self.fastest else ms
        replay = f" / {self.graph_ms[route]:.3g}" if route in self.graph_ms else ""
        return f"{ms}{replay} ({self.error.get(route, float('nan')):.0e})"

    @property
    def wrong(self) -> list[str]:
        """Our routes with errors above the bound."""
        bound = PRECISIONS[self.precision].bound
        return [
            f"{self.precision} {self.shape} by {route}: error {error:.2e} above {bound:.1e}"
            for route, error in self.error.items()
            if route != "torch" and not error <= bound
        ]


def cells(
    shape: str,
    n: int,
    d: int,
    value: Any,
    runs_at: Callable[[str], dict[str, Route]],
    error: Error,
) -> list[Cell]:
    """Measure all routes at all precisions."""
    found = []
    for precision in PRECISIONS:
        runs = runs_at(precision)
        timings, _ = interleaved(list(runs.values()), value, BUDGET_MS, [True] * len(runs))
        timed = dict(zip(runs, timings, strict=True))
        ms = {route: each.ms for route, each in timed.items()}
        replays = {r: each.graph_ms for r, each in timed.items() if each.graph_ms is not None}
        errors = {route: error(each.result) for route, each in timed.items()}
        found.append(Cell(shape, n, d, precision, ms, errors, replays))
    return found


def degree_runs(routes: Iterable[str], precision: str) -> dict[str, Route]:
    runs = {route: degree_by(route, precision) for route in routes}
    return {**runs, "torch": eager_degree_at(precision)}


def matrix_cells(n: int, d: int, mean: float = 0.0) -> list[Cell]:
    x = gaussian(n, d) + mean
    shape = f"{n} x {d}" + (f", mean {mean}" if mean else "")
    grid = (0, 0) if mean else (n, d)
    routes = SHORT_ROUTES if d in SHORT_FEATURES else routes_here()
    return cells(shape, *grid, x, functools.partial(degree_runs, routes), degree_error(x))


def network_cells(sizes: Sequence[tuple[int, int]] = CNN14) -> list[Cell]:
    """The degrees of the raw filters of all layers: by tiles in grouped launches, else in turn."""
    filters = [gaussian(n, 9 * c) for n, c in sizes]
    errors = [degree_error(x) for x in filters]

    def runs(precision: str) -> dict[str, Route]:
        def ours(layers: list[torch.Tensor]) -> Any:
            return torch.ops.hubprune.weighted_degree(layers, "abs", precision)

        def eager(layers: list[torch.Tensor]) -> list[torch.Tensor]:
            return [eager_degree(x) for x in layers]

        eager_degree = eager_degree_at(precision)
        here = routes_here()
        return {**{r: by_route(r, ours) for r in here}, "torch": eager}

    def error(degrees: list[torch.Tensor]) -> float:
        return largest(of_layer(x) for of_layer, x in zip(errors, degrees, strict=True))

    return cells(f"CNN14's raw filters, {len(sizes)} layers", 0, 0, filters, runs, error)


def tasks() -> dict[str, Callable[[], list[Cell]]]:
    """Return the measurements by name, shapes whose input would be too large left out."""
    grid = {
        f"{n} x {d}": functools.partial(matrix_cells, n, d)
        for rows, features in ((SHORT_ROWS, SHORT_FEATURES), (ROWS, FEATURES))
        for n in rows
        for d in features
        if n * d <= MOST_VALUES
    }
    shifted = functools.partial(matrix_cells, *SHIFTED, mean=0.5)
    return {"network": network_cells, "shifted": shifted, **grid}


def thresholds(
    of_precision: Iterable[Cell], rivals: Rivals, replayed: bool = False
) -> dict[int, int]:
    """Return by rows: from how many features on the route is as fast as the others, or faster.

    Or by features: from how many rows on. Of calls, or of replays, of those shapes that have them.
    """
    grid = [
        (getattr(each, rivals.fixed), getattr(each, rivals.along), each)
        for each in of_precision
        if each.n > 0 and rivals.route in (each.graph_ms if replayed else each.ms)
    ]
    found: dict[int, int] = {}
    beaten = set()
    for at, size, each in sorted(grid, key=lambda item: (item[0], -item[1])):
        own = each.candidate_ms(rivals.route, replayed)
        best = min(each.candidate_ms(other, replayed) for other in rivals.others)
        if at in beaten or own > best * NOISE or own == float("inf"):
            beaten.add(at)
        else:
            found[at] = size
    return found


def all_thresholds(measured: Sequence[Cell]) -> dict[str, dict[str, dict[int, int]]]:
    """Return `thresholds` of all `RIVALS`, by precision and their name, of calls and replays."""
    return {
        precision: {
            rivals.named(replayed): thresholds(
                [each for each in measured if each.precision == precision], rivals, replayed
            )
            for rivals, replayed in COMPARISONS
            if any(rivals.route in (each.graph_ms if replayed else each.ms) for each in measured)
        }
        for precision in PRECISIONS
    }


def measured_cells(journal: Journal) -> list[Cell]:
    return [Cell(**each) for results in journal.results.values() for each in results]


def markdown(journal: Journal) -> str:
    """Return the table, the fastest of our routes in bold, the thresholds, and what failed."""
    measured = measured_cells(journal)
    routes = list(dict.fromkeys(route for each in measured for route in each.ms))
    lines = [
        f"| precision | n x d | {' | '.join(f'{r}, ms / replay (error)' for r in routes)} |",
        "|---|---|" + "---|" * len(routes),
    ]
    for each in measured:
        row = " | ".join(map(each.shown, routes))
        lines.append(f"| {each.precision} | {each.shape} | {row} |")
    machine = journal.machine
    lines += [
        "",
        f"Measured on {machine['device']} at {machine['commit']}; medians of interleaved "
        "repetitions.",
    ]
    for precision, found in all_thresholds(measured).items():
        for rivals, replayed in COMPARISONS:
            name = rivals.named(replayed)
            if (least := found.get(name)) is None:
                continue
            shown = [
                f"{rivals.along} >= {size} at {rivals.fixed} = {at}" for at, size in least.items()
            ]
            lines += ["", f"{precision}: {name}: {', '.join(shown) or 'nowhere'}."]
    wrong = [each for cell in measured for each in cell.wrong]
    wrong += [f"{name}: {reason}" for name, reason in journal.failed.items()]
    wrong += not_captured(journal)
    if wrong:
        lines += ["", "Failed:", "", *(f"- {each}" for each in wrong)]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for gpu_routes.json and gpu_routes.md")
    parser.add_argument("--resume", action="store_true", help="keep what OUT has, go on behind it")
    parser.add_argument("--commit", default="unknown", help="name of the measured source")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured", file=sys.stderr)
        return NO_DEVICE
    journal = Journal(arguments.out / "gpu_routes.json", arguments.resume, markdown)
    journal.machine = {**environment(arguments.commit), **journal.machine}
    if journal.failed:
        # A route ended the process before. That can be any, but others were tried more: without
        # this one the rest of the grid is there.
        os.environ["HUBPRUNE_WITHOUT_SM90"] = "1"

    def results(make: Callable[[], list[Cell]]) -> list[dict[str, Any]]:
        return [asdict(each) for each in make()]

    every = tasks()
    for name, make in every.items():
        run_noting_captures(journal, name, functools.partial(results, make), SHAPE_SECONDS)
    journal.machine["thresholds"] = all_thresholds(measured_cells(journal))
    journal.save()
    print(markdown(journal))
    wrong = [each for cell in measured_cells(journal) for each in cell.wrong]
    return journal.exit_code(list(every), wrong)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""The device's benchmarks, rehearsed on the CPU: time on a device is too rare for a wrong line.

Every line is computed at a small size with the CPU's kernels in place of CUDA's; only the clock and
the graph capture are pretended.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in the source tree")
MODULES = ("gpu_routes", "gpu_table", "layers", "peers")

# A small call of every function that makes lines of the table.
SMALL: dict[str, Callable[[ModuleType], Any]] = {
    "cholesky_lines": lambda table: table.cholesky_lines(30),
    "degree_line": lambda table: table.degree_line(40, 9),
    "distance_line": lambda table: table.distance_line(40, 9),
    "eigenvector_line": lambda table: table.eigenvector_line(60, 9, "abs"),
    "greedy_lines": lambda table: table.greedy_lines(40, 9),
    "long_lines": lambda table: table.long_lines(40, 70),
    "nearest_line": lambda table: table.nearest_line(40, 9),
    "network_lines": lambda table: table.network_lines([(16, 3), (24, 16)]),
    "other_lines": lambda table: table.other_lines(40, 9),
    "path_line": lambda table: table.path_line("betweenness_centrality", 30, 9),
    "squares_line": lambda table: table.squares_line(90, 9),
    "vectors_line": lambda table: table.vectors_line("small", 8, 5, 3, 3),
}


class HostEvent:
    """A device event of a machine that has finished when a call returns."""

    def __init__(self, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: HostEvent) -> float:
        return (end.at - self.at) * 1e3


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported and forgotten again, with the CPU as their device."""
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = {name: importlib.import_module(name) for name in MODULES}
    table = modules["gpu_table"]
    monkeypatch.setattr(table, "DEVICE", "cpu")
    monkeypatch.setattr(table, "routes_here", lambda: ["tiles", "panels"])
    monkeypatch.setattr(table, "other_peers", lambda: {"torch again": table.eager_degree})
    monkeypatch.setattr(torch.cuda, "Event", HostEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 2**30))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", nullcontext)
    yield modules
    for name in MODULES:
        sys.modules.pop(name, None)


def test_every_line_is_rehearsed(scripts: dict[str, ModuleType]) -> None:
    table = scripts["gpu_table"]
    makers = {
        name
        for name, _ in inspect.getmembers(table, inspect.isfunction)
        if name.endswith(("_line", "_lines"))
    }
    assert makers == set(SMALL)
    source = inspect.getsource(table.lines)
    assert all(f"{name}(" in source for name in makers)


@pytest.mark.parametrize("name", SMALL)
def test_lines(scripts: dict[str, ModuleType], name: str) -> None:
    table = scripts["gpu_table"]
    made = SMALL[name](table)
    ceilings = dict.fromkeys(("copy", "float64", "float32", "tf32", "bfloat16"), 1e9)
    for line in made if isinstance(made, list) else [made]:
        assert line.error <= line.bound
        assert line.ms > 0
        assert line.peer_ms > 0
        assert line.rate > 0
        assert line.repetitions >= 5
        assert (line.percent(ceilings) is None) == (line.ceiling == "")
        assert line.operation in table.markdown([line], MACHINE | {"ceilings": ceilings})


MACHINE: dict[str, Any] = {
    "device": "none",
    "driver": "none",
    "commit": "none",
    "torch_cuda": "none",
    "matmul_precision": "highest",
    "configuration": {"hubprune": "0", "torch": "0", "cuda": {"runtime": 0}},
}


def test_ceilings_are_measured(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["gpu_table"], "CEILING_ROWS", 64)
    monkeypatch.setattr(scripts["gpu_table"], "CEILING_VALUES", 2**12)
    found = scripts["gpu_table"].ceilings()
    assert set(found) == {"copy", "float64", "float32", "tf32", "bfloat16"}
    assert all(rate > 0 for rate in found.values())


def test_routes_are_compared(scripts: dict[str, ModuleType]) -> None:
    routes = scripts["gpu_routes"]
    cells = routes.measured(rows=(40,), features=(9, 70))
    assert [(cell.n, cell.d, cell.precision) for cell in cells] == [
        (40, d, precision) for d in (9, 70) for precision in ("highest", "high", "medium")
    ]
    assert all(set(cell.ms) == {"tiles", "panels", "torch"} for cell in cells)
    text = routes.markdown(cells, "none")
    assert text.count("**") == 2 * len(cells)
    json.dumps(routes.thresholds(cells))


def test_thresholds(scripts: dict[str, ModuleType]) -> None:
    """From the least width on at which one route wins at every size, and at all above."""
    routes = scripts["gpu_routes"]

    def cell(n: int, d: int, tiles: float, panels: float) -> Any:
        return routes.Cell(n, d, "high", {"tiles": tiles, "panels": panels, "torch": 0.1}, {})

    cells = [
        cell(1024, 64, 1, 2),
        cell(4096, 64, 1, 2),
        cell(1024, 512, 1, 2),
        cell(4096, 512, 2, 1),
        cell(1024, 1024, 2, 1),
        cell(4096, 1024, 2, 1),
        cell(1024, 4608, 2, 1),
    ]
    assert routes.thresholds(cells) == {"high": {"panels": 1024}}
    assert routes.thresholds(cells[:2]) == {"high": {"tiles": 64}}
    assert routes.thresholds(cells[2:4]) == {}

# SPDX-License-Identifier: MIT
"""What the device's table says: where it was measured, its lines, what was missed or failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from gpu_clock import capture_refused
from gpu_lines import Line
from hubprune.config import configuration
from journal import Journal, Measurement


def asked_of_driver(query: str) -> str:
    """Return what nvidia-smi says of the first device; "unknown" where it says nothing."""
    try:
        run = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.partition("\n")[0].strip() or "unknown"


def device_state() -> str:
    """Return the clocks, power and temperature, which tell a slowed device from a slow kernel."""
    return asked_of_driver("clocks.sm,clocks.max.sm,clocks.mem,power.draw,temperature.gpu")


def environment(commit: str) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_cache_mib": properties.L2_cache_size / 2**20,
        "driver": asked_of_driver("driver_version"),
        "torch_cuda": torch.version.cuda,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "commit": commit,
        "configuration": configuration(),
    }


def run_noting_captures(
    journal: Journal, name: str, measurement: Measurement, seconds: float
) -> None:
    """As `Journal.run`; note where this process stops capturing graphs, so without replays."""
    before = capture_refused()
    journal.run(name, measurement, seconds)
    if (reason := capture_refused()) != before:
        journal.machine.setdefault("not_captured", {})[name] = reason


def not_captured(journal: Journal) -> list[str]:
    """Return where captures failed, and why."""
    found = journal.machine.get("not_captured", {})
    return [
        f"{name}: not captured in a graph, nor what came after it: {found[name]}" for name in found
    ]


def of_ceiling(line: Line, machine: dict[str, Any]) -> str:
    reached = line.reached(machine.get("ceilings", {}))
    return "" if reached is None else f"{reached[0]:.0f}% {reached[1]}"


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
    wrong += not_captured(journal)
    if wrong:
        rows += ["", "Failed:", "", *(f"- {each}" for each in wrong)]
    rows += [
        "",
        f"{machine['device']}, driver {machine['driver']}, hubprune {own['hubprune']} at "
        f"{machine['commit']} (CUDA runtime {own['cuda']['runtime']}), torch {own['torch']} "
        f"(CUDA {machine['torch_cuda']}), float32 products in {machine['matmul_precision']} "
        "precision. Medians of interleaved repetitions, nothing in the L2 cache, launching "
        "included; (graph): of a replay, without it. Errors against float64: absolute for vectors "
        "and cosines, relative for degrees. Ceilings measured there: "
        + ", ".join(
            f"{name} {rate / 1e6:.3g} GB/s"
            if name == "copy"
            else f"{name} {rate / 1e9:.3g} TFLOP/s"
            for name, rate in machine.get("ceilings", {}).items()
        )
        + ".",
    ]
    return "\n".join(rows) + "\n"

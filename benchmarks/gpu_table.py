# SPDX-License-Identifier: MIT
"""Time the CUDA kernels beside torch eager in one process, with their errors beside the times.

Usage: python benchmarks/gpu_table.py OUT [--group NAME] [--resume] [--quick] [--commit NAME]

Writes OUT/gpu_table.json and OUT/gpu_table.md anew after every line. A line holds ours and the
peer's median over interleaved repetitions, and both errors against float64 on the same input.
gpu_clock.py says what a time is: with nothing in the L2 cache, and with what the host takes to
launch; where a call that is not long can be captured in a graph, the time of a replay is beside it.

A line that fails is listed with its reason. The exit code is 2 without a device; 14 if an error of
ours is above its bound; 15 if a line failed. Any other: a line ended the process, by a hang of more
than LINE_SECONDS or a fault: run again with --resume for the lines behind it. The groups, the
riskiest last, can be separate processes with one OUT: --resume keeps what the others wrote.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gpu_centrality import cholesky_lines, eigenvector_lines, greedy_lines, path_lines
from gpu_clock import ceilings
from gpu_degree import (
    degree_lines,
    long_lines,
    other_lines,
    routes_here,
    short_lines,
    short_million_lines,
    signed_lines,
    squares_lines,
)
from gpu_lines import Line
from gpu_network import NETWORK_WAYS, network_lines, vectors_lines
from gpu_peers import PRECISIONS, other_packages
from gpu_report import (
    device_state,
    environment,
    markdown,
    measured_lines,
    missed_bounds,
    run_noting_captures,
)
from gpu_similarity import distance_lines, nearest_lines
from journal import NO_DEVICE, Journal

LINE_SECONDS = 40.0  # that a line may take; then it hangs
LONG_LINE_SECONDS = 90.0  # that one may take which compiles, or goes through a million rows' pairs


class Task(NamedTuple):
    """What makes some lines; `seconds` later it hangs."""

    name: str
    make: Callable[[], list[Line]]
    seconds: float = LINE_SECONDS


def task(make: Callable[..., list[Line]], *arguments: Any, seconds: float = LINE_SECONDS) -> Task:
    """Return a call as a task."""
    shown = ", ".join(map(str, arguments))
    return Task(f"{make.__name__}({shown})", lambda: make(*arguments), seconds)


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
            task(degree_lines, 16384, 9),
            task(degree_lines, 65536, 9),
            task(nearest_lines, 65536, 9),
            task(nearest_lines, 2048, 18432),
            task(signed_lines, 1_000_000, 9),
            task(signed_lines, 2048, 18432),
            task(squares_lines, 1_000_000, 9),
            task(squares_lines, 65536, 128),
            task(distance_lines, 2048, 4608),
            # The longest last: what stops them takes no others along. For matrices above 32 x 32
            # torch's eigh solves one after another.
            task(degree_lines, 1_000_000, 9, seconds=LONG_LINE_SECONDS),
            task(vectors_lines, "wide kernels", 64, 300, 17, 17),
        ]
        network = [task(network_lines, way) for way in NETWORK_WAYS]
        paths += [
            task(eigenvector_lines, 65536, 9, "abs"),
            task(eigenvector_lines, 1_000_000, 9, "squared"),
            task(path_lines, "betweenness_centrality", 2048, 9),
            task(path_lines, "closeness_centrality", 2048, 9),
        ]
        peers = [
            task(other_lines, n, d, precision, package, seconds=LONG_LINE_SECONDS)
            for n, d, precision in (
                (16384, 9, "highest"),
                (4096, 1024, "highest"),
                (16384, 4608, "high"),
                (16384, 4608, "medium"),
            )
            for package in other_packages(precision)
        ]
    short = [(2048, 9)] if quick else [(2048, 9), (16384, 9), (65536, 9), (65536, 25)]
    mma = [task(short_lines, *shape, precision) for shape in short for precision in PRECISIONS]
    if not quick:
        mma.append(task(short_million_lines, 1_000_000, 9, seconds=LONG_LINE_SECONDS))
    here = routes_here()
    return {
        "core": core,
        "network": network,
        "paths": paths,
        "long": long_tasks([route for route in here if route != "sm90"], quick),
        "mma": mma,
        "sm90": long_tasks([route for route in here if route == "sm90"], quick),
        "peers": peers,
    }


GROUPS = ("core", "network", "paths", "long", "mma", "sm90", "peers")


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
            for each in tasks:
                names.append(each.name)
                make = functools.partial(results, each.make)
                run_noting_captures(journal, each.name, make, each.seconds)
            journal.machine.setdefault("state", {})[group] = device_state()
            journal.save()
    print(markdown(journal))
    return journal.exit_code(names, missed_bounds(measured_lines(journal, names)))


if __name__ == "__main__":
    sys.exit(main())

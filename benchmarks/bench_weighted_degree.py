# SPDX-License-Identifier: MIT
"""Weighted degree at real layers' sizes and beyond, and the memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hubprune.bench import OURS, Case, Timing, degree_case

NEED_THE_MATRIX = ("torch naive", "numpy syrk", "scikit-learn")
WHOLE_MATRIX = dict.fromkeys(NEED_THE_MATRIX, "the 100000 x 100000 matrix takes 40 GB")

CASES = [
    # Rank-1 vectors: d is the number of kernel positions.
    degree_case("weighted_degree abs / CNN14 conv12 rank-1, 2048 x 9", 2048, 9),
    degree_case("weighted_degree abs / VGGish conv6 rank-1, 512 x 9", 512, 9),
    degree_case("weighted_degree abs / DCASE conv2 rank-1, 16 x 49", 16, 49),
    degree_case("weighted_degree abs / DCASE conv3 rank-1, 32 x 49", 32, 49),
    degree_case("weighted_degree abs / CREPE full conv1, 1024 x 512", 1024, 512),
    degree_case("weighted_degree abs / CREPE tiny conv1, 128 x 512", 128, 512),
    degree_case("weighted_degree abs / 16384 x 9", 16384, 9),
    degree_case("weighted_degree abs / 100000 x 9", 100_000, 9, left_out=WHOLE_MATRIX),
    # Whole filters.
    degree_case("weighted_degree abs / 2048 x 1024", 2048, 1024),
    degree_case("weighted_degree abs / VGGish conv6 flattened, 512 x 4608", 512, 4608),
    degree_case("weighted_degree abs / CNN14 conv12 flattened, 2048 x 18432", 2048, 18432),
    degree_case(
        "weighted_degree abs medium / VGGish conv6 flattened, 512 x 4608",
        512,
        4608,
        precision="medium",
    ),
    degree_case(
        "weighted_degree abs medium / CNN14 conv12 flattened, 2048 x 18432",
        2048,
        18432,
        precision="medium",
    ),
    # Closed forms.
    degree_case("weighted_degree signed / DCASE conv3 rank-1, 32 x 49", 32, 49, edge="signed"),
    degree_case("weighted_degree signed / CNN14 conv12 rank-1, 2048 x 9", 2048, 9, edge="signed"),
    degree_case("weighted_degree signed / 16384 x 9", 16384, 9, edge="signed"),
    degree_case("weighted_degree signed / 1000000 x 9", 1_000_000, 9, edge="signed"),
    degree_case(
        "weighted_degree signed / CNN14 conv12 flattened, 2048 x 18432",
        2048,
        18432,
        edge="signed",
    ),
    degree_case("weighted_degree squared / CNN14 conv12 rank-1, 2048 x 9", 2048, 9, edge="squared"),
    degree_case("weighted_degree squared / 1000000 x 9", 1_000_000, 9, edge="squared"),
]


def test_weighted_degree(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)


# --- memory ---------------------------------------------------------------------------------------

WIDE = 200_000
NO_PEER = {
    "torch chunked": "takes minutes at this size",
    **dict.fromkeys(NEED_THE_MATRIX, "the 200000 x 200000 matrix takes 160 GB"),
}
MEMORY_CASE = degree_case(f"weighted_degree abs / {WIDE} x 9, memory", WIDE, 9, left_out=NO_PEER)
# A process of its own: the highest resident set of this one is another case's. The small call first
# loads what any call loads (threads, operators).
MEMORY_SCRIPT = """
import json, re, sys, time
from pathlib import Path
import torch
import hubprune as hp
from hubprune.bench import rows

def highest():  # bytes
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1))

n, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
hp.weighted_degree(rows(2000, 9), edge="abs")
x = rows(n, 9)
before, start = highest(), time.perf_counter()
degree = hp.weighted_degree(x, edge="abs")
seconds, extra = time.perf_counter() - start, highest() - before
some = torch.arange(0, n, n // 64)
unit = torch.nn.functional.normalize(x.double(), dim=1)
s = unit[some] @ unit.T
s[torch.arange(len(some)), some] = 0
exact = s.abs().sum(1)
error = float(((degree[some].double() - exact) / exact).abs().max())
print(json.dumps({"seconds": seconds, "extra": extra, "error": error}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory(benchmark: Any, threads: int, report: Callable[[Case, Timing], None]) -> None:
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(WIDE), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["error"] <= MEMORY_CASE.bound
    assert found["extra"] < 100e6
    benchmark.extra_info["extra_memory"] = found["extra"]
    report(MEMORY_CASE, Timing(OURS, (found["seconds"],), found["error"], found["error"]))

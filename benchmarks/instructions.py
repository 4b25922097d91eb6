# SPDX-License-Identifier: MIT
"""Count the instructions of the hot loops with callgrind: exact where a clock is noisy.

Usage: python benchmarks/instructions.py [benchmarks/results/instructions.json]

Runs itself under valgrind, which knows AVX2 but not AVX-512, so the numbers are those of level v3.
Each operation runs at two sizes in two processes alike in all else; the difference over the
difference in work is the cost of one more pair, row or weight. The start of a process, nearly seven
thousand million instructions, differs by a few million from one to the next: the sizes lie so far
apart that this is a few per cent at most. Takes about ten minutes, most of them to load torch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# name -> (unit, two sizes, the work of a size in units, the fewest vector instructions of a unit:
# multiply-adds of the method, and where pairs are summed an absolute value and two additions, where
# they are compared two maxima)
SIZES: dict[str, tuple[str, tuple[int, int], Callable[[int], float], float]] = {
    "degree_abs_9": ("pair", (2048, 16384), lambda n: n * n / 2, 12 / 8),
    "degree_abs_256": ("pair", (512, 4096), lambda n: n * n / 2, 259 / 8),
    "degree_signed_9": ("row", (65536, 1048576), lambda n: n, 36 / 4),
    "nearest_9": ("pair", (2048, 16384), lambda n: n * n / 2, 11 / 8),
    "rank1_3x3": ("weight", (64, 4096), lambda n: n * 512 * 9, 45 / 4 / 9),
}


def child(name: str, size: int) -> None:
    """Run one operation once, on a part of an input that is the same for both sizes."""
    import torch

    import hubprune as hp

    torch.set_num_threads(1)
    largest = SIZES[name][1][1]
    shape = {"degree_abs_256": (256,), "rank1_3x3": (512, 3, 3)}.get(name, (9,))
    x = torch.randn(largest, *shape, generator=torch.Generator().manual_seed(0))[:size]
    calls: dict[str, Callable[[torch.Tensor], Any]] = {
        "degree_abs_9": lambda x: hp.weighted_degree(x, edge="abs"),
        "degree_abs_256": lambda x: hp.weighted_degree(x, edge="abs"),
        "degree_signed_9": hp.weighted_degree,
        "nearest_9": hp.nearest,
        "rank1_3x3": hp.filter_vectors,
    }
    calls[name](x)


def instructions(name: str, size: int) -> int:
    """Return the instructions of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "callgrind.out"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={profile}",
            sys.executable,
            __file__,
            "--child",
            name,
            str(size),
        ]
        fixed = {"HUBPRUNE_SIMD": "v3", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        environment = {**os.environ, **fixed}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"valgrind failed:\n{run.stderr[-2000:]}")
        found = re.search(r"^(?:summary|totals): (\d+)", profile.read_text(), re.MULTILINE)
    if not found:
        sys.exit("callgrind wrote no total")
    return int(found.group(1))


def main() -> None:
    """Count and print; save when a file is named."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
        return
    report = {}
    for name, (unit, (small, large), work, floor) in SIZES.items():
        counts = [instructions(name, size) for size in (small, large)]
        each = (counts[1] - counts[0]) / (work(large) - work(small))
        report[name] = {"unit": unit, "instructions": each, "floor": floor, "counts": counts}
        print(f"{name}: {each:.2f} instructions a {unit}; {floor:.2f} without which none can do")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Rewrite the benchmark table of a Markdown file from pytest-benchmark's JSON.

Usage: python benchmarks/table.py results/cpu.json README.md

The table stands between the lines `<!-- benchmark table -->` and `<!-- end of benchmark table -->`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- benchmark table -->", "<!-- end of benchmark table -->"


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def table(report: dict[str, Any]) -> str:
    """Return the Markdown table: one row per group and thread count, the best peer beside ours."""
    groups: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for bench in report["benchmarks"]:
        info = bench["extra_info"]
        groups[bench["group"], info["threads"]][info["name"]] = bench
    lines = [
        "| work | threads | hubprune, ms (error) | best peer, ms (error) | times faster |",
        "|---|---|---|---|---|",
    ]
    for (group, threads), routes in sorted(groups.items()):
        ours = routes.pop("hubprune")
        name, peer = min(routes.items(), key=lambda item: item[1]["stats"]["median"])
        mine, theirs = ours["stats"]["median"], peer["stats"]["median"]
        lines.append(
            f"| {group} | {threads} | {milliseconds(mine)} ({ours['extra_info']['error']:.0e}) | "
            f"{name}: {milliseconds(theirs)} ({peer['extra_info']['error']:.0e}) | "
            f"{theirs / mine:.1f} |"
        )
    first = report["benchmarks"][0]["extra_info"]["configuration"]
    processor = report["machine_info"]["cpu"].get("brand_raw", "unknown processor")
    cores = report["machine_info"]["cpu"]["count"]
    lines += [
        "",
        f"Medians of 7 runs on {cores} cores of {processor}, level "
        f"{first['simd']['in_use']}, torch {first['torch']}. Error: the largest against float64, "
        "absolute for vectors and cosines, relative for degrees.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Rewrite the file."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report = json.loads(Path(sys.argv[1]).read_text())
    target = Path(sys.argv[2])
    before, rest = target.read_text().split(BEGIN)
    _, after = rest.split(END)
    target.write_text(f"{before}{BEGIN}\n{table(report)}\n{END}{after}")
    print(table(report))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Rewrite a table of a Markdown file from the JSON of the run that measured it.

Usage: python benchmarks/table.py benchmarks/results/cpu.json README.md     (of `make bench`)
       python benchmarks/table.py demo-output/results.json README.md        (of `make demo`)

The tables stand between the lines `<!-- benchmark table -->` and `<!-- end of benchmark table -->`,
and the same with "demo".
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def benchmark_table(report: dict[str, Any]) -> str:
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
        "absolute for vectors and cosines, relative for degrees; 1 or 2 is a rank-1 vector of the "
        "wrong sign.",
    ]
    return "\n".join(lines)


def demo_table(result: dict[str, Any]) -> str:
    """Return the Markdown table of the demo, without the ratio at which nothing is left."""
    lines = ["| scorer | cut | parameters | MACs | pitch accuracy |", "|---|---|---|---|---|"]

    def line(scorer: str, cut: str, row: dict[str, Any], accuracy: str) -> str:
        parameters = 1 - row["parameters"] / result["parameters"]
        macs = 1 - row["macs"] / result["macs"]
        shares = [f"-{share:.0%}" if share else "" for share in (parameters, macs)]
        return f"| {scorer} | {cut} | {shares[0]} | {shares[1]} | {accuracy} |"

    baseline = result["baseline"]
    error = f"{baseline['standard_error']:.1%}"
    lines.append(line("unpruned", "", result, f"{baseline['value']:.1%} +/- {error}"))
    for row in result["rows"]:
        if row["ratio"] is not None and row["ratio"] >= 0.5:
            continue
        cut = "its own rule" if row["ratio"] is None else f"{row['ratio']:.0%}"
        accuracy = f"{row['accuracy']:.1%}"
        if row["seeds"]:
            accuracy += f" ({row['lowest']:.1%} to {row['highest']:.1%}, {len(row['seeds'])} seeds)"
        lines.append(line(row["scorer"], cut, row, accuracy))
    lines += [
        "",
        f"CREPE (tiny), pretrained, on {result['tones']} tones of known pitch at 0 to 30 dB signal "
        "to noise; right within 50 cents. Not fine-tuned: the loss before any recovery.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Rewrite the file."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data = json.loads(Path(sys.argv[1]).read_text())
    name = "benchmark" if "benchmarks" in data else "demo"
    text = benchmark_table(data) if name == "benchmark" else demo_table(data)
    begin, end = f"<!-- {name} table -->", f"<!-- end of {name} table -->"
    target = Path(sys.argv[2])
    before, rest = target.read_text().split(begin)
    _, after = rest.split(end)
    target.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    print(text)


if __name__ == "__main__":
    main()

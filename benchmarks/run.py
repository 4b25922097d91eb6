# SPDX-License-Identifier: MIT
"""Run the suite, each file in a process of its own: python benchmarks/run.py OUTPUT.json [FILE ...]

What one file leaves in memory (blocks that the allocator keeps, so that no route pays for fresh
pages) would add up to more than the machine has. The reports are joined into one. Without FILE: all
bench_*.py beside this script. With some: OUTPUT.json keeps what it holds of the others. The routes
of a case are always timed in turn, in one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
OPTIONS = ("-q", "-p", "benchmark", "-o", "addopts=", "-o", "python_files=bench_*.py")


def joined(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one report: what the first says of the machine, and all benchmarks."""
    whole = dict(reports[0])
    whole["benchmarks"] = [bench for report in reports for bench in report["benchmarks"]]
    return whole


def others(report: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """Return a report without what it holds of these files."""
    names = {file.name for file in files}
    kept = [
        bench
        for bench in report["benchmarks"]
        if Path(bench["fullname"].partition("::")[0]).name not in names
    ]
    return {**report, "benchmarks": kept}


def main() -> None:
    """Run, join, write; a file that fails ends the run with its exit status."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    files = [Path(name) for name in sys.argv[2:]] or sorted(FOLDER.glob("bench_*.py"))
    reports: list[dict[str, Any]] = []
    if sys.argv[2:] and target.exists():
        reports.append(others(json.loads(target.read_text()), files))
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            print(f"--- {file.stem}", flush=True)
            report = Path(folder) / f"{file.stem}.json"
            command = [sys.executable, "-m", "pytest", str(file), *OPTIONS]
            command += [f"--benchmark-json={report}", "--benchmark-columns=min,median,rounds"]
            status = subprocess.run(command, check=False).returncode
            if status:
                sys.exit(status)
            reports.append(json.loads(report.read_text()))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(joined(reports), indent=1) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Pruning studies on data whose labels are known because they are rendered.

Usage: python benchmarks/study.py RESULTS.json [--parts a,b,c] [--seeds 5] [--jobs 2] [--quick]

a: musicnn's tagger on instruments, without fine-tuning; b: CREPE on tones, with and without
fine-tuning; c: the DCASE 2021 baseline on acoustic scenes, trained, pruned and fine-tuned. Rows are
stored in the work folder as they finish, and a study that was interrupted goes on there. A part
that is not asked for keeps what RESULTS.json holds of it. --jobs: so many processes share the
seeds. --quick: tiny sizes, for the tests; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.file_writing import replaced_file
from study_rows import say

PARTS = {"a": "instruments", "b": "pitch", "c": "scenes"}


def conditions() -> dict[str, Any]:
    """With what it was measured."""
    return {
        "hubprune": hp.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def seeds_of(text: str) -> list[int]:
    """Return the first so many seeds, or those that are named, with a comma behind a single one."""
    found = [int(each) for each in text.split(",") if each] if "," in text else range(int(text))
    if not found or min(found) < 0:
        raise ValueError(f"seeds must be a number of seeds, or seeds; got {text!r}")
    return list(found)


def share(parts: list[str], seeds: list[int], arguments: argparse.Namespace) -> None:
    """Measure each part's seeds in processes of their own, the longest part first.

    What they find is stored in the work folder.
    """
    if "c" in parts:  # here, or every process would render them
        scenes = importlib.import_module("study_scenes")
        scenes.clips(arguments.quick, arguments.work / PARTS["c"])
    options = ["--work", str(arguments.work), "--threads", str(arguments.threads)]
    options += ["--quick"] if arguments.quick else []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        start = [sys.executable, __file__]
        commands = [
            [*start, f"{folder}/{part}{seed}.json", f"--parts={part}", f"--seeds={seed},", *options]
            for part in sorted(parts, reverse=True)
            for seed in seeds
        ]
        finished = list(pool.map(lambda command: subprocess.run(command, check=False), commands))
    if any(each.returncode for each in finished):
        sys.exit("a part of the study failed; what is finished is kept")


def main() -> None:
    """Run the parts, write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the JSON to write")
    parser.add_argument("--parts", default="a,b,c", help="such as a,c")
    parser.add_argument("--seeds", type=seeds_of, default="5", help="a number, or such as 1,3")
    parser.add_argument("--work", type=Path, default=Path("build/study"), help="state and clips")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts must be among {', '.join(PARTS)}; got {arguments.parts}")
    if arguments.jobs > 1:
        share(parts, arguments.seeds, arguments)
    torch.set_num_threads(arguments.threads)
    # Trained networks carry weights around 1e-18, whose products are denormal and slow.
    torch.set_flush_denormal(True)
    found: dict[str, Any] = {}
    if arguments.output.exists():
        found = json.loads(arguments.output.read_text())
    for part in parts:
        name = PARTS[part]
        say(f"part {part}: {name}")
        module = importlib.import_module(f"study_{name}")
        result = module.run(arguments.seeds, arguments.quick, arguments.work / name)
        found[name] = {**result, "seeds": arguments.seeds, "conditions": conditions()}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(arguments.output) as file:
            file.write_text(json.dumps(found, indent=1) + "\n")
    say("done")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""The command ``hubprune bench``: what is faster on this machine, and what is not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import count
from .command import Command
from .progress import progress_display

__all__ = ["BENCH"]

_EPILOG = """\
Times every operation beside the best that torch, NumPy and scipy do, on one thread and
on all; about a minute on two cores. All take turns in one loop, and every result is
checked against float64. Peers that are not installed are left out and named;
pip install 'hubprune[bench]' brings them.

examples:
  hubprune bench
  hubprune bench --only degree --threads 4
  hubprune bench --json --output bench.json"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds: a trial run")
    parser.add_argument(
        "--threads", type=count, metavar="N", help="this many only (default: 1, then all)"
    )
    parser.add_argument(
        "--only", metavar="SUBSTRING", help="only what has this in its name, such as degree"
    )
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="also save the JSON here")


def _run(arguments: argparse.Namespace) -> Any:
    """Measure, save, and return what to print: JSON-able or text."""
    from ..bench import case_names, run  # here, because no other command needs it

    only, output = arguments.only, arguments.output
    names = case_names(quick=arguments.quick)
    # Before the long part: mistakes are told at once, in the words of the command line.
    if only is not None and not any(only.lower() in name.lower() for name in names):
        raise ValueError(f"--only {only!r} fits nothing; there are: {'; '.join(names)}")
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise FileNotFoundError(f"--output: {output} must be a file in a folder that exists")
    with progress_display() as bar:
        result = run(quick=arguments.quick, threads=arguments.threads, only=only, progress=bar.step)
    if output is not None:
        result.save(output)
    if arguments.json:
        return result.to_dict()
    return f"{result}\nsaved to {output}" if output is not None else str(result)


BENCH = Command(
    "bench",
    "measure on this machine what is faster than torch and NumPy, and what is not",
    _EPILOG,
    _add_arguments,
    _run,
)

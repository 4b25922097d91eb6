# SPDX-License-Identifier: MIT
"""The command ``hubprune demo``: a real pretrained network, pruned and measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import seed
from .command import Command
from .progress import progress_display

__all__ = ["DEMO"]

_EPILOG = """\
Takes CREPE (tiny), a pretrained pitch network, makes tones of exactly known pitch,
measures its accuracy before and after pruning with several scorers, and scores a
CNN14. No network access, no fine-tuning, about half a minute on two cores.

examples:
  hubprune demo
  hubprune demo --quick --output quick-demo"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--output", "-o", type=Path, default=Path("demo-output"),
        help="the folder of the results (default demo-output)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer tones, scorers and ratios")
    parser.add_argument("--seed", type=seed, default=0, help="of the tones (default 0)")
    parser.add_argument(
        "--checkpoint-cnn14",
        type=Path,
        metavar="FILE",
        help="an official PANNs checkpoint; without it CNN14 is scored with random weights",
    )


def _run(arguments: argparse.Namespace) -> Any:
    """Run it and return what to print: JSON-able or text."""
    from .. import demo  # here, because no other command needs it

    with progress_display() as bar:
        result = demo.run_demo(
            arguments.output,
            quick=arguments.quick,
            seed=arguments.seed,
            checkpoint_cnn14=arguments.checkpoint_cnn14,
            progress=bar.step,
        )
    return result.to_dict() if arguments.json else str(result)


DEMO = Command(
    "demo",
    "prune a real pretrained pitch network and measure what it costs",
    _EPILOG,
    _add_arguments,
    _run,
)

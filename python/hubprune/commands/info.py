# SPDX-License-Identifier: MIT
"""The command ``hubprune info``: this installation, or what was saved."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ..config import configuration, show_config
from ..models import KNOWN_MODELS
from .command import Command
from .models import MODELS_EPILOG, SCORER_HELP, SCORERS_EPILOG
from .prune import read_plan

__all__ = ["INFO"]

_EPILOG = """\
examples:
  hubprune info
  hubprune info cnn14-half
  hubprune info plan.json"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", nargs="?", type=Path, help="a saved folder or a plan.json")


def _run(arguments: argparse.Namespace) -> Any:
    """Return what to print: JSON-able or text."""
    if arguments.path is not None:
        decision = read_plan(arguments.path)
        return decision.to_dict() if arguments.json else decision.summary()
    if arguments.json:
        return {
            **configuration(),
            "models": {name: spec.description for name, spec in KNOWN_MODELS.items()},
            "scorers": SCORER_HELP,
        }
    with redirect_stdout(io.StringIO()) as shown:
        show_config()
    return f"{shown.getvalue()}\n{MODELS_EPILOG}\n\n{SCORERS_EPILOG}"


INFO = Command(
    "info", "show this installation, or a saved network or plan", _EPILOG, _add_arguments, _run
)

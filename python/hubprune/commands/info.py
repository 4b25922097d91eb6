# SPDX-License-Identifier: MIT
"""The command ``hubprune info``: this installation, or what was saved."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ..comparison_result import Comparison
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
  hubprune info plan.json
  hubprune info study                       the folder of `hubprune compare`"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        help="what `hubprune prune`, `finetune` or `compare` saved; a plan.json",
    )


def _run(arguments: argparse.Namespace) -> Any:
    """Return what to print: JSON-able or text."""
    if arguments.path is not None:
        comparison = _read_comparison(arguments.path)
        if comparison is not None:
            return comparison.to_dict() if arguments.json else comparison.table()
        if (rows := _unfinished_rows(arguments.path)) is not None:
            if arguments.json:
                return {"unfinished": True, "rows": rows}
            return (
                f"{arguments.path}: a comparison that is not finished, {rows} rows so far; "
                "`hubprune compare` with the same words goes on with it"
            )
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


def _unfinished_rows(path: Path) -> int | None:
    """How many rows an interrupted comparison has; None: the folder holds no such thing."""
    state = path / "state"
    if not (state / "configuration.json").is_file():
        return None
    return len(list(state.glob("rows/*.json")))


def _read_comparison(path: Path) -> Comparison | None:
    file = path / "comparison.json" if path.is_dir() else path
    if file.name != "comparison.json" or not file.is_file():
        return None
    try:
        return Comparison.from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


INFO = Command(
    "info",
    "show this installation, or a saved network, plan or comparison",
    _EPILOG,
    _add_arguments,
    _run,
)

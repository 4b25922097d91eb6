# SPDX-License-Identifier: MIT
"""The command line: ``hubprune prune``, ``finetune``, ``evaluate``, ``compare`` and the others.

Results go to standard output, as tables or with ``--json`` as one JSON document, and nothing else
does: progress, warnings, errors and what a user's own network prints go to standard error. Exit
status: 0 done, 2 a wrong argument or file, 1 another failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from . import _native
from .commands.bench import BENCH_HELP, add_bench, run_bench
from .commands.compare import COMPARE_HELP, add_compare, compare_state, run_compare
from .commands.demo import DEMO_HELP, add_demo, run_demo
from .commands.evaluate import EVALUATE_HELP, add_evaluate, run_evaluate
from .commands.finetune import FINETUNE_HELP, add_finetune, finetune_state, run_finetune
from .commands.info import INFO_HELP, add_info, run_info
from .commands.prune import PRUNE_HELP, add_prune, run_prune
from .commands.report import REPORT_HELP, add_report, run_report
from .commands.score import SCORE_HELP, add_score, run_score
from .json_numbers import all_writable

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status.
    """
    arguments = _parser().parse_args(argv)
    try:
        # A factory or network that prints must not end up in the middle of the result.
        with _plain_warnings(), redirect_stdout(sys.stderr):
            result = arguments.run(arguments)
        if not isinstance(result, str):
            result = json.dumps(all_writable(result), indent=2, allow_nan=False)
        _print(result)
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        state = _resumable_state(arguments)
        goes_on = "" if state is None else f"; the same command goes on from {state}"
        print(f"hubprune: interrupted{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if arguments.debug:
            raise
        print(f"hubprune: error: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, _WRONG_ARGUMENTS) else 1
    return 0


def _print(text: str) -> None:
    """Print a result; what the terminal has no character for, as a question mark."""
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


_STATES = {run_compare: compare_state, run_finetune: finetune_state}


def _resumable_state(arguments: argparse.Namespace) -> Path | None:
    """What an interrupted command left behind, from which the same command goes on."""
    if arguments.run not in _STATES:
        return None
    state = _STATES[arguments.run](arguments)
    return state if state.exists() else None


_WRONG_ARGUMENTS = (
    ValueError,
    TypeError,
    ImportError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
)
_SAYS_ENOUGH = (*_WRONG_ARGUMENTS, OSError, RuntimeError, MemoryError)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"  # without "[Errno 2]"
    else:
        text = str(error).strip() or type(error).__name__
        if " in DataLoader worker " in text:  # torch puts the traceback into the message
            text = text.splitlines()[-1]
    if not isinstance(error, _SAYS_ENOUGH):
        text = f"unexpected {type(error).__name__}: {text}; --debug shows where it comes from"
    return " ".join(text.split())


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as a line for a person, without the place in the source."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"hubprune: warning: {message}", file=sys.stderr)

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


# --- arguments ------------------------------------------------------------------------------------


class _Command(NamedTuple):
    """A command: its name, one line on it, what its help says below, its arguments, its work."""

    name: str
    text: str
    epilog: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Any]


_COMMANDS = (
    _Command("score", "score the filters of every convolution", SCORE_HELP, add_score, run_score),
    _Command("prune", "prune a model and save it", PRUNE_HELP, add_prune, run_prune),
    _Command(
        "evaluate", "measure a model on labelled data", EVALUATE_HELP, add_evaluate, run_evaluate
    ),
    _Command(
        "info", "show this installation, or a saved network or plan", INFO_HELP, add_info, run_info
    ),
    _Command(
        "report",
        "show what pruning changes, as a table or as a page with pictures",
        REPORT_HELP,
        add_report,
        run_report,
    ),
    _Command(
        "demo",
        "prune a real pretrained pitch network and measure what it costs",
        DEMO_HELP,
        add_demo,
        run_demo,
    ),
    _Command(
        "compare",
        "compare scorers under one recipe, with controls",
        COMPARE_HELP,
        add_compare,
        run_compare,
    ),
    _Command("finetune", "fine-tune a pruned network", FINETUNE_HELP, add_finetune, run_finetune),
    _Command(
        "bench",
        "measure on this machine what is faster than torch and NumPy, and what is not",
        BENCH_HELP,
        add_bench,
        run_bench,
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hubprune",
        description="Score the filters of a convolutional network by their redundancy, and cut the "
        "redundant ones out.",
        epilog="examples:\n"
        "  hubprune demo\n"
        "  hubprune report crepe-tiny --ratio 0.25 --html page.html\n"
        "  hubprune score cnn14 --checkpoint Cnn14_mAP=0.431.pth\n"
        "  hubprune prune cnn14 --checkpoint Cnn14_mAP=0.431.pth --ratio 0.5 --output cnn14-half\n"
        "  hubprune compare dcase21 --checkpoint weights.h5 --data features --output study\n"
        "  hubprune info cnn14-half\n\n"
        "`hubprune COMMAND --help` explains each command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hubprune {_native.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.text,
            description=command.text[0].upper() + command.text[1:] + ".",
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=command.run)
        sub.add_argument("--json", action="store_true", help="print one JSON document instead")
        sub.add_argument("--debug", action="store_true", help="show where an error comes from")
        command.add(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())

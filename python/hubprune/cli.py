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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from . import _native
from .commands.bench import BENCH
from .commands.compare import COMPARE
from .commands.demo import DEMO
from .commands.evaluate import EVALUATE
from .commands.finetune import FINETUNE
from .commands.info import INFO
from .commands.prune import PRUNE
from .commands.report import REPORT
from .commands.score import SCORE
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
            result = arguments.command.run(arguments)
        if not isinstance(result, str):
            result = json.dumps(all_writable(result), indent=2, allow_nan=False)
        _print(result)
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        find_state = arguments.command.state
        state = None if find_state is None else find_state(arguments)
        resumable = state is not None and state.exists()
        goes_on = f"; the same command goes on from {state}" if resumable else ""
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


_COMMANDS = (SCORE, PRUNE, EVALUATE, INFO, REPORT, DEMO, COMPARE, FINETUNE, BENCH)


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
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print one JSON document instead")
        sub.add_argument("--debug", action="store_true", help="show where an error comes from")
        command.add_arguments(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""The command line: ``hubprune prune``, ``finetune``, ``evaluate``, ``compare`` and the others.

Results go to standard output, as tables or with ``--json`` as one JSON document, and nothing else
does: progress, warnings, errors and what a user's own network prints go to standard error. Exit
status: 0 done, 2 a wrong argument or file, 1 another failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from . import _native
from .commands.arguments import count, seed
from .commands.compare import COMPARE_HELP, add_compare, compare_state, run_compare
from .commands.evaluate import EVALUATE_HELP, add_evaluate, run_evaluate
from .commands.finetune import FINETUNE_HELP, add_finetune, finetune_state, run_finetune
from .commands.models import MODELS_EPILOG, SCORER_HELP, SCORERS_EPILOG
from .commands.progress import progress_display
from .commands.prune import PRUNE_HELP, add_prune, read_plan, run_prune
from .commands.report import REPORT_HELP, add_report, run_report
from .commands.score import SCORE_HELP, add_score, run_score
from .config import configuration, show_config
from .json_numbers import all_writable
from .models import KNOWN_MODELS

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

    def command(
        name: str, run: Callable[[argparse.Namespace], Any], text: str, epilog: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON document instead")
        sub.add_argument("--debug", action="store_true", help="show where an error comes from")
        return sub

    add_score(command("score", run_score, "score the filters of every convolution", SCORE_HELP))
    add_prune(command("prune", run_prune, "prune a model and save it", PRUNE_HELP))
    add_evaluate(
        command("evaluate", run_evaluate, "measure a model on labelled data", EVALUATE_HELP)
    )

    info = command(
        "info",
        _info,
        "show this installation, or a saved network or plan",
        "examples:\n  hubprune info\n  hubprune info cnn14-half\n  hubprune info plan.json",
    )
    info.add_argument("path", nargs="?", type=Path, help="a saved folder or a plan.json")

    add_report(
        command(
            "report",
            run_report,
            "show what pruning changes, as a table or as a page with pictures",
            REPORT_HELP,
        )
    )

    demo = command(
        "demo",
        _demo,
        "prune a real pretrained pitch network and measure what it costs",
        "Takes CREPE (tiny), a pretrained pitch network, makes tones of exactly known pitch,\n"
        "measures its accuracy before and after pruning with several scorers, and scores a\n"
        "CNN14. No network access, no fine-tuning, about half a minute on two cores.\n\n"
        "examples:\n  hubprune demo\n  hubprune demo --quick --output quick-demo",
    )
    demo.add_argument("--output", "-o", type=Path, default=Path("demo-output"))
    demo.add_argument("--quick", action="store_true", help="fewer tones, scorers and ratios")
    demo.add_argument("--seed", type=seed, default=0, help="of the tones (default 0)")
    demo.add_argument(
        "--checkpoint-cnn14",
        type=Path,
        metavar="FILE",
        help="an official PANNs checkpoint; without it CNN14 is scored with random weights",
    )

    add_compare(
        command(
            "compare", run_compare, "compare scorers under one recipe, with controls", COMPARE_HELP
        )
    )
    add_finetune(command("finetune", run_finetune, "fine-tune a pruned network", FINETUNE_HELP))

    bench = command(
        "bench",
        _bench,
        "measure on this machine what is faster than torch and NumPy, and what is not",
        "Times every operation beside the best that torch, NumPy and scipy do, on one thread and\n"
        "on all; about a minute on two cores. All take turns in one loop, and every result is\n"
        "checked against float64. Peers that are not installed are left out and named;\n"
        "pip install 'hubprune[bench]' brings them.\n\n"
        "examples:\n  hubprune bench\n  hubprune bench --only degree --threads 4\n"
        "  hubprune bench --json --output bench.json",
    )
    bench.add_argument("--quick", action="store_true", help="small sizes, in seconds: a trial run")
    bench.add_argument(
        "--threads", type=count, metavar="N", help="this many only (default: 1, then all)"
    )
    bench.add_argument(
        "--only", metavar="SUBSTRING", help="only what has this in its name, such as degree"
    )
    bench.add_argument("--output", "-o", type=Path, metavar="FILE", help="also save the JSON here")
    return parser


# --- commands -------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> Any:
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


def _demo(arguments: argparse.Namespace) -> Any:
    from .demo import run_demo

    with progress_display() as bar:
        result = run_demo(
            arguments.output,
            quick=arguments.quick,
            seed=arguments.seed,
            checkpoint_cnn14=arguments.checkpoint_cnn14,
            progress=bar.step,
        )
    return result.to_dict() if arguments.json else str(result)


def _bench(arguments: argparse.Namespace) -> Any:
    from .bench import case_names, run

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


if __name__ == "__main__":
    sys.exit(main())

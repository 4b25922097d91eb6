# SPDX-License-Identifier: MIT
"""The command line: ``hubprune prune``, ``finetune``, ``evaluate``, ``compare`` and the others.

Results go to standard output, as tables or with ``--json`` as one JSON document, and nothing else
does: progress, warnings, errors and what a user's own network prints go to standard error. Exit
status: 0 done, 2 a wrong argument or file, 1 another failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from . import _native
from .command_data import read_data, unlabelled_inputs
from .command_report import REPORT_HELP, add_report, run_report
from .command_studies import (
    COMPARE_HELP,
    FINETUNE_HELP,
    add_compare,
    add_finetune,
    run_compare,
    run_finetune,
)
from .compensation import check_compensation
from .config import configuration, show_config
from .datasets import KNOWN_DATA, open_data
from .finetuning import evaluate
from .layer_kinds import CONVOLUTIONS
from .model_runs import evaluating, tensors_of
from .models import KNOWN_MODELS, ModelSpec
from .models.checkpoints import load_weights, read_checkpoint
from .planning import plan
from .progress import without_progress_bar
from .pruning_plan import PruningPlan
from .report import report
from .scorers import SCORER_NAMES, Scorer, Scores, make_scorer, score_model
from .surgery import load_pruned, prune, save_pruned
from .tables import text_table
from .user_functions import call_function

__all__ = ["main"]

_SCORER_HELP = {
    "degree": "sum of similarities to all other filters (weighted degree centrality)",
    "eigenvector": "eigenvector centrality of the similarity graph",
    "betweenness": "share of the shortest paths between others that pass through a filter",
    "closeness": "inverse of the mean path length to all other filters",
    "pairs": "one of each closest pair; decides the count itself",
    "l1": "smallest l1 norm first",
    "l2": "smallest l2 norm first",
    "gm": "nearest to the geometric median first (FPGM)",
    "landmarks": "best represented by the rest first (pivoted Cholesky)",
    "opnorm": "smallest projections on the channels' leading directions first (operator norm)",
    "random": "a control",
}


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
        print(result if isinstance(result, str) else json.dumps(result, indent=2, allow_nan=False))
        sys.stdout.flush()
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("hubprune: interrupted", file=sys.stderr)
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
        text = str(error) or type(error).__name__
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

_MODELS_EPILOG = "known models:\n" + "\n".join(
    f"  {spec.name:<11} {spec.description}" for spec in KNOWN_MODELS.values()
)
_DATA_EPILOG = "data:\n" + "\n".join(
    f"  {each.form}\n      {each.description}\n      options: {', '.join(each.options)}"
    for each in KNOWN_DATA.values()
)
_SCORERS_EPILOG = "scorers:\n" + "\n".join(
    f"  {name:<11} {_SCORER_HELP[name]}" for name in SCORER_NAMES
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

    score = command(
        "score",
        _score,
        "score the filters of every convolution",
        "examples:\n"
        "  hubprune score crepe-tiny                 pretrained weights from an installed package\n"
        "  hubprune score cnn14 --scorer pairs --json\n"
        "  hubprune score my_package.nets:build --checkpoint weights.pth --layer conv3\n\n"
        f"{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}",
    )
    _add_model(score)
    score.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="score this layer only (repeatable; linear layers too)",
    )

    cut = command(
        "prune",
        _prune,
        "prune a model and save it",
        "examples:\n"
        "  hubprune prune dcase21 --checkpoint weights.h5 --ratio 0.5 --output dcase-half\n"
        "  hubprune prune cnn14 --checkpoint Cnn14.pth --output out \\\n"
        "      --ratio conv_block5=0.5 --ratio conv_block6=0.75\n"
        "  hubprune prune crepe-tiny --scorer pairs --output crepe-pairs\n"
        "  hubprune prune cnn14 --budget-parameters 0.5 --budget-macs 0.3 --output small\n"
        "  hubprune prune my_package.nets:build --input-shape 1,1,64,64 --output out\n\n"
        "The folder holds plan.json, model.safetensors and load.py. In Python:\n"
        "  hubprune.load_pruned(hubprune.models.Cnn14, 'out')\n\n"
        f"{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}",
    )
    _add_model(cut)
    cut.add_argument("--output", "-o", type=Path, required=True, help="the folder to save to")
    _add_decision(cut)
    cut.add_argument(
        "--compensate",
        default="none",
        metavar="HOW",
        help="what the layers behind get for what was cut: none, bias, merge, interpolate; or "
        "recalibrate, alone or after one of them (interpolate+recalibrate). Default: none",
    )
    cut.add_argument(
        "--unlabelled",
        metavar="DATA",
        help="inputs to measure on, for --compensate: a folder with X_train.npy, an .npz file, or "
        "a data set by name; without it, --compensate predicts from the weights",
    )
    cut.add_argument(
        "--calibration",
        type=int,
        default=100,
        metavar="N",
        help="how many inputs to take from --unlabelled (default 100)",
    )
    cut.add_argument(
        "--overwrite", action="store_true", help="replace a network saved there before"
    )

    measure = command(
        "evaluate",
        _evaluate,
        "measure a model on labelled data",
        "examples:\n"
        "  hubprune evaluate cnn14 --checkpoint Cnn14_mAP=0.431.pth --data audioset-hdf5:eval.h5\n"
        "  hubprune evaluate dcase21 --checkpoint weights.h5 --data dcase-npy:DCASE2021:test\n"
        "  hubprune evaluate dcase21 --pruned dcase-half \\\n"
        "      --data 'tau:TAU-urban-acoustic-scenes-2020-mobile-development?cache=features'\n"
        "  hubprune evaluate my_package.nets:build --data my_package.sets:valid --json\n\n"
        "Classes: accuracy and log loss. Tags: mean average precision, area under ROC, log loss.\n"
        "Options of the data stand behind '?', as name=value with '&' between; quote them.\n\n"
        f"{_DATA_EPILOG}\n  package.module:function\n      your own; takes no arguments\n\n"
        f"{_MODELS_EPILOG}",
    )
    measure.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    weights = measure.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    weights.add_argument(
        "--pruned", type=Path, metavar="FOLDER", help="what `hubprune prune` saved of this model"
    )
    measure.add_argument("--data", required=True, metavar="SPEC", help="the data set; see below")
    measure.add_argument(
        "--batch-size", type=_count, default=32, metavar="N", help="examples a pass (default 32)"
    )
    measure.add_argument(
        "--device", default="cpu", metavar="NAME", help="such as cuda or cuda:1 (default cpu)"
    )
    measure.add_argument(
        "--returns",
        choices=("logits", "probabilities"),
        help="what the model returns, where it does not say so itself",
    )
    measure.add_argument(
        "--seed", type=_seed, default=0, help="of random weights, where there are no others"
    )

    info = command(
        "info",
        _info,
        "show this installation, or a saved network or plan",
        "examples:\n  hubprune info\n  hubprune info cnn14-half\n  hubprune info plan.json",
    )
    info.add_argument("path", nargs="?", type=Path, help="a saved folder or a plan.json")

    page = command(
        "report",
        _report,
        "show what pruning changes, as a table or as a page with pictures",
        f"{REPORT_HELP}\n\n{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}",
    )
    _add_model(page)
    add_report(page)
    _add_decision(page)

    demo = command(
        "demo",
        _demo,
        "prune a real pretrained pitch network and measure what it costs",
        "Takes CREPE (tiny), a pretrained pitch network, makes tones of exactly known pitch,\n"
        "measures its accuracy before and after pruning with several scorers, and scores a\n"
        "CNN14. No network access, no fine-tuning, about a minute on two cores.\n\n"
        "examples:\n  hubprune demo\n  hubprune demo --quick --output quick-demo",
    )
    demo.add_argument("--output", "-o", type=Path, default=Path("demo-output"))
    demo.add_argument("--quick", action="store_true", help="fewer tones, scorers and ratios")
    demo.add_argument("--seed", type=_seed, default=0, help="of the tones (default 0)")
    demo.add_argument(
        "--checkpoint-cnn14",
        type=Path,
        metavar="FILE",
        help="an official PANNs checkpoint; without it CNN14 is scored with random weights",
    )

    add_compare(
        command(
            "compare", _compare, "compare scorers under one recipe, with controls", COMPARE_HELP
        )
    )
    add_finetune(command("finetune", _finetune, "fine-tune a pruned network", FINETUNE_HELP))

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
        "--threads", type=_count, metavar="N", help="this many only (default: 1, then all)"
    )
    bench.add_argument(
        "--only", metavar="SUBSTRING", help="only what has this in its name, such as degree"
    )
    bench.add_argument("--output", "-o", type=Path, metavar="FILE", help="also save the JSON here")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    parser.add_argument("--scorer", metavar="NAME", help="default degree; see below")
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of random weights, where there are no others"
    )


def _add_decision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ratio",
        action="append",
        metavar="R|LAYER=R",
        help="part of the filters to remove, in [0, 1): of every convolution, or of a layer or "
        "block (repeatable). Default: 0.5, or what the scorer decides (pairs)",
    )
    for quantity, words in (("parameters", "parameters"), ("macs", "multiply-adds")):
        parser.add_argument(
            f"--budget-{quantity}",
            type=float,
            metavar="S",
            help=f"instead of --ratio: at most this share of the model's {words} remains",
        )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="leave this layer whole"
    )
    parser.add_argument(
        "--round-to", type=int, metavar="N", help="keep a multiple of N filters (default 1)"
    )
    parser.add_argument(
        "--global",
        dest="global_",
        action="store_true",
        help="one threshold for all layers instead of the same ratio in each",
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="apply this plan.json")
    parser.add_argument(
        "--input-shape",
        metavar="N,N,...",
        help="shape of an example input, batch first (required for package.module:factory)",
    )


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**63:  # what torch's generators take
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2**63 - 1; got {text!r}")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 1024:  # far above any machine; torch takes less than 2**31
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to 1024; got {text!r}")
    return value


# --- models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """A model from the command line, with what to tell about it."""

    model: nn.Module
    weights: str  # where they come from, for a person
    example: torch.Tensor | None
    builder: str  # the Python expression that builds the architecture


def _load(arguments: argparse.Namespace) -> _Loaded:
    name, checkpoint = arguments.model, arguments.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"--checkpoint: {checkpoint} is not a file")
    torch.manual_seed(arguments.seed)
    if name in KNOWN_MODELS:
        spec = KNOWN_MODELS[name]
        known = f"hubprune.models.KNOWN_MODELS[{name!r}]"
        builder = f"{known}.build"
        if checkpoint is not None:
            model, weights = spec.load(checkpoint), f"weights of {checkpoint}"
            if not _same_shapes(model, spec):  # the checkpoint of a network that was pruned before
                builder = f"lambda: {known}.load({str(checkpoint)!r})"
        elif spec.packaged is not None:
            model, weights = spec.load(), "pretrained weights of the installed package"
        else:
            model = spec.build()
            weights = "random weights: no --checkpoint was given, so this shows the method only"
        return _Loaded(model.eval(), weights, spec.example_inputs(), builder)
    if ":" not in name:
        close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"MODEL must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{name!r}{hint}"
        )
    model = _build(name)
    weights = "the weights that the factory gives"
    if checkpoint is not None:
        load_weights(model, read_checkpoint(checkpoint), str(checkpoint))
        weights = f"weights of {checkpoint}"
    return _Loaded(model.eval(), weights, None, name.replace(":", "."))


def _same_shapes(model: nn.Module, spec: ModelSpec) -> bool:
    with torch.device("meta"):
        built = spec.build()
    return {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in built.state_dict().items()
    }


def _build(name: str) -> nn.Module:
    """Call the factory that `package.module:factory` names."""
    model = call_function(name, "MODEL", what="factory", purpose=" that builds the model")
    if not isinstance(model, nn.Module):
        raise TypeError(f"MODEL: {name} must return a torch.nn.Module; got {type(model).__name__}")
    return model


def _input_shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(
            f"--input-shape must be positive integers with commas, such as 1,1,64,64; got {text!r}"
        )
    return shape


def _ratios(entries: Sequence[str] | None) -> float | dict[str, float] | None:
    """Parse `--ratio 0.5` or `--ratio layer=0.5 --ratio other=0.25`."""
    if not entries:
        return None
    named: dict[str, float] = {}
    for entry in entries:
        layer, _, number = entry.rpartition("=")
        try:
            ratio = float(number)
        except ValueError:
            raise ValueError(
                f"--ratio must be a number in [0, 1), or LAYER=number; got {entry!r}"
            ) from None
        if not layer:
            if len(entries) > 1:
                raise ValueError("--ratio takes one number for all layers, or LAYER=number each")
            return ratio
        named[layer] = ratio
    return named


class _Bar:
    """What a progress bar shows: steps of a known number, or a stage of unknown length."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, count="")

    def step(self, done: int, total: int, text: str) -> None:
        self._progress.update(
            self._task, completed=done, total=total, description=text, count=f"{done}/{total}"
        )

    def stage(self, text: str) -> None:
        # A task whose total is known cannot lose it again.
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=None, count="")


@contextmanager
def _progress() -> Iterator[_Bar]:
    """A progress bar on standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with (
        without_progress_bar(),
        Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        yield _Bar(progress)


# --- commands -------------------------------------------------------------------------------------


def _scorer(arguments: argparse.Namespace) -> Scorer:
    return make_scorer("degree" if arguments.scorer is None else arguments.scorer)


def _score(arguments: argparse.Namespace) -> Any:
    scorer = _scorer(arguments)
    loaded = _load(arguments)
    modules = dict(loaded.model.named_modules())
    names = arguments.layer or [
        name for name, module in modules.items() if isinstance(module, CONVOLUTIONS)
    ]
    if not names:
        raise ValueError(f"{arguments.model} has no convolution; name linear layers with --layer")
    scores: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    with _progress() as bar:
        for done, name in enumerate(names):  # one by one: for the bar, and to time each
            bar.step(done, len(names), f"scoring {name}")
            start = time.perf_counter()
            scores |= score_model(loaded.model, scorer, [name])
            seconds[name] = time.perf_counter() - start
    shapes = {name: list(modules[name].weight.shape) for name in scores}
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": loaded.weights,
            "scorer": scorer.name,
            "seconds": sum(seconds.values()),
            "layers": {
                name: {
                    "weight_shape": shapes[name],
                    "filters": len(each),
                    "dead": each.dead.tolist(),
                    "count": each.count,
                    "seconds": seconds[name],
                    "order": each.order.tolist(),
                    # JSON has no infinity: the dead, which come first, have no value.
                    "redundancy": [
                        value if math.isfinite(value) else None for value in each.values.tolist()
                    ],
                    "explanation": each.explain(),
                }
                for name, each in scores.items()
            },
        }
    counted = any(each.count is not None for each in scores.values())
    header = ["layer", "weight", "dead", "count", "min", "median", "max", "ms", "first"]
    rows = []
    for name, each in scores.items():
        living = each.values[each.values.isfinite()].sort().values
        spread = [
            f"{float(living[i]):.3g}" if len(living) else "-" for i in (0, len(living) // 2, -1)
        ]
        shape = "x".join(map(str, shapes[name]))
        own = "-" if each.count is None else str(each.count)
        time_ = f"{seconds[name] * 1e3:.1f}"
        first = str(int(each.order[0]))
        rows.append([name, shape, str(len(each.dead)), own, *spread, time_, first])
    if not counted:
        header, *rows = [row[:3] + row[4:] for row in (header, *rows)]
    layers = f"{len(scores)} layer{'s' if len(scores) != 1 else ''}"
    return "\n".join(
        [
            f"{arguments.model}: {loaded.weights}",
            f"redundancy by scorer {scorer.name!r}, higher is removed first",
            "",
            text_table(header, rows),
            "",
            "first: the filter that is removed first",
            f"scored {layers} in {sum(seconds.values()) * 1e3:.0f} ms",
        ]
    )


def _report(arguments: argparse.Namespace) -> Any:
    def load() -> tuple[nn.Module, str, torch.Tensor, Callable[[], PruningPlan]]:
        job = _job(arguments)
        loaded = job.loaded
        return loaded.model, loaded.weights, job.example, lambda: _decide(job, arguments, bar)

    with _progress() as bar:
        return run_report(arguments, load, bar.step, bar.stage)


@dataclass(frozen=True)
class _Job:
    """What the options of `_add_model` and `_add_decision` ask for, checked and loaded."""

    loaded: _Loaded
    example: torch.Tensor
    scorer: Scorer
    ratio: float | dict[str, float] | None
    budget: dict[str, float] | None
    given: PruningPlan | None  # from --plan


def _job(arguments: argparse.Namespace) -> _Job:
    scorer = _scorer(arguments)
    ratio = _ratios(arguments.ratio)
    shares = {"parameters": arguments.budget_parameters, "macs": arguments.budget_macs}
    budget = {name: share for name, share in shares.items() if share is not None} or None
    if budget is not None and ratio is not None:
        raise ValueError("--ratio cannot go with --budget-parameters or --budget-macs")
    given = None
    if arguments.plan is not None:
        others = {
            "--scorer": arguments.scorer is not None,
            "--ratio": ratio is not None,
            "--budget-parameters": shares["parameters"] is not None,
            "--budget-macs": shares["macs"] is not None,
            "--keep": bool(arguments.keep),
            "--round-to": arguments.round_to is not None,
            "--global": arguments.global_,
        }
        if any(others.values()):
            named = ", ".join(option for option, present in others.items() if present)
            raise ValueError(f"--plan decides what is cut; it cannot go with {named}")
        given = _read_plan(arguments.plan)
    shape = None if arguments.input_shape is None else _input_shape(arguments.input_shape)
    loaded = _load(arguments)
    example = loaded.example
    if shape is not None:
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if example is None:
        raise ValueError(
            f"--input-shape is needed for {arguments.model}: the shape of an example input, "
            "such as 1,1,64,64"
        )
    return _Job(loaded, example, scorer, ratio, budget, given)


def _decide(job: _Job, arguments: argparse.Namespace, bar: _Bar) -> PruningPlan:
    """Return the plan that was given, or make it."""
    if job.given is not None:
        return job.given

    def scored(done: int, total: int, name: str) -> None:
        if done < total:
            bar.step(done, total, f"scoring, last {name}")
        else:
            bar.stage("proving the plan on the example input")

    bar.stage("tracing the network")
    return plan(
        job.loaded.model,
        job.example,
        scorer=job.scorer,
        ratio=job.ratio,
        budget=job.budget,
        keep=arguments.keep,
        round_to=1 if arguments.round_to is None else arguments.round_to,
        global_=arguments.global_,
        progress=scored,
    )


def _made_up(arguments: argparse.Namespace, batches: list[torch.Tensor] | None) -> str:
    if arguments.compensate == "none":
        return ""
    source = "no data" if batches is None else f"{sum(map(len, batches))} inputs"
    return f"compensated by {arguments.compensate} on {source}; "


def _prune(arguments: argparse.Namespace) -> Any:
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output} exists; choose another or add --overwrite")
    if not arguments.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output: {arguments.output.absolute().parent} does not exist")
    check_compensation(arguments.compensate, arguments.unlabelled, "--unlabelled")
    if arguments.calibration < 1:
        raise ValueError(f"--calibration must be at least 1; got {arguments.calibration}")
    batches = None
    if arguments.unlabelled is not None:
        sounds = read_data(arguments.unlabelled, "train", "--unlabelled")
        batches = unlabelled_inputs(
            sounds,
            "--unlabelled",
            arguments.calibration,
            arguments.calibration,
            torch.device("cpu"),
        )
    job = _job(arguments)
    loaded, example = job.loaded, job.example
    start = time.perf_counter()
    with _progress() as bar:
        decision = _decide(job, arguments, bar)
        planned = time.perf_counter() - start
        bar.stage("cutting")
        pruned = prune(loaded.model, decision, compensate=arguments.compensate, batches=batches)
        bar.stage("measuring before and after")
        _check_output(loaded.model, pruned, example)
        comparison = report(loaded.model, pruned, example, plan=decision)
        bar.stage("saving")
        save_pruned(pruned, decision, arguments.output)
    load = f"hubprune.load_pruned({loaded.builder}, {str(arguments.output)!r})"
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": loaded.weights,
            "scorer": decision.scorer,
            "compensate": arguments.compensate,
            "unlabelled": None if batches is None else sum(map(len, batches)),
            "seconds": planned,
            "output": str(arguments.output),
            "load": load,
            "report": comparison.to_dict(),
            "plan": decision.to_dict(),
        }
    origin = "as planned before" if job.given is not None else f"planned in {planned:.1f} s"
    lines = [
        f"{arguments.model}: {loaded.weights}",
        f"pruned by {decision.scorer}; {origin}; {_made_up(arguments, batches)}not fine-tuned",
        "",
        str(comparison),
    ]
    if decision.kept:
        reasons = text_table(["layer", "reason"], decision.kept.items(), left=True)
        lines += ["", "kept whole:", reasons]
    return "\n".join([*lines, "", f"saved to {arguments.output}; load it with", f"  {load}"])


class _Watched:
    """A data set that tells how far it has been read."""

    def __init__(self, data: Any, step: Callable[[int, int, str], None]) -> None:
        self._data, self._step = data, step

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        self._step(index, len(self._data), "evaluating")
        return self._data[index]


def _load_saved(arguments: argparse.Namespace) -> tuple[nn.Module, str]:
    """The pruned model of a folder, and where its weights come from."""
    name = arguments.model
    if name in KNOWN_MODELS:
        factory: Callable[[], nn.Module] = KNOWN_MODELS[name].build
    else:
        _load(argparse.Namespace(model=name, checkpoint=None, seed=0))  # its mistakes, in our words
        factory = functools.partial(_build, name)
    return load_pruned(factory, arguments.pruned).eval(), f"pruned, weights of {arguments.pruned}"


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA in it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--device {name!r} cannot be used: {reason}") from error
    if device.type == "meta":
        raise ValueError("--device 'meta' computes nothing")
    return device


def _evaluate(arguments: argparse.Namespace) -> Any:
    device = _device(arguments.device)
    if arguments.pruned is not None:
        model, weights = _load_saved(arguments)
    else:
        loaded = _load(arguments)
        model, weights = loaded.model, loaded.weights
    with _progress() as bar:
        bar.stage("opening the data")
        data = open_data(arguments.data)
        examples = None
        if hasattr(data, "__getitem__") and not isinstance(data, tuple | list):
            examples = len(data)
            data = _Watched(data, bar.step)
        elif isinstance(data, tuple | list):
            examples = len(data[0])
        start = time.perf_counter()
        metrics = evaluate(
            model.to(device), data, batch_size=arguments.batch_size, output=arguments.returns
        )
        seconds = time.perf_counter() - start
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": weights,
            "data": arguments.data,
            "examples": examples,
            "device": str(device),
            "seconds": seconds,
            "metrics": metrics,
        }
    of = "" if examples is None else f"{examples} examples of "
    rows = [[name.replace("_", " "), f"{value:.4f}"] for name, value in metrics.items()]
    return "\n".join(
        [
            f"{arguments.model}: {weights}",
            f"{of}{arguments.data}",
            "",
            text_table(["metric", "value"], rows),
            "",
            f"measured in {seconds:.1f} s",
        ]
    )


def _check_output(model: nn.Module, pruned: nn.Module, example: torch.Tensor) -> None:
    """Refuse to save a network that does not compute.

    `plan` proves its own plans; one from a file meets other weights, never seen with it.
    """
    nan, infinite = _not_finite(pruned, example)
    if nan or (infinite and not any(_not_finite(model, example))):
        raise RuntimeError(
            f"the pruned network computes {'NaN' if nan else 'infinity'} on the example input; "
            "nothing was saved"
        )


def _not_finite(model: nn.Module, example: torch.Tensor) -> tuple[bool, bool]:
    """Whether a network's output holds NaN, and whether it holds infinity."""
    with evaluating(model), torch.no_grad():
        found = [each for each in tensors_of(model(example)) if each.is_floating_point()]
    return any(bool(each.isnan().any()) for each in found), any(
        bool(each.isinf().any()) for each in found
    )


def _read_plan(path: Path) -> PruningPlan:
    file = path / "plan.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{path} is neither a saved network nor a plan.json")
    try:
        return PruningPlan.from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _info(arguments: argparse.Namespace) -> Any:
    if arguments.path is not None:
        decision = _read_plan(arguments.path)
        return decision.to_dict() if arguments.json else decision.summary()
    if arguments.json:
        return {
            **configuration(),
            "models": {name: spec.description for name, spec in KNOWN_MODELS.items()},
            "scorers": _SCORER_HELP,
        }
    with redirect_stdout(io.StringIO()) as shown:
        show_config()
    return f"{shown.getvalue()}\n{_MODELS_EPILOG}\n\n{_SCORERS_EPILOG}"


def _demo(arguments: argparse.Namespace) -> Any:
    from .demo import run_demo

    with _progress() as bar:
        result = run_demo(
            arguments.output,
            quick=arguments.quick,
            seed=arguments.seed,
            checkpoint_cnn14=arguments.checkpoint_cnn14,
            progress=bar.step,
        )
    return result.to_dict() if arguments.json else str(result)


def _compare(arguments: argparse.Namespace) -> Any:
    def load() -> tuple[nn.Module, str]:
        loaded = _load(arguments)
        return loaded.model, loaded.weights

    with _progress() as bar:
        return run_compare(arguments, load, bar.step)


def _finetune(arguments: argparse.Namespace) -> Any:
    with _progress() as bar:
        return run_finetune(arguments, bar.step)


def _bench(arguments: argparse.Namespace) -> Any:
    from .bench import case_names, run

    only, output = arguments.only, arguments.output
    names = case_names(quick=arguments.quick)
    # Before the long part: mistakes are told at once, in the words of the command line.
    if only is not None and not any(only.lower() in name.lower() for name in names):
        raise ValueError(f"--only {only!r} fits nothing; there are: {'; '.join(names)}")
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise FileNotFoundError(f"--output: {output} must be a file in a folder that exists")
    with _progress() as bar:
        result = run(quick=arguments.quick, threads=arguments.threads, only=only, progress=bar.step)
    if output is not None:
        result.save(output)
    if arguments.json:
        return result.to_dict()
    return f"{result}\nsaved to {output}" if output is not None else str(result)


if __name__ == "__main__":
    sys.exit(main())

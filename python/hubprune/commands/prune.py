# SPDX-License-Identifier: MIT
"""The command ``hubprune prune``, and what it shares with ``report``: the decision what to cut."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..compensation import check_compensation
from ..file_writing import check_parent_folder
from ..model_runs import evaluating, tensors_of
from ..planning import plan
from ..planning.pruning_plan import PruningPlan
from ..report import report
from ..scorers import Scorer
from ..surgery import prune, save_pruned
from ..tables import text_table
from .arguments import input_shape, ratios
from .command import Command
from .data import read_data, unlabelled_inputs
from .models import (
    MODELS_EPILOG,
    SCORERS_EPILOG,
    LoadedModel,
    add_model,
    chosen_scorer,
    load_model,
)
from .progress import Bar, progress_display

__all__ = [
    "PRUNE",
    "CutRequest",
    "add_decision",
    "decide",
    "read_cut_request",
    "read_plan",
]

_EPILOG = (
    "examples:\n"
    "  hubprune prune dcase21 --checkpoint weights.h5 --ratio 0.5 --output dcase-half\n"
    "  hubprune prune cnn14 --checkpoint Cnn14.pth --output out \\\n"
    "      --ratio conv_block5=0.5 --ratio conv_block6=0.75\n"
    "  hubprune prune crepe-tiny --scorer pairs --output crepe-pairs\n"
    "  hubprune prune cnn14 --budget-parameters 0.5 --budget-macs 0.3 --output small\n"
    "  hubprune prune my_package.nets:build --input-shape 1,1,64,64 --output out\n\n"
    "The folder holds plan.json, model.safetensors and load.py. In Python:\n"
    "  hubprune.load_pruned(hubprune.models.Cnn14, 'out')\n\n"
    f"{MODELS_EPILOG}\n\n{SCORERS_EPILOG}"
)


# --- what to cut ----------------------------------------------------------------------------------


def add_decision(parser: argparse.ArgumentParser) -> None:
    """Add what decides how much is cut, and where."""
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


def read_plan(path: Path) -> PruningPlan:
    """Read a plan.json, or that of a saved network."""
    file = path / "plan.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{path} is neither a saved network nor a plan.json")
    try:
        return PruningPlan.from_json(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a plan.json: it is not text") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


@dataclass(frozen=True)
class CutRequest:
    """What the options of `add_model` and `add_decision` ask for, checked and loaded."""

    loaded: LoadedModel
    example: torch.Tensor
    scorer: Scorer
    ratio: float | dict[str, float] | None
    budget: dict[str, float] | None
    given: PruningPlan | None  # from --plan


def read_cut_request(arguments: argparse.Namespace) -> CutRequest:
    """Check and load what the options ask for.

    Raises
    ------
    TypeError, ValueError, ImportError, OSError, RuntimeError
        In the words of the command line.
    """
    scorer = chosen_scorer(arguments)
    ratio = ratios(arguments.ratio)
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
        given = read_plan(arguments.plan)
    shape = None if arguments.input_shape is None else input_shape(arguments.input_shape)
    loaded = load_model(arguments)
    example = loaded.example
    if shape is not None:
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if example is None:
        raise ValueError(
            f"--input-shape is needed for {arguments.model}: the shape of an example input, "
            "such as 1,1,64,64"
        )
    return CutRequest(loaded, example, scorer, ratio, budget, given)


def decide(request: CutRequest, arguments: argparse.Namespace, bar: Bar) -> PruningPlan:
    """Return the plan that was given, or make it."""
    if request.given is not None:
        return request.given

    def scored(done: int, total: int, name: str) -> None:
        if done < total:
            bar.step(done, total, f"scoring, last {name}")
        else:
            bar.stage("proving the plan on the example input")

    bar.stage("tracing the network")
    return plan(
        request.loaded.model,
        request.example,
        scorer=request.scorer,
        ratio=request.ratio,
        budget=request.budget,
        keep=arguments.keep,
        round_to=1 if arguments.round_to is None else arguments.round_to,
        global_=arguments.global_,
        progress=scored,
    )


# --- the command ----------------------------------------------------------------------------------


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder to save to")
    add_decision(parser)
    parser.add_argument(
        "--compensate",
        default="none",
        metavar="HOW",
        help="what the layers behind get for what was cut: none, bias, merge, interpolate; or "
        "recalibrate, alone or after one of them (interpolate+recalibrate). Default: none",
    )
    parser.add_argument(
        "--unlabelled",
        metavar="DATA",
        help="inputs to measure on, for --compensate: a folder with X_train.npy, an .npz file, or "
        "a data set by name; without it, --compensate predicts from the weights",
    )
    parser.add_argument(
        "--calibration",
        type=int,
        default=100,
        metavar="N",
        help="how many inputs to take from --unlabelled (default 100)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a network saved there before"
    )


def _made_up(arguments: argparse.Namespace, batches: list[torch.Tensor] | None) -> str:
    if arguments.compensate == "none":
        return ""
    source = "no data" if batches is None else f"{sum(map(len, batches))} inputs"
    return f"compensated by {arguments.compensate} on {source}; "


def _run(arguments: argparse.Namespace) -> Any:
    """Prune and save; return what to print: JSON-able with ``--json``, else text."""
    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output} exists; choose another or add --overwrite")
    check_parent_folder(arguments.output, "--output")
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
    request = read_cut_request(arguments)
    loaded, example = request.loaded, request.example
    start = time.perf_counter()
    with progress_display() as bar:
        decision = decide(request, arguments, bar)
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
    origin = "as planned before" if request.given is not None else f"planned in {planned:.1f} s"
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


PRUNE = Command("prune", "prune a model and save it", _EPILOG, _add_arguments, _run)

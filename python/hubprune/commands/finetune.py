# SPDX-License-Identifier: MIT
"""The command ``hubprune finetune``."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..file_writing import check_parent_folder
from ..finetuning import evaluate, finetune
from ..models import KNOWN_MODELS
from ..planning.pruning_plan import PruningPlan
from ..surgery import load_pruned, save_pruned
from ..tables import text_table
from .arguments import device_of
from .command import Command
from .models import build_model
from .progress import progress_display
from .training_arguments import DATA_HELP, add_data, add_training, read_splits, training_options

__all__ = ["FINETUNE"]

_EPILOG = (
    "Trains a network that `hubprune prune` has saved, and saves its best weights likewise.\n\n"
    "examples:\n"
    "  hubprune finetune dcase-half --model dcase21 --data features --output dcase-tuned\n"
    "  hubprune finetune half --model my_package.nets:build --train my_package.data:train \\\n"
    "      --valid my_package.data:valid --epochs 20 --patience 5 --output tuned\n\n"
    "Start it again with the same words after an interruption: it goes on after the last epoch.\n\n"
) + DATA_HELP


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hubprune finetune``."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of `hubprune prune --output`")
    parser.add_argument(
        "--model", required=True, metavar="MODEL",
        help="the unpruned architecture: a known model, or package.module:factory",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder to save to")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a network saved there before"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    add_training(parser, "passes over the training data (default 30)")


def _state(arguments: argparse.Namespace) -> Path:
    """Where an interrupted training leaves its state."""
    output: Path = arguments.output
    return output.with_name(f"{output.name}.training.safetensors")


def _run(arguments: argparse.Namespace) -> Any:
    """Run ``hubprune finetune``."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{output} exists; choose another or add --overwrite")
    check_parent_folder(output, "--output")
    if not (arguments.folder / "plan.json").is_file():
        raise FileNotFoundError(f"{arguments.folder} holds no pruned network")
    device = device_of(arguments.device)
    factory, builder = _factory(arguments.model)
    decision = PruningPlan.from_json((arguments.folder / "plan.json").read_text(encoding="utf-8"))
    model = load_pruned(factory, arguments.folder).to(device).eval()
    data, notes = read_splits(arguments)
    state = _state(arguments)
    with progress_display() as bar:
        result = finetune(
            model,
            data["train"],
            data["valid"],
            **training_options(arguments),
            metric=arguments.metric,
            output=arguments.returns,
            seed=arguments.seed,
            checkpoint=state,
            progress=bar.step,
        )
    tested: dict[str, dict[str, float]] = {}
    if "test" in data:
        for name, each in (("before", model), ("after", result.model)):
            tested[name] = evaluate(
                each, data["test"], batch_size=arguments.batch_size, output=arguments.returns
            )
    save_pruned(result.model.cpu(), decision, output)
    state.unlink(missing_ok=True)
    if arguments.json:
        return {
            "folder": str(arguments.folder),
            "output": str(output),
            "test": tested or None,
            "finetuning": result.to_dict(),
        }
    lines = [f"{arguments.folder}: fine-tuned", *notes, "", result.explain(), ""]
    if tested:
        names = list(tested["before"])
        rows = [[when, *(f"{tested[when][name]:.4f}" for name in names)] for when in tested]
        lines += [text_table(["test data", *names], rows), ""]
    load = f"hubprune.load_pruned({builder}, {str(output)!r})"
    return "\n".join([*lines, f"saved to {output}; load it with", f"  {load}"])


def _factory(model: str) -> tuple[Callable[[], nn.Module], str]:
    """What builds the unpruned architecture, and how that is written in Python."""
    if model in KNOWN_MODELS:
        return KNOWN_MODELS[model].build, f"hubprune.models.KNOWN_MODELS[{model!r}].build"
    if ":" not in model:
        raise ValueError(
            f"--model must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{model!r}"
        )
    return functools.partial(build_model, model, "--model"), model.replace(":", ".")


FINETUNE = Command("finetune", "fine-tune a pruned network", _EPILOG, _add_arguments, _run, _state)

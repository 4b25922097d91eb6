# SPDX-License-Identifier: MIT
"""``hubprune compare`` and ``hubprune finetune``: their arguments and what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .command_arguments import device_of
from .command_data import (
    SPLITS,
    has_split,
    one_hot_to_classes,
    read_data,
    takes_a_seed,
    unlabelled_inputs,
)
from .command_models import load_model
from .command_progress import progress_display
from .comparison import compare
from .file_writing import replaced_file
from .finetuning import evaluate, finetune
from .models import KNOWN_MODELS
from .plots import figure_class
from .pruning_plan import PruningPlan
from .surgery import load_pruned, save_pruned
from .tables import text_table
from .training import SCHEDULES
from .training_data import Examples, preserved_rng
from .user_functions import find_function

__all__ = ["add_compare", "add_finetune", "resumable_state", "run_compare", "run_finetune"]

_DATA_HELP = (
    "--data: a folder with X_train.npy, Y_train.npy, X_valid.npy, ... or an .npz file with such\n"
    "arrays (Y: a class each, one-hot rows, or zeros and ones for tagging).\n"
    "--train, --valid, --test: the same; a data set by name, such as esc50:ESC-50:1,2,3 (see\n"
    "`hubprune evaluate --help`); or package.module:function, called without arguments, which\n"
    "returns a PyTorch data set of (input, target) pairs, a pair of arrays, or a DataLoader."
)

COMPARE_HELP = (
    "Prunes a network with several scorers, fine-tunes all in the same way, and measures. Two\n"
    "controls are always in it: the unpruned network, fine-tuned too, which tells what pruning\n"
    "costs, and filters removed at random, which tell what a scorer is worth.\n\n"
    "examples:\n"
    "  hubprune compare dcase21 --checkpoint weights.h5 --data features --output study\n"
    "  hubprune compare my_package.nets:build --train my_package.data:train \\\n"
    "      --valid my_package.data:valid --test my_package.data:test --output study \\\n"
    "      --scorers degree,pairs,l1 --ratios 0.25,0.5,0.75 --seeds 0,1,2 --epochs 20\n"
    "  hubprune compare my_package.nets:train_one --data features --output study\n"
    "      (a factory with a parameter `seed` gives a base network for each seed)\n\n"
    "Start it again with the same words after an interruption: it goes on where it stopped. More\n"
    "scorers, ratios and seeds may be added. The output folder holds table.md, comparison.png,\n"
    "comparison.json (hubprune.Comparison.from_json), rows.csv and the state.\n\n"
) + _DATA_HELP

FINETUNE_HELP = (
    "Trains a network that `hubprune prune` has saved, and saves its best weights likewise.\n\n"
    "examples:\n"
    "  hubprune finetune dcase-half --model dcase21 --data features --output dcase-tuned\n"
    "  hubprune finetune half --model my_package.nets:build --train my_package.data:train \\\n"
    "      --valid my_package.data:valid --epochs 20 --patience 5 --output tuned\n\n"
    "Start it again with the same words after an interruption: it goes on after the last epoch.\n\n"
) + _DATA_HELP


# --- arguments ------------------------------------------------------------------------------------


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hubprune compare``."""
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    _add_data(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder of the study")
    parser.add_argument(
        "--scorers", default="degree,pairs,landmarks,l1", metavar="NAME,...",
        help="default degree,pairs,landmarks,l1; random is always added",
    )  # fmt: skip
    parser.add_argument(
        "--ratios", default="0.25,0.5", metavar="R,...",
        help="parts of the filters to remove (default 0.25,0.5)",
    )  # fmt: skip
    parser.add_argument("--seeds", default="0,1,2", metavar="N,...", help="default 0,1,2")
    parser.add_argument(
        "--compensate", default="none", metavar="NAME,...",
        help="what `prune` does about the removed filters (default none)",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", type=int, default=100, metavar="N",
        help="training examples for compensations other than none (default 100)",
    )  # fmt: skip
    parser.add_argument(
        "--layer", action="append", metavar="NAME",
        help="prune only this layer or block (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="leave this layer whole"
    )
    parser.add_argument("--no-plot", action="store_true", help="draw nothing: needs no matplotlib")
    _add_training(parser, "passes over the training data; 0: no fine-tuning (default 30)")
    parser.set_defaults(seed=0)  # of random weights, where there are no others


def add_finetune(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hubprune finetune``."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of `hubprune prune --output`")
    parser.add_argument(
        "--model", required=True, metavar="MODEL",
        help="the unpruned architecture: a known model, or package.module:factory",
    )  # fmt: skip
    _add_data(parser)
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder to save to")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a network saved there before"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    _add_training(parser, "passes over the training data (default 30)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="PATH", help="a folder or .npz file with train, valid and, if any, test"
    )
    for split in SPLITS:
        parser.add_argument(
            f"--{split}", metavar="DATA", help=f"the {split} data, instead of --data"
        )
    parser.add_argument(
        "--task", choices=("classes", "tags"), help="what one-hot targets are (default classes)"
    )


def _add_training(parser: argparse.ArgumentParser, epochs: str) -> None:
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help=epochs)
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="default 32")
    parser.add_argument(
        "--lr", type=float, default=1e-3, metavar="X", help="Adam's learning rate (default 1e-3)"
    )
    parser.add_argument(
        "--weight-decay", type=float, default=0.0, metavar="X", help="Adam's L2 penalty (default 0)"
    )
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="default cosine")
    parser.add_argument(
        "--warmup", type=int, default=0, metavar="N", help="epochs of rising rate (default 0)"
    )
    parser.add_argument(
        "--patience", type=int, metavar="N", help="stop after N epochs without a better metric"
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, metavar="X",
        help="part of the training data to use (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--freeze", action="append", default=[], metavar="NAME",
        help="leave this module's weights as they are; * and ? fit anything (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="NAME",
        help="accuracy, log_loss, mean_average_precision or roc_auc (default: by the targets)",
    )  # fmt: skip
    parser.add_argument(
        "--returns", choices=("logits", "probabilities"),
        help="what the network returns, where it does not say so itself (default logits)",
    )  # fmt: skip
    parser.add_argument("--amp", choices=("bfloat16", "float16", "off"), help="mixed precision")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument(
        "--energy", nargs="?", const=True, default=False, metavar="COUNTRY",
        help="estimate energy and emissions, of a country by its code such as GBR",
    )  # fmt: skip


def _list(text: str, kind: Callable[[str], Any], argument: str, what: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{argument} must be {what} with commas; got {text!r}") from None


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "weight_decay": arguments.weight_decay,
        "schedule": arguments.schedule,
        "warmup": arguments.warmup,
        "patience": arguments.patience,
        "fraction": arguments.fraction,
        "freeze": arguments.freeze,
        "amp": False if arguments.amp == "off" else arguments.amp,
        "energy": arguments.energy,
    }


def _read_splits(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The data by split, and what to tell about them."""
    found: dict[str, Any] = {}
    for split in SPLITS:
        text, argument = getattr(arguments, split), f"--{split}"
        if text is None and arguments.data is not None:
            text, argument = arguments.data, "--data"
            if split == "test" and not has_split(text, split):
                continue
        if text is None:
            if split == "test":
                continue
            raise ValueError(f"--data or --{split} is needed")
        found[split] = read_data(text, split, argument)
    notes = []
    if arguments.task != "tags":
        changed = {split: one_hot_to_classes(data) for split, data in found.items()}
        one_hot = [was for data, was in changed.values() if isinstance(data, tuple)]
        if one_hot and all(one_hot):
            found = {split: data for split, (data, _) in changed.items()}
            if arguments.task is None:
                notes.append("targets are one-hot: taken as classes (--task tags: as tags)")
    for split, data in found.items():
        if isinstance(data, tuple) and isinstance(data[1], np.ndarray) and data[1].ndim == 2:
            found[split] = data[0], data[1].astype(np.float32)
    with preserved_rng():
        for split, data in found.items():
            task = Examples(data, f"--{split}").task
            if arguments.task not in (None, task):
                raise ValueError(f"--{split} has targets of {task}; --task is {arguments.task}")
    return found, notes


def _example(data: Any) -> torch.Tensor:
    """One input, with its batch dimension."""
    with preserved_rng():
        inputs, _ = next(iter(Examples(data, "--valid").batches(1, [0])))
    return inputs[:1]


def _write(path: Path, text: str) -> None:
    with replaced_file(path) as file:
        file.write_text(text, encoding="utf-8")


# --- compare --------------------------------------------------------------------------------------


def run_compare(arguments: argparse.Namespace) -> Any:
    """Run ``hubprune compare``."""
    scorers = _list(arguments.scorers, str, "--scorers", "names")
    ratios = _list(arguments.ratios, float, "--ratios", "numbers")
    seeds = _list(arguments.seeds, int, "--seeds", "integers")
    compensate = _list(arguments.compensate, str, "--compensate", "names")
    if arguments.calibration < 1:
        raise ValueError(f"--calibration must be at least 1; got {arguments.calibration}")
    if not arguments.no_plot:
        figure_class()  # says what to install before the long part
    device = device_of(arguments.device)
    output: Path = arguments.output
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output: {output.absolute().parent} does not exist")
    data, notes = _read_splits(arguments)
    model: Any
    seeded = None
    if ":" in arguments.model:
        function = find_function(arguments.model, "MODEL")
        seeded = function if takes_a_seed(function) else None
    if seeded is not None:
        if arguments.checkpoint is not None:
            raise ValueError("--checkpoint is of one network; this factory gives one for each seed")
        model, weights = _on(seeded, device), "a network for each seed"
    else:
        loaded = load_model(arguments)
        model, weights = loaded.model.to(device), loaded.weights
    batches = None
    if compensate != ["none"]:
        batches = unlabelled_inputs(
            data["train"], "--train", arguments.calibration, arguments.batch_size, device
        )
    with progress_display() as bar:
        found = compare(
            model,
            data["train"],
            data["valid"],
            data.get("test"),
            example_inputs=_example(data["valid"]).to(device),
            scorers=scorers,
            ratios=ratios,
            seeds=seeds,
            compensate=compensate,
            finetune=_options(arguments) if arguments.epochs else None,
            layers=arguments.layer,
            keep=arguments.keep,
            batches=batches,
            metric=arguments.metric,
            output=arguments.returns,
            batch_size=arguments.batch_size,
            directory=output / "state",
            progress=bar.step,
        )
    title = f"{arguments.model}: {weights}"
    table = found.table()
    _write(output / "comparison.json", found.to_json() + "\n")
    _write(output / "rows.csv", found.to_csv())
    picture = "" if arguments.no_plot else "\n![The metric against the size](comparison.png)\n"
    _write(output / "table.md", f"# {title}\n\n{table}\n{picture}")
    if not arguments.no_plot:
        found.plot(output / "comparison.png", title=arguments.model)
    if arguments.json:
        return found.to_dict()
    return "\n".join([title, *notes, "", table, "", f"saved to {output}"])


def _on(factory: Callable[..., nn.Module], device: torch.device) -> Callable[[int], nn.Module]:
    """A factory whose networks are on a device, under the factory's own name."""

    def build(seed: int) -> nn.Module:
        return factory(seed=seed).to(device)

    build.__module__ = getattr(factory, "__module__", build.__module__)
    build.__qualname__ = getattr(factory, "__qualname__", build.__qualname__)
    return build


# --- finetune -------------------------------------------------------------------------------------


def _training_state(output: Path) -> Path:
    return output.with_name(f"{output.name}.training.safetensors")


def resumable_state(arguments: argparse.Namespace) -> Path | None:
    """What an interrupted command left behind, from which the same command goes on."""
    state: Path | None = None
    if arguments.run is run_compare:
        state = arguments.output / "state"
    elif arguments.run is run_finetune:
        state = _training_state(arguments.output)
    return state if state is not None and state.exists() else None


def run_finetune(arguments: argparse.Namespace) -> Any:
    """Run ``hubprune finetune``."""
    output: Path = arguments.output
    if output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{output} exists; choose another or add --overwrite")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output: {output.absolute().parent} does not exist")
    if not (arguments.folder / "plan.json").is_file():
        raise FileNotFoundError(f"{arguments.folder} holds no pruned network")
    device = device_of(arguments.device)
    factory: Callable[[], nn.Module]
    if arguments.model in KNOWN_MODELS:
        factory = KNOWN_MODELS[arguments.model].build
        builder = f"hubprune.models.KNOWN_MODELS[{arguments.model!r}].build"
    elif ":" not in arguments.model:
        raise ValueError(
            f"--model must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{arguments.model!r}"
        )
    else:
        factory = find_function(arguments.model, "--model")
        builder = arguments.model.replace(":", ".")
    data, notes = _read_splits(arguments)
    decision = PruningPlan.from_json((arguments.folder / "plan.json").read_text(encoding="utf-8"))
    model = load_pruned(factory, arguments.folder).to(device).eval()
    state = _training_state(output)
    with progress_display() as bar:
        result = finetune(
            model,
            data["train"],
            data["valid"],
            **_options(arguments),
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

# SPDX-License-Identifier: MIT
"""The command ``hubprune compare``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..comparison import Comparison, compare
from ..file_writing import check_parent_folder, replaced_file
from ..model_runs import evaluating, undisturbed_rng
from ..objective import fitting, run_batch
from ..plots import figure_class
from ..training_data import Examples, preserved_rng
from ..user_functions import find_function
from .arguments import device_of
from .command import Command
from .data import takes_a_seed, unlabelled_inputs
from .models import load_model
from .progress import progress_display
from .training_arguments import DATA_HELP, add_data, add_training, read_splits, training_options

__all__ = ["COMPARE"]

_EPILOG = (
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
    "scorers, ratios and seeds may be added to those of before, which are named again: the tables\n"
    "hold what was asked for. The output folder holds table.md, comparison.png, comparison.json\n"
    "(hubprune.Comparison.from_json), rows.csv and the state.\n\n"
) + DATA_HELP


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hubprune compare``."""
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    add_data(parser)
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
    add_training(parser, "passes over the training data; 0: no fine-tuning (default 30)")
    parser.set_defaults(seed=0)  # of random weights, where there are no others


def _state(arguments: argparse.Namespace) -> Path:
    """Where an interrupted comparison leaves what it has measured."""
    output: Path = arguments.output
    return output / "state"


def _run(arguments: argparse.Namespace) -> Any:
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
    check_parent_folder(output, "--output")
    data, notes = read_splits(arguments)
    model, weights = _networks(arguments, device)
    example = _example(data["valid"]).to(device)
    if isinstance(model, nn.Module):
        example = fitting(example, model)
        with evaluating(model), undisturbed_rng(model), torch.no_grad():
            run_batch(model, example, "--valid")
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
            example_inputs=example,
            scorers=scorers,
            ratios=ratios,
            seeds=seeds,
            compensate=compensate,
            finetune=training_options(arguments) if arguments.epochs else None,
            layers=arguments.layer,
            keep=arguments.keep,
            batches=batches,
            metric=arguments.metric,
            output=arguments.returns,
            batch_size=arguments.batch_size,
            directory=_state(arguments),
            progress=bar.step,
        )
    left_out = len(list((_state(arguments) / "rows").glob("*.json"))) - len(found.rows)
    if left_out > 0:
        notes = [
            *notes,
            f"{left_out} rows of {_state(arguments)} are not in these tables: this command did not "
            "ask for their scorers, ratios, seeds or compensations",
        ]
    title = f"{arguments.model}: {weights}"
    table = found.table()
    _save(found, table, output, title, None if arguments.no_plot else arguments.model)
    if arguments.json:
        return found.to_dict()
    return "\n".join([title, *notes, "", table, "", f"saved to {output}"])


def _networks(
    arguments: argparse.Namespace, device: torch.device
) -> tuple[nn.Module | Callable[[int], nn.Module], str]:
    """The network, or the factory that gives one for each seed, and what its weights are."""
    function = find_function(arguments.model, "MODEL") if ":" in arguments.model else None
    if function is None or not takes_a_seed(function):
        loaded = load_model(arguments)
        return loaded.model.to(device), loaded.weights
    if arguments.checkpoint is not None:
        raise ValueError("--checkpoint is of one network; this factory gives one for each seed")
    return _on(function, device), "a network for each seed"


def _save(found: Comparison, table: str, output: Path, title: str, plot_title: str | None) -> None:
    """Write the results; without a title for it, no plot."""
    _write(output / "comparison.json", found.to_json() + "\n")
    _write(output / "rows.csv", found.to_csv())
    picture = "" if plot_title is None else "\n![The metric against the size](comparison.png)\n"
    _write(output / "table.md", f"# {title}\n\n{table}\n{picture}")
    if plot_title is not None:
        found.plot(output / "comparison.png", title=plot_title)


def _on(factory: Callable[..., nn.Module], device: torch.device) -> Callable[[int], nn.Module]:
    """A factory whose networks are on a device, under the factory's own name."""

    def build(seed: int) -> nn.Module:
        return factory(seed=seed).to(device)

    build.__module__ = getattr(factory, "__module__", build.__module__)
    build.__qualname__ = getattr(factory, "__qualname__", build.__qualname__)
    return build


def _list(text: str, kind: Callable[[str], Any], argument: str, what: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{argument} must be {what} with commas; got {text!r}") from None


def _example(data: Any) -> torch.Tensor:
    """One input, with its batch dimension."""
    with preserved_rng():
        inputs, _ = next(iter(Examples(data, "--valid").batches(1, [0])))
    return inputs[:1]


def _write(path: Path, text: str) -> None:
    with replaced_file(path) as file:
        file.write_text(text, encoding="utf-8")


COMPARE = Command(
    "compare",
    "compare scorers under one recipe, with controls",
    _EPILOG,
    _add_arguments,
    _run,
    _state,
)

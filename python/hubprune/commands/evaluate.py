# SPDX-License-Identifier: MIT
"""The command ``hubprune evaluate``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..datasets import KNOWN_DATA, open_data
from ..finetuning import evaluate
from ..tables import text_table
from .arguments import device_of, examples, seed
from .command import Command
from .data import SPLITS, has_split, read_arrays
from .models import MODELS_EPILOG, load_model, load_saved
from .progress import progress_display

__all__ = ["EVALUATE"]

_DATA_EPILOG = "data:\n" + "\n".join(
    f"  {each.form}\n      {each.description}\n      options: {', '.join(each.options)}"
    for each in KNOWN_DATA.values()
)

_EPILOG = (
    "examples:\n"
    "  hubprune evaluate cnn14 --checkpoint Cnn14_mAP=0.431.pth --data audioset-hdf5:eval.h5\n"
    "  hubprune evaluate dcase21 --checkpoint weights.h5 --data dcase-npy:DCASE2021:test\n"
    "  hubprune evaluate dcase21 --pruned dcase-half \\\n"
    "      --data 'tau:TAU-urban-acoustic-scenes-2020-mobile-development?cache=features'\n"
    "  hubprune evaluate my_package.nets:build --data my_package.sets:valid --json\n"
    "  hubprune evaluate dcase21 --pruned dcase-half --data features --split valid\n\n"
    "Classes: accuracy and log loss. Tags: mean average precision, area under ROC, d', log\n"
    "loss.\n"
    "Options of the data stand behind '?', as name=value with '&' between; quote them.\n\n"
    f"{_DATA_EPILOG}\n  a folder with X_test.npy and Y_test.npy, or an .npz file with such arrays\n"
    "      as `hubprune compare` and `hubprune finetune` take\n"
    "  package.module:function\n      your own; takes no arguments\n\n"
    f"{MODELS_EPILOG}"
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a known model, or package.module:factory")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="the weights to load")
    weights.add_argument(
        "--pruned", type=Path, metavar="FOLDER", help="what `hubprune prune` saved of this model"
    )
    parser.add_argument("--data", required=True, metavar="SPEC", help="the data set; see below")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        help="the part of a folder or .npz file (default test, or valid where there is no test)",
    )
    parser.add_argument(
        "--task",
        choices=("classes", "tags"),
        help="what one-hot targets of a folder or .npz file are (default classes)",
    )
    parser.add_argument(
        "--batch-size", type=examples, default=32, metavar="N", help="examples a pass (default 32)"
    )
    parser.add_argument(
        "--device", default="cpu", metavar="NAME", help="such as cuda or cuda:1 (default cpu)"
    )
    parser.add_argument(
        "--returns",
        choices=("logits", "probabilities"),
        help="what the model returns, where it does not say so itself",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of random weights, where there are no others"
    )


class _Watched:
    """A data set that tells how far it has been read."""

    def __init__(self, data: Any, step: Callable[[int, int, str], None]) -> None:
        self._data, self._step = data, step

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        self._step(index, len(self._data), "evaluating")
        return self._data[index]


def _read(arguments: argparse.Namespace) -> tuple[Any, str | None, list[str]]:
    """The data, which part of a file they are, and what to tell about them."""
    path = Path(arguments.data)
    if (path.is_file() and path.suffix == ".npz") or any(
        has_split(arguments.data, split) for split in SPLITS if path.is_dir()
    ):
        data, split, one_hot = read_arrays(arguments.data, arguments.split, arguments.task)
        note = "targets are one-hot: taken as classes (--task tags: as tags)"
        return data, split, [note] if one_hot and arguments.task is None else []
    for name in ("split", "task"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is of a folder or an .npz file; got {arguments.data}")
    if path.is_dir():
        raise ValueError(
            f"--data: {path} has no X_test.npy and Y_test.npy; if it is a data set, say what "
            f"{str(path)!r} is, such as tau:{path}"
        )
    try:
        return open_data(arguments.data), None, []
    except ValueError as error:
        if path.exists() or ":" in arguments.data:
            raise
        raise FileNotFoundError(
            f"--data: no folder or .npz file {path} exists; by name, {error}"
        ) from error


def _run(arguments: argparse.Namespace) -> Any:
    """Measure, and return what to print: JSON-able with ``--json``, else text."""
    device = device_of(arguments.device)
    if arguments.pruned is not None:
        model, weights = load_saved(arguments)
    else:
        loaded = load_model(arguments)
        model, weights = loaded.model, loaded.weights
    with progress_display() as bar:
        bar.stage("opening the data")
        data, split, notes = _read(arguments)
        examples = None
        if hasattr(data, "__getitem__") and not isinstance(data, tuple | list):
            examples = len(data)
            data = _Watched(data, bar.step)
        elif isinstance(data, tuple | list):
            examples = len(data[0])
        start = time.perf_counter()
        metrics = evaluate(
            model.to(device),
            data,
            batch_size=arguments.batch_size,
            task=arguments.task,
            output=arguments.returns,
        )
        seconds = time.perf_counter() - start
    if arguments.json:
        return {
            "model": arguments.model,
            "weights": weights,
            "data": arguments.data,
            "split": split,
            "examples": examples,
            "device": str(device),
            "seconds": seconds,
            "metrics": metrics,
        }
    of = "" if examples is None else f"{examples} examples of "
    part = "" if split is None else f", {split}"
    rows = [[name.replace("_", " "), f"{value:.4f}"] for name, value in metrics.items()]
    return "\n".join(
        [
            f"{arguments.model}: {weights}",
            f"{of}{arguments.data}{part}",
            *notes,
            "",
            text_table(["metric", "value"], rows),
            "",
            f"measured in {seconds:.1f} s",
        ]
    )


EVALUATE = Command("evaluate", "measure a model on labelled data", _EPILOG, _add_arguments, _run)

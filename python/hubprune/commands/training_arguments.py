# SPDX-License-Identifier: MIT
"""What ``hubprune compare`` and ``finetune`` share: the data, and how to train."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..training import SCHEDULES
from ..training_data import Examples, preserved_rng
from .data import SPLITS, has_split, one_hot_to_classes, read_data

__all__ = ["DATA_HELP", "add_data", "add_training", "read_splits", "training_options"]

DATA_HELP = (
    "--data: a folder with X_train.npy, Y_train.npy, X_valid.npy, ... or an .npz file with such\n"
    "arrays (X: as the model takes them, such as (n, 1, 40, 500) for dcase21; Y: a class each,\n"
    "one-hot rows, or zeros and ones for tagging).\n"
    "--train, --valid, --test: the same; a data set by name, such as dcase-npy:FOLDER:train (see\n"
    "`hubprune evaluate --help`); or package.module:function, called without arguments, which\n"
    "returns a PyTorch data set of (input, target) pairs, a pair of arrays, or a DataLoader."
)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add where the data are."""
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


def add_training(parser: argparse.ArgumentParser, epochs: str) -> None:
    """Add how to train; `epochs` is the help of ``--epochs``."""
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
        help="accuracy, log_loss, mean_average_precision, roc_auc or d_prime (default: by the "
        "targets)",
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


def training_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `hubprune.finetune` that `add_training` reads."""
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


def read_splits(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
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

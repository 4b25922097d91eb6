# SPDX-License-Identifier: MIT
"""The data that the command line takes: NumPy files, data sets by name, a user's function."""

from __future__ import annotations

import inspect
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..datasets import open_data
from ..training_data import Examples, preserved_rng

__all__ = [
    "SPLITS",
    "has_split",
    "one_hot_to_classes",
    "read_arrays",
    "read_data",
    "unlabelled_inputs",
]

SPLITS = ("train", "valid", "test")


def takes_a_seed(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `seed`."""
    try:
        return "seed" in inspect.signature(function).parameters
    except ValueError:  # no signature to read, as of some built-in functions
        return False


def read_data(text: str, split: str, argument: str) -> Any:
    """Read one of "train", "valid" and "test".

    Parameters
    ----------
    text : str
        A folder with ``X_train.npy`` and ``Y_train.npy`` (and so on), an ``.npz`` file with arrays
        of these names, or ``X`` and ``Y``, or what `hubprune.datasets.open_data` takes.
    split : str
        Which one.
    argument : str
        The option, for the messages. "--data" stands for all three: the names must tell them apart.

    Raises
    ------
    TypeError, ValueError, ImportError, OSError, RuntimeError
        With a message in the words of the command line. Pickled arrays are refused.
    """
    path = Path(text)
    shared = argument == "--data"
    if path.exists():
        return _arrays(path, split, argument, names_alone=not shared)
    if shared or ":" not in text:
        what = "a folder or an .npz file" if shared else "a folder, a file or a data set by name"
        hint = "; for other data use --train, --valid and --test" if shared else ""
        raise FileNotFoundError(f"{argument}: {text} is not {what}{hint}")
    try:
        return open_data(text)
    except _TOLD as error:
        kind = next(kind for kind in _TOLD if isinstance(error, kind))
        raise kind(f"{argument}: {error}") from error


def read_arrays(text: str, split: str | None, task: str | None) -> tuple[Any, str | None, bool]:
    """Read one part of a folder or an .npz file, as `hubprune.evaluate` takes it.

    Parameters
    ----------
    text : str
        Where it is.
    split : str or None
        Which part; None: the test part, or the valid part where there is no test.
    task : str or None
        ``"tags"`` leaves one-hot targets as they are; else they become classes.

    Returns
    -------
    (inputs, targets), str or None, bool
        The arrays; the part they are, None where the file has only one; whether the targets were
        one-hot and became classes.
    """
    parts = [part for part in ("test", "valid") if has_split(text, part)]
    chosen = split if split is not None else parts[0] if parts else None
    # A file of one part has X and Y alone; what else is missing is told as of the test part.
    data: Any = _arrays(Path(text), chosen or "test", "--data", names_alone=split is None)
    data, one_hot = one_hot_to_classes(data) if task != "tags" else (data, False)
    inputs, targets = data
    return (inputs, targets.astype(np.float32) if targets.ndim == 2 else targets), chosen, one_hot


_TOLD = (TypeError, ValueError, ImportError, RuntimeError)


def unlabelled_inputs(
    data: Any, argument: str, count: int, batch_size: int, device: torch.device
) -> list[torch.Tensor]:
    """Draw inputs at random, the same each time, in batches; of a loader, the first ones."""
    examples = Examples(data, argument)
    order: list[int] | None = None
    if examples.loader is None and examples.count is not None:
        drawn = torch.randperm(examples.count, generator=torch.Generator().manual_seed(0))
        order = drawn[:count].tolist()
    found: list[torch.Tensor] = []
    left = count
    with preserved_rng():
        for inputs, _ in examples.batches(batch_size, order):
            found.append(inputs[:left].to(device))
            left -= len(found[-1])
            if left <= 0:
                break
    return found


def has_split(text: str, split: str) -> bool:
    """Whether a folder or an .npz file has a split."""
    path = Path(text)
    if path.is_dir():
        return (path / f"X_{split}.npy").exists()
    if path.is_file():
        with _reading(path, "--data"), _archive(path) as file:
            return f"X_{split}" in file
    return False


@contextmanager
def _reading(path: Path, argument: str) -> Iterator[None]:
    """Tell which argument's file is damaged, or holds something else."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{argument}: {path} cannot be used: {error}") from error


@contextmanager
def _archive(path: Path) -> Iterator[Any]:
    """Open an .npz file."""
    with path.open("rb") as file:  # NumPy leaves it open where the archive is damaged
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no .npz file, or damaged")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays


def _of_folder(folder: Path, name: str, argument: str) -> npt.NDArray[Any]:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{argument}: {folder} has no {name}")
    array: npt.NDArray[Any] = np.load(folder / name, allow_pickle=False)
    return array


def _of_archive(arrays: Any, names: list[str]) -> npt.NDArray[Any]:
    """The first of the names that is there."""
    name = next((each for each in names if each in arrays), None)
    if name is None:
        raise ValueError(f"it has no {' and no '.join(names)}")
    array: npt.NDArray[Any] = arrays[name]
    return array


def _arrays(
    path: Path, split: str, argument: str, *, names_alone: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    with _reading(path, argument):
        if path.is_dir():
            inputs, targets = (_of_folder(path, f"{each}_{split}.npy", argument) for each in "XY")
        else:
            with _archive(path) as arrays:
                inputs, targets = (
                    _of_archive(arrays, [f"{each}_{split}", *([each] if names_alone else [])])
                    for each in "XY"
                )
    for array, name in ((inputs, "X"), (targets, "Y")):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{argument}: {name} must hold numbers; got dtype {array.dtype}")
    return np.ascontiguousarray(inputs, np.float32), targets


def one_hot_to_classes(data: Any) -> tuple[Any, bool]:
    """Turn targets that are one-hot rows into classes; tell whether they were.

    Only of pairs of arrays: what a function returns is as its author wants it.
    """
    if not isinstance(data, tuple) or not all(isinstance(each, np.ndarray) for each in data):
        return data, False
    inputs, targets = data
    one_hot = (
        targets.ndim == 2
        and targets.shape[1] > 1
        and bool(np.isin(targets, (0, 1)).all() and (targets.sum(1) == 1).all())
    )
    return ((inputs, targets.argmax(1)), True) if one_hot else (data, False)

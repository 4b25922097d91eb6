# SPDX-License-Identifier: MIT
"""The feature arrays that the pruning papers publish and their scripts load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

__all__ = ["DcaseArrays"]

_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def _load(path: Path, *, memory_map: bool) -> npt.NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a plain NumPy array that can be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} must hold one array (.npy); got an archive of several")
    return array


def _class_indices(labels: npt.NDArray[np.generic], classes: int, path: Path) -> list[int]:
    """Integers from integers of any number type, or from one-hot rows."""
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{path} must hold numbers; got {labels.dtype}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if labels.shape[1] != classes:
            raise ValueError(
                f"{path} must have shape (n,) or (n, {classes}); got shape {labels.shape}"
            )
        one_hot = ((labels == 0) | (labels == 1)).all(axis=1) & (labels.sum(axis=1) == 1)
        if not one_hot.all():
            row = int(np.flatnonzero(~one_hot)[0])
            raise ValueError(f"{path}: row {row} must be one-hot; got {labels[row].tolist()}")
        labels = labels.argmax(axis=1)
    if labels.ndim != 1:
        raise ValueError(f"{path} must have shape (n,) or (n, {classes}); got shape {labels.shape}")
    numbers = labels.astype(np.float64)
    good = (numbers >= 0) & (numbers < classes) & (numbers == np.floor(numbers))
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"{path}: row {row} must be a class from 0 to {classes - 1}; got {labels[row]}"
        )
    return [int(label) for label in numbers]


class DcaseArrays(Dataset[tuple[torch.Tensor, int]]):
    """Features and labels of one split, from two ``.npy`` files.

    Parameters
    ----------
    inputs : str or os.PathLike
        Features of shape ``(n, *shape)`` or ``(n, *shape, 1)``, channels last as Keras takes them;
        mapped into memory, not read. The papers' files are ``X_train.npy`` and ``X_test.npy`` of
        shape (n, 40, 500, 1).
    labels : str or os.PathLike
        Classes, integers of shape (n,) or one-hot of shape (n, classes); ``Y_train.npy`` and
        ``Y_test.npy``.
    shape : sequence of int, default (40, 500)
        Mel bands and frames of one input; (96, 64), frames and mel bands, for the papers' VGGish.
    classes : int, default 10
        How many classes there are.

    Attributes
    ----------
    targets : list of int
        The class of each input.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If a shape or a label is wrong, the lengths differ, or a file holds Python objects, which
        are never unpickled. Reading an input that holds NaN or infinity raises it too and names the
        row.

    Notes
    -----
    Names, shape and labels from "Fine-tuning.py" and "Baseline_code.py" in
    github.com/Arshdeep-Singh-Boparai/passive-filter-pruning-Interspeech22 (``input_shape=(40, 500,
    1)``; ``Y_test`` as integers) and "Fine_tuning_DCASE21_Net.py" in
    .../Efficient_similarity_Pruning_Algo (``Y_train`` one-hot encoded after loading). The features
    are standardised already; what order the classes have is not written there, and the scripts
    never need it.
    """

    def __init__(
        self,
        inputs: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        *,
        shape: Sequence[int] = (40, 500),
        classes: int = 10,
    ) -> None:
        self.path = Path(inputs)
        self.shape = tuple(shape)
        self._inputs: npt.NDArray[np.generic] | None = self._map()
        label_path = Path(labels)
        self.targets = _class_indices(_load(label_path, memory_map=False), classes, label_path)
        if len(self.targets) != len(self._inputs):
            raise ValueError(
                f"{label_path} must be as long as {self.path}, {len(self._inputs)}; "
                f"got {len(self.targets)}"
            )
        if not self.targets:
            raise ValueError(f"{self.path} must hold inputs; it is empty")

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        split: str = "train",
        *,
        shape: Sequence[int] = (40, 500),
        classes: int = 10,
    ) -> DcaseArrays:
        """Find the two files of a split in a folder.

        Parameters
        ----------
        folder : str or os.PathLike
            Holds ``X_<split>.npy`` and ``Y_<split>.npy``; ``x_`` and ``y_`` are taken too.
        split : {"train", "val", "test"}, default "train"
            "val" is also looked for as "valid" and "validation". The papers publish train and test,
            which they validate on.
        shape, classes
            As in the class.

        Returns
        -------
        DcaseArrays
            The split.

        Raises
        ------
        OSError, ValueError
            As the class; also if the split is unknown or a file is missing.
        """
        if split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}; got {split!r}")
        place = Path(folder)
        if not place.is_dir():
            raise NotADirectoryError(f"{place} is not a folder")
        found = []
        for letter in "XY":
            names = [
                f"{case}_{word}.npy" for word in _SPLITS[split] for case in (letter, letter.lower())
            ]
            path = next((place / name for name in names if (place / name).is_file()), None)
            if path is None:
                there = ", ".join(sorted(p.name for p in place.glob("*.npy"))) or "no .npy file"
                raise FileNotFoundError(f"{place} must hold {names[0]}; it has {there}")
            found.append(path)
        return cls(found[0], found[1], shape=shape, classes=classes)

    def _map(self) -> npt.NDArray[np.generic]:
        array = _load(self.path, memory_map=True)
        wanted = ", ".join(map(str, self.shape))
        if array.shape[1:] not in (self.shape, (*self.shape, 1)):
            raise ValueError(
                f"{self.path} must have shape (n, {wanted}) or (n, {wanted}, 1); "
                f"got shape {array.shape}"
            )
        if array.dtype.kind != "f":
            raise ValueError(f"{self.path} must hold floating-point numbers; got {array.dtype}")
        return array

    def __getstate__(self) -> dict[str, object]:
        # A mapped array would be pickled whole, once for every worker.
        return {**self.__dict__, "_inputs": None}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        target = self.targets[index]
        if self._inputs is None:
            self._inputs = self._map()
        values = np.array(self._inputs[index], dtype=np.float32)
        if not np.isfinite(values).all():
            row = range(len(self.targets))[index]
            raise ValueError(f"{self.path}: row {row} must be finite; it holds NaN or infinity")
        return torch.from_numpy(values).reshape(1, *self.shape), target

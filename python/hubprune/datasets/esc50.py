# SPDX-License-Identifier: MIT
"""ESC-50, environmental sounds: 2000 clips of 5 s in 50 classes and 5 folds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from hubprune.datasets.audio_files import (
    FrontEnd,
    apply_front_end,
    fixed_length,
    front_end_of,
    read_audio,
    read_table,
)

__all__ = ["Esc50"]

_CLASSES = 50
_FOLDS = (1, 2, 3, 4, 5)
_SAMPLE_RATE = 44100
_SECONDS = 5


class Esc50(Dataset[tuple[torch.Tensor, int]]):
    """The folder of ESC-50, or some of its folds.

    Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds ``audio/*.wav`` and ``meta/esc50.csv``.
    folds : int or sequence of int, default (1, 2, 3, 4, 5)
        The folds taken; the usual cross-validation trains on four and tests on the fifth.
    features : callable, "logmel" or None, default None
        A front end for waveforms (batch, samples); ``"logmel"`` is `hubprune.models.LogMel` at
        `sample_rate` (32000, 16000 or 8000). None: the waveform itself.
    sample_rate : int, default 44100
        Hz, of the waveforms. The clips have 44100; any other rate resamples them.
    stereo : {"error", "mix"}, default "error"
        Several channels: an error, for the published clips have one; or their mean.

    Attributes
    ----------
    labels : list of str
        The classes' names, by index.
    files : list of Path
        The file of each clip.

    Raises
    ------
    OSError
        If the list cannot be read, or a clip is missing.
    ValueError
        If the list is malformed or a fold is unknown; the message names file and line.

    Notes
    -----
    Clips are cut or filled up with silence to 5 s.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        folds: int | Sequence[int] = _FOLDS,
        *,
        features: FrontEnd | str | None = None,
        sample_rate: int = _SAMPLE_RATE,
        stereo: str = "error",
    ) -> None:
        wanted = (folds,) if isinstance(folds, int) else tuple(folds)
        if not wanted or not set(wanted) <= set(_FOLDS):
            raise ValueError(f"folds must be some of {', '.join(map(str, _FOLDS))}; got {folds!r}")
        self.folder = Path(folder)
        self.folds = wanted
        self.sample_rate = sample_rate
        self._front_end = front_end_of(features, sample_rate)
        self._stereo = stereo
        self._list = self.folder / "meta" / "esc50.csv"
        self.files: list[Path] = []
        self._lines: list[int] = []
        self.targets: list[int] = []
        names: dict[int, str] = {}
        seen: dict[str, int] = {}
        for line, row in read_table(self._list, ("filename", "fold", "target", "category")):
            where = f"{self._list}:{line}: "
            if row["fold"] not in map(str, _FOLDS):
                raise ValueError(f"{where}fold must be from 1 to 5; got {row['fold']!r}")
            target = int(row["target"]) if row["target"].isdecimal() else -1
            if not 0 <= target < _CLASSES:
                raise ValueError(
                    f"{where}target must be from 0 to {_CLASSES - 1}; got {row['target']!r}"
                )
            if names.setdefault(target, row["category"]) != row["category"]:
                raise ValueError(
                    f"{where}category of target {target} must be {names[target]!r}; "
                    f"got {row['category']!r}"
                )
            name = row["filename"]
            if first := seen.get(name):
                raise ValueError(f"{where}{name} is listed on line {first} already")
            seen[name] = line
            if int(row["fold"]) not in wanted:
                continue
            path = self.folder / "audio" / name
            if not path.is_file():
                raise FileNotFoundError(f"{where}{path} does not exist")
            self.files.append(path)
            self._lines.append(line)
            self.targets.append(target)
        if not self.files:
            raise ValueError(f"{self._list} lists no clip of the folds {wanted}")
        self.labels = [names.get(target, str(target)) for target in range(_CLASSES)]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        waveform = read_audio(
            self.files[index],
            self.sample_rate,
            stereo=self._stereo,
            resample=self.sample_rate != _SAMPLE_RATE,
            where=f"{self._list}:{self._lines[index]}: ",
        )
        waveform = fixed_length(waveform, _SECONDS * self.sample_rate)
        return apply_front_end(self._front_end, waveform), self.targets[index]

# SPDX-License-Identifier: MIT
"""TAU Urban Acoustic Scenes 2020 Mobile, the development set of DCASE 2020 and 2021 Task 1A."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from hubprune.datasets.audio_files import FrontEnd, apply_front_end, read_audio, read_table
from hubprune.datasets.features import Dcase21LogMel, Standardisation
from hubprune.file_writing import replaced_file

__all__ = ["SCENES", "TauUrbanScenes"]

SCENES = (
    "airport",
    "bus",
    "metro",
    "metro_station",
    "park",
    "public_square",
    "shopping_mall",
    "street_pedestrian",
    "street_traffic",
    "tram",
)
"""The ten classes in the baseline's order, which is the alphabet's: ``dcase_util`` sorts them."""

_SPLITS = ("train", "evaluate", "test")
_SAMPLE_RATE = 44100
_FRAMES = 500


class TauUrbanScenes(Dataset[tuple[torch.Tensor, int]]):
    """The folder of the development set, one split of it.

    Mesaros, Heittola and Virtanen, "A multi-device dataset for urban acoustic scene
    classification", DCASE Workshop 2018; Heittola, Mesaros and Virtanen, "Acoustic scene
    classification in DCASE 2020 Challenge", DCASE Workshop 2020.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds ``audio/``, ``meta.csv`` and ``evaluation_setup/fold1_{train,evaluate,test}.csv``, of
        columns ``filename`` and ``scene_label`` with tabs between; the test list has no labels, and
        takes them from ``meta.csv``.
    split : {"train", "evaluate", "test"}, default "train"
        Evaluate and test list the same clips.
    fold : int, default 1
        The published set has one.
    features : callable or None, default None
        A front end for waveforms (batch, samples) at 44.1 kHz. None: the baseline's,
        `Dcase21LogMel`, inputs of shape (1, 40, 500).
    standardise : bool or Standardisation, default True
        True: with the statistics of the fold's training clips, of all their frames, as the baseline
        does; they are computed here, which reads every training clip unless they are in the cache.
        A `Standardisation`, such as another split's, is used as it is. False: not at all.
    cache : str, os.PathLike or None, default None
        A folder to keep the baseline's features and statistics in. Their names carry a fingerprint
        of the settings and of the audio file's name, size and time of change, so that what does not
        fit is never read.
    padding : {"reflect", "constant"}, default "reflect"
        As for `Dcase21LogMel`.
    resample : bool, default False
        Whether files of another sample rate are resampled, or are an error.
    stereo : {"mix", "error"}, default "mix"
        Several channels: their mean, as the baseline takes it, or an error.
    progress : callable or None, default None
        Called with ``(done, total)`` while the statistics are computed.

    Attributes
    ----------
    labels : tuple of str
        The classes' names, by index.
    files : list of Path
        The file of each clip.
    targets : list of int
        The class of each clip.
    standardisation : Standardisation or None
        What the features are standardised with.

    Raises
    ------
    OSError
        If a list cannot be read or names a file that is missing.
    ValueError
        If a list is malformed or has an unknown label; the message names file and line.

    Notes
    -----
    The baseline sets 30% of the training clips aside for validation, balanced over scenes and
    locations, by a random draw of ``dcase_util`` that is not repeated here.
    """

    labels = SCENES

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str = "train",
        *,
        fold: int = 1,
        features: FrontEnd | None = None,
        standardise: bool | Standardisation = True,
        cache: str | os.PathLike[str] | None = None,
        padding: str = "reflect",
        resample: bool = False,
        stereo: str = "mix",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}; got {split!r}")
        if features is not None and cache is not None:
            raise ValueError("cache keeps the baseline's features; it cannot go with features")
        if features is not None and standardise is True:
            raise ValueError(
                "standardise=True is of the baseline's features; with features of your own pass a "
                "Standardisation or False"
            )
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is not a folder")
        self.split = split
        self._own = features
        self._baseline = Dcase21LogMel(None, padding=padding) if features is None else None
        self._cache = None if cache is None else Path(cache)
        self._resample, self._stereo = resample, stereo
        self._settings = {} if self._baseline is None else self._baseline.settings()
        self._settings |= {"stereo": stereo, "resample": resample}
        self._clips = self._listed(fold, split)
        self.files = [path for path, _, _ in self._clips]
        self.targets = [target for _, target, _ in self._clips]
        self.standardisation: Standardisation | None = None
        if isinstance(standardise, Standardisation):
            self.standardisation = standardise
        elif standardise:
            train = self._clips if split == "train" else self._listed(fold, "train")
            self.standardisation = self._statistics(train, progress)

    def _listed(self, fold: int, split: str) -> list[tuple[Path, int, str]]:
        """File, class and where it is listed, of every clip."""
        path = self.folder / "evaluation_setup" / f"fold{fold}_{split}.csv"
        scenes = {}
        if split == "test":
            meta = self.folder / "meta.csv"
            for _, row in read_table(meta, ("filename", "scene_label"), delimiter="\t"):
                scenes[row["filename"]] = row["scene_label"]
        columns = ("filename",) if split == "test" else ("filename", "scene_label")
        clips = []
        seen: dict[str, int] = {}
        for line, row in read_table(path, columns, delimiter="\t"):
            where = f"{path}:{line}: "
            name = row["filename"]
            if name in seen:
                raise ValueError(f"{where}{name} is listed on line {seen[name]} already")
            seen[name] = line
            scene = row["scene_label"] if "scene_label" in row else scenes.get(name)
            if scene is None:
                raise ValueError(f"{where}{name} is not in {self.folder / 'meta.csv'}")
            if scene not in SCENES:
                raise ValueError(
                    f"{where}scene_label must be one of {', '.join(SCENES)}; got {scene!r}"
                )
            file = self.folder / name
            if not file.is_file():
                raise FileNotFoundError(f"{where}{file} does not exist")
            clips.append((file, SCENES.index(scene), where))
        if not clips:
            raise ValueError(f"{path} must list clips; it has none")
        return clips

    def _fingerprint(self, path: Path) -> str:
        file = path.stat()
        identity = [path.name, file.st_size, file.st_mtime_ns, self._settings]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def _waveform(self, path: Path, where: str) -> torch.Tensor:
        return read_audio(
            path, _SAMPLE_RATE, stereo=self._stereo, resample=self._resample, where=where
        )

    def _energies(self, path: Path, where: str) -> torch.Tensor:
        """The baseline's features of all frames, shape (40, frames), from the cache or made."""
        kept = None
        if self._cache is not None:
            kept = self._cache / f"{path.stem}-{self._fingerprint(path)[:16]}.npy"
            if kept.is_file():
                return _read_kept(kept)
        waveform = self._waveform(path, where)
        least = (_FRAMES - 1) * Dcase21LogMel.hop
        if len(waveform) < least:
            raise ValueError(
                f"{where}{path} must have at least {least} samples, {_FRAMES} frames; "
                f"got {len(waveform)}"
            )
        energies = apply_front_end(self._baseline, waveform)[0]
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replaced_file(kept) as part, part.open("wb") as file:
                np.save(file, energies.numpy())
        return energies

    def _statistics(
        self, train: list[tuple[Path, int, str]], progress: Callable[[int, int], None] | None
    ) -> Standardisation:
        kept = None
        if self._cache is not None:
            identity = "".join(self._fingerprint(path) for path, _, _ in train)
            digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
            kept = self._cache / f"statistics-{digest}.npz"
            if kept.is_file():
                return Standardisation.load(kept)

        def clips() -> Iterator[torch.Tensor]:
            for done, (path, _, where) in enumerate(train):
                if progress is not None:
                    progress(done, len(train))
                yield self._energies(path, where)

        found = Standardisation.fit(clips())
        if progress is not None:
            progress(len(train), len(train))
        if kept is not None:
            found.save(kept)
        return found

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, target, where = self._clips[index]
        if self._own is None:
            features = self._energies(path, where)[None, :, :_FRAMES]
        else:
            features = apply_front_end(self._own, self._waveform(path, where))
        if self.standardisation is not None:
            features = self.standardisation(features)
        return features, target


def _read_kept(path: Path) -> torch.Tensor:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}; delete it, and it is made again") from error
    fits = (
        isinstance(values, np.ndarray)
        and values.ndim == 2
        and values.shape[0] == Dcase21LogMel.bands
        and values.shape[1] >= _FRAMES
        and values.dtype == np.float32
    )
    if not fits or not np.isfinite(values).all():
        raise ValueError(f"{path} is not what was kept there; delete it, and it is made again")
    return torch.from_numpy(values)

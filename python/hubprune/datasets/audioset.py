# SPDX-License-Identifier: MIT
"""AudioSet, packed as the PANNs' authors pack it (HDF5) or as a folder of audio files.

Both data sets yield ``(input, target)``: the waveform, or what a front end makes of it, and a
float32 vector of zeros and ones over the classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from hubprune.datasets.audio_files import (
    FrontEnd,
    apply_front_end,
    fixed_length,
    front_end_of,
    needed,
    read_audio,
    read_table,
)

__all__ = ["AudioSetFolder", "AudioSetHdf5"]

_CLASSES = 527
_SECONDS = 10
_FULL_SCALE = 32767.0
_NAMES = ("audio_name", "waveform", "target")
_DAMAGE = (OSError, RuntimeError, KeyError)
"""What h5py raises where a file is damaged."""
_EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
_SEGMENTS_HEADER = "# YTID, start_seconds, end_seconds, positive_labels"

Item = tuple[torch.Tensor, torch.Tensor]


class AudioSetHdf5(Dataset[Item]):
    """A file of packed waveforms as the PANNs' ``pack_waveforms_to_hdf5`` writes it.

    Parameters
    ----------
    path : str or os.PathLike
        HDF5 with the data sets ``audio_name`` (n,) byte strings, ``waveform`` (n, samples) int16
        and ``target`` (n, classes) bool, and the attribute ``sample_rate``.
    features : callable, "logmel" or None, default None
        A front end for waveforms (batch, samples), such as `hubprune.models.LogMel`, which
        ``"logmel"`` stands for. None: the waveform itself.
    sample_rate : int, default 32000
        Hz, which the file must have.
    decimate : bool, default False
        Whether a file of twice or four times the sample rate gives every second or fourth sample,
        without a filter, as the PANNs' authors feed ``Cnn14_16k`` and ``Cnn14_8k``.
    classes : int, default 527
        Classes, which the file must have.
    empty : {"skip", "keep"}, default "skip"
        What becomes of rows without a clip. The packing script leaves the row of a clip that could
        not be downloaded empty: no name, silence, no target. "keep" takes them as clips of silence
        with no tag, as the authors' own evaluation does, which counts "Silence" as wrong there.

    Attributes
    ----------
    names : list of str
        The name of each clip, such as ``"Y--4gqARaEJE.wav"``; empty where there is no clip.
    missing : int
        Rows without a clip.

    Raises
    ------
    ImportError
        If h5py is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file: the message names what differs.

    Notes
    -----
    Layout and scale, ``waveform / 32767``, from ``utils/dataset.py`` and ``utils/utilities.py`` of
    github.com/qiuqiangkong/audioset_tagging_cnn, commit d2f4b8c; that its evaluation takes empty
    rows, from ``EvaluateSampler`` in ``utils/data_generator.py``. Its README counts 18887 clips
    downloaded of 20371. One row is read at a time; the file is opened anew in each worker process
    of a `DataLoader`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        features: FrontEnd | str | None = None,
        *,
        sample_rate: int = 32000,
        decimate: bool = False,
        classes: int = _CLASSES,
        empty: str = "skip",
    ) -> None:
        if empty not in ("skip", "keep"):
            raise ValueError(f"empty must be one of skip, keep; got {empty!r}")
        self.path = Path(path)
        self.sample_rate = sample_rate
        self._decimate = decimate
        self._step = 1
        self._front_end = front_end_of(features, sample_rate)
        self._file: Any = None
        self._process = 0
        file = self._open()
        try:
            self._check(file, classes)
            stored = [bytes(name) for name in file["audio_name"][:]]
        except _DAMAGE as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error
        self.missing = sum(not name for name in stored)
        rows = [row for row, name in enumerate(stored) if name or empty == "keep"]
        self._rows = rows
        self.names = [stored[row].decode(errors="replace") for row in rows]
        if self.missing == len(stored):
            raise ValueError(f"{self.path} must hold clips; none of its {len(stored)} rows has one")

    def _open(self) -> Any:
        """The file as opened by this process: HDF5 handles do not survive a fork."""
        if self._file is None or self._process != os.getpid():
            h5py = needed("h5py", "AudioSetHdf5")
            if not self.path.is_file():
                raise FileNotFoundError(f"{self.path} does not exist")
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                raise ValueError(f"{self.path} is not an HDF5 file: {error}") from error
            self._process = os.getpid()
        return self._file

    def _check(self, file: Any, classes: int) -> None:
        h5py = needed("h5py", "AudioSetHdf5")
        if absent := [name for name in _NAMES if not isinstance(file.get(name), h5py.Dataset)]:
            raise ValueError(
                f"{self.path} must hold the data sets {', '.join(_NAMES)}; "
                f"{', '.join(absent)} missing, it has {', '.join(map(str, file)) or 'nothing'}"
            )
        name, waveform, target = (file[each] for each in _NAMES)
        if waveform.ndim != 2 or waveform.dtype != "int16":
            raise ValueError(
                f"{self.path}: waveform must be int16 of shape (n, samples); "
                f"got {waveform.dtype} of shape {waveform.shape}"
            )
        if target.ndim != 2 or target.shape[1] != classes or target.dtype.kind not in "biu":
            raise ValueError(
                f"{self.path}: target must be bool of shape (n, {classes}); "
                f"got {target.dtype} of shape {target.shape}"
            )
        if name.ndim != 1 or name.dtype.kind not in "SO":
            raise ValueError(
                f"{self.path}: audio_name must be byte strings of shape (n,); "
                f"got {name.dtype} of shape {name.shape}"
            )
        if not len(name) == len(waveform) == len(target):
            raise ValueError(
                f"{self.path}: audio_name, waveform and target must be of one length; "
                f"got {len(name)}, {len(waveform)} and {len(target)}"
            )
        if not waveform.shape[1]:
            raise ValueError(f"{self.path}: waveform must hold samples; got {waveform.shape}")
        rate = int(file.attrs.get("sample_rate", self.sample_rate))
        if rate != self.sample_rate:
            step = rate // self.sample_rate
            fits = step in (2, 4) and rate == step * self.sample_rate
            if not (fits and self._decimate):
                hint = " (decimate=True takes some of the samples)" if fits else ""
                raise ValueError(
                    f"{self.path} must have a sample rate of {self.sample_rate} Hz; "
                    f"got {rate} Hz{hint}"
                )
            self._step = step

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        row = self._rows[index]
        file = self._open()
        try:
            samples, marks = file["waveform"][row], file["target"][row]
        except _DAMAGE as error:
            raise ValueError(f"{self.path}: row {row} cannot be read: {error}") from error
        waveform = torch.from_numpy(samples)[:: self._step].float() / _FULL_SCALE
        target = torch.from_numpy(marks.astype("float32"))
        if not bool(((target == 0) | (target == 1)).all()):
            raise ValueError(f"{self.path}: row {row} of target must hold zeros and ones")
        return apply_front_end(self._front_end, waveform), target


@dataclass(frozen=True)
class _Segment:
    line: int
    clip: str
    start: float
    end: float
    labels: tuple[str, ...]


def _read_segments(path: Path) -> list[_Segment]:
    """AudioSet's own list: three lines of comment, then ``YTID, start, end, "labels"``."""
    segments = []
    with open(path, encoding="utf-8", newline="") as file:
        try:
            for line, text in enumerate(file, start=1):
                if text.startswith("#") or not text.strip():
                    continue
                fields = next(csv.reader([text.strip()], skipinitialspace=True))
                try:
                    clip, start, end, labels = fields
                    segment = _Segment(
                        line, clip, float(start), float(end), tuple(labels.split(","))
                    )
                    if not 0 <= segment.start < segment.end:
                        raise ValueError("a segment ends after it starts")
                except ValueError:
                    raise ValueError(
                        f"{path}:{line}: must be like {_SEGMENTS_HEADER[2:]}, the labels in double "
                        f"quotes; got {text.strip()!r}"
                    ) from None
                segments.append(segment)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not a list of segments: {error}") from error
    if not segments:
        raise ValueError(f"{path} must list segments; it has none")
    return segments


def _read_classes(path: Path, classes: int) -> tuple[dict[str, int], list[str]]:
    """Machine identifier to index, and the display names."""
    index: dict[str, int] = {}
    names: list[str] = []
    for line, row in read_table(path, ("index", "mid", "display_name")):
        if row["index"] != str(len(names)):
            raise ValueError(f"{path}:{line}: index must be {len(names)}; got {row['index']!r}")
        if row["mid"] in index:
            raise ValueError(f"{path}:{line}: {row['mid']} is listed twice")
        index[row["mid"]] = len(names)
        names.append(row["display_name"])
    if len(names) != classes:
        raise ValueError(f"{path} must list {classes} classes; got {len(names)}")
    return index, names


def _file_of(segment: _Segment, files: Mapping[str, Path]) -> Path | None:
    """The file of a segment, under any of the names that are in use."""
    seconds = [(f"{segment.start:{form}}", f"{segment.end:{form}}") for form in (".3f", ".1f", "g")]
    stems = [segment.clip, *(f"{segment.clip}_{start}_{end}" for start, end in seconds)]
    for stem in stems:
        for name in (f"Y{stem}", stem):
            if name in files:
                return files[name]
    return None


class AudioSetFolder(Dataset[Item]):
    """A folder of AudioSet's clips with AudioSet's own lists.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the clips, or has a folder ``audio`` with them: ``Y<YTID>.wav`` (as the PANNs' authors
        download them), ``<YTID>.wav`` or ``<YTID>_<start>_<end>.wav``; also flac, ogg and mp3.
    features : callable, "logmel" or None, default None
        As for `AudioSetHdf5`.
    segments : str, os.PathLike or None
        AudioSet's list of segments; default ``eval_segments.csv`` in the folder.
    class_labels : str, os.PathLike or None
        AudioSet's list of classes; default ``class_labels_indices.csv`` in the folder.
    missing : {"error", "skip"}, default "error"
        What happens to listed segments without a file: many have gone from YouTube since.
    sample_rate : int, default 32000
        Hz.
    resample : bool, default False
        Whether files of another sample rate are resampled, or are an error.
    stereo : {"mix", "error"}, default "mix"
        Several channels: their mean, as the PANNs' authors take it, or an error.
    classes : int, default 527
        How many classes the list must have.

    Attributes
    ----------
    labels : list of str
        The classes' names, by index.
    files : list of Path
        The file of each clip.
    missing : list of str
        The segments left out.

    Raises
    ------
    OSError
        If a list cannot be read, or a clip is missing.
    ValueError
        If a list is malformed or names an unknown label; the message names file and line.

    Notes
    -----
    Clips are cut or filled up with silence to 10 s, as the PANNs' authors do. They resample with
    librosa's default of the time; here it is soxr, which differs by the filters' ripple.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        features: FrontEnd | str | None = None,
        *,
        segments: str | os.PathLike[str] | None = None,
        class_labels: str | os.PathLike[str] | None = None,
        missing: str = "error",
        sample_rate: int = 32000,
        resample: bool = False,
        stereo: str = "mix",
        classes: int = _CLASSES,
    ) -> None:
        if missing not in ("error", "skip"):
            raise ValueError(f"missing must be one of error, skip; got {missing!r}")
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is not a folder")
        self.sample_rate = sample_rate
        self._resample, self._stereo = resample, stereo
        self._front_end = front_end_of(features, sample_rate)
        self._list = self.folder / "eval_segments.csv" if segments is None else Path(segments)
        index, self.labels = _read_classes(
            self.folder / "class_labels_indices.csv"
            if class_labels is None
            else Path(class_labels),
            classes,
        )
        listed = _read_segments(self._list)
        audio = self.folder / "audio" if (self.folder / "audio").is_dir() else self.folder
        files = {
            path.stem: path
            for path in sorted(audio.iterdir())
            if path.suffix.lower() in _EXTENSIONS
        }
        self.files: list[Path] = []
        self.missing: list[str] = []
        self._segments: list[_Segment] = []
        self._targets: list[tuple[int, ...]] = []
        seen: dict[tuple[str, float], int] = {}
        for segment in listed:
            if first := seen.get((segment.clip, segment.start)):
                raise ValueError(
                    f"{self._list}:{segment.line}: {segment.clip} from {segment.start} s is listed "
                    f"on line {first} already"
                )
            seen[segment.clip, segment.start] = segment.line
            if unknown := [label for label in segment.labels if label not in index]:
                raise ValueError(
                    f"{self._list}:{segment.line}: label {unknown[0]!r} is not in the list of "
                    "classes"
                )
            path = _file_of(segment, files)
            if path is None:
                self.missing.append(segment.clip)
                if missing == "error":
                    raise FileNotFoundError(
                        f"{self._list}:{segment.line}: no file of {segment.clip} in {audio} "
                        f"(such as Y{segment.clip}.wav); missing='skip' leaves out what is missing"
                    )
                continue
            self.files.append(path)
            self._segments.append(segment)
            self._targets.append(tuple(index[label] for label in segment.labels))
        if not self.files:
            raise FileNotFoundError(f"{audio} has none of the clips that {self._list} lists")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Item:
        path = self.files[index]
        where = f"{self._list}:{self._segments[index].line}: "
        waveform = read_audio(
            path, self.sample_rate, stereo=self._stereo, resample=self._resample, where=where
        )
        waveform = fixed_length(waveform, _SECONDS * self.sample_rate)
        target = torch.zeros(len(self.labels), device="cpu")
        marks: Sequence[int] = self._targets[index]
        target[list(marks)] = 1
        return apply_front_end(self._front_end, waveform), target

# SPDX-License-Identifier: MIT
"""Reading audio files and the tables that list them, with errors that name file and line."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from hubprune.models.log_mel import LogMel

__all__ = [
    "FrontEnd",
    "apply_front_end",
    "fixed_length",
    "front_end_of",
    "needed",
    "read_audio",
    "read_table",
]

FrontEnd: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Waveforms (batch, samples) to features (batch, ...)."""

_STEREO = ("mix", "error")
_BLOCK = 1 << 20  # frames
_SIZE_UNKNOWN = (0, 0xFFFFFFFF)
"""RIFF sizes that a program writes which cannot go back to the header."""


def needed(module: str, purpose: str) -> Any:
    """Import an optional package, or say how to install it.

    Parameters
    ----------
    module : str
        What is imported.
    purpose : str
        What needs it, for the message.

    Returns
    -------
    module
        The module.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{purpose} needs {package}; install it with: pip install "hubprune[data]"'
        ) from error


def _check_whole(path: Path, where: str) -> None:
    """Refuse a WAV file that ends before its header says; libsndfile would read what is left."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    size = int.from_bytes(head[4:8], "little")
    have = path.stat().st_size
    if size not in _SIZE_UNKNOWN and have < size + 8:
        raise ValueError(
            f"{where}{path} is truncated: its header counts {size + 8} bytes; got {have}"
        )


def read_audio(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    stereo: str = "mix",
    resample: bool = False,
    where: str = "",
) -> torch.Tensor:
    """Read an audio file as one waveform.

    Parameters
    ----------
    path : str or os.PathLike
        Whatever libsndfile reads: WAV, FLAC, Ogg, MP3.
    sample_rate : int
        Hz, of the result.
    stereo : {"mix", "error"}, default "mix"
        What becomes of several channels: their mean, or an error.
    resample : bool, default False
        Whether a file of another sample rate is resampled (by soxr at high quality, through
        librosa); otherwise it is an error.
    where : str, default ""
        What names the file, such as ``"meta.csv:3: "``; put in front of every message.

    Returns
    -------
    torch.Tensor
        Shape (samples,), float32, full scale 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If soundfile is missing, or librosa where it is needed.
    ValueError
        If it is no audio, is empty or truncated (WAV and FLAC; of other formats libsndfile gives
        what is left), or holds NaN or infinity; if it has several channels or another sample rate
        and that is not allowed.
    """
    path = Path(path)
    if stereo not in _STEREO:
        raise ValueError(f"stereo must be one of {', '.join(_STEREO)}; got {stereo!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{where}{path} does not exist")
    soundfile = needed("soundfile", "reading audio files")
    _check_whole(path, where)
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            rate = file.samplerate
            # In blocks: what a damaged header claims is never allocated.
            blocks = [np.zeros((0, file.channels), np.float32)]
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
        samples = np.concatenate(blocks)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{where}{path} is not an audio file that can be read: {error.error_string}"
        ) from error
    if not len(samples):
        raise ValueError(f"{where}{path} must hold sound; it has no samples")
    if not np.isfinite(samples).all():
        raise ValueError(f"{where}{path} must hold finite samples; it holds NaN or infinity")
    if samples.shape[1] > 1 and stereo == "error":
        raise ValueError(
            f"{where}{path} must have one channel; got {samples.shape[1]} "
            "(stereo='mix' takes their mean)"
        )
    waveform = samples.mean(axis=1)
    if rate != sample_rate:
        if not resample:
            raise ValueError(
                f"{where}{path} must have a sample rate of {sample_rate} Hz; got {rate} Hz "
                "(resample=True converts it)"
            )
        librosa = needed("librosa", "resampling")
        waveform = librosa.resample(
            waveform, orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq"
        )
    return torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))


def fixed_length(waveform: torch.Tensor, samples: int) -> torch.Tensor:
    """Cut a waveform at the end, or fill it up with silence.

    Parameters
    ----------
    waveform : torch.Tensor
        Shape (n,).
    samples : int
        The length wanted.

    Returns
    -------
    torch.Tensor
        Shape (samples,).

    Examples
    --------
    >>> fixed_length(torch.ones(2), 3)
    tensor([1., 1., 0.])
    """
    if len(waveform) >= samples:
        return waveform[:samples]
    return torch.nn.functional.pad(waveform, (0, samples - len(waveform)))


def front_end_of(features: FrontEnd | str | None, sample_rate: int) -> FrontEnd | None:
    """Make a front end of what a data set's `features` may be.

    Parameters
    ----------
    features : callable, "logmel" or None
        A front end, the name of the PANNs', or None for none.
    sample_rate : int
        Hz, for the one that is named.

    Returns
    -------
    callable or None
        The front end.

    Raises
    ------
    ImportError
        If it needs a package that is not installed.
    ValueError
        If the name is unknown, or there is none at this sample rate.
    """
    if features is None or callable(features):
        return features
    if features != "logmel":
        raise ValueError(f"features must be 'logmel', a front end or None; got {features!r}")
    return LogMel.at(sample_rate)


def apply_front_end(front_end: FrontEnd | None, waveform: torch.Tensor) -> torch.Tensor:
    """Apply a front end to one waveform, without gradients.

    Parameters
    ----------
    front_end : callable or None
        Waveforms (batch, samples) to features (batch, ...).
    waveform : torch.Tensor
        Shape (samples,).

    Returns
    -------
    torch.Tensor
        The features, or the waveform itself.
    """
    if front_end is None:
        return waveform
    with torch.no_grad():
        return front_end(waveform[None])[0]


def read_table(
    path: str | os.PathLike[str], columns: Sequence[str], *, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header line.

    Parameters
    ----------
    path : str or os.PathLike
        The file, UTF-8.
    columns : sequence of str
        Columns that must be there; others may be.
    delimiter : str, default ","
        What stands between them.

    Yields
    ------
    line : int
        Where the row stands, from 1.
    row : dict of str to str
        The fields by column.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a column is missing, a row has another number of fields, or it is not text.
    """
    path = Path(path)
    kind = "tabs" if delimiter == "\t" else f"{delimiter!r}"
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = next(reader, [])
            if missing := [name for name in columns if name not in header]:
                raise ValueError(
                    f"{path}:1: must name the columns {', '.join(columns)}, with {kind} between; "
                    f"{', '.join(missing)} missing from {delimiter.join(header)!r}"
                )
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise ValueError(
                        f"{path}:{reader.line_num}: must have {len(header)} fields; "
                        f"got {len(fields)}"
                    )
                yield reader.line_num, dict(zip(header, fields, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not a table of UTF-8 text: {error}") from error

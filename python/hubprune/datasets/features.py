# SPDX-License-Identifier: MIT
"""The features of the published baselines, as front ends: waveforms in, model inputs out.

`Dcase21LogMel` makes the input of `hubprune.models.Dcase21Baseline`, `VggishLogMel` that of
`hubprune.models.Vggish`; the front end of the PANNs is `hubprune.models.LogMel`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hubprune.arguments import check_count
from hubprune.datasets.audio_files import needed
from hubprune.file_writing import replaced_file
from hubprune.models.checks import check_input

__all__ = ["Dcase21LogMel", "Standardisation", "VggishLogMel"]

_PADDINGS = ("reflect", "constant")


class Dcase21LogMel(nn.Module):
    """Log-mel energies of the DCASE 2021 Task 1A baseline.

    ``log(mel @ abs(stft(waveform + eps)) + eps)`` with the natural logarithm, computed in float64.

    Parameters
    ----------
    frames : int or None, default 500
        How many frames are kept, from the first: 500 are the model's input. None: all, that is
        ``samples // 882 + 1``.
    padding : {"reflect", "constant"}, default "reflect"
        What stands before the first and behind the last sample, so that frames are centred.

    Raises
    ------
    ImportError
        If librosa, which makes the mel filters, is not installed.
    TypeError, ValueError
        If `frames` is not an int of at least 1, or `padding` is unknown.

    Notes
    -----
    Each fact and where it was read. B is the baseline's ``task1a.yaml``
    (github.com/marmoi/dcase2021_task1a_baseline, commit 32ffc35), U is
    ``dcase_util/features/features.py`` (github.com/DCASE-REPO/dcase_util, commit a2694b0), which B
    names.

    - 44.1 kHz; windows of 40 ms (1764 samples) every 20 ms (882): B ``fs``, ``win_length_seconds``,
      ``hop_length_seconds``; U turns seconds into samples with ``int(fs * seconds)``.
    - FFT of 2048; the window is centred in it: B ``n_fft``; U passes ``win_length`` to
      ``librosa.stft``.
    - Periodic Hamming window: B ``window_type: hamming_asymmetric``; U takes it as
      ``scipy.signal.hamming(n, sym=False)``.
    - Magnitudes, not powers: B ``spectrogram_type: magnitude``.
    - 40 mel bands, 0 to 22050 Hz, Slaney's mel scale: B ``n_mels``, ``fmin``, ``fmax``,
      ``htk: false``.
    - Filters of unit area (Slaney): U leaves `norm` of ``librosa.filters.mel`` at its default, and
      B's ``normalize_mel_bands: false`` leaves out U's scaling to a peak of 1.
    - eps is ``numpy.spacing(1)``, 2.2e-16, added to the samples and in the logarithm: U.
    - A clip of 10 s has 501 frames, of which B's ``sequence_length: 500`` keeps the first 500. The
      statistics of `Standardisation` are taken over all 501: the baseline's ``task1a.py`` collects
      them before it cuts.
    - Several channels are averaged: ``task1a.py`` loads with ``mono=True``.

    On noise and near silence the values are U's own to 5e-7 (measured), the rounding to float32.

    What stays open: U does not say how ``librosa.stft`` pads; its default was reflection up to
    version 0.9, which fits the baseline's time, and zeros since 0.10. Hence `padding`. Only the
    first and the last frame differ.

    Examples
    --------
    >>> Dcase21LogMel()(torch.zeros(1, 441000)).shape
    torch.Size([1, 1, 40, 500])
    """

    sample_rate = 44100
    bands = 40
    window = 1764
    hop = 882
    n_fft = 2048
    eps = 2.0**-52

    def __init__(self, frames: int | None = 500, *, padding: str = "reflect") -> None:
        if frames is not None:
            check_count(frames, "frames")
        if padding not in _PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(_PADDINGS)}; got {padding!r}")
        super().__init__()
        self.frames = frames
        self.padding = padding
        filters = needed("librosa.filters", "Dcase21LogMel").mel(
            sr=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=self.bands,
            fmin=0,
            fmax=22050,
            htk=False,
            norm="slaney",
        )
        self.register_buffer("mel", torch.from_numpy(filters).double(), persistent=False)
        taper = torch.hamming_window(self.window, periodic=True, dtype=torch.float64)
        self.register_buffer("taper", taper, persistent=False)

    def settings(self) -> dict[str, str | int]:
        """Everything that decides the values, for a fingerprint; not how many frames are kept.

        Returns
        -------
        dict of str to str or int
            Name to value.
        """
        return {"features": "dcase21", "version": 1, "padding": self.padding}

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Turn waveforms into log-mel energies.

        Parameters
        ----------
        waveform : torch.Tensor
            Shape (batch, samples) at 44.1 kHz, full scale 1, floating point.

        Returns
        -------
        torch.Tensor
            Natural logarithms, shape (batch, 1, 40, frames), float32.

        Raises
        ------
        TypeError
            If it is not a floating-point tensor.
        ValueError
            If the shape differs or the clip is too short for the frames.
        """
        check_input(waveform, ("batch", "samples"), "waveform")
        samples = waveform.shape[1]
        least = max(self.n_fft // 2 + 1, self.hop * ((self.frames or 1) - 1))
        if samples < least:
            raise ValueError(f"waveform must have at least {least} samples; got {samples}")
        mel, taper = self.get_buffer("mel"), self.get_buffer("taper")
        spectrum = torch.stft(
            waveform.to(taper.dtype) + self.eps,
            self.n_fft,
            self.hop,
            self.window,
            taper,
            center=True,
            pad_mode=self.padding,
            return_complex=True,
        )
        energies = torch.log(mel @ spectrum.abs() + self.eps)  # (batch, 40, frames)
        return energies[:, None, :, : self.frames].float()


class VggishLogMel(nn.Module):
    """Log-mel patches of VGGish.

    ``log(mel @ abs(fft(frame)) + 0.01)``, in patches of 96 frames, computed in float64.

    Parameters
    ----------
    hop_frames : int, default 96
        Frames from patch to patch. 96: none overlap, as published with VGGish, 10 patches in 10 s;
        48: 19 patches in 10 s, as many as the similarity papers have.

    Raises
    ------
    TypeError, ValueError
        If `hop_frames` is not an int of at least 1.

    Notes
    -----
    From ``vggish_params.py`` and ``mel_features.py`` beside the published model
    (github.com/tensorflow/models, research/audioset/vggish): 16 kHz; windows of 25 ms (400 samples)
    every 10 ms (160), not centred; periodic Hann; FFT of 512; magnitudes; 64 bands from 125 to 7500
    Hz on the scale 1127 ln(1 + f / 700), triangles that are straight in mel and have a peak of 1,
    without the constant component; patches of 0.96 s. Samples behind the last whole patch are left
    out. The 19 patches: "Fine_tuning_VGGish_Net.py" in
    github.com/Arshdeep-Singh-Boparai/Efficient_similarity_Pruning_Algo reshapes to
    ``[2518*19,96,64,1]``; half overlap is the only even hop that gives 19. On noise the values are
    those of the published ``mel_features.py`` to 1.2e-7 (measured).

    Examples
    --------
    >>> VggishLogMel()(torch.zeros(1, 160000)).shape
    torch.Size([1, 10, 96, 64])
    """

    sample_rate = 16000
    window = 400
    hop = 160
    n_fft = 512
    bands = 64
    patch = 96

    def __init__(self, hop_frames: int = 96) -> None:
        check_count(hop_frames, "hop_frames")
        super().__init__()
        self.hop_frames = hop_frames
        self.register_buffer("mel", self._filters(), persistent=False)
        taper = torch.hann_window(self.window, periodic=True, dtype=torch.float64)
        self.register_buffer("taper", taper, persistent=False)

    def _filters(self) -> torch.Tensor:
        """Triangles over the bins, shape (257, 64)."""

        def to_mel(hz: torch.Tensor) -> torch.Tensor:
            return 1127.0 * torch.log1p(hz / 700.0)

        hertz = torch.linspace(0, self.sample_rate / 2, self.n_fft // 2 + 1, dtype=torch.float64)
        low, high = to_mel(torch.tensor([125.0, 7500.0], dtype=torch.float64)).tolist()
        edges = torch.linspace(low, high, self.bands + 2, dtype=torch.float64)
        bins = to_mel(hertz)[:, None]
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        filters = torch.minimum(rising, falling).clamp(min=0)
        filters[0] = 0
        return filters

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Turn waveforms into log-mel patches.

        Parameters
        ----------
        waveform : torch.Tensor
            Shape (batch, samples) at 16 kHz, full scale 1, floating point.

        Returns
        -------
        torch.Tensor
            Shape (batch, patches, 96 frames, 64 mel bands), float32. ``.flatten(0, 1)[:, None]`` is
            the model's input.

        Raises
        ------
        TypeError
            If it is not a floating-point tensor.
        ValueError
            If the shape differs or the clip is shorter than one patch, 15600 samples.
        """
        check_input(waveform, ("batch", "samples"), "waveform")
        least = (self.patch - 1) * self.hop + self.window
        if waveform.shape[1] < least:
            raise ValueError(
                f"waveform must have at least {least} samples; got {waveform.shape[1]}"
            )
        mel, taper = self.get_buffer("mel"), self.get_buffer("taper")
        frames = waveform.to(taper.dtype).unfold(1, self.window, self.hop)
        magnitudes = torch.fft.rfft(frames * taper, n=self.n_fft).abs()
        energies = torch.log(magnitudes @ mel + 0.01)  # (batch, frames, 64)
        patches = energies.unfold(1, self.patch, self.hop_frames)  # (batch, patches, 64, 96)
        return patches.transpose(2, 3).float()


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of each band over all frames of the training clips.

    Parameters
    ----------
    mean, std : torch.Tensor
        Shape (bands,), float64.
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def fit(cls, clips: Iterable[torch.Tensor]) -> Standardisation:
        """Take the statistics of clips, one after the other.

        Parameters
        ----------
        clips : iterable of torch.Tensor
            Shape (..., bands, frames) each.

        Returns
        -------
        Standardisation
            The standard deviation is the unbiased one (n - 1), as in ``dcase_util``'s
            ``Normalizer``, which the DCASE baselines use.

        Raises
        ------
        ValueError
            If there are fewer than two frames, or a band never changes.

        Notes
        -----
        Means and squared deviations are merged clip by clip in float64 (Chan, Golub and LeVeque,
        1979), which loses nothing to a large mean, unlike sums of squares.
        """
        count = 0
        mean = torch.zeros(())
        squares = torch.zeros(())
        for clip in clips:
            values = clip.double().movedim(-2, 0).flatten(1)  # (bands, frames)
            n = values.shape[1]
            own = values.mean(1)
            spread = (values - own[:, None]).square().sum(1)
            if count == 0:
                mean, squares = own, spread
            else:
                apart = own - mean
                mean = mean + apart * (n / (count + n))
                squares = squares + spread + apart.square() * (count * n / (count + n))
            count += n
        if count < 2:
            raise ValueError(f"clips must hold at least two frames together; got {count}")
        std = (squares / (count - 1)).sqrt()
        if not bool((std > 0).all()):
            band = int((std <= 0).nonzero()[0]) if not std.isnan().any() else -1
            what = f"band {band} never changes" if band >= 0 else "they hold NaN"
            raise ValueError(f"clips cannot be standardised: {what}")
        return cls(mean, std)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise features.

        Parameters
        ----------
        x : torch.Tensor
            Shape (..., bands, frames).

        Returns
        -------
        torch.Tensor
            ``(x - mean) / std``, of the dtype of `x`.

        Raises
        ------
        ValueError
            If the number of bands differs.
        """
        if x.ndim < 2 or x.shape[-2] != len(self.mean):
            raise ValueError(
                f"x must have shape (..., {len(self.mean)}, frames); got shape {tuple(x.shape)}"
            )
        return ((x - self.mean[:, None]) / self.std[:, None]).to(x.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write both to an ``.npz`` file.

        Parameters
        ----------
        path : str or os.PathLike
            The file; it is replaced whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as part, part.open("wb") as file:
            np.savez(file, mean=self.mean.numpy(), std=self.std.numpy())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Standardisation:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        Standardisation
            The statistics.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is no such file.
        """
        source = os.fspath(path)
        try:
            # Opened here: of a damaged file NumPy would leave it open.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                mean, std = arrays["mean"], arrays["std"]
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{source} is not a file of mean and std: {error}") from error
        fits = mean.ndim == 1 and mean.shape == std.shape and mean.dtype == std.dtype == np.float64
        if not fits or not np.isfinite(mean).all() or not (np.isfinite(std) & (std > 0)).all():
            raise ValueError(
                f"{source} must hold finite float64 mean and positive std of one length"
            )
        return cls(torch.from_numpy(mean), torch.from_numpy(std))

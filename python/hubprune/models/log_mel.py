# SPDX-License-Identifier: MIT
"""The log-mel front end of the PANNs: waveforms to what `hubprune.models.panns` reads."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from hubprune.models.checks import check_input

__all__ = ["FRONT_ENDS", "MEL_BINS", "LogMel", "front_end_at"]

MEL_BINS = 64
FRONT_ENDS = {32000: (1024, 320, 14000), 16000: (512, 160, 8000), 8000: (256, 80, 4000)}
"""Sample rate to window, hop and fmax: Cnn14, Cnn14_16k and Cnn14_8k."""


def front_end_at(sample_rate: int) -> tuple[int, int, int]:
    """Return window, hop and fmax at one of the published sample rates."""
    if sample_rate not in FRONT_ENDS:
        known = ", ".join(map(str, FRONT_ENDS))
        raise ValueError(f"sample_rate must be one of {known}; got {sample_rate!r}")
    return FRONT_ENDS[sample_rate]


class LogMel(nn.Module):
    """The log-mel front end of the official checkpoints, with frozen weights.

    Power spectrogram (periodic Hann window, frames centred by reflection), Slaney mel filters of
    unit area, ``10 log10(max(1e-10, .))``. Computed by torchlibrosa, whose keys the checkpoints
    carry: ``spectrogram_extractor.stft.conv_real.weight``, ``spectrogram_extractor.stft.conv_imag
    .weight`` and ``logmel_extractor.melW``.

    Parameters
    ----------
    sample_rate : int, default 32000
        Hz.
    window : int, default 1024
        Samples of the window and of the FFT.
    hop : int, default 320
        Samples from frame to frame.
    mel_bins : int, default 64
        Mel bands.
    fmin, fmax : float, default 50 and 14000
        Hz, the range of the mel bands.

    Raises
    ------
    ImportError
        If torchlibrosa is not installed.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 32000,
        window: int = 1024,
        hop: int = 320,
        mel_bins: int = MEL_BINS,
        fmin: float = 50,
        fmax: float = 14000,
    ) -> None:
        super().__init__()
        try:
            stft: Any = importlib.import_module("torchlibrosa.stft")
        except ImportError as error:
            raise ImportError(
                'LogMel needs torchlibrosa; install it with: pip install "hubprune[audio]"'
            ) from error
        self.min_samples = window // 2 + 1
        self.spectrogram_extractor = stft.Spectrogram(
            n_fft=window,
            hop_length=hop,
            win_length=window,
            window="hann",
            center=True,
            pad_mode="reflect",
            freeze_parameters=True,
        )
        self.logmel_extractor = stft.LogmelFilterBank(
            sr=sample_rate,
            n_fft=window,
            n_mels=mel_bins,
            fmin=fmin,
            fmax=fmax,
            ref=1.0,
            amin=1e-10,
            top_db=None,
            freeze_parameters=True,
        )

    @classmethod
    def at(cls, sample_rate: int) -> LogMel:
        """Build the front end of one of the published sample rates.

        Parameters
        ----------
        sample_rate : {32000, 16000, 8000}
            Hz: of `Cnn14`, `Cnn10` and `Cnn6`, of ``Cnn14_16k`` and of ``Cnn14_8k``.

        Returns
        -------
        LogMel
            The front end.

        Raises
        ------
        ImportError
            If torchlibrosa is not installed.
        ValueError
            If there is none at this sample rate.
        """
        window, hop, fmax = front_end_at(sample_rate)
        return cls(sample_rate=sample_rate, window=window, hop=hop, fmax=fmax)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Turn waveforms into log-mel spectrograms.

        Parameters
        ----------
        waveform : torch.Tensor
            Shape (batch, samples), full scale 1, floating point.

        Returns
        -------
        torch.Tensor
            dB, shape (batch, 1, samples // hop + 1, mel_bins).

        Raises
        ------
        TypeError
            If it is not a floating-point tensor.
        ValueError
            If the shape differs or the clip is too short to be reflected at its ends.
        """
        check_input(waveform, ("batch", "samples"), "waveform")
        if waveform.shape[1] < self.min_samples:
            raise ValueError(
                f"waveform must have at least {self.min_samples} samples; got {waveform.shape[1]}"
            )
        features: torch.Tensor = self.logmel_extractor(self.spectrogram_extractor(waveform))
        return features

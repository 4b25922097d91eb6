# SPDX-License-Identifier: MIT
"""Tones of exactly known pitch, CREPE's decoder, and Raw Pitch Accuracy.

A test set without data: the fundamental of every tone is drawn first and the sound made from it, so
there is no annotation that could be wrong. Kim et al., "CREPE: A Convolutional Representation for
Pitch Estimation", ICASSP 2018, evaluates the same way, on resynthesised music.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .arguments import Array, as_tensor, check_count, like_input, shape_text
from .model_runs import evaluating

__all__ = ["Accuracy", "Tones", "activations", "decode", "raw_pitch_accuracy", "tones"]

SAMPLE_RATE = 16_000
FRAME = 1024
BINS = 360
LOWEST, HIGHEST = 60.0, 1200.0
MOST_HARMONICS = 15
_HARMONIC_LIMIT = 7500.0  # Hz, below the Nyquist frequency of 8 kHz
_REFERENCE = 10.0  # Hz at 0 cents
_FIRST_CENTS = 1997.3794084376191  # of bin 0, 31.70 Hz: a constant of the published decoder
_SPAN_CENTS = 7180.0
_REACH = 4  # bins on either side of the maximum


@dataclass(frozen=True, eq=False)
class Tones:
    """Audio frames and the pitch of each.

    Attributes
    ----------
    frames : torch.Tensor
        Shape (count, 1024), float32, 16 kHz, each of zero mean and unit variance.
    frequencies : torch.Tensor
        Shape (count,), float64: the fundamental in Hz.
    """

    frames: torch.Tensor
    frequencies: torch.Tensor

    def __len__(self) -> int:
        return len(self.frequencies)


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers in [0, 1], its binomial standard error, and of how many answers."""

    value: float
    standard_error: float
    count: int


def tones(count: int, seed: int, *, noise_db: tuple[float, float] | None = (0.0, 30.0)) -> Tones:
    """Draw harmonic tones in white noise.

    ``y(t) = sum_h a_h sin(2 pi h f t + phase_h) + noise``

    The fundamental f is log-uniform in 60 to 1200 Hz; 1 to 15 harmonics, all below 7.5 kHz, decay
    exponentially at a random rate, each scaled by a factor uniform in 0.2 to 1, with random phases.

    Parameters
    ----------
    count : int
        How many, at least 1.
    seed : int
        Not negative. The same count and seed give the same tones, under any `noise_db`.
    noise_db : (float, float) or None, default (0, 30)
        Lowest and highest ratio of the tone's power to the noise's, in dB; each frame draws its own
        in between, uniformly. None: no noise.

    Returns
    -------
    Tones

    Raises
    ------
    TypeError
        If `count` or `seed` is no int.
    ValueError
        If `count` is below 1, `seed` negative, or `noise_db` not an ascending finite pair.

    Examples
    --------
    >>> some = tones(3, seed=0)
    >>> some.frames.shape, some.frequencies.shape
    (torch.Size([3, 1024]), torch.Size([3]))
    """
    check_count(count, "count")
    check_count(seed, "seed", least=0)
    if noise_db is not None:
        _check_noise(noise_db)
    draw = np.random.default_rng(seed)
    fundamental = np.exp(draw.uniform(math.log(LOWEST), math.log(HIGHEST), count))  # (count,)
    # The largest h with h f below the limit, not at it.
    possible = np.ceil(_HARMONIC_LIMIT / fundamental).astype(np.int64) - 1
    harmonics = np.minimum(draw.integers(1, MOST_HARMONICS + 1, count), possible)
    decay = draw.uniform(0.0, 0.5, count)
    scale = draw.uniform(0.2, 1.0, (count, MOST_HARMONICS))
    phase = draw.uniform(0.0, 2.0 * math.pi, (count, MOST_HARMONICS))

    order = np.arange(MOST_HARMONICS)
    amplitude = scale * np.exp(-decay[:, None] * order) * (order < harmonics[:, None])
    angle = 2.0 * math.pi * fundamental[:, None] * (np.arange(FRAME) / SAMPLE_RATE)
    frames = np.zeros((count, FRAME))
    for h in range(MOST_HARMONICS):  # not (count, 15, 1024) at once: 120 MB for 1000 tones
        frames += amplitude[:, h, None] * np.sin((h + 1) * angle + phase[:, h, None])
    frames = _standardised(frames)
    if noise_db is not None:
        # Drawn last, so that the tones do not depend on the noise.
        level = 10.0 ** (-draw.uniform(*noise_db, count) / 20.0)
        frames = _standardised(frames + level[:, None] * draw.standard_normal((count, FRAME)))
    return Tones(torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(fundamental))


def decode(activation: Array) -> Array:
    """Turn CREPE's activations into pitches.

    ``c = sum_k w_k c_k / sum_k w_k``  over the 9 bins around the largest, fewer at the two ends;
    ``pitch = 10 * 2**(c / 1200)`` Hz with ``c_k = 20 k + 1997.379`` cents

    Parameters
    ----------
    activation : torch.Tensor or numpy.ndarray
        Shape (n, 360), floating point, not negative.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Pitch in Hz, shape (n,), float64; NaN where the activations of the window are all zero, or
        not finite.

    Raises
    ------
    TypeError
        If it is no floating-point array.
    ValueError
        If its shape differs.

    Notes
    -----
    With equal maxima the lowest bin counts. Source: the local average decoder of CREPE.

    Examples
    --------
    >>> one_bin = torch.zeros(1, 360)
    >>> one_bin[0, 228] = 1.0  # the bin nearest to 440 Hz
    >>> round(decode(one_bin).item(), 2)
    441.54
    """
    x = as_tensor(activation, "activation")
    if x.ndim != 2 or x.shape[1] != BINS:
        raise ValueError(f"activation must have shape (n, {BINS}); got shape {shape_text(x.shape)}")
    x = x.double()
    cents = torch.linspace(0.0, _SPAN_CENTS, BINS, dtype=torch.float64, device=x.device)
    cents += _FIRST_CENTS
    window = x.argmax(1, keepdim=True) + torch.arange(-_REACH, _REACH + 1, device=x.device)
    inside = (window >= 0) & (window < BINS)  # (n, 9)
    window = window.clamp(0, BINS - 1)
    weight = x.gather(1, window) * inside
    mean = (weight * cents[window]).sum(1) / weight.sum(1)
    return like_input(_REFERENCE * torch.exp2(mean / 1200.0), activation)


def activations(
    model: nn.Module, frames: torch.Tensor, *, batch: int = 128, workers: int = 1
) -> torch.Tensor:
    """Run a model on frames, in evaluation mode without gradients.

    Parameters
    ----------
    model : torch.nn.Module
        Frames (n, 1024) to one row each. Called on its own device; left in the mode it was in.
    frames : torch.Tensor
        Shape (count, 1024), from `tones`.
    batch : int, default 128
        Frames of one call.
    workers : int, default 1
        Calls at the same time. With more than one, each runs on a single thread, so that no layer
        waits for another processor (on a busy machine that wait costs more than the work), and the
        result does not depend on how many there are. The model's forward must allow it.

    Returns
    -------
    torch.Tensor
        What the model returns for all frames, on the CPU.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module or does not return one row per frame, or `batch` or `workers` is
        below 1.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    check_count(batch, "batch")
    check_count(workers, "workers")
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device

    def call(part: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():  # per thread
            found: torch.Tensor = model(part.to(device))
            return found.cpu()

    with evaluating(model):
        rows = torch.cat(_mapped(call, frames.split(batch), workers))
    if len(rows) != len(frames):
        raise ValueError(
            f"model must return one row per frame; got {len(rows)} for {len(frames)} frames"
        )
    return rows


def _mapped(
    call: Callable[[torch.Tensor], torch.Tensor], parts: tuple[torch.Tensor, ...], workers: int
) -> list[torch.Tensor]:
    if workers == 1:
        return [call(part) for part in parts]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(call, parts))
    finally:
        torch.set_num_threads(threads)  # torch hands the last setting to threads that start later


def raw_pitch_accuracy(
    model: nn.Module, tones: Tones, cents: float = 50.0, batch: int = 128, workers: int = 1
) -> Accuracy:
    """Measure the share of tones whose pitch a model finds, within a tolerance.

    Parameters
    ----------
    model : torch.nn.Module
        Frames (n, 1024) to activations (n, 360), such as `hubprune.models.Crepe`.
    tones : Tones
        From `tones`.
    cents : float, default 50
        The tolerance, 1/1200 octaves; an error of exactly this much is wrong. Positive.
    batch, workers : int, default 128 and 1
        As in `activations`.

    Returns
    -------
    Accuracy
        `standard_error` is ``sqrt(value (1 - value) / count)``.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module or returns something other than (n, 360), `cents` is not positive
        and finite, or `batch` or `workers` is below 1.

    Notes
    -----
    A pitch that is NaN counts as wrong.
    """
    if not (math.isfinite(cents) and cents > 0.0):
        raise ValueError(f"cents must be positive and finite; got {cents}")
    rows = activations(model, tones.frames, batch=batch, workers=workers)
    pitch = torch.as_tensor(decode(rows), device="cpu")
    error = 1200.0 * torch.log2(pitch / tones.frequencies).abs()
    value = float((error < cents).double().mean())
    return Accuracy(value, math.sqrt(value * (1.0 - value) / len(tones)), len(tones))


def _standardised(frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Zero mean and unit variance, row by row."""
    centred = frames - frames.mean(1, keepdims=True)
    result: npt.NDArray[np.float64] = centred / centred.std(1, keepdims=True)
    return result


def _check_noise(noise_db: tuple[float, float]) -> None:
    values = tuple(noise_db)
    if len(values) != 2 or not all(map(math.isfinite, values)) or values[0] > values[1]:
        raise ValueError(
            f"noise_db must be two finite numbers in dB, lowest first, or None; got {noise_db}"
        )

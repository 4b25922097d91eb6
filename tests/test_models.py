# SPDX-License-Identifier: MIT
"""The models that are known by name, and what importing them costs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hubprune.models as models
from hubprune.models import KNOWN_MODELS, Crepe, ModelSpec

TYPES = {
    "cnn14": models.Cnn14,
    "cnn10": models.Cnn10,
    "cnn6": models.Cnn6,
    "dcase21": models.Dcase21Baseline,
    "vggish": models.Vggish,
    "crepe-tiny": Crepe,
    "crepe-full": Crepe,
    "mtt-vgg": models.MttVgg,
}


def test_names() -> None:
    assert list(KNOWN_MODELS) == list(TYPES)
    assert all(name == spec.name for name, spec in KNOWN_MODELS.items())
    assert all(spec.description for spec in KNOWN_MODELS.values())


@pytest.mark.parametrize("name", TYPES)
def test_build_takes_its_example_inputs(name: str) -> None:
    spec = KNOWN_MODELS[name]
    with torch.device("meta"):
        model, x = spec.build(), spec.example_inputs(2)
    assert type(model) is TYPES[name]
    out = model(x)
    out = out["clipwise_output"] if isinstance(out, dict) else out
    assert out.shape[0] == 2


def test_example_inputs_are_reproducible_and_seed_nothing() -> None:
    spec = KNOWN_MODELS["crepe-tiny"]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = spec.example_inputs(), spec.example_inputs()
    assert torch.equal(first, second)
    assert first.shape == (1, 1024)
    assert first.dtype == torch.float32
    assert 0.9 < first.std() < 1.1
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="batch must be at least 1; got 0"):
        spec.example_inputs(0)
    with pytest.raises(TypeError, match="batch must be an int; got float"):
        spec.example_inputs(1.0)  # type: ignore[arg-type]


def test_build_follows_the_callers_seed() -> None:
    spec = KNOWN_MODELS["dcase21"]
    torch.manual_seed(1)
    first = spec.build().state_dict()["conv1.weight"]
    second = spec.build().state_dict()["conv1.weight"]
    torch.manual_seed(1)
    assert torch.equal(spec.build().state_dict()["conv1.weight"], first)
    assert not torch.equal(first, second)


def test_load(tmp_path: Path) -> None:
    assert isinstance(KNOWN_MODELS["crepe-tiny"].load(), Crepe)
    with pytest.raises(ValueError, match="no package holds weights of cnn14; pass the path"):
        KNOWN_MODELS["cnn14"].load()
    path = tmp_path / "a.pt"
    dcase = KNOWN_MODELS["dcase21"].build()
    torch.save(dcase.state_dict(), path)
    loaded = KNOWN_MODELS["dcase21"].load(path)
    assert torch.equal(loaded.state_dict()["conv3.weight"], dcase.state_dict()["conv3.weight"])


@pytest.mark.parametrize("name", TYPES)
def test_load_refuses_another_models_file(name: str, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt does not fit \w+; missing: .*unexpected: weight"):
        KNOWN_MODELS[name].load(str(tmp_path / "a.pt"))
    with pytest.raises(FileNotFoundError):
        KNOWN_MODELS[name].load(tmp_path / "none.pt")


def test_spec_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        KNOWN_MODELS["cnn6"].name = "other"  # type: ignore[misc]
    assert isinstance(KNOWN_MODELS["cnn6"], ModelSpec)


def test_everything_is_exported() -> None:
    assert sorted(models.__all__) == sorted(set(models.__all__))
    assert all(hasattr(models, name) for name in models.__all__)


def test_import_is_light() -> None:
    code = (
        "import sys, hubprune.models; "
        "print([m for m in ('h5py', 'torchlibrosa', 'librosa') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.stdout.strip() == "[]"

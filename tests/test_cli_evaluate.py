# SPDX-License-Identifier: MIT
"""``hubprune evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hubprune as hp
from command_line import user_module
from hubprune import cli
from hubprune.commands import models as command_models
from hubprune.datasets import open_data
from hubprune.finetuning import evaluate

SETS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3), nn.Flatten(),
                         nn.Linear(20, 3))


def pair():
    torch.manual_seed(1)
    return torch.randn(7, 1, 9), torch.arange(7) % 3


def tags():
    x, y = pair()
    return TensorDataset(x, nn.functional.one_hot(y).float())


def loader():
    return DataLoader(TensorDataset(*pair()), batch_size=3)


def broken():
    raise RuntimeError("no such share")
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return user_module(tmp_path, monkeypatch, SETS)


def result(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    status = cli.main(["evaluate", *words, "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out)


def dcase(place: Path, count: int = 5) -> Path:
    place.mkdir()
    rng = np.random.default_rng(0)
    np.save(place / "X_test.npy", rng.standard_normal((count, 40, 500, 1)).astype(np.float32))
    np.save(place / "Y_test.npy", np.arange(count))
    return place


def test_classes(capsys: pytest.CaptureFixture[str], module: str) -> None:
    got = result(capsys, f"{module}:net", "--data", f"{module}:pair")
    net = command_models.build_model(f"{module}:net").eval()
    assert got["metrics"] == evaluate(net, open_data(f"{module}:pair"))
    assert set(got["metrics"]) == {"accuracy", "log_loss"}
    assert got["examples"] == 7
    assert got["device"] == "cpu"
    assert got["model"] == f"{module}:net"
    assert got["data"] == f"{module}:pair"
    other = result(capsys, f"{module}:net", "--data", f"{module}:loader", "--batch-size", "4096")
    assert other["examples"] is None
    assert other["metrics"] == pytest.approx(got["metrics"], abs=1e-6)


def test_tags(capsys: pytest.CaptureFixture[str], module: str) -> None:
    got = result(capsys, f"{module}:net", "--data", f"{module}:tags")
    assert set(got["metrics"]) == {"mean_average_precision", "roc_auc", "d_prime", "log_loss"}
    assert got["examples"] == 7


def test_published_layout_and_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    model = hp.models.Dcase21Baseline((2, 3, 4)).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    spec = f"dcase-npy:{dcase(tmp_path / 'data')}"
    words = ["dcase21", "--checkpoint", str(tmp_path / "weights.pth"), "--data", spec]
    got = result(capsys, *words)
    assert got["weights"].endswith("weights.pth")
    assert got["metrics"] == evaluate(model, open_data(spec))
    assert cli.main(["evaluate", *words]) == 0
    shown = capsys.readouterr().out
    assert f"5 examples of {spec}" in shown
    assert f"{got['metrics']['accuracy']:.4f}" in shown
    assert "log loss" in shown


def test_pruned_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, module: str) -> None:
    net = command_models.build_model(f"{module}:net")
    plan = hp.plan(net, torch.zeros(1, 1, 9))
    half = hp.prune(net, plan)
    hp.save_pruned(half, plan, tmp_path / "half")
    got = result(capsys, f"{module}:net", "--pruned", "half", "--data", f"{module}:pair")
    assert got["metrics"] == evaluate(half, open_data(f"{module}:pair"))
    whole = result(capsys, f"{module}:net", "--data", f"{module}:pair")
    assert whole["metrics"] != got["metrics"]


def test_pruned_known_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = hp.models.Dcase21Baseline().eval()
    plan = hp.plan(model, torch.zeros(1, 1, 40, 500))
    half = hp.prune(model, plan)
    hp.save_pruned(half, plan, tmp_path / "half")
    spec = f"dcase-npy:{dcase(tmp_path / 'data', 2)}"
    got = result(capsys, "dcase21", "--pruned", str(tmp_path / "half"), "--data", spec)
    assert got["weights"].startswith("pruned")
    assert got["metrics"] == evaluate(half, open_data(spec))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["dcase21", "--data", "tau:nowhere"], 2, "nowhere is not a folder"),
        (["dcase21", "--data", "tau:x", "--device", "gpu"], 2, "--device 'gpu' cannot be used"),
        (["dcase21", "--data", "tau:x", "--device", "meta"], 2, "'meta' computes nothing"),
        (["dcase21", "--data", "taus:x"], 2, "did you mean tau"),
        (["dcase21", "--data", "features"], 2, "--data: no folder or .npz file features exists"),
        (["dcase22", "--data", "tau:x"], 2, "did you mean dcase21"),
        (["dcase22", "--pruned", "x", "--data", "tau:x"], 2, "did you mean dcase21"),
        (["dcase21", "--pruned", "nowhere", "--data", "tau:x"], 2, "nowhere"),
        (["dcase21", "--checkpoint", "nowhere", "--data", "tau:x"], 2, "nowhere is not a file"),
        (["dcase21", "--data", "MODULE:pair"], 2, r"x must have shape (batch, 1, 40, 500)"),
        (
            ["MODULE:net", "--data", "MODULE:broken"],
            1,
            "MODULE:broken failed: RuntimeError: no such",
        ),
    ],
)
def test_mistakes_are_one_readable_line(
    capsys: pytest.CaptureFixture[str], module: str, words: list[str], status: int, message: str
) -> None:
    words = [word.replace("MODULE", module) for word in words]
    assert cli.main(["evaluate", *words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message.replace("MODULE", module) in err
    assert len(err.strip().splitlines()) == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    shown = capsys.readouterr().out
    for text in ("audioset-hdf5:FILE", "options: fold", "package.module:function", "cnn14"):
        assert text in shown
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "dcase21"])
    assert "--data" in capsys.readouterr().err


def arrays(seed: int, one_hot: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, 7)
    inputs = rng.standard_normal((7, 1, 9)).astype(np.float32)
    return inputs, np.eye(3)[targets] if one_hot else targets


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_or_file_of_arrays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, module: str, packed: bool, one_hot: bool
) -> None:
    """The forms that compare and finetune read."""
    place = tmp_path / ("data.npz" if packed else "data")
    found = {
        f"{letter}_{split}": array
        for seed, split in enumerate(("train", "valid", "test"))
        for letter, array in zip("XY", arrays(seed, one_hot), strict=True)
    }
    if packed:
        np.savez(place, **found)
    else:
        place.mkdir()
        for name, array in found.items():
            np.save(place / f"{name}.npy", array)
    net = command_models.build_model(f"{module}:net").eval()
    for words, seed in (([], 2), (["--split", "test"], 2), (["--split", "valid"], 1)):
        got = result(capsys, f"{module}:net", "--data", str(place), *words)
        assert got["metrics"] == evaluate(net, arrays(seed, False))
        assert got["examples"] == 7
        assert got["split"] == ("valid" if seed == 1 else "test")
    assert cli.main(["evaluate", f"{module}:net", "--data", str(place)]) == 0
    shown = capsys.readouterr().out
    assert f"7 examples of {place}, test" in shown
    assert ("targets are one-hot: taken as classes" in shown) is one_hot
    if one_hot:
        tags = result(capsys, f"{module}:net", "--data", str(place), "--task", "tags")
        assert set(tags["metrics"]) == {"mean_average_precision", "roc_auc", "d_prime", "log_loss"}


def test_arrays_without_a_test_part(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, module: str
) -> None:
    inputs, targets = arrays(0, False)
    (tmp_path / "bare").mkdir()
    np.save(tmp_path / "array", inputs)
    (tmp_path / "array.npy").rename("array.npz")
    (tmp_path / "text.npz").write_text("text")
    net = command_models.build_model(f"{module}:net").eval()
    for file, names in (("valid.npz", ("X_valid", "Y_valid")), ("one.npz", ("X", "Y"))):
        np.savez(tmp_path / file, **dict(zip(names, (inputs, targets), strict=True)))
        got = result(capsys, f"{module}:net", "--data", file)
        assert got["metrics"] == evaluate(net, (inputs, targets))
        assert got["split"] == ("valid" if file == "valid.npz" else None)
    whole = (tmp_path / "one.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    damaged = whole.replace(inputs[3].tobytes(), inputs[3].tobytes()[::-1])
    (tmp_path / "flipped.npz").write_bytes(damaged)
    (tmp_path / "listless.npz").write_bytes(whole.replace(b"PK\x01\x02", b"XXXX"))
    for words, message in (
        (["one.npz", "--task", "tags"], "data has targets of classes; task is 'tags'"),
        (["text.npz"], "--data: text.npz cannot be used: it is no .npz file, or damaged"),
        (["half.npz"], "--data: half.npz cannot be used: it is no .npz file, or damaged"),
        (["array.npz"], "--data: array.npz cannot be used: it is no .npz file, or damaged"),
        (["flipped.npz"], "--data: flipped.npz cannot be used: Bad CRC-32"),
        (["listless.npz"], "--data: listless.npz cannot be used: Bad magic number"),
        (["one.npz", "--split", "test"], "--data: one.npz cannot be used: it has no X_test"),
        ([f"{module}:pair", "--split", "test"], "--split is of a folder or an .npz file; got "),
        (["bare"], "say what 'bare' is, such as tau:bare"),
        ([f"{module}:pair", "--task", "tags"], "--task is of a folder or an .npz file; got "),
    ):
        assert cli.main(["evaluate", f"{module}:net", "--data", *words]) == 2
        assert message in capsys.readouterr().err

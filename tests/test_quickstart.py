# SPDX-License-Identifier: MIT
"""docs/quickstart.md runs as it stands."""

from __future__ import annotations

import csv
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from documents import FOLDER, blocks

QUICKSTART = FOLDER / "docs" / "quickstart.md"

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 4)
        x = nn.functional.max_pool2d(torch.relu(self.norm2(self.conv2(x))), 4)
        return self.head(torch.relu(self.conv3(x)).mean((2, 3)))
"""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone who follows the page: their network, weights and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    (tmp_path / "my_network.py").write_text(NETWORK)
    names: dict[str, type[torch.nn.Module]] = {}
    exec(NETWORK, names)
    torch.save(names["Net"]().state_dict(), "weights.pth")
    rng = np.random.default_rng(0)
    np.save("X_test.npy", rng.standard_normal((3, 40, 500, 1)).astype(np.float32))
    np.save("Y_test.npy", np.array([0, 9, 4]))
    audio = tmp_path / "ESC-50-master" / "audio"
    audio.mkdir(parents=True)
    (tmp_path / "ESC-50-master" / "meta").mkdir()
    with open("ESC-50-master/meta/esc50.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold in range(1, 6):
            name = f"{fold}-1-A-0.wav"
            rows.writerow([name, fold, 0, "dog", "True", 1, "A"])
            with wave.open(str(audio / name), "wb") as clip:
                clip.setparams((1, 2, 44100, 0, "NONE", "not compressed"))
                clip.writeframes(rng.integers(-9999, 9999, 220500, dtype=np.int16).tobytes())
    return tmp_path


@pytest.mark.skipif(not QUICKSTART.is_file(), reason="the documents are in the source tree only")
# torch 2.13's exporter copies its own tree specifications, and warns of its own LeafSpec.
@pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"
)
def test_quickstart_runs_as_it_stands(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    found = list(blocks(QUICKSTART))
    missing: set[str] = set()
    for block in found:
        if block.missing():
            missing |= set(block.missing())
        else:
            exec(block.code, names)
    out = capsys.readouterr().out
    assert re.search(r"^conv2 +16 +8 ", out, flags=re.MULTILINE)
    assert "time of one call" in out
    assert {path.name for path in (reader / "net-half").iterdir()} == {
        "plan.json",
        "model.safetensors",
        "load.py",
    }
    assert (reader / "net-half.html").is_file()
    assert type(names["again"]).__name__ == "Net"
    if not missing & {"onnx", "onnxscript", "onnxruntime"}:
        for name in ("DCASE baseline", "CNN14"):
            (value,) = re.findall(rf"{name}: (\S+)", out)
            assert 0 <= float(value) < 1e-4
    if "hubprune.finetuning" not in missing:
        assert "<caption><span>Measured on the caller's data." in (
            reader / "net-half.html"
        ).read_text("utf-8")
    if "hubprune.comparison" not in missing:
        assert re.search(r"^\W*random\b", out, flags=re.MULTILINE)
    if not missing & {"hubprune.datasets.esc50", "soundfile", "librosa"}:
        assert "4 (1, 40, 250) dog" in out
    if "hubprune.datasets.dcase" not in missing:
        assert "3 (1, 40, 500) 0" in out


def test_the_blocks_name_what_they_need(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(
        "```python\none = 1\n```\n<!-- needs: json, no_such_module_x.y -->\n"
        "```python\ntwo = 2\n```\n```sh\nthree\n```\n"
    )
    first, second = blocks(document)
    assert (first.code, first.needs, first.missing()) == ("one = 1\n", (), [])
    assert second.needs == ("json", "no_such_module_x.y")
    assert second.missing() == ["no_such_module_x.y"]

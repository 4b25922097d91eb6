# SPDX-License-Identifier: MIT
"""Data sets by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader, TensorDataset

import hubprune
from hubprune.datasets import KNOWN_DATA, DcaseArrays, Esc50, TauUrbanScenes, open_data


def dcase(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 2), ("test", 3)):
        np.save(place / f"X_{split}.npy", np.zeros((count, 40, 500, 1), np.float32))
        np.save(place / f"Y_{split}.npy", np.arange(count))
    return place


def esc50(place: Path) -> Path:
    for name in ("audio", "meta"):
        (place / name).mkdir(parents=True)
    rows = "".join(f"{fold}-1-A-0.wav,{fold},0,dog,True,1,A\n" for fold in range(1, 6))
    header = "filename,fold,target,category,esc10,src_file,take\n"
    (place / "meta" / "esc50.csv").write_text(header + rows)
    for fold in range(1, 6):
        soundfile.write(place / "audio" / f"{fold}-1-A-0.wav", np.full(441, 0.5), 44100)
    return place


def test_importing_the_package_loads_no_optional_dependency() -> None:
    code = (
        "import sys, hubprune.datasets;"
        "print([m for m in ('librosa', 'soundfile', 'h5py', 'torchlibrosa', 'numba', 'pandas')"
        " if m in sys.modules])"
    )
    folder = str(Path(hubprune.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert found.stdout.strip() == "[]"


def test_dcase_npy(tmp_path: Path) -> None:
    place = dcase(tmp_path / "a:b")
    data = open_data(f"dcase-npy:{place}")
    assert isinstance(data, DcaseArrays)
    assert len(data) == 3
    assert len(open_data(f"dcase-npy:{place}:train")) == 2
    assert len(open_data(f"dcase-npy:{place}:train?classes=2")) == 2
    with pytest.raises(ValueError, match="must be a class from 0 to 1; got 2"):
        open_data(f"dcase-npy:{place}:test?classes=2")
    with pytest.raises(ValueError, match="must be a class from 0 to 1; got 2"):
        open_data(f"dcase-npy:{place}?classes=10", classes=2)


def test_esc50(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = esc50(tmp_path / "ESC-50")
    data = open_data(f"esc50:{place}")
    assert isinstance(data, Esc50)
    assert data.folds == (1, 2, 3, 4, 5)
    assert len(open_data(f"esc50:{place}:1,3")) == 2
    assert open_data(f"esc50:{place}:2?sample_rate=16000&stereo=mix")[0][0].shape == (80000,)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_data("esc50:~/ESC-50:5")) == 1


def test_audioset_is_log_mel(tmp_path: Path) -> None:
    path = tmp_path / "eval.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("audio_name", data=np.array([b"Ya.wav"], "S20"))
        file.create_dataset("waveform", data=np.zeros((1, 1600), np.int16))
        file.create_dataset("target", data=np.zeros((1, 5), bool))
    assert open_data(f"audioset-hdf5:{path}?classes=5")[0][0].shape == (1, 6, 64)
    assert open_data(f"audioset-hdf5:{path}", classes=5, features=None)[0][0].shape == (1600,)
    assert open_data(f"audioset-hdf5:{path}?classes=5&features=none")[0][0].shape == (1600,)
    with pytest.raises(NotADirectoryError, match=r"eval\.h5 is not a folder"):
        open_data(f"audioset-folder:{path}?missing=skip&resample=true")


def test_tau(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "evaluation_setup").mkdir()
    soundfile.write(tmp_path / "audio" / "bus.wav", np.zeros(441000), 44100)
    for split in ("train", "evaluate"):
        (tmp_path / "evaluation_setup" / f"fold1_{split}.csv").write_text(
            "filename\tscene_label\naudio/bus.wav\tbus\n"
        )
    data = open_data(f"tau:{tmp_path}?standardise=false&cache={tmp_path / 'kept'}")
    assert isinstance(data, TauUrbanScenes)
    assert data.split == "evaluate"
    assert data[0][1] == 1
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert open_data(f"tau:{tmp_path}:train?standardise=false").split == "train"
    with pytest.raises(ValueError, match="band 0 never changes"):
        open_data(f"tau:{tmp_path}:train")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", r"data must be one of audioset-hdf5:FILE, .*, or package\.module:function; got ''"),
        ("esc-50:x", "got 'esc-50:x'; did you mean esc50"),
        ("tau", r"data must be tau:FOLDER\[:train\|evaluate\|test\]; got 'tau', without a path"),
        ("tau:", "without a path"),
        ("tau::train", "without a path"),
        ("tau:x:dev", "last part of tau:x:dev must be one of train, evaluate, test; got 'dev'"),
        ("dcase-npy:x:1", "must be one of train, val, test; got '1'"),
        ("esc50:x:6", "last part of esc50:x:6 must be folds from 1 to 5 with commas between"),
        ("esc50:x:1?fold=2", "data: esc50 takes features, sample_rate, stereo; got 'fold'"),
        ("tau:x?resample=maybe", "data: resample must be true or false; got 'maybe'"),
        ("tau:x?fold=one", "data: fold must be a whole number; got 'one'"),
        ("tau:x?cache=a&b", r"what follows '\?' must be name=value with '&' between; got"),
    ],
)
def test_mistakes(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(spec)


def test_a_bare_path_is_told_what_to_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"; say what '.*' is, such as tau:/"):
        open_data(str(tmp_path))
    with pytest.raises(TypeError, match="data must be a str; got PosixPath"):
        open_data(tmp_path)  # type: ignore[arg-type]


def test_missing_files_are_named() -> None:
    for name in KNOWN_DATA:
        with pytest.raises(OSError, match="nowhere"):
            open_data(f"{name}:nowhere")


def test_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_data.py").write_text(
        "import torch\n"
        "def pair(): return torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)\n"
        "def loader():\n"
        "    from torch.utils.data import DataLoader, TensorDataset\n"
        "    return DataLoader(TensorDataset(*pair()))\n"
        "class Sets:\n"
        "    @staticmethod\n"
        "    def valid():\n"
        "        from torch.utils.data import TensorDataset\n"
        "        return TensorDataset(*pair())\n"
        "def three(): return 1, 2, 3\n"
        "def needs(x): return x\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert len(open_data("my_own_data:pair")) == 2
    assert isinstance(open_data("my_own_data:loader"), DataLoader)
    assert isinstance(open_data("my_own_data:Sets.valid"), TensorDataset)
    cases: list[tuple[str, type[Exception], str]] = [
        ("my_own_data:three", TypeError, "must return a data set of .* or a DataLoader; got tuple"),
        ("my_own_data:needs", TypeError, "must be callable without arguments"),
        ("my_own_data:number", TypeError, "must be a function or class that returns the data set"),
        ("my_own_data:none", ValueError, "'my_own_data' has no 'none'"),
        ("no_such_module:f", ImportError, "module 'no_such_module' cannot be imported: ModuleNot"),
    ]
    for spec, kind, message in cases:
        with pytest.raises(kind, match=message):
            open_data(spec)
    with pytest.raises(ValueError, match="my_own_data:pair takes no options; got cache"):
        open_data("my_own_data:pair", cache="x")


def test_data_sets_batch(tmp_path: Path) -> None:
    """What the loaders yield, the default collation takes."""
    data: Any = open_data(f"dcase-npy:{dcase(tmp_path)}")
    ((x, y),) = DataLoader(data, batch_size=3)
    assert x.shape == (3, 1, 40, 500)
    assert torch.equal(y, torch.arange(3))

# SPDX-License-Identifier: MIT
"""AudioSet as HDF5 and as a folder, on tiny files in the true formats."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from hubprune.datasets.audioset import AudioSetFolder, AudioSetHdf5
from hubprune.models.log_mel import LogMel

NAMES = [b"Y--aE2O5G5WE.wav", b"", b"Y-BIMKnb5tBo.wav"]


def pack(path: Path, **changes: Any) -> Path:
    """Write what the packing script writes; the middle clip could not be downloaded."""
    waveform = np.zeros((3, 1600), np.int16)
    waveform[0] = np.arange(1600)
    waveform[2, :2] = [32767, -32767]
    target = np.zeros((3, 527), bool)
    target[0, [0, 137]] = True
    target[2, 526] = True
    content: dict[str, Any] = {
        "audio_name": np.array(NAMES, dtype="S20"),
        "waveform": waveform,
        "target": target,
        "sample_rate": 32000,
        **changes,
    }
    with h5py.File(path, "w") as file:
        rate = content.pop("sample_rate")
        if rate is not None:
            file.attrs.create("sample_rate", data=rate, dtype=np.int32)
        for name, value in content.items():
            if value is not None:
                file.create_dataset(name, data=value)
    return path


# ---- HDF5 ---------------------------------------------------------------------------------------


def test_hdf5(tmp_path: Path) -> None:
    data = AudioSetHdf5(pack(tmp_path / "eval.h5"))
    assert len(data) == 2
    assert data.names == ["Y--aE2O5G5WE.wav", "Y-BIMKnb5tBo.wav"]
    assert data.missing == 1
    waveform, target = data[0]
    assert waveform.dtype == target.dtype == torch.float32
    assert torch.equal(waveform, torch.arange(1600.0) / 32767)
    assert target.shape == (527,)
    assert target.nonzero().flatten().tolist() == [0, 137]
    assert data[1][0][:3].tolist() == [1, -1, 0]
    assert data[-1][1][526] == 1
    assert len(list(iter(data))) == 2  # type: ignore[call-overload]


def test_hdf5_empty_rows_on_request(tmp_path: Path) -> None:
    path = pack(tmp_path / "eval.h5")
    data = AudioSetHdf5(path, empty="keep")
    assert len(data) == 3
    assert data.names[1] == ""
    assert data.missing == 1
    waveform, target = data[1]
    assert not waveform.any()
    assert not target.any()
    with pytest.raises(ValueError, match="empty must be one of skip, keep; got 'drop'"):
        AudioSetHdf5(path, empty="drop")


@pytest.mark.parametrize(("rate", "step"), [(16000, 2), (8000, 4)])
def test_hdf5_decimated_as_the_authors_do(tmp_path: Path, rate: int, step: int) -> None:
    path = pack(tmp_path / "eval.h5")
    whole, target = AudioSetHdf5(path)[0]
    got, same = AudioSetHdf5(path, sample_rate=rate, decimate=True)[0]
    assert torch.equal(got, whole[::step])
    assert torch.equal(same, target)
    x, _ = AudioSetHdf5(path, "logmel", sample_rate=rate, decimate=True)[0]
    assert x.shape == (1, 6, 64)
    with pytest.raises(ValueError, match=rf"of {rate} Hz; got 32000 Hz \(decimate=True takes"):
        AudioSetHdf5(path, sample_rate=rate)
    with pytest.raises(ValueError, match=r"of 22050 Hz; got 32000 Hz$"):
        AudioSetHdf5(path, sample_rate=22050, decimate=True)


def test_hdf5_reads_one_row_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "eval.h5")
    read: list[Any] = []
    original = h5py.Dataset.__getitem__

    def record(self: h5py.Dataset, key: Any, *rest: Any) -> Any:
        read.append((self.name, key))
        return original(self, key, *rest)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", record)
    data = AudioSetHdf5(path)
    assert read == [("/audio_name", slice(None))]
    read.clear()
    data[1]
    assert read == [("/waveform", 2), ("/target", 2)]


def test_hdf5_log_mel(tmp_path: Path) -> None:
    path = pack(tmp_path / "eval.h5")
    x, _ = AudioSetHdf5(path, "logmel")[0]
    assert x.shape == (1, 6, 64)
    assert not x.requires_grad
    waveform, _ = AudioSetHdf5(path)[0]
    assert torch.equal(x, LogMel()(waveform[None])[0])
    assert torch.equal(x, AudioSetHdf5(path, LogMel())[0][0])
    with pytest.raises(ValueError, match="features must be 'logmel', a front end or None; got 'm"):
        AudioSetHdf5(path, "mfcc")


def test_hdf5_in_workers_and_pickled(tmp_path: Path) -> None:
    data = AudioSetHdf5(pack(tmp_path / "eval.h5"))
    data[0]  # opened here before the workers are forked
    ((waveforms, targets),) = DataLoader(data, batch_size=2, num_workers=1)
    assert waveforms.shape == (2, 1600)
    assert targets.sum() == 3
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[1][0], data[1][0])


def test_hdf5_without_the_attribute_and_old_names(tmp_path: Path) -> None:
    name = np.array([b"a", b"b", b"c"], dtype=object)
    path = pack(tmp_path / "eval.h5", sample_rate=None, audio_name=name)
    assert AudioSetHdf5(path).names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"waveform": None}, "must hold the data sets .*; waveform missing, it has audio_name, ta"),
        ({"waveform": np.zeros((3, 8), np.float32)}, "waveform must be int16 .* got float32 of sh"),
        (
            {"waveform": np.zeros(3, np.int16)},
            r"int16 of shape \(n, samples\); got int16 .* \(3,\)",
        ),
        ({"waveform": np.zeros((3, 0), np.int16)}, r"waveform must hold samples; got \(3, 0\)"),
        ({"waveform": np.zeros((2, 8), np.int16)}, "must be of one length; got 3, 2 and 3"),
        ({"target": np.zeros((3, 50), bool)}, r"target must be bool of shape \(n, 527\); got bool"),
        ({"target": np.zeros((3, 527), np.float32)}, "target must be bool .* got float32"),
        ({"audio_name": np.zeros((3, 1))}, r"audio_name must be byte strings of shape \(n,\)"),
        ({"audio_name": np.array([b""] * 3, "S20")}, "must hold clips; none of its 3 rows has one"),
        ({"sample_rate": 16000}, "must have a sample rate of 32000 Hz; got 16000 Hz"),
    ],
)
def test_hdf5_of_another_layout(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"eval\.h5.*{message}"):
        AudioSetHdf5(pack(tmp_path / "eval.h5", **changes))


def test_hdf5_target_of_other_numbers(tmp_path: Path) -> None:
    target = np.zeros((3, 527), np.uint8)
    target[2, 5] = 7
    with pytest.raises(ValueError, match=r"eval\.h5: row 2 of target must hold zeros and ones"):
        AudioSetHdf5(pack(tmp_path / "eval.h5", target=target))[1]


def test_hdf5_damaged_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "eval.h5")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"eval\.h5 is not an HDF5 file"):
        AudioSetHdf5(path)
    with pytest.raises(FileNotFoundError, match=r"none\.h5 does not exist"):
        AudioSetHdf5(tmp_path / "none.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'needs h5py; .*"hubprune\[data\]"'):
        AudioSetHdf5(path)


def test_hdf5_damaged_inside(tmp_path: Path) -> None:
    """Whatever byte is wrong, it is an error of ours or changes a value."""
    path = pack(tmp_path / "eval.h5", waveform=np.zeros((3, 8), np.int16))
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    filled = np.flatnonzero(np.frombuffer(good, np.uint8))
    refused: list[str] = []
    for _ in range(200):
        data = bytearray(good)
        for place in generator.choice(filled, 4):
            data[place] = generator.integers(256)
        path.write_bytes(data)
        try:
            list(iter(AudioSetHdf5(path)))  # type: ignore[call-overload]
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("eval.h5" in message for message in refused)


# ---- folder -------------------------------------------------------------------------------------

HEAD = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
LINES = (
    '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
    '--BfvyPmVMo, 20.000, 30.000, "/m/03l9g"\n'
    '-0Gj8-vB1q4, 30.000, 40.000, "/m/068hy"\n'
)
MIDS = {0: "/m/068hy", 1: "/m/07q6cd_", 526: "/m/03l9g"}


def folder(place: Path, lines: str = LINES, head: str = HEAD) -> Path:
    (place / "audio").mkdir(parents=True, exist_ok=True)
    rows = (f'{i},{MIDS.get(i, f"/m/{i}")},"Sound {i}, kind of"\n' for i in range(527))
    (place / "class_labels_indices.csv").write_text("index,mid,display_name\n" + "".join(rows))
    (place / "eval_segments.csv").write_text(head + lines)
    for name in ("Y--4gqARaEJE.wav", "--BfvyPmVMo_20.000_30.000.flac", "-0Gj8-vB1q4.wav"):
        soundfile.write(place / "audio" / name, np.full(3200, 0.25), 32000)
    return place


def test_folder(tmp_path: Path) -> None:
    data = AudioSetFolder(folder(tmp_path))
    assert len(data) == 3
    assert data.missing == []
    assert data.labels[1] == "Sound 1, kind of"
    waveform, target = data[0]
    assert waveform.shape == (320000,)
    assert waveform[:3200].eq(0.25).all()
    assert not waveform[3200:].any()
    assert target.dtype == torch.float32
    assert target.nonzero().flatten().tolist() == [0, 1]
    assert data[1][1].nonzero().flatten().tolist() == [526]
    assert len(list(iter(data))) == 3  # type: ignore[call-overload]


def test_folder_log_mel_and_flat_layout(tmp_path: Path) -> None:
    place = folder(tmp_path)
    flat = tmp_path / "flat"
    (place / "audio").rename(flat)
    data = AudioSetFolder(
        flat,
        "logmel",
        segments=place / "eval_segments.csv",
        class_labels=place / "class_labels_indices.csv",
    )
    assert data[2][0].shape == (1, 1001, 64)


def test_folder_missing_clips(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "audio" / "--BfvyPmVMo_20.000_30.000.flac").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"eval_segments\.csv:5: no file of --BfvyPmVMo in .*missing='skip'"
    ):
        AudioSetFolder(place)
    data = AudioSetFolder(place, missing="skip")
    assert len(data) == 2
    assert data.missing == ["--BfvyPmVMo"]
    for path in data.files:
        path.unlink()
    with pytest.raises(FileNotFoundError, match="has none of the clips that"):
        AudioSetFolder(place, missing="skip")
    with pytest.raises(FileNotFoundError, match=r"eval_segments\.csv:4: .*does not exist"):
        data[0]
    with pytest.raises(ValueError, match="missing must be one of error, skip; got 'no'"):
        AudioSetFolder(place, missing="no")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('a, 0.0, 10.0, "/m/x"\n', r"csv:4: label '/m/x' is not in the list of classes"),
        ("a, 0.0, 10.0, /m/068hy,/m/07q6cd_\n", r"csv:4: must be like YTID, .* in double quotes"),
        ('a, zero, 10.0, "/m/068hy"\n', r"csv:4: must be like YTID"),
        ('a, 10.0, 0.0, "/m/068hy"\n', r"csv:4: must be like YTID"),
        (LINES + LINES.splitlines()[0], r"csv:7: --4gqARaEJE from 0.0 s is listed on line 4 alr"),
        ("", r"csv must list segments; it has none"),
    ],
)
def test_folder_bad_segments(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"eval_segments\.{message}"):
        AudioSetFolder(folder(tmp_path, lines), missing="skip")


def test_folder_bad_classes(tmp_path: Path) -> None:
    place = folder(tmp_path)
    path = place / "class_labels_indices.csv"
    good = path.read_text().splitlines(keepends=True)
    path.write_text("".join(good[:5]))
    with pytest.raises(ValueError, match=r"indices\.csv must list 527 classes; got 4"):
        AudioSetFolder(place)
    path.write_text("".join(good[:5] + good[6:]))
    with pytest.raises(ValueError, match=r"indices\.csv:6: index must be 4; got '5'"):
        AudioSetFolder(place)
    path.write_text("".join([*good[:2], good[1].replace("0,", "1,", 1), *good[3:]]))
    with pytest.raises(ValueError, match=r"indices\.csv:3: /m/068hy is listed twice"):
        AudioSetFolder(place)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"class_labels_indices\.csv"):
        AudioSetFolder(place)
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        AudioSetFolder(tmp_path / "nowhere")


def test_folder_bad_audio_names_file_and_line(tmp_path: Path) -> None:
    data = AudioSetFolder(folder(tmp_path))
    soundfile.write(data.files[2], np.zeros(10), 16000)
    with pytest.raises(ValueError, match=r"eval_segments\.csv:6: .*vB1q4\.wav must have a sample"):
        data[2]
    stereo = AudioSetFolder(tmp_path, stereo="error", resample=True)
    assert stereo[2][0].shape == (320000,)
    soundfile.write(data.files[0], np.zeros((10, 2)), 32000)
    assert data[0][0].shape == (320000,)
    with pytest.raises(ValueError, match=r"eval_segments\.csv:4: .*must have one channel; got 2"):
        stereo[0]

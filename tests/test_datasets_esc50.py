# SPDX-License-Identifier: MIT
"""ESC-50 on tiny files in the true format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hubprune.datasets.esc50 import Esc50
from hubprune.datasets.features import Dcase21LogMel

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ROWS = [
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n",
    "2-100038-A-14.wav,2,14,chirping_birds,False,100038,A\n",
    "5-9032-A-0.wav,5,0,dog,True,9032,A\n",
]


def folder(place: Path, rows: list[str] = ROWS) -> Path:
    for name in ("audio", "meta"):
        (place / name).mkdir(exist_ok=True)
    (place / "meta" / "esc50.csv").write_text(HEADER + "".join(rows))
    for row in ROWS:
        soundfile.write(place / "audio" / row.partition(",")[0], np.full(4410, 0.5), 44100)
    return place


def test_folds(tmp_path: Path) -> None:
    data = Esc50(folder(tmp_path))
    assert len(data) == 3
    assert data.targets == [0, 14, 0]
    assert data.labels[14] == "chirping_birds"
    assert data.labels[1] == "1"
    assert len(data.labels) == 50
    waveform, target = data[1]
    assert target == 14
    assert waveform.shape == (220500,)
    assert waveform[:4410].eq(0.5).all()
    assert Esc50(tmp_path, 5).targets == [0]
    assert len(Esc50(tmp_path, (1, 2))) == 2
    assert len(list(iter(data))) == 3  # type: ignore[call-overload]


def test_features_and_resampling(tmp_path: Path) -> None:
    place = folder(tmp_path)
    assert Esc50(place, features=Dcase21LogMel(None))[0][0].shape == (1, 40, 251)
    assert Esc50(place, sample_rate=32000)[0][0].shape == (160000,)
    assert Esc50(place, sample_rate=32000, features="logmel")[0][0].shape == (1, 501, 64)
    with pytest.raises(
        ValueError, match="sample_rate must be one of 32000, 16000, 8000; got 44100"
    ):
        Esc50(place, features="logmel")


@pytest.mark.parametrize("folds", [0, 6, (), (1, 7)])
def test_unknown_folds(tmp_path: Path, folds: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="folds must be some of 1, 2, 3, 4, 5; got"):
        Esc50(folder(tmp_path), folds)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,9,0,dog,True,1,A\n", r"csv:5: fold must be from 1 to 5; got '9'"),
        ("a.wav,1,50,cow,True,1,A\n", r"csv:5: target must be from 0 to 49; got '50'"),
        ("a.wav,1,-1,cow,True,1,A\n", r"csv:5: target must be from 0 to 49; got '-1'"),
        ("a.wav,1,0,cow,True,1,A\n", r"csv:5: category of target 0 must be 'dog'; got 'cow'"),
        (ROWS[1], r"csv:5: .*\.wav is listed on line 3 already"),
        ("a.wav,1,0,dog\n", r"csv:5: must have 7 fields; got 4"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"esc50\.{message}"):
        Esc50(folder(tmp_path, [*ROWS, row]))


def test_missing_files_and_folds(tmp_path: Path) -> None:
    place = folder(tmp_path)
    with pytest.raises(ValueError, match=r"esc50\.csv lists no clip of the folds \(3,\)"):
        Esc50(place, 3)
    (place / "audio" / "2-100038-A-14.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"esc50\.csv:3: .*A-14\.wav does not exist"):
        Esc50(place)
    assert len(Esc50(place, (1, 5))) == 2
    with pytest.raises(FileNotFoundError):
        Esc50(tmp_path / "none")


def test_bad_audio_names_file_and_line(tmp_path: Path) -> None:
    data = Esc50(folder(tmp_path))
    soundfile.write(data.files[0], np.zeros(10), 22050)
    with pytest.raises(ValueError, match=r"esc50\.csv:2: .*rate of 44100 Hz; got 22050 Hz"):
        data[0]
    soundfile.write(data.files[1], np.zeros((10, 2)), 44100)
    with pytest.raises(ValueError, match=r"esc50\.csv:3: .*must have one channel; got 2"):
        data[1]
    assert Esc50(tmp_path, stereo="mix")[1][1] == 14
    data.files[2].write_bytes(data.files[2].read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"esc50\.csv:4: .*9032-A-0\.wav is truncated"):
        data[2]

# SPDX-License-Identifier: MIT
"""TAU Urban Acoustic Scenes 2020 Mobile on tiny files in the true format."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from documents import FOLDER, blocks
from hubprune.datasets.features import Dcase21LogMel, Standardisation
from hubprune.datasets.tau import SCENES, TauUrbanScenes

TRAIN = ["airport-lisbon-1000-40000-a", "tram-vienna-285-8639-b"]
EVALUATE = ["metro_station-paris-86-2440-s1"]


def scene(name: str) -> str:
    return name.partition("-")[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds each, as in the set, and the lists; never changed."""
    place = tmp_path_factory.mktemp("TAU-urban-acoustic-scenes-2020-mobile-development")
    lists = place / "evaluation_setup"
    lists.mkdir()
    (place / "audio").mkdir()
    for seed, name in enumerate(TRAIN + EVALUATE):
        samples = np.random.default_rng(seed).standard_normal(441000) * 0.1
        soundfile.write(place / "audio" / f"{name}.wav", samples, 44100, subtype="PCM_24")
    labelled = "filename\tscene_label\n"
    for split, names in (("train", TRAIN), ("evaluate", EVALUATE)):
        rows = "".join(f"audio/{name}.wav\t{scene(name)}\n" for name in names)
        (lists / f"fold1_{split}.csv").write_text(labelled + rows)
    (lists / "fold1_test.csv").write_text(f"filename\naudio/{EVALUATE[0]}.wav\n")
    meta = "".join(
        f"audio/{name}.wav\t{scene(name)}\tlisbon-1000\ta\n" for name in TRAIN + EVALUATE
    )
    (place / "meta.csv").write_text("filename\tscene_label\tidentifier\tsource_label\n" + meta)
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy whose lists can be changed; the sound is linked."""
    for source in (whole / "audio", whole / "evaluation_setup"):
        (tmp_path / source.name).mkdir()
        for file in source.iterdir():
            if file.suffix == ".wav":
                os.symlink(file, tmp_path / source.name / file.name)
            else:
                (tmp_path / source.name / file.name).write_text(file.read_text())
    (tmp_path / "meta.csv").write_text((whole / "meta.csv").read_text())
    return tmp_path


def energies(whole: Path, name: str) -> torch.Tensor:
    samples, rate = soundfile.read(whole / "audio" / f"{name}.wav", dtype="float32")
    assert rate == 44100
    return Dcase21LogMel(None)(torch.from_numpy(samples)[None])[0]


def test_splits_and_labels(whole: Path) -> None:
    train = TauUrbanScenes(whole, standardise=False)
    assert train.targets == [SCENES.index("airport"), SCENES.index("tram")] == [0, 9]
    assert train.labels == tuple(sorted(SCENES))
    assert [file.stem for file in train.files] == TRAIN
    x, target = train[1]
    assert (x.shape, x.dtype, target) == ((1, 40, 500), torch.float32, 9)
    assert torch.equal(x, energies(whole, TRAIN[1])[..., :500])
    assert len(list(iter(train))) == 2  # type: ignore[call-overload]
    for split in ("evaluate", "test"):
        data = TauUrbanScenes(whole, split, standardise=False)
        assert data.targets == [SCENES.index("metro_station")] == [3]


def test_standardised_by_the_training_clips(whole: Path) -> None:
    calls: list[tuple[int, int]] = []
    data = TauUrbanScenes(whole, "evaluate", progress=lambda done, of: calls.append((done, of)))
    assert calls == [(0, 2), (1, 2), (2, 2)]
    frames = torch.cat([energies(whole, name)[0] for name in TRAIN], dim=1).double()
    assert frames.shape == (40, 1002)
    raw = energies(whole, EVALUATE[0])[..., :500]
    expected = (raw - frames.mean(1)[:, None]) / frames.std(1)[:, None]
    torch.testing.assert_close(data[0][0], expected.float(), atol=1e-6, rtol=1e-6)
    again = TauUrbanScenes(whole, "test", standardise=data.standardisation or False)
    assert torch.equal(again[0][0], data[0][0])
    train = TauUrbanScenes(whole)
    spread = torch.stack([train[0][0], train[1][0]]).double()
    torch.testing.assert_close(spread.mean((0, 1, 3)), torch.zeros(40).double(), atol=0.01, rtol=0)


def test_the_page_runs_as_it_stands(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = FOLDER / "docs" / "datasets.md"
    if not page.is_file():
        pytest.skip("needs the source tree")
    reader = place / "reader"
    reader.mkdir()
    os.symlink(place, reader / "TAU-urban-acoustic-scenes-2020-mobile-development")
    monkeypatch.chdir(reader)
    names: dict[str, object] = {}
    (block,) = blocks(page)
    exec(block.code, names)
    x, target = names["x"], names["target"]
    assert isinstance(x, torch.Tensor)
    assert (x.shape, x.dtype, target) == ((1, 40, 500), torch.float32, 0)
    assert "accuracy" in capsys.readouterr().out
    assert len(list((reader / "features").iterdir())) == 4  # three clips and the statistics


def test_cache(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "features"
    first = TauUrbanScenes(place, cache=cache)
    names = sorted(path.name for path in cache.iterdir())
    assert len(names) == 3
    assert names[0].startswith(TRAIN[0] + "-")
    assert names[1].startswith("statistics-")
    want = first[0][0]

    def never(*_: object) -> torch.Tensor:
        raise AssertionError("made anew")

    with monkeypatch.context() as patch:
        patch.setattr(Dcase21LogMel, "forward", never)
        again = TauUrbanScenes(place, cache=cache)
        assert torch.equal(again[0][0], want)
    # Another setting, or another file, has another name.
    TauUrbanScenes(place, cache=cache, padding="constant")
    assert len(list(cache.iterdir())) == 6
    file = place / "audio" / f"{TRAIN[0]}.wav"
    file.unlink()
    soundfile.write(file, np.random.default_rng(9).standard_normal(441000) * 0.1, 44100)
    changed = TauUrbanScenes(place, cache=cache)
    assert len(list(cache.iterdir())) == 8
    assert not torch.equal(changed[0][0], want)


def test_damaged_cache(place: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    data = TauUrbanScenes(place, cache=cache, standardise=False)
    want = data[0][0]
    (kept,) = cache.iterdir()
    good = kept.read_bytes()
    kept.write_bytes(good[:300])
    with pytest.raises(ValueError, match=r"\.npy is damaged: .* delete it, and it is made again"):
        data[0]
    np.save(kept, np.full((40, 501), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"\.npy is not what was kept there; delete it"):
        data[0]
    kept.unlink()
    assert torch.equal(data[0][0], want)
    assert kept.read_bytes() == good


def test_own_features(whole: Path) -> None:
    def loudness(waveform: torch.Tensor) -> torch.Tensor:
        return waveform.square().mean(1, keepdim=True)

    data = TauUrbanScenes(whole, features=loudness, standardise=False)
    assert data[0][0].shape == (1,)
    with pytest.raises(ValueError, match="cache keeps the baseline's features; it cannot go with"):
        TauUrbanScenes(whole, features=loudness, standardise=False, cache="x")
    with pytest.raises(ValueError, match="standardise=True is of the baseline's features"):
        TauUrbanScenes(whole, features=loudness)
    other = Standardisation(torch.zeros(3).double(), torch.ones(3).double())
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 3, frames\)"):
        TauUrbanScenes(whole, standardise=other)[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("audio/x.wav\tbeach", "csv:4: scene_label must be one of airport, .*; got 'beach'"),
        ("audio/x.wav", "csv:4: must have 2 fields; got 1"),
        ("audio/x.wav,tram", "csv:4: must have 2 fields; got 1"),
        (f"audio/{TRAIN[0]}.wav\tairport", "csv:4: audio/airport.* is listed on line 2 already"),
    ],
)
def test_bad_rows(place: Path, row: str, message: str) -> None:
    path = place / "evaluation_setup" / "fold1_train.csv"
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(ValueError, match=rf"fold1_train\.{message}"):
        TauUrbanScenes(place, standardise=False)


def test_bad_lists(place: Path) -> None:
    path = place / "evaluation_setup" / "fold1_train.csv"
    path.write_text(path.read_text() + "audio/bus-prague-1-2-a.wav\tbus\n")
    message = r"fold1_train\.csv:4: .*prague-1-2-a\.wav does not exist"
    with pytest.raises(FileNotFoundError, match=message):
        TauUrbanScenes(place, standardise=False)
    path.write_text("filename\tscene_label\n")
    with pytest.raises(ValueError, match=r"fold1_train\.csv must list clips; it has none"):
        TauUrbanScenes(place, standardise=False)
    path.write_text("filename,scene_label\n")
    with pytest.raises(ValueError, match=r"fold1_train\.csv:1: must name .* with tabs between"):
        TauUrbanScenes(place, standardise=False)
    meta = place / "meta.csv"
    meta.write_text(meta.read_text().replace("metro_station-paris", "elsewhere"))
    with pytest.raises(ValueError, match=r"fold1_test\.csv:2: .* is not in .*meta\.csv"):
        TauUrbanScenes(place, "test", standardise=False)
    with pytest.raises(FileNotFoundError, match=r"fold2_train\.csv"):
        TauUrbanScenes(place, fold=2)
    with pytest.raises(ValueError, match="split must be one of train, evaluate, test; got 'val'"):
        TauUrbanScenes(place, "val")
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        TauUrbanScenes(place / "nowhere")


def test_bad_audio_names_file_and_line(place: Path) -> None:
    data = TauUrbanScenes(place, standardise=False)
    file = data.files[1]
    file.unlink()
    soundfile.write(file, np.zeros(440117), 44100)
    with pytest.raises(
        ValueError, match=r"fold1_train\.csv:3: .*\.wav must have at least 440118 samples, 500 fr"
    ):
        data[1]
    soundfile.write(file, np.zeros(480000), 48000)
    with pytest.raises(ValueError, match=r"csv:3: .*rate of 44100 Hz; got 48000 Hz \(resample=T"):
        data[1]
    samples = np.zeros((441000, 2))
    soundfile.write(file, samples, 44100)
    assert data[1][0].shape == (1, 40, 500)
    with pytest.raises(ValueError, match=r"csv:3: .*must have one channel; got 2"):
        TauUrbanScenes(place, standardise=False, stereo="error")[1]
    samples[5] = math.nan
    soundfile.write(file, samples, 44100, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"csv:3: .*must hold finite samples"):
        data[1]
    soundfile.write(file, np.zeros(0), 44100)
    with pytest.raises(ValueError, match=r"csv:3: .*has no samples"):
        TauUrbanScenes(place)

# SPDX-License-Identifier: MIT
"""The baselines' features, against librosa and the published formulas; reading audio files."""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from cases import assert_within
from hubprune.datasets.audio_files import fixed_length, read_audio, read_table
from hubprune.datasets.features import Dcase21LogMel, Standardisation, VggishLogMel
from hubprune.file_writing import replaced_file


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


# ---- DCASE 2021 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["reflect", "constant"])
def test_dcase_against_librosa(padding: str) -> None:
    librosa = pytest.importorskip("librosa")
    waveform = noise(44100)
    mel = librosa.feature.melspectrogram(
        y=waveform.double().numpy(),
        sr=44100,
        n_fft=2048,
        win_length=1764,
        hop_length=882,
        window="hamming",
        center=True,
        pad_mode=padding,
        power=1.0,
        n_mels=40,
        fmin=0,
        fmax=22050,
    )
    expected = torch.from_numpy(np.log(mel + np.spacing(1.0))).float()
    got = Dcase21LogMel(None, padding=padding)(waveform[None])
    assert got.shape == (1, 1, 40, 51)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got[0, 0], expected, atol=2e-5, rtol=0)


def test_dcase_shape_of_ten_seconds() -> None:
    front_end = Dcase21LogMel()
    every = Dcase21LogMel(None)
    waveform = torch.stack([noise(441000, 1), noise(441000, 2)])
    got = front_end(waveform)
    assert got.shape == (2, 1, 40, 500)
    assert every(waveform).shape == (2, 1, 40, 501)
    assert torch.equal(got, every(waveform)[..., :500])
    assert torch.equal(got[1:], front_end(waveform[1:]))


def test_dcase_window_is_periodic_and_centred() -> None:
    """An impulse under the middle of a frame meets the window's middle, whose weight is 1."""
    front_end = Dcase21LogMel(None)
    waveform = torch.zeros(1, 44100)
    waveform[0, 10 * 882] = 0.5
    flat = front_end.get_buffer("mel").sum(1) * 0.5  # an impulse's magnitudes are all its height
    got = front_end(waveform)[0, 0, :, 10].double().exp()
    torch.testing.assert_close(got, flat, atol=0, rtol=1e-6)


def test_dcase_silence_is_finite() -> None:
    got = Dcase21LogMel(3)(torch.zeros(1, 44100))
    assert torch.isfinite(got).all()
    assert got.max() < math.log(1e-13)


def test_dcase_settings_tell_the_values_apart() -> None:
    assert Dcase21LogMel().settings() == Dcase21LogMel(None).settings()
    assert Dcase21LogMel().settings() != Dcase21LogMel(padding="constant").settings()


def test_dcase_bad_arguments() -> None:
    with pytest.raises(ValueError, match="padding must be one of reflect, constant; got 'edge'"):
        Dcase21LogMel(padding="edge")
    with pytest.raises(ValueError, match="frames must be at least 1; got 0"):
        Dcase21LogMel(0)
    front_end = Dcase21LogMel()
    with pytest.raises(ValueError, match="waveform must have at least 440118 samples; got 440117"):
        front_end(torch.zeros(1, 440117))
    assert front_end(torch.zeros(1, 440118)).shape[-1] == 500
    with pytest.raises(ValueError, match="waveform must have at least 1025 samples; got 1024"):
        Dcase21LogMel(None)(torch.zeros(1, 1024))
    with pytest.raises(ValueError, match=r"waveform must have shape \(batch, samples\)"):
        front_end(torch.zeros(441000))
    with pytest.raises(TypeError, match="waveform must be a floating-point tensor"):
        front_end(torch.zeros(1, 441000, dtype=torch.int16))


def test_dcase_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa.filters", None)
    with pytest.raises(ImportError, match=r'needs librosa; .* pip install "hubprune\[data\]"'):
        Dcase21LogMel()


# ---- VGGish -------------------------------------------------------------------------------------


def vggish_reference(waveform: np.ndarray, hop_frames: int) -> np.ndarray:
    """Sample by sample, from the published constants."""
    count = 1 + (len(waveform) - 400) // 160
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectrum = np.array(
        [np.abs(np.fft.rfft(waveform[160 * i : 160 * i + 400] * taper, 512)) for i in range(count)]
    )

    def to_mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    edges = [
        to_mel(125) + i * (to_mel(7500) - to_mel(125)) / 65  # 66 edges of 64 bands
        for i in range(66)
    ]
    mel = np.zeros((257, 64))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        for k in range(1, 257):
            at = to_mel(k * 8000 / 256)
            mel[k, band] = max(0, min((at - low) / (centre - low), (high - at) / (high - centre)))
    energies = np.log(spectrum @ mel + 0.01)
    starts = range(0, count - 95, hop_frames)
    return np.array([energies[start : start + 96] for start in starts])


@pytest.mark.parametrize(("hop_frames", "patches"), [(96, 2), (48, 3)])
def test_vggish_is_the_published_formula(hop_frames: int, patches: int) -> None:
    waveform = noise(32000)
    expected = torch.from_numpy(vggish_reference(waveform.double().numpy(), hop_frames)).float()
    got = VggishLogMel(hop_frames)(waveform[None])
    assert got.shape == (1, patches, 96, 64)
    torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("hop_frames", "patches"), [(96, 10), (48, 19)])
def test_vggish_patches_of_ten_seconds(hop_frames: int, patches: int) -> None:
    assert VggishLogMel(hop_frames)(torch.zeros(2, 160000)).shape == (2, patches, 96, 64)


def test_vggish_shortest_clip() -> None:
    front_end = VggishLogMel()
    assert front_end(torch.zeros(1, 15600)).shape == (1, 1, 96, 64)
    with pytest.raises(ValueError, match="waveform must have at least 15600 samples; got 15599"):
        front_end(torch.zeros(1, 15599))
    with pytest.raises(ValueError, match="hop_frames must be at least 1; got 0"):
        VggishLogMel(0)


# ---- standardisation ----------------------------------------------------------------------------


def test_standardisation_is_of_all_frames_together(tmp_path: Path) -> None:
    clips = [noise(40 * n, n).reshape(1, 40, n) * 3 + 1000 for n in (1, 7, 30)]
    together = torch.cat(clips, dim=2)[0].double()
    fitted = Standardisation.fit(iter(clips))
    torch.testing.assert_close(fitted.mean, together.mean(1), atol=1e-9, rtol=0)
    torch.testing.assert_close(fitted.std, together.std(1, unbiased=True), atol=1e-9, rtol=0)
    out = fitted(clips[2])
    assert out.dtype == torch.float32
    assert out.shape == (1, 40, 30)
    fitted.save(tmp_path / "new" / "s.npz")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.npz"]
    again = Standardisation.load(tmp_path / "new" / "s.npz")
    assert torch.equal(again.mean, fitted.mean)
    assert torch.equal(again.std, fitted.std)


def test_standardisation_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two frames together; got 0"):
        Standardisation.fit([])
    with pytest.raises(ValueError, match="band 1 never changes"):
        Standardisation.fit([torch.tensor([[0.0, 1.0], [2.0, 2.0]])])
    with pytest.raises(ValueError, match="they hold NaN"):
        Standardisation.fit([torch.tensor([[0.0, math.nan]])])
    fitted = Standardisation.fit([torch.rand(2, 9)])
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 2, frames\); got shape"):
        fitted(torch.zeros(3, 9))
    path = tmp_path / "a.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"a\.npz is not a file of mean and std"):
        Standardisation.load(path)
    np.savez(path, mean=np.zeros(2), std=np.zeros(2))
    with pytest.raises(ValueError, match="finite float64 mean and positive std"):
        Standardisation.load(path)
    np.savez(path, mean=np.array([{}]), std=np.ones(1))
    with pytest.raises(ValueError, match="is not a file of mean and std"):
        Standardisation.load(path)


def test_replaced_file_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), replaced_file(tmp_path / "a") as temporary:
        fail(temporary)
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_to_and_a_folder_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        with replaced_file(pipe) as file:
            file.write_text("all of it")
        assert read.result(60) == "all of it"
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError, match="Is a folder, not a file"), replaced_file(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [pipe]


# ---- audio files --------------------------------------------------------------------------------


def wav(path: Path, samples: np.ndarray, rate: int = 8000, **kind: str) -> Path:
    soundfile.write(path, samples, rate, **kind)
    return path


def test_read_audio(tmp_path: Path) -> None:
    samples = np.linspace(-1, 0.99, 100)
    got = read_audio(wav(tmp_path / "a.wav", samples), 8000)
    assert got.dtype == torch.float32
    assert_within(got.numpy(), samples, 1 / 32768)
    stereo = np.stack([samples, -samples / 2], axis=1)
    got = read_audio(wav(tmp_path / "b.flac", stereo), 8000)
    assert_within(got.numpy(), samples / 4, 1 / 32768)


def test_read_audio_resamples_on_request(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    path = wav(tmp_path / "a.wav", np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000) * 0.5)
    got = read_audio(path, 16000, resample=True)
    assert got.shape == (16000,)
    expected = 0.5 * torch.sin(torch.arange(16000) * 2 * math.pi * 440 / 16000)
    torch.testing.assert_close(got[500:-500], expected[500:-500], atol=1e-3, rtol=0)


def test_read_audio_refuses(tmp_path: Path) -> None:
    one = wav(tmp_path / "one.wav", np.zeros(10))
    with pytest.raises(FileNotFoundError, match=r"^list\.csv:7: .*none\.wav does not exist"):
        read_audio(tmp_path / "none.wav", 8000, where="list.csv:7: ")
    with pytest.raises(ValueError, match=r"one\.wav must have a sample rate of 44100 Hz; got 8000"):
        read_audio(one, 44100)
    with pytest.raises(ValueError, match=r"two\.wav must have one channel; got 2"):
        read_audio(wav(tmp_path / "two.wav", np.zeros((10, 2))), 8000, stereo="error")
    with pytest.raises(ValueError, match=r"empty\.wav must hold sound; it has no samples"):
        read_audio(wav(tmp_path / "empty.wav", np.zeros(0)), 8000)
    hole = np.zeros(10)
    hole[3] = math.nan
    with pytest.raises(ValueError, match=r"nan\.wav must hold finite samples"):
        read_audio(wav(tmp_path / "nan.wav", hole, subtype="FLOAT"), 8000)
    text = tmp_path / "text.wav"
    text.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"text\.wav is not an audio file that can be read"):
        read_audio(text, 8000)
    with pytest.raises(ValueError, match="stereo must be one of mix, error; got 'left'"):
        read_audio(one, 8000, stereo="left")


@pytest.mark.parametrize("left", [100, 45, 44, 20, 3])
def test_read_audio_refuses_a_truncated_file(tmp_path: Path, left: int) -> None:
    path = wav(tmp_path / "cut.wav", np.ones(1000) * 0.5)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"cut\.wav is (truncated: .* got|not an audio file)"):
        read_audio(path, 8000)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_read_audio_of_damaged_files(tmp_path: Path, suffix: str) -> None:
    """Whatever byte of the header is wrong: an error of ours, or sound."""
    path = wav(tmp_path / f"a.{suffix}", noise(2000).numpy(), 16000)
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    refused: list[str] = []
    for _ in range(60):
        data = bytearray(good)
        for place in generator.integers(120, size=3):
            data[place] = generator.integers(256)
        path.write_bytes(data[: generator.integers(4 * len(data))])
        try:
            assert torch.isfinite(read_audio(path, 16000)).all()
        except ValueError as error:
            refused.append(str(error))
    assert refused
    assert all(f"a.{suffix}" in message for message in refused)


def test_read_audio_takes_a_stream_of_unknown_length(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", np.ones(1000) * 0.5)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4  # what ffmpeg writes to a pipe
    data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    assert len(read_audio(path, 8000)) == 1000


def test_read_audio_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "a.wav", np.zeros(10))
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(ImportError, match=r'resampling needs librosa; .*"hubprune\[data\]"'):
        read_audio(path, 16000, resample=True)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r'needs soundfile; .*"hubprune\[data\]"'):
        read_audio(path, 8000)


def test_fixed_length() -> None:
    x = torch.arange(3.0)
    assert fixed_length(x, 2).tolist() == [0, 1]
    assert fixed_length(x, 3).tolist() == [0, 1, 2]
    assert fixed_length(x, 5).tolist() == [0, 1, 2, 0, 0]


def test_read_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfname,label\r\n"a, b",1\r\n\r\nc,2\r\n')
    assert list(read_table(path, ["label"])) == [
        (2, {"name": "a, b", "label": "1"}),
        (4, {"name": "c", "label": "2"}),
    ]
    with pytest.raises(ValueError, match=r"a\.csv:1: must name the columns .* fold missing from"):
        list(read_table(path, ["fold"]))
    path.write_text("a,b\n1,2\n1\n")
    with pytest.raises(ValueError, match=r"a\.csv:3: must have 2 fields; got 1"):
        list(read_table(path, ["a"]))
    path.write_text("")
    with pytest.raises(ValueError, match=r"a\.csv:1: must name the columns a, with ',' between"):
        list(read_table(path, ["a"]))
    path.write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"a\.csv is not a table of UTF-8 text"):
        list(read_table(path, ["a"]))

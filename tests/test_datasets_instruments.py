# SPDX-License-Identifier: MIT
"""Sound fonts and the clips of instruments rendered with them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hubprune.datasets import (
    INSTRUMENTS,
    InstrumentClips,
    Note,
    SoundFonts,
    find_sound_font,
    instrument_clips,
    tag_auc,
)
from hubprune.models import load_musicnn, musicnn_tags

pytest.importorskip("tinysoundfont", reason="needs tinysoundfont")
pytest.importorskip("librosa", reason="needs librosa, of hubprune[study]")


def font(name: str) -> Path:
    try:
        return find_sound_font(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def synthesiser() -> SoundFonts:
    return SoundFonts({"tim": font("TimGM6mb")}, sample_rate=16_000)


def test_a_note_has_its_pitch(synthesiser: SoundFonts) -> None:
    sound = synthesiser.render([Note(0, 16_000, "tim", 0, 73, 69, 100)], 16_000)  # a flute's A
    assert sound.shape == (16_000,)
    assert sound.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(sound[4000:12_000]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 4


def test_rendering_does_not_depend_on_what_was_rendered_before(synthesiser: SoundFonts) -> None:
    chord = [Note(100, 4000, "tim", 0, 0, key, 90) for key in (60, 64, 67)]
    drums = [Note(50, 7000, "tim", 128, 0, key, 127, channel=9) for key in (36, 49)]
    first = synthesiser.render(chord, 8000)
    synthesiser.render([*chord, *drums], 3000)  # cut while it sounds
    assert np.array_equal(synthesiser.render(chord, 8000), first)
    fresh = SoundFonts({"tim": font("TimGM6mb")}, sample_rate=16_000)
    assert np.array_equal(fresh.render(chord, 8000), first)
    assert np.abs(first[:100]).max() == 0.0
    assert np.abs(first).max() > 0.01
    assert np.array_equal(synthesiser.render([], 10), np.zeros(10, np.float32))


def test_note_errors(synthesiser: SoundFonts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a note needs 0 <= start <= end; got 5 and 4"):
        Note(5, 4, "tim", 0, 0, 60, 100)
    with pytest.raises(ValueError, match="key must be 0 to 127; got 128"):
        Note(0, 4, "tim", 0, 0, 128, 100)
    with pytest.raises(ValueError, match="tim has no preset with bank 77 and program 3"):
        synthesiser.render([Note(0, 4, "tim", 77, 3, 60, 100)], 10)
    with pytest.raises(ValueError, match="tim has no preset with bank 0 and program 300"):
        synthesiser.render([Note(0, 4, "tim", 0, 300, 60, 100)], 10)
    with pytest.raises(ValueError, match="font must be one of tim; got 'other'"):
        synthesiser.render([Note(0, 4, "other", 0, 0, 60, 100)], 10)
    with pytest.raises(ValueError, match="samples must be at least 1; got 0"):
        synthesiser.render([], 0)
    with pytest.raises(ValueError, match="sample_rate must be 8000 to 192000; got 7"):
        SoundFonts({}, sample_rate=7)
    for content in (b"", b"RIFF" + bytes(100)):
        (tmp_path / "a.sf2").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.sf2 is not a sound font"):
            SoundFonts({"a": tmp_path / "a.sf2"}, sample_rate=16_000)


def test_find_sound_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBPRUNE_SOUND_FONTS", f":/nowhere:{tmp_path}")
    (tmp_path / "FluidR3_GS.sf2").touch()
    assert find_sound_font("FluidR3_GS") == tmp_path / "FluidR3_GS.sf2"
    with pytest.raises(ValueError, match="name must be one of TimGM6mb, FluidR3Mono, FluidR3_GS"):
        find_sound_font("x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps pretty_midi"):
        find_sound_font("TimGM6mb")
    with pytest.raises(FileNotFoundError, match=r"fluidr3mono-gm-soundfont.*HUBPRUNE_SOUND_FONTS"):
        find_sound_font("FluidR3Mono")
    assert "pretty_midi" not in sys.modules


def test_without_tinysoundfont(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(ImportError, match=r"tinysoundfont; .*pip install --no-deps tinysoundfont"):
        SoundFonts({}, sample_rate=16_000)


def test_clips() -> None:
    font("TimGM6mb")
    clips = instrument_clips(2, 3, instruments=("flute", "drums"))
    assert clips.waveforms.shape == (4, 48_000)
    assert clips.inputs.shape == (4, 187, 96)
    assert clips.labels.tolist() == [INSTRUMENTS.index("flute"), INSTRUMENTS.index("drums")] * 2
    peaks = clips.waveforms.abs().amax(1)
    assert ((peaks >= 0.2) & (peaks <= 0.9)).all()
    # The same seed gives the same clips, alone or among others; another gives others.
    again = instrument_clips(1, 3, instruments=("drums",))
    assert torch.equal(again.waveforms[0], clips.waveforms[1])
    torch.testing.assert_close(again.inputs[0], clips.inputs[1])
    other = instrument_clips(1, 4, instruments=("drums",))
    assert not torch.equal(other.waveforms[0], clips.waveforms[1])
    assert not torch.equal(clips.waveforms[1], clips.waveforms[3])
    assert len(clips) == 4
    assert torch.equal(clips[1][0], clips.inputs[1])
    assert clips[1][1] == INSTRUMENTS.index("drums")


@pytest.mark.parametrize("name", ["TimGM6mb", "FluidR3Mono"])
def test_musicnn_hears_the_instruments(name: str) -> None:
    font(name)
    for package in ("musicnn", "google_crc32c"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    assert set(INSTRUMENTS) < set(musicnn_tags())
    assert tag_auc(load_musicnn(), instrument_clips(2, 0, font=name)) > 0.88


class Columns(nn.Module):
    """Reads its answer from the first frame."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, :3]


def test_tag_auc_by_hand() -> None:
    inputs = torch.zeros(4, 187, 96)
    labels = torch.tensor([INSTRUMENTS.index(name) for name in ("harp", "harp", "cello", "cello")])
    inputs[:, 0, 0] = torch.tensor([0.9, 0.5, 0.5, 0.1])  # harp: 3 of 4 pairs, and a tie
    inputs[:, 0, 2] = torch.tensor([0.9, 0.2, 0.5, 0.1])  # cello: 1 of 4 pairs
    clips = InstrumentClips(torch.zeros(4, 48_000), labels, inputs)
    assert tag_auc(Columns(), clips, tags=("harp", "x", "cello")) == (3.5 / 4 + 1 / 4) / 2
    with pytest.raises(ValueError, match="tags must name every instrument; missing: cello"):
        tag_auc(Columns(), clips, tags=("harp", "x", "y"))
    with pytest.raises(ValueError, match=r"one column per tag, \(n, 2\); got \(4, 3\)"):
        tag_auc(Columns(), clips, tags=("harp", "cello"))
    inputs[0, 0, 1] = float("nan")
    assert np.isnan(tag_auc(Columns(), clips, tags=("harp", "x", "cello")))
    one = InstrumentClips(clips.waveforms[:2], labels[:2], inputs[:2])
    with pytest.raises(ValueError, match="clips must hold at least two instruments"):
        tag_auc(Columns(), one, tags=("harp", "x", "cello"))


def test_clip_errors() -> None:
    with pytest.raises(TypeError, match="count must be an int; got bool"):
        instrument_clips(True, 0)
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        instrument_clips(0, 0)
    with pytest.raises(ValueError, match="seed must be at least 0; got -1"):
        instrument_clips(1, -1)
    with pytest.raises(ValueError, match=r"instruments must be among guitar, .*; got 'kazoo'"):
        instrument_clips(1, 0, instruments=("kazoo",))
    with pytest.raises(ValueError, match="instruments must name at least one"):
        instrument_clips(1, 0, instruments=())

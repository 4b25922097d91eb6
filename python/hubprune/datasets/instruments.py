# SPDX-License-Identifier: MIT
"""Three seconds of one instrument, rendered: a test of music taggers whose answers are known.

Random phrases in a random major key, played by twelve instruments of a sound font. The class of a
clip is drawn first and the sound made from it, so no annotation can be wrong; every class is named
like the MagnaTagATune tag that it should set off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hubprune.arguments import check_count
from hubprune.datasets.sound_font import Note, SoundFonts, find_sound_font
from hubprune.metrics import roc_auc
from hubprune.models.musicnn import SAMPLE_RATE, music_log_mel, musicnn_tags
from hubprune.pitch import activations

__all__ = ["INSTRUMENTS", "InstrumentClips", "instrument_clips", "tag_auc"]

SECONDS = 3
_SAMPLES = SECONDS * SAMPLE_RATE
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_BASS_DRUM, _SNARE = 36, 38
_PERCUSSION = (42, 42, 46, 49, 45, 47, 51)  # hi-hats most often, cymbals, toms
_DRUM_BANK = 128


@dataclass(frozen=True)
class _Instrument:
    programs: tuple[int, ...]  # of General MIDI, counted from 0
    keys: tuple[int, int]  # lowest, and one above the highest
    most_notes: int  # at the same time


_INSTRUMENTS: dict[str, _Instrument] = {
    "guitar": _Instrument((24, 25), (45, 72), 2),
    "piano": _Instrument((0, 1), (40, 84), 3),
    "violin": _Instrument((40,), (58, 90), 1),
    "cello": _Instrument((42,), (36, 62), 1),
    "flute": _Instrument((73,), (62, 92), 1),
    "harp": _Instrument((46,), (40, 90), 2),
    "harpsichord": _Instrument((6,), (40, 84), 3),
    "sitar": _Instrument((104,), (48, 76), 1),
    "choir": _Instrument((52,), (48, 76), 3),
    "drums": _Instrument((0,), (0, 0), 1),
    "strings": _Instrument((48,), (43, 84), 3),
    "synth": _Instrument((81, 80), (40, 80), 1),
}

INSTRUMENTS: tuple[str, ...] = tuple(_INSTRUMENTS)
"""The classes, in the order of the labels; each is the name of its tag."""


@dataclass(frozen=True, eq=False)
class InstrumentClips:
    """Rendered clips: a map-style data set of `(input, target)` pairs.

    Attributes
    ----------
    waveforms : torch.Tensor
        Shape (n, 48000), float32, 16 kHz, in [-1, 1].
    labels : torch.Tensor
        Shape (n,), int64: indices into `INSTRUMENTS`.
    inputs : torch.Tensor
        Shape (n, 187, 96), float32: log-mel energies from `hubprune.models.music_log_mel`.
    """

    waveforms: torch.Tensor
    labels: torch.Tensor
    inputs: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.inputs[index], int(self.labels[index])


def _phrase(name: str, font: str, draw: np.random.Generator) -> list[Note]:
    instrument = _INSTRUMENTS[name]
    drums = name == "drums"
    program = int(draw.choice(instrument.programs))
    beat = draw.uniform(0.18, 0.5)  # seconds
    root = int(draw.integers(12))
    possible = [key for key in range(*instrument.keys) if (key - root) % 12 in _MAJOR]
    notes: list[Note] = []
    start = 0
    while start < _SAMPLES:
        if drums:
            keys = [int(draw.choice(_PERCUSSION))]
            keys += [_BASS_DRUM] if draw.random() < 0.5 else []
            keys += [_SNARE] if draw.random() < 0.4 else []
        else:
            count = int(draw.integers(1, instrument.most_notes + 1))
            # Without the repeats that a draw may hold: a key is pressed once.
            keys = sorted({int(key) for key in draw.choice(possible, count)})
        end = start + int(SAMPLE_RATE * beat * draw.choice((0.5, 1.0, 1.0, 2.0)))
        notes += [
            Note(
                start,
                end,
                font,
                _DRUM_BANK if drums else 0,
                program,
                key,
                velocity=int(draw.integers(60, 120)),
            )
            for key in keys
        ]
        start = end
    return notes


def instrument_clips(
    count: int, seed: int, *, font: str = "TimGM6mb", instruments: Sequence[str] = INSTRUMENTS
) -> InstrumentClips:
    """Render clips of instruments.

    Parameters
    ----------
    count : int
        Clips of each instrument, at least 1.
    seed : int
        Not negative. A clip depends on the seed, its instrument and its number alone: more clips
        begin with the same ones.
    font : {"TimGM6mb", "FluidR3Mono", "FluidR3_GS"}
        A sound font with General MIDI's instruments, see `find_sound_font`.
    instruments : sequence of str, default all of `INSTRUMENTS`
        Which to render.

    Returns
    -------
    InstrumentClips
        ``count * len(instruments)`` clips, one instrument after the other in every round.

    Raises
    ------
    ImportError
        If tinysoundfont or librosa is not installed.
    FileNotFoundError
        If the sound font is not; the message says how to get it.
    TypeError, ValueError
        If an argument is none of these.

    Notes
    -----
    A phrase has notes of half a beat to two beats, of 0.18 to 0.5 s, in one major key, up to three
    at a time where the instrument allows; the loudest sample of each clip is 0.2 to 0.9. About
    5 ms a clip on one core.
    """
    check_count(count, "count")
    check_count(seed, "seed", least=0)
    if not instruments:
        raise ValueError("instruments must name at least one")
    for name in instruments:
        if name not in _INSTRUMENTS:
            raise ValueError(f"instruments must be among {', '.join(INSTRUMENTS)}; got {name!r}")
    synthesiser = SoundFonts({font: find_sound_font(font)}, sample_rate=SAMPLE_RATE)
    waveforms: list[npt.NDArray[np.float32]] = []
    labels: list[int] = []
    for number in range(count):
        for name in instruments:
            label = INSTRUMENTS.index(name)
            draw = np.random.default_rng((seed, label, number))
            sound = synthesiser.render(_phrase(name, font, draw), _SAMPLES)
            # A clip is never silent: its first notes begin at its first sample.
            level = np.float32(draw.uniform(0.2, 0.9)) / np.abs(sound).max()
            waveforms.append(sound * level)
            labels.append(label)
    sounds = torch.from_numpy(np.stack(waveforms))
    return InstrumentClips(sounds, torch.tensor(labels), music_log_mel(sounds))


def tag_auc(
    model: nn.Module, clips: InstrumentClips, *, tags: Sequence[str] | None = None
) -> float:
    """Measure how well a music tagger, as it is, tells the instruments apart.

    The mean over the instruments of the area under the ROC curve of the tag of that name: the
    share of pairs (a clip of the instrument, a clip of another) in which the first scores higher.

    Parameters
    ----------
    model : torch.nn.Module
        (n, 187, 96) to (n, tags): `hubprune.models.MttVgg`, pruned or not. Logits and likelihoods
        give the same.
    clips : InstrumentClips
        Of at least two instruments.
    tags : sequence of str or None
        Names of the model's outputs. None: the 50 of musicnn's MTT_vgg.

    Returns
    -------
    float
        In [0, 1]; 0.5 is guessing. NaN if the model returned NaN.

    Raises
    ------
    ImportError
        If `tags` is None and musicnn is not installed.
    TypeError, ValueError
        If the model is no module or has other outputs, or there is but one instrument.

    Notes
    -----
    musicnn's published MTT_vgg measures 0.922 to 0.932 on TimGM6mb and 0.977 to 0.981 on
    FluidR3Mono (20 clips of each instrument, seeds 0 to 2).
    """
    names = list(musicnn_tags() if tags is None else tags)
    present = sorted(set(clips.labels.tolist()))
    if len(present) < 2:
        raise ValueError("clips must hold at least two instruments; got one")
    missing = [INSTRUMENTS[label] for label in present if INSTRUMENTS[label] not in names]
    if missing:
        raise ValueError(f"tags must name every instrument; missing: {', '.join(missing)}")
    scores = activations(model, clips.inputs).double()
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(
            f"model must return one column per tag, (n, {len(names)}); got {tuple(scores.shape)}"
        )
    if scores.isnan().any():
        return float("nan")
    columns = [names.index(INSTRUMENTS[label]) for label in present]
    own = clips.labels[:, None] == torch.tensor(present)  # (n, instruments)
    return roc_auc(scores[:, columns], own.double())

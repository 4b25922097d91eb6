# SPDX-License-Identifier: MIT
"""Sound fonts: where they are installed, and notes rendered with them, always the same.

A sound font holds recorded instruments (and effects: rain, birds, engines). Rendering needs
tinysoundfont; the fonts are files of other packages, found without importing any of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SOUND_FONTS", "Note", "SoundFonts", "find_sound_font"]

FOLDERS_VARIABLE = "HUBPRUNE_SOUND_FONTS"
_CHANNELS = 16
_DRUM_BANK = 128
# Samples rendered and thrown away before a clip: what still sounds fades within a few milliseconds.
_SILENCE = 4096


@dataclass(frozen=True)
class _Source:
    file: str
    folder: str  # of Debian's package, or empty
    package: str  # the Python package that carries the file, or empty
    how: str


SOUND_FONTS: Mapping[str, _Source] = {
    "TimGM6mb": _Source(
        "TimGM6mb.sf2",
        "/usr/share/sounds/sf2",
        "pretty_midi",
        "pip install --no-deps pretty_midi, or apt install timgm6mb-soundfont",
    ),
    "FluidR3Mono": _Source(
        "FluidR3Mono_GM.sf3",
        "/usr/share/sounds/sf3",
        "",
        "apt install fluidr3mono-gm-soundfont",
    ),
    "FluidR3_GS": _Source(
        "FluidR3_GS.sf2", "/usr/share/sounds/sf2", "", "apt install fluid-soundfont-gs"
    ),
}
"""The sound fonts that are known by name."""


def find_sound_font(name: str) -> Path:
    """Find an installed sound font.

    Parameters
    ----------
    name : {"TimGM6mb", "FluidR3Mono", "FluidR3_GS"}
        Looked for in the folders of the environment variable ``HUBPRUNE_SOUND_FONTS`` (separated
        by colons), then in the Python package that carries it, then where Debian installs it.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the font is not there; the message says how to get it.
    """
    if name not in SOUND_FONTS:
        raise ValueError(f"name must be one of {', '.join(SOUND_FONTS)}; got {name!r}")
    source = SOUND_FONTS[name]
    folders = [
        folder for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if folder
    ]
    if source.package and (spec := importlib.util.find_spec(source.package)) is not None:
        folders += spec.submodule_search_locations or []
    folders.append(source.folder)
    for folder in folders:
        path = Path(folder, source.file)
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"the sound font {source.file} is not installed; get it with: {source.how}; or name the "
        f"folder that holds it in the environment variable {FOLDERS_VARIABLE}"
    )


def _tinysoundfont() -> ModuleType:
    try:
        return importlib.import_module("tinysoundfont")
    except ImportError as error:
        raise ImportError(
            "rendering needs tinysoundfont; install it with: pip install --no-deps tinysoundfont"
        ) from error


@dataclass(frozen=True)
class Note:
    """A key pressed and released.

    Attributes
    ----------
    start, end : int
        Samples from the beginning of the clip, ``0 <= start <= end``.
    font : str
        Which of the renderer's fonts.
    bank, program : int
        Which of its presets; bank 128 holds the drums.
    key, velocity : int
        As in MIDI, 0 to 127; key 60 is middle C, and a velocity is at least 1.
    channel : int, default 0
        0 to 15. Notes at the same time on one channel must share their preset.
    """

    start: int
    end: int
    font: str
    bank: int
    program: int
    key: int
    velocity: int
    channel: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a note needs 0 <= start <= end; got {self.start} and {self.end}")
        for name, value, least, most in (
            ("key", self.key, 0, 127),
            ("velocity", self.velocity, 1, 127),
            ("channel", self.channel, 0, _CHANNELS - 1),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be {least} to {most}; got {value}")


class SoundFonts:
    """A synthesiser with some sound fonts, for one thread at a time.

    Parameters
    ----------
    fonts : mapping of str to str or os.PathLike
        Name to file (SF2 or SF3).
    sample_rate : int
        Samples per second of what is rendered.

    Raises
    ------
    ImportError
        If tinysoundfont is not installed.
    OSError
        If a file cannot be read.
    ValueError
        If a file is no sound font, or the rate is not 8000 to 192000.
    """

    def __init__(self, fonts: Mapping[str, str | os.PathLike[str]], *, sample_rate: int) -> None:
        if not 8000 <= sample_rate <= 192_000:
            raise ValueError(f"sample_rate must be 8000 to 192000; got {sample_rate}")
        module = _tinysoundfont()
        self._synth: Any = module.Synth(samplerate=sample_rate)
        self._ids: dict[str, int] = {}
        for name, path in fonts.items():
            content = Path(path).read_bytes()
            try:
                self._ids[name] = self._synth.sfload(content)
            except Exception as error:  # RuntimeError and tinysoundfont's own
                raise ValueError(f"{os.fspath(path)} is not a sound font: {error}") from error
        self._known: set[tuple[str, int, int]] = set()

    def _check_preset(self, note: Note) -> None:
        preset = (note.font, note.bank, note.program)
        if preset in self._known:
            return
        if note.font not in self._ids:
            raise ValueError(f"font must be one of {', '.join(self._ids)}; got {note.font!r}")
        try:
            name = self._synth.sfpreset_name(self._ids[note.font], note.bank, note.program)
        except RuntimeError:
            name = None
        if name is None:
            raise ValueError(
                f"{note.font} has no preset with bank {note.bank} and program {note.program}"
            )
        self._known.add(preset)

    def _generate(self, count: int) -> npt.NDArray[np.float32]:
        """The next samples, both channels mixed to one."""
        stereo = np.frombuffer(bytes(self._synth.generate(count)), np.float32).reshape(-1, 2)
        mono: npt.NDArray[np.float32] = stereo.mean(1, dtype=np.float32)
        return mono

    def render(self, notes: Sequence[Note], samples: int) -> npt.NDArray[np.float32]:
        """Play notes from silence.

        Parameters
        ----------
        notes : sequence of Note
            In any order; of several events at one sample, releases come first. What ends after
            `samples` is cut.
        samples : int
            How many samples to return, at least 1.

        Returns
        -------
        numpy.ndarray
            Shape (samples,), float32, mono; loud chords exceed 1.

        Raises
        ------
        ValueError
            If a note's preset is not in its font, or `samples` is below 1.

        Notes
        -----
        The same notes give the same samples, bit by bit, whatever was rendered before.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1; got {samples}")
        for note in notes:
            self._check_preset(note)
        synth = self._synth
        synth.sounds_off()
        self._generate(_SILENCE)
        events = sorted(
            [(note.start, 1, index) for index, note in enumerate(notes)]
            + [(note.end, 0, index) for index, note in enumerate(notes)]
        )
        parts, now = [], 0
        for when, pressed, index in events:
            if when >= samples:
                break
            if when > now:
                parts.append(self._generate(when - now))
                now = when
            note = notes[index]
            if pressed:
                drums = note.bank == _DRUM_BANK
                synth.program_select(
                    note.channel, self._ids[note.font], note.bank, note.program, drums
                )
                synth.noteon(note.channel, note.key, note.velocity)
            else:
                synth.noteoff(note.channel, note.key)
        parts.append(self._generate(samples - now))
        return np.concatenate(parts)

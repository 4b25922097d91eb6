# SPDX-License-Identifier: MIT
"""Data sets of audio, as pairs of model input and target, and the features of the baselines.

Importing this package loads PyTorch and NumPy and nothing heavier: librosa, soundfile and h5py
(``pip install "hubprune[data]"``) and tinysoundfont (``hubprune[study]``) are imported when a file,
a feature or a sound needs them.
"""

from __future__ import annotations

from hubprune.datasets.features import Dcase21LogMel, Standardisation, VggishLogMel
from hubprune.datasets.instruments import INSTRUMENTS, InstrumentClips, instrument_clips, tag_auc
from hubprune.datasets.scenes import (
    HELD_OUT,
    SCENES,
    Scenes,
    SceneSets,
    render_scene,
    rendered_scenes,
)
from hubprune.datasets.sound_font import Note, SoundFonts, find_sound_font

__all__ = [
    "HELD_OUT",
    "INSTRUMENTS",
    "SCENES",
    "Dcase21LogMel",
    "InstrumentClips",
    "Note",
    "SceneSets",
    "Scenes",
    "SoundFonts",
    "Standardisation",
    "VggishLogMel",
    "find_sound_font",
    "instrument_clips",
    "render_scene",
    "rendered_scenes",
    "tag_auc",
]

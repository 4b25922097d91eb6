# SPDX-License-Identifier: MIT
"""Data sets of audio, as pairs of model input and target, and the features of the baselines.

Importing this package loads PyTorch and NumPy and nothing heavier: librosa, soundfile and h5py
(``pip install "hubprune[data]"``) and tinysoundfont (``pip install --no-deps tinysoundfont``) are
imported when a file, a feature or a sound needs them.
"""

from __future__ import annotations

from hubprune.datasets.audioset import AudioSetFolder, AudioSetHdf5
from hubprune.datasets.dcase import DcaseArrays
from hubprune.datasets.esc50 import Esc50
from hubprune.datasets.features import Dcase21LogMel, Standardisation, VggishLogMel
from hubprune.datasets.instruments import INSTRUMENTS, InstrumentClips, instrument_clips, tag_auc
from hubprune.datasets.registry import KNOWN_DATA, open_data
from hubprune.datasets.scenes import (
    HELD_OUT,
    RENDERED_SCENES,
    Scenes,
    SceneSets,
    render_scene,
    rendered_scenes,
)
from hubprune.datasets.sound_font import Note, SoundFonts, find_sound_font
from hubprune.datasets.tau import SCENES, TauUrbanScenes

__all__ = [
    "HELD_OUT",
    "INSTRUMENTS",
    "KNOWN_DATA",
    "RENDERED_SCENES",
    "SCENES",
    "AudioSetFolder",
    "AudioSetHdf5",
    "Dcase21LogMel",
    "DcaseArrays",
    "Esc50",
    "InstrumentClips",
    "Note",
    "SceneSets",
    "Scenes",
    "SoundFonts",
    "Standardisation",
    "TauUrbanScenes",
    "VggishLogMel",
    "find_sound_font",
    "instrument_clips",
    "open_data",
    "render_scene",
    "rendered_scenes",
    "tag_auc",
]

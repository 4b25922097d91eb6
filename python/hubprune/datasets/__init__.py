# SPDX-License-Identifier: MIT
"""Data sets of audio, as pairs of model input and target, and the features of the baselines.

Importing this package loads PyTorch and NumPy and nothing heavier: librosa, soundfile and h5py
(``pip install "hubprune[data]"``) are imported when a file or a feature needs them.
"""

from __future__ import annotations

from hubprune.datasets.audioset import AudioSetFolder, AudioSetHdf5
from hubprune.datasets.dcase import DcaseArrays
from hubprune.datasets.esc50 import Esc50
from hubprune.datasets.features import Dcase21LogMel, Standardisation, VggishLogMel
from hubprune.datasets.registry import KNOWN_DATA, open_data
from hubprune.datasets.tau import SCENES, TauUrbanScenes

__all__ = [
    "KNOWN_DATA",
    "SCENES",
    "AudioSetFolder",
    "AudioSetHdf5",
    "Dcase21LogMel",
    "DcaseArrays",
    "Esc50",
    "Standardisation",
    "TauUrbanScenes",
    "VggishLogMel",
    "open_data",
]

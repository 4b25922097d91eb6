# SPDX-License-Identifier: MIT
"""Data sets of audio, as pairs of model input and target, and the features of the baselines.

Importing this package loads PyTorch and NumPy and nothing heavier: librosa, soundfile and h5py
(``pip install "hubprune[data]"``) are imported when a file or a feature needs them.
"""

from __future__ import annotations

from hubprune.datasets.features import Dcase21LogMel, Standardisation, VggishLogMel

__all__ = [
    "Dcase21LogMel",
    "Standardisation",
    "VggishLogMel",
]

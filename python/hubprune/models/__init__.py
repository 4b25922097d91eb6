# SPDX-License-Identifier: MIT
"""Audio CNNs to prune: PANNs, the DCASE 2021 baseline, VGGish, CREPE, musicnn; and weights.

Importing this package loads PyTorch and nothing heavier: h5py, safetensors and torchlibrosa are
imported when a file or the front end needs them.
"""

from __future__ import annotations

from hubprune.models.crepe import Crepe, load_crepe
from hubprune.models.dcase import Dcase21Baseline, load_dcase21, load_keras
from hubprune.models.keras_files import KerasArray, read_keras_weights
from hubprune.models.log_mel import LogMel
from hubprune.models.musicnn import MttVgg, load_musicnn, music_log_mel, musicnn_tags
from hubprune.models.panns import AudioTagger, Cnn6, Cnn10, Cnn14, PannsBody, load_panns
from hubprune.models.registry import KNOWN_MODELS, ModelSpec
from hubprune.models.tensorflow_checkpoint import read_tensorflow_checkpoint
from hubprune.models.vggish import Vggish, load_vggish

__all__ = [
    "KNOWN_MODELS",
    "AudioTagger",
    "Cnn6",
    "Cnn10",
    "Cnn14",
    "Crepe",
    "Dcase21Baseline",
    "KerasArray",
    "LogMel",
    "ModelSpec",
    "MttVgg",
    "PannsBody",
    "Vggish",
    "load_crepe",
    "load_dcase21",
    "load_keras",
    "load_musicnn",
    "load_panns",
    "load_vggish",
    "music_log_mel",
    "musicnn_tags",
    "read_keras_weights",
    "read_tensorflow_checkpoint",
]

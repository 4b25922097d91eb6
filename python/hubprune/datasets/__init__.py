# SPDX-License-Identifier: MIT
"""Data sets to fine-tune and measure with, as tensors."""

from __future__ import annotations

from hubprune.datasets.instruments import INSTRUMENTS, InstrumentClips, instrument_clips, tag_auc
from hubprune.datasets.sound_font import Note, SoundFonts, find_sound_font

__all__ = [
    "INSTRUMENTS",
    "InstrumentClips",
    "Note",
    "SoundFonts",
    "find_sound_font",
    "instrument_clips",
    "tag_auc",
]

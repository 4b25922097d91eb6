# SPDX-License-Identifier: MIT
"""Acoustic scenes rendered from the effects of two sound fonts: labels that cannot be wrong.

Ten classes, each a background and occasional events, in coloured noise and through a simulated
recording device. They are synthetic: a stand-in where no recordings of scenes may be used, and not
comparable with results on recordings. What the test clips are made of is held out of the training:
see `HELD_OUT`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import threading
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hubprune.arguments import check_count
from hubprune.datasets.features import Dcase21LogMel, Standardisation
from hubprune.datasets.sound_font import Note, SoundFonts, find_sound_font
from hubprune.file_writing import replaced_file
from hubprune.progress import progress_bar

__all__ = [
    "HELD_OUT",
    "RENDERED_SCENES",
    "SPLITS",
    "SceneSets",
    "Scenes",
    "render_scene",
    "rendered_scenes",
]

SAMPLE_RATE = 44_100
SECONDS = 10
_SAMPLES = SAMPLE_RATE * SECONDS
_FONTS = ("FluidR3_GS", "TimGM6mb")
_VERSION = 1  # of everything that decides a sample: raise it with any change of the recipe

SPLITS: tuple[str, ...] = ("train", "valid", "test")
"""The three parts."""


@dataclass(frozen=True)
class _Sound:
    """A preset of a sound font."""

    font: str
    bank: int
    program: int


def _gs(bank: int, program: int) -> _Sound:
    return _Sound("FluidR3_GS", bank, program)


def _tim(program: int) -> _Sound:
    return _Sound("TimGM6mb", 0, program)


_RAIN, _THUNDER, _WIND, _STREAM = _gs(1, 122), _gs(2, 122), _gs(3, 122), _gs(4, 122)
_DOG, _HORSE, _SECOND_BIRD = _gs(1, 123), _gs(2, 123), _gs(3, 123)
_SECOND_TELEPHONE, _DOOR_CREAKING, _DOOR_SLAM = _gs(1, 124), _gs(2, 124), _gs(3, 124)
_SCRATCH, _CHIMES = _gs(4, 124), _gs(5, 124)
_CAR, _CAR_STOPPING, _CAR_PASSING, _SIREN = _gs(1, 125), _gs(2, 125), _gs(3, 125), _gs(5, 125)
_TRAIN, _JET = _gs(6, 125), _gs(7, 125)
_LAUGHTER, _SCREAM, _FOOTSTEPS = _gs(1, 126), _gs(2, 126), _gs(5, 126)
_SEASHORE, _BIRD, _TELEPHONE = _tim(122), _tim(123), _tim(124)
_HELICOPTER, _APPLAUSE = _tim(125), _tim(126)


@dataclass(frozen=True)
class _Scene:
    backgrounds: tuple[_Sound, ...]
    events: tuple[_Sound, ...]
    held_out: tuple[_Sound, ...] = ()  # of the test alone


_RECIPES: dict[str, _Scene] = {
    "seashore": _Scene((_SEASHORE, _WIND), (_BIRD,), (_SECOND_BIRD,)),
    "storm": _Scene((_RAIN,), (_THUNDER, _WIND)),
    "forest": _Scene((_STREAM, _WIND), (_BIRD, _DOG), (_SECOND_BIRD,)),
    "street_traffic": _Scene((_CAR,), (_CAR_PASSING, _SIREN, _TRAIN), (_CAR_STOPPING,)),
    "train_station": _Scene((_TRAIN,), (_FOOTSTEPS, _SCRATCH), (_SCREAM,)),
    "airport": _Scene((_JET,), (_SECOND_TELEPHONE, _FOOTSTEPS, _LAUGHTER), (_TELEPHONE,)),
    "office": _Scene((_FOOTSTEPS,), (_SECOND_TELEPHONE, _DOOR_CREAKING), (_TELEPHONE, _DOOR_SLAM)),
    "stadium": _Scene((_APPLAUSE,), (_LAUGHTER, _SIREN), (_SCREAM,)),
    "helicopter_pad": _Scene((_HELICOPTER,), (_WIND, _CAR)),
    "farm": _Scene((_HORSE,), (_DOG, _BIRD, _WIND), (_SECOND_BIRD,)),
}
# Sounds that say nothing about the scene.
_DISTRACTORS = _Scene((), (_FOOTSTEPS, _DOG, _BIRD), (_DOOR_SLAM, _CHIMES))

RENDERED_SCENES: tuple[str, ...] = tuple(_RECIPES)
"""The classes, in the order of the labels."""

# Six blocks of four keys, over and over from key 48 (the C below middle C) up and down: the keys of
# the test are up to four semitones from the nearest of the training.
_BLOCK_OF_KEYS = 4
_BLOCKS = ("train", "valid", "train", "train", "test", "train")
_BACKGROUND_KEYS = (48, 72)
_EVENT_KEYS = (45, 75)
# The upper corner of the device's response, Hz.
_UPPER_CORNERS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "train": ((4000.0, 6000.0), (7500.0, 9500.0), (12_000.0, 16_000.0)),
    "valid": ((6000.0, 7500.0),),
    "test": ((9500.0, 12_000.0),),
}


def _keys(split: str, lowest: int, end: int) -> list[int]:
    """The keys of a range that belong to a split."""
    return [
        key
        for key in range(lowest, end)
        if _BLOCKS[(key - 48) // _BLOCK_OF_KEYS % len(_BLOCKS)] == split
    ]


HELD_OUT: Mapping[str, str] = {
    "every class": (
        "keys 52 to 55 are of the validation only and keys 64 to 67 of the test only, for "
        "backgrounds, events and distractors; so are device responses with an upper corner of 6 to "
        "7.5 kHz and of 9.5 to 12 kHz; velocities, noise and levels have the same ranges"
    ),
    "seashore, forest, farm": "a second recording of a bird, of the test's unseen events only",
    "street_traffic": "a stopping car, of the test's unseen events only",
    "train_station, stadium": "a scream, of the test's unseen events only",
    "airport": "a telephone, of the test's unseen events only",
    "office": "a telephone and a slamming door, of the test's unseen events only",
    "storm, helicopter_pad": "no event: the same recordings, in other keys",
    "distractors": "a slamming door and wind chimes, of the test's unseen events only",
    "backgrounds": "the same recordings in all splits, in other keys: there is one per preset",
}
"""What of each class training does not hear."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Rendered scenes: a map-style data set of `(input, target)` pairs.

    Attributes
    ----------
    inputs : torch.Tensor
        Shape (n, 1, 40, 500), float32: log-mel energies of `Dcase21LogMel`, standardised.
    labels : torch.Tensor
        Shape (n,), int64: indices into `RENDERED_SCENES`.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.inputs[index], int(self.labels[index])


@dataclass(frozen=True, eq=False)
class SceneSets:
    """Three data sets, and the statistics of the training clips that standardised all of them."""

    train: Scenes
    valid: Scenes
    test: Scenes
    standardisation: Standardisation


def _score(scene: str, split: str, unseen: float, draw: np.random.Generator) -> list[Note]:
    """What is played: a background throughout, one to five events, and up to two distractors."""
    recipe = _RECIPES[scene]

    def note(sound: _Sound, channel: int, start: float, seconds: float) -> Note:
        low, high = _BACKGROUND_KEYS if channel == 0 else _EVENT_KEYS
        softest, loudest = (60, 110) if channel == 0 else (50, 110)
        return Note(
            int(start * SAMPLE_RATE),
            int(min(start + seconds, SECONDS) * SAMPLE_RATE),
            sound.font,
            sound.bank,
            sound.program,
            int(draw.choice(_keys(split, low, high))),
            int(draw.integers(softest, loudest)),
            channel,
        )

    def one_of(kind: _Scene) -> _Sound:
        new = draw.random() < unseen and split == "test" and bool(kind.held_out)
        sounds = kind.held_out if new else kind.events
        return sounds[int(draw.integers(len(sounds)))]

    background = recipe.backgrounds[int(draw.integers(len(recipe.backgrounds)))]
    notes = []
    start = 0.0
    while start < SECONDS:
        notes.append(note(background, 0, start, draw.uniform(2.5, 5.0)))
        start += draw.uniform(1.5, 4.0)
    # A channel of its own for each: a channel forgets what it played when its font changes.
    events, distractors = int(draw.integers(1, 6)), int(draw.integers(3))
    for channel in range(1, events + distractors + 1):
        kind = recipe if channel <= events else _DISTRACTORS
        notes.append(note(one_of(kind), channel, draw.uniform(0, 9.5), draw.uniform(0.3, 3.0)))
    return notes


def _recorded(
    sound: npt.NDArray[np.float32], split: str, draw: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Coloured noise and a device's response, at a random level."""
    frequency = np.fft.rfftfreq(len(sound), 1.0 / SAMPLE_RATE)
    frequency[0] = frequency[1]
    white = np.fft.rfft(draw.standard_normal(len(sound)))
    noise = np.fft.irfft(white / frequency ** draw.uniform(0.0, 0.6), len(sound))
    ratio = 10.0 ** (-draw.uniform(-5.0, 15.0) / 20.0)
    mixed = sound / (sound.std() + 1e-6) + noise * (ratio / noise.std())
    corners = _UPPER_CORNERS[split]
    widths = np.array([np.log(high / low) for low, high in corners])
    low, high = corners[int(draw.choice(len(corners), p=widths / widths.sum()))]
    lower, upper = draw.uniform(40.0, 300.0), np.exp(draw.uniform(np.log(low), np.log(high)))
    response = 1.0 / np.sqrt((1.0 + (lower / frequency) ** 2) * (1.0 + (frequency / upper) ** 4))
    heard = np.fft.irfft(np.fft.rfft(mixed) * response, len(sound))
    heard *= draw.uniform(0.1, 0.9) / np.abs(heard).max()
    return heard.astype(np.float32)


def _synthesiser() -> SoundFonts:
    return SoundFonts({name: find_sound_font(name) for name in _FONTS}, sample_rate=SAMPLE_RATE)


def _waveform(
    synthesiser: SoundFonts, scene: str, split: str, number: int, seed: int, unseen: float
) -> npt.NDArray[np.float32]:
    draw = np.random.default_rng((seed, SPLITS.index(split), RENDERED_SCENES.index(scene), number))
    return _recorded(synthesiser.render(_score(scene, split, unseen, draw), _SAMPLES), split, draw)


def render_scene(
    scene: str, split: str = "train", number: int = 0, *, seed: int = 0, unseen: float = 0.5
) -> torch.Tensor:
    """Render one clip, to listen to.

    Parameters
    ----------
    scene : str
        One of `RENDERED_SCENES`.
    split : {"train", "valid", "test"}
        Which part's material it is made of.
    number : int, default 0
        Which of the scene's clips.
    seed, unseen : int and float, default 0 and 0.5
        As in `rendered_scenes`, whose clips these are.

    Returns
    -------
    torch.Tensor
        Shape (441000,), float32, 44.1 kHz, in [-1, 1].

    Raises
    ------
    ImportError, FileNotFoundError
        If tinysoundfont or a sound font is not installed.
    TypeError, ValueError
        If an argument is none of these.
    """
    if scene not in _RECIPES:
        raise ValueError(f"scene must be one of {', '.join(RENDERED_SCENES)}; got {scene!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    check_count(number, "number", least=0)
    check_count(seed, "seed", least=0)
    _check_share("unseen", unseen)
    return torch.from_numpy(_waveform(_synthesiser(), scene, split, number, seed, unseen))


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be 0 to 1; got {value}")


def _render(
    split: str, count: int, seed: int, unseen: float, workers: int
) -> npt.NDArray[np.float32]:
    """The features of `count` clips of each scene, shape (10 * count, 1, 40, 500)."""
    front_end = Dcase21LogMel()
    own = threading.local()  # a synthesiser plays for one thread
    features = np.empty((count * len(RENDERED_SCENES), 1, 40, 500), np.float32)

    def clip(index: int) -> None:
        if not hasattr(own, "synthesiser"):
            own.synthesiser = _synthesiser()
        number, label = divmod(index, len(RENDERED_SCENES))
        sound = _waveform(own.synthesiser, RENDERED_SCENES[label], split, number, seed, unseen)
        features[index] = front_end(torch.from_numpy(sound)[None])[0].numpy()

    with (
        ThreadPoolExecutor(workers) as pool,
        progress_bar(f"rendering scenes ({split})", len(features)) as report,
    ):
        for done, _ in enumerate(pool.map(clip, range(len(features))), start=1):
            report(done)
    return features


def _fingerprint(split: str, count: int, seed: int, unseen: float) -> str:
    """Everything that decides the features, as text."""
    fonts = {
        name: hashlib.sha256(find_sound_font(name).read_bytes()).hexdigest() for name in _FONTS
    }
    facts = {
        "scenes": _VERSION,
        "split": split,
        "count": count,
        "seed": seed,
        "unseen": unseen if split == "test" else None,
        "fonts": fonts,
        "tinysoundfont": importlib.metadata.version("tinysoundfont"),
        "features": Dcase21LogMel().settings(),
    }
    return json.dumps(facts, sort_keys=True)


def _features(
    split: str, count: int, seed: int, unseen: float, cache: Path | None, workers: int
) -> npt.NDArray[np.float32]:
    if cache is None:
        return _render(split, count, seed, unseen, workers)
    fingerprint = _fingerprint(split, count, seed, float(unseen))
    path = cache / f"scenes-{split}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        try:
            # Opened here: NumPy leaves a damaged file open.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                stored, features = str(arrays["fingerprint"]), arrays["features"]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a file of rendered scenes ({error}); delete it to render them again"
            ) from error
        wanted = (count * len(RENDERED_SCENES), 1, 40, 500)
        if stored != fingerprint or features.shape != wanted or features.dtype != np.float32:
            raise ValueError(f"{path} holds other scenes; delete it to render them again")
        result: npt.NDArray[np.float32] = features
        return result
    features = _render(split, count, seed, unseen, workers)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as part, part.open("wb") as out:
        np.savez(out, features=features, fingerprint=np.array(fingerprint))
    return features


def rendered_scenes(
    train: int = 100,
    valid: int = 20,
    test: int = 40,
    *,
    seed: int = 0,
    unseen: float = 0.5,
    cache: str | os.PathLike[str] | None = None,
    workers: int = 1,
) -> SceneSets:
    """Render acoustic scenes as inputs of `hubprune.models.Dcase21Baseline`.

    Parameters
    ----------
    train, valid, test : int
        Clips of each of the ten scenes, at least 1.
    seed : int, default 0
        Not negative. A clip depends on the seed, its split, its scene and its number alone: more
        clips begin with the same ones.
    unseen : float, default 0.5
        Share of the test's events and distractors that are drawn from recordings which training
        and validation never play, in the scenes that have such, 0 to 1. The others are recordings
        that training plays in other keys.
    cache : str, os.PathLike or None
        A folder for the features, which is made if need be; a file there is used again only where
        its fingerprint (recipe, counts, seed, fonts, renderer, features) is the same. None: render.
    workers : int, default 1
        Threads that render. The result does not depend on how many there are.

    Returns
    -------
    SceneSets

    Raises
    ------
    ImportError
        If tinysoundfont or librosa is not installed.
    FileNotFoundError
        If the sound font TimGM6mb or FluidR3_GS is not; the message says how to get it.
    OSError
        If the cache cannot be read or written.
    TypeError, ValueError
        If an argument is none of these, or a file of the cache is damaged.

    Notes
    -----
    A clip of 10 s: a background from start to end, one to five events of its scene, up to two
    distractors, coloured noise from 5 dB above the sound to 15 dB below it, and a band-pass such as
    a small microphone's. `HELD_OUT` states what is held out of the training. The statistics are
    those of the training clips, band by band. About 0.25 s a clip on one core, 0.14 s on two.
    """
    for name, value in (("train", train), ("valid", valid), ("test", test), ("workers", workers)):
        check_count(value, name)
    check_count(seed, "seed", least=0)
    _check_share("unseen", unseen)
    folder = None if cache is None else Path(cache)
    counts = dict(zip(SPLITS, (train, valid, test), strict=True))
    features = {
        split: torch.from_numpy(_features(split, count, seed, unseen, folder, workers))
        for split, count in counts.items()
    }
    standardisation = Standardisation.fit(features["train"])
    sets = {
        split: Scenes(
            standardisation(features[split]),
            torch.arange(len(RENDERED_SCENES)).repeat(counts[split]),
        )
        for split in SPLITS
    }
    return SceneSets(sets["train"], sets["valid"], sets["test"], standardisation)

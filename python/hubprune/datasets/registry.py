# SPDX-License-Identifier: MIT
"""Data sets by name, for the command line: ``tau:folder:evaluate`` and the like."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from torch.utils.data import DataLoader

from hubprune.datasets.audioset import AudioSetFolder, AudioSetHdf5
from hubprune.datasets.dcase import DcaseArrays
from hubprune.datasets.esc50 import Esc50
from hubprune.datasets.tau import TauUrbanScenes
from hubprune.user_functions import call_function

__all__ = ["KNOWN_DATA", "DataSpec", "open_data"]


@dataclass(frozen=True)
class DataSpec:
    """A data set that a spec can name."""

    form: str
    """How the spec looks."""
    description: str
    """One line for a person."""
    options: Mapping[str, type]
    """What may stand behind ``?``: arguments of `build`, and their kinds."""
    build: Callable[..., Any]
    """Takes the path and, where there is one, the part behind it; then the options."""
    part: Callable[[str], object] | None = None
    """Reads the part behind the path; None where there is none. ValueError: it is no such part."""


def _word(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}; got {text!r}")
        return text

    return read


def _folds(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-5](,[1-5])*", text):
        raise ValueError(f"must be folds from 1 to 5 with commas between; got {text!r}")
    return tuple(int(fold) for fold in text.split(","))


_AUDIOSET_OPTIONS = {"features": str, "sample_rate": int, "classes": int}

KNOWN_DATA: dict[str, DataSpec] = {
    "audioset-hdf5": DataSpec(
        "audioset-hdf5:FILE",
        "AudioSet packed by the PANNs' scripts; log-mel unless ?features=none",
        {**_AUDIOSET_OPTIONS, "decimate": bool, "empty": str},
        lambda path, **options: AudioSetHdf5(path, **{"features": "logmel", **options}),
    ),
    "audioset-folder": DataSpec(
        "audioset-folder:FOLDER",
        "AudioSet's clips and lists; log-mel unless ?features=none",
        {
            **_AUDIOSET_OPTIONS,
            "segments": str,
            "class_labels": str,
            "missing": str,
            "resample": bool,
            "stereo": str,
        },
        lambda path, **options: AudioSetFolder(path, **{"features": "logmel", **options}),
    ),
    "tau": DataSpec(
        "tau:FOLDER[:train|evaluate|test]",
        "TAU Urban Acoustic Scenes 2020 Mobile; evaluate if not said",
        {
            "fold": int,
            "standardise": bool,
            "cache": str,
            "padding": str,
            "resample": bool,
            "stereo": str,
        },
        lambda path, split="evaluate", **options: TauUrbanScenes(path, split, **options),
        _word("train", "evaluate", "test"),
    ),
    "dcase-npy": DataSpec(
        "dcase-npy:FOLDER[:train|val|test]",
        "the pruning papers' X_test.npy and Y_test.npy; test if not said",
        {"classes": int},
        lambda path, split="test", **options: DcaseArrays.open(path, split, **options),
        _word("train", "val", "test"),
    ),
    "esc50": DataSpec(
        "esc50:FOLDER[:FOLDS]",
        "ESC-50; all folds if not said, or some, such as 1,2",
        {"features": str, "sample_rate": int, "stereo": str},
        lambda path, folds=(1, 2, 3, 4, 5), **options: Esc50(path, folds, **options),
        _folds,
    ),
}
"""Name to data set, in the order in which the command line lists them."""

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")


def _value(text: str, kind: type) -> object:
    """Read an option's text."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is int and re.fullmatch(r"\d+", text):
        return int(text)
    if kind is str:
        return None if text.lower() == "none" else text
    raise ValueError("true or false" if kind is bool else "a whole number")


def _options(text: str, known: DataSpec, name: str) -> dict[str, object]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ValueError(
            f"data: what follows '?' must be name=value with '&' between; got {text!r}"
        ) from None
    options = {}
    for key, value in pairs:
        if key not in known.options:
            raise ValueError(f"data: {name} takes {', '.join(known.options)}; got {key!r}")
        try:
            options[key] = _value(value, known.options[key])
        except ValueError as error:
            raise ValueError(f"data: {key} must be {error}; got {value!r}") from None
    return options


def _split_options(rest: str) -> tuple[str, str]:
    """Cut ``?name=value&...`` off, unless a file is called so."""
    found = re.search(r"\?\w+=[^?]*$", rest)
    if found is None or os.path.exists(rest):
        return rest, ""
    return rest[: found.start()], rest[found.start() + 1 :]


def _split_part(rest: str, known: DataSpec, name: str) -> tuple[str, tuple[object, ...]]:
    """Cut the part behind the path off; a path may hold colons of its own."""
    if known.part is None or os.path.exists(rest) or ":" not in rest:
        return rest, ()
    path, _, text = rest.rpartition(":")
    try:
        return path, (known.part(text),)
    except ValueError as error:
        raise ValueError(f"data: the last part of {name}:{rest} {error}") from None


def _call(spec: str, hint: str) -> Any:
    """What the function that ``package.module:function`` names returns."""
    data = call_function(spec, "data", purpose=" that returns the data set", hint=hint)
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    is_map = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if not (isinstance(data, DataLoader) or is_pair or (is_map and not isinstance(data, tuple))):
        raise TypeError(
            f"data: {spec} must return a data set of (input, target) pairs, a pair (inputs, "
            f"targets) or a DataLoader; got {type(data).__name__}"
        )
    return data


def open_data(spec: str, **options: Any) -> Any:
    """Open the data set that a text names.

    Parameters
    ----------
    spec : str
        One of

        - ``audioset-hdf5:FILE`` (`AudioSetHdf5`) and ``audioset-folder:FOLDER`` (`AudioSetFolder`),
          log-mel spectrograms, the input of the PANNs' bodies;
        - ``tau:FOLDER`` or ``tau:FOLDER:SPLIT`` (`TauUrbanScenes`), "evaluate" if not said;
        - ``dcase-npy:FOLDER`` or ``dcase-npy:FOLDER:SPLIT`` (`DcaseArrays`), "test" if not said;
        - ``esc50:FOLDER`` or ``esc50:FOLDER:FOLDS`` (`Esc50`), such as ``esc50:ESC-50:1,2``;
        - ``package.module:function``, a function without arguments that returns a data set.

        Behind ``?`` may stand arguments of the data set, such as
        ``audioset-folder:eval?missing=skip&resample=true``.
    **options
        The same arguments from Python; they go before those in the text.

    Returns
    -------
    Dataset, (inputs, targets) or DataLoader
        What `hubprune.evaluate` and `hubprune.finetune` take; all but a function's result are
        map-style data sets of (input, target) pairs.

    Raises
    ------
    TypeError
        If `spec` is not a str, or names something that is not such a function.
    ImportError
        If the module, or a package that the data set needs, cannot be imported.
    OSError
        If a file is missing or cannot be read.
    RuntimeError
        If the function fails.
    ValueError
        If the text is none of these, or the data set finds a mistake.
    """
    if not isinstance(spec, str):
        raise TypeError(f"data must be a str; got {type(spec).__name__}")
    name, colon, rest = spec.partition(":")
    if name not in KNOWN_DATA:
        close = difflib.get_close_matches(name, KNOWN_DATA, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if _FUNCTION.fullmatch(spec):
            if options:
                raise ValueError(f"data: {spec} takes no options; got {', '.join(options)}")
            return _call(spec, hint)
        if os.path.exists(spec):
            hint = f"; say what {spec!r} is, such as tau:{spec}"
        forms = ", ".join(known.form for known in KNOWN_DATA.values())
        raise ValueError(
            f"data must be one of {forms}, or package.module:function; got {spec!r}{hint}"
        )
    known = KNOWN_DATA[name]
    rest, query = _split_options(rest)
    path, part = _split_part(rest, known, name)
    if not colon or not path:
        raise ValueError(f"data must be {known.form}; got {spec!r}, without a path")
    chosen = {**(_options(query, known, name) if query else {}), **options}
    return known.build(Path(path).expanduser(), *part, **chosen)

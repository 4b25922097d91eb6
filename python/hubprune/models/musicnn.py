# SPDX-License-Identifier: MIT
"""musicnn's VGG, a music tagger on log-mel spectrograms, and its published weights.

Pons & Serra, "musicnn: Pre-trained convolutional neural networks for music audio tagging", ISMIR
2019 (late-breaking session). The weights are in the distribution musicnn 0.1.0 (ISC licence), as a
TensorFlow checkpoint; it is read as data, neither musicnn nor TensorFlow is imported.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hubprune.arguments import check_count
from hubprune.models.checkpoints import StrPath, load_weights, read_checkpoint, vector_length
from hubprune.models.checks import check_input
from hubprune.models.tensorflow_checkpoint import TensorFlowArray, read_tensorflow_checkpoint

__all__ = ["MttVgg", "load_musicnn", "music_log_mel", "musicnn_tags"]

SAMPLE_RATE = 16_000
FRAMES = 187  # three seconds
MEL_BANDS = 96
_FFT_SIZE, _HOP = 512, 256
_TAGS = 50
_WIDTHS = (128,) * 5
# Window and stride of each pool; the first window overlaps along time.
_POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
_DROPOUT = (0.25, 0.25, 0.25, 0.25, 0.5)
_POSITIONS = 2  # along time, what the pools leave of each channel
# A model, and the list of its tags in musicnn's configuration.
_MODELS = {"MTT_vgg": "MTT_LABELS", "MSD_vgg": "MSD_LABELS"}


class MttVgg(nn.Module):
    """MTT_vgg: five 3x3 convolutions and one dense layer that scores 50 tags of MagnaTagATune.

    ``bn0``, then five times ``conv relu bn pool dropout``, then ``flatten classifier``. The pools
    are (4, 1) with stride 2, three times (2, 2), and (4, 4), of (frames, bands); dropout is 0.25,
    after the last pool 0.5.

    Parameters
    ----------
    widths : sequence of five int, default (128, 128, 128, 128, 128)
        Filters of the convolutions.
    tags : int, default 50
        Outputs of the classifier.

    Raises
    ------
    TypeError, ValueError
        If a size is not an int of at least 1, or there are not five widths.

    Notes
    -----
    The feature maps are flattened channels-last, as in TensorFlow. Batch normalisation has
    TensorFlow's epsilon, 1e-3, and momentum, 0.99 (0.01 as PyTorch counts). New weights are drawn
    as PyTorch does by default.

    Examples
    --------
    >>> MttVgg()(torch.zeros(2, 187, 96)).shape
    torch.Size([2, 50])
    """

    def __init__(self, widths: Sequence[int] = _WIDTHS, *, tags: int = _TAGS) -> None:
        if len(widths) != len(_POOLS):
            raise ValueError(f"widths must hold five numbers; got {len(widths)}")
        for index, width in enumerate(widths):
            check_count(width, f"widths[{index}]")
        check_count(tags, "tags")
        super().__init__()
        self.bn0 = nn.BatchNorm2d(1, eps=1e-3, momentum=0.01)
        in_channels = 1
        for number, width in enumerate(widths, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(in_channels, width, 3, padding=1))
            self.add_module(f"bn{number}", nn.BatchNorm2d(width, eps=1e-3, momentum=0.01))
            in_channels = width
        self.classifier = nn.Linear(_POSITIONS * in_channels, tags)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score the tags of three seconds of music.

        Parameters
        ----------
        x : torch.Tensor
            Log-mel energies from `music_log_mel`, shape (batch, 187 frames, 96 mel bands),
            floating point.

        Returns
        -------
        torch.Tensor
            Logits, shape (batch, tags): their sigmoid is musicnn's likelihood of each tag.

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If the shape differs.
        """
        check_input(x, ("batch", FRAMES, MEL_BANDS))
        x = self.bn0(x[:, None])
        for number, ((window, stride), rate) in enumerate(
            zip(_POOLS, _DROPOUT, strict=True), start=1
        ):
            x = F.relu(self.get_submodule(f"conv{number}")(x))
            x = F.max_pool2d(self.get_submodule(f"bn{number}")(x), window, stride)
            x = F.dropout(x, rate, self.training)
        logits: torch.Tensor = self.classifier(x.permute(0, 2, 3, 1).flatten(1))
        return logits


def _musicnn_folder() -> Path:
    """Where musicnn is installed; it is not imported, as it would import TensorFlow."""
    spec = importlib.util.find_spec("musicnn")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise ImportError(
            "the weights of musicnn are not installed; install them with: "
            "pip install --no-deps musicnn==0.1.0"
        )
    return Path(folders[0])


def _check_model(model: str) -> None:
    if model not in _MODELS:
        raise ValueError(f"model must be one of {', '.join(_MODELS)}; got {model!r}")


def musicnn_tags(model: str = "MTT_vgg") -> tuple[str, ...]:
    """Read the names of a model's 50 tags, in the order of its outputs.

    Parameters
    ----------
    model : {"MTT_vgg", "MSD_vgg"}
        As in `load_musicnn`.

    Returns
    -------
    tuple of str

    Raises
    ------
    ImportError
        If musicnn is not installed.
    ValueError
        If the model is unknown, or the file ``configuration.py`` does not list its 50 names.

    Notes
    -----
    The file is parsed, never run.
    """
    _check_model(model)
    listing = _MODELS[model]
    path = _musicnn_folder() / "configuration.py"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path} is not Python: {error}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == listing for target in node.targets
        ):
            try:
                labels = ast.literal_eval(node.value)
            except ValueError:  # an expression, not a list of names: as if there were none
                break
            if (
                isinstance(labels, list)
                and len(labels) == _TAGS
                and all(isinstance(label, str) for label in labels)
            ):
                return tuple(labels)
    raise ValueError(f"{path} must list {_TAGS} names as {listing}")


def music_log_mel(waveforms: torch.Tensor) -> torch.Tensor:
    """Compute the log-mel energies that musicnn's networks take.

    ``log10(10000 m + 1)`` with m the power in 96 mel bands (Slaney's scale, unit area, 0 to 8 kHz)
    of Hann windows of 512 samples, every 256, centred, with zeros beyond the two ends.

    Parameters
    ----------
    waveforms : torch.Tensor
        Sound at 16 kHz in [-1, 1], shape (batch, samples), floating point, at least 47616 samples;
        what lies beyond the first 187 frames is left out.

    Returns
    -------
    torch.Tensor
        Shape (batch, 187, 96), float32.

    Raises
    ------
    ImportError
        If librosa is not installed.
    TypeError, ValueError
        If `waveforms` is not such a tensor.

    Notes
    -----
    As musicnn 0.1.0 computes it with librosa 0.10 and later, but for its rounding of m to float16,
    which overflows from m = 6.5 on; older versions of librosa mirror the sound at its ends.
    """
    check_input(waveforms, ("batch", "samples"), "waveforms")
    if waveforms.shape[1] < (FRAMES - 1) * _HOP:
        raise ValueError(
            f"waveforms must have at least {(FRAMES - 1) * _HOP} samples; got {waveforms.shape[1]}"
        )
    try:
        filters = importlib.import_module("librosa.filters")
    except ImportError as error:
        raise ImportError(
            'the log-mel energies need librosa; install it with: pip install "hubprune[study]"'
        ) from error
    bands = torch.from_numpy(filters.mel(sr=SAMPLE_RATE, n_fft=_FFT_SIZE, n_mels=MEL_BANDS)).to(
        waveforms.device
    )  # (96, 257)
    spectrum = torch.stft(
        waveforms.float(),
        _FFT_SIZE,
        _HOP,
        window=torch.hann_window(_FFT_SIZE, device=waveforms.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )[..., :FRAMES]
    power = bands @ spectrum.abs().square()
    return torch.log10(10_000.0 * power + 1.0).transpose(1, 2).contiguous()


def _tensor(arrays: dict[str, TensorFlowArray], name: str, source: str) -> torch.Tensor:
    if name not in arrays:
        raise ValueError(f"{source} does not fit MttVgg; missing: {name}")
    # A copy in C order, which NumPy's transposes are not.
    return torch.from_numpy(np.ascontiguousarray(arrays[name]))


def _read_tensorflow(path: StrPath) -> dict[str, torch.Tensor]:
    source = os.fspath(path)
    arrays = read_tensorflow_checkpoint(path)
    state: dict[str, torch.Tensor] = {}
    for number in range(len(_POOLS) + 1):
        # TensorFlow numbers the unnamed layers in the order in which they are made.
        normalisation = "batch_normalization" + (f"_{number}" if number else "")
        for entry, name in (
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ):
            state[f"bn{number}.{entry}"] = _tensor(arrays, f"{normalisation}/{name}", source)
        if number:
            kernel = _tensor(arrays, f"{number}CNN/kernel", source)
            if kernel.ndim != 4:
                raise ValueError(
                    f"{source}: {number}CNN/kernel must have four dimensions; got shape "
                    f"{tuple(kernel.shape)}"
                )
            # (height, width, in, out) to (out, in, height, width)
            state[f"conv{number}.weight"] = kernel.permute(3, 2, 0, 1)
            state[f"conv{number}.bias"] = _tensor(arrays, f"{number}CNN/bias", source)
    kernel = _tensor(arrays, "dense/kernel", source)
    if kernel.ndim != 2:
        raise ValueError(
            f"{source}: dense/kernel must have two dimensions; got shape {tuple(kernel.shape)}"
        )
    # No positions here: the network flattens channels-last, as TensorFlow does.
    state["classifier.weight"] = kernel.T
    state["classifier.bias"] = _tensor(arrays, "dense/bias", source)
    return state


def load_musicnn(path: StrPath | None = None, model: str = "MTT_vgg") -> MttVgg:
    """Load a pretrained music tagger of musicnn.

    Parameters
    ----------
    path : str, os.PathLike or None
        A TensorFlow checkpoint (the ``.index`` file, or the folder that holds one without a name,
        as musicnn's do), or a state dict of `MttVgg` of any widths (``torch.save`` or
        safetensors). None: the installed distribution musicnn.
    model : {"MTT_vgg", "MSD_vgg"}
        Which of the distribution's networks of this architecture, trained on MagnaTagATune and on
        the Million Song Dataset; musicnn 0.1.0 calls the second unfinished.

    Returns
    -------
    MttVgg
        In evaluation mode, on the CPU.

    Raises
    ------
    OSError
        If a file cannot be read.
    ImportError
        If `path` is None and musicnn is not installed, or google-crc32c is not.
    ValueError
        If the model is unknown, the file is no such file, is damaged, would have to run pickled
        code, or does not fit; the message names what is missing, unexpected or misshaped.
    """
    _check_model(model)
    if path is None:
        path = _musicnn_folder() / model
    if os.path.isdir(path):
        path = os.path.join(path, ".index")
    source = os.fspath(path)
    state = _read_tensorflow(path) if source.endswith(".index") else read_checkpoint(path)
    widths = [
        vector_length(state, f"conv{number}.bias", usual)
        for number, usual in enumerate(_WIDTHS, start=1)
    ]
    tags = vector_length(state, "classifier.bias", _TAGS)
    with torch.device("meta"):
        network = MttVgg(widths, tags=tags)
    load_weights(network, state, source)
    return network.eval()

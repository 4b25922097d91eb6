# SPDX-License-Identifier: MIT
"""The baseline network of DCASE 2021 Task 1A (acoustic scenes), and its published Keras weights."""

from __future__ import annotations

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

__all__ = ["Dcase21Baseline", "load_dcase21", "load_keras"]

_KERNEL = (7, 7)
_POSITIONS = 2  # (40 / 5 / 4) x (500 / 5 / 100), what the pools leave of each channel


class Dcase21Baseline(nn.Module):
    """The DCASE 2021 Task 1A baseline: three 7x7 convolutions and two dense layers.

    ``conv1 bn1 relu conv2 bn2 relu pool(5, 5) conv3 bn3 relu pool(4, 100) flatten fc1 relu fc2``,
    with dropout of 0.3 after each pool and after fc1. 46,118 parameters; 46,246, as Keras
    counts, with the batch normalisations' running statistics.

    Parameters
    ----------
    filters : sequence of three int, default (16, 16, 32)
        Filters of the convolutions; the published pruned models have for example (11, 11, 22).
    hidden : int, default 100
        Units of fc1.
    classes : int, default 10
        Units of fc2.

    Raises
    ------
    TypeError, ValueError
        If a size is not an int of at least 1, or there are not three filters.

    Notes
    -----
    The output is the logits; the Keras model ends with their softmax. Batch normalisation has
    Keras's epsilon, 1e-3, and momentum, 0.99 (0.01 as PyTorch counts). New weights are drawn as in
    Keras: Glorot uniform, zero bias.

    Examples
    --------
    >>> model = Dcase21Baseline()
    >>> model(torch.zeros(1, 1, 40, 500)).shape
    torch.Size([1, 10])
    >>> sum(v.numel() for k, v in model.state_dict().items() if "num_batches" not in k)
    46246
    """

    output_kind: ClassVar[str] = "logits"
    """What `forward` returns."""

    def __init__(
        self, filters: Sequence[int] = (16, 16, 32), *, hidden: int = 100, classes: int = 10
    ) -> None:
        if len(filters) != 3:
            raise ValueError(f"filters must hold three numbers; got {len(filters)}")
        for index, count in enumerate(filters):
            check_count(count, f"filters[{index}]")
        check_count(hidden, "hidden")
        check_count(classes, "classes")
        super().__init__()
        first, second, third = filters
        self.conv1 = nn.Conv2d(1, first, _KERNEL, padding=3)
        self.bn1 = nn.BatchNorm2d(first, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(first, second, _KERNEL, padding=3)
        self.bn2 = nn.BatchNorm2d(second, eps=1e-3, momentum=0.01)
        self.conv3 = nn.Conv2d(second, third, _KERNEL, padding=3)
        self.bn3 = nn.BatchNorm2d(third, eps=1e-3, momentum=0.01)
        self.fc1 = nn.Linear(_POSITIONS * third, hidden)
        self.fc2 = nn.Linear(hidden, classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score scenes.

        Parameters
        ----------
        x : torch.Tensor
            Log-mel energies, shape (batch, 1, 40 mel bands, 500 frames), floating point.

        Returns
        -------
        torch.Tensor
            Logits, shape (batch, classes).

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If the shape differs.
        """
        check_input(x, ("batch", 1, 40, 500))
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.dropout(F.max_pool2d(x, (5, 5)), 0.3, self.training)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.dropout(F.max_pool2d(x, (4, 100)), 0.3, self.training)
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.dropout(x, 0.3, self.training)
        logits: torch.Tensor = self.fc2(x)
        return logits


def load_keras(path: StrPath) -> Dcase21Baseline:
    """Load published Keras weights of the baseline, pruned or not.

    Parameters
    ----------
    path : str or os.PathLike
        HDF5 (weights or a whole model) or ``.npy`` (the weight list), of 22 arrays: kernel, bias,
        gamma, beta, moving mean and moving variance of each convolution, kernel and bias of each
        dense layer.

    Returns
    -------
    Dcase21Baseline
        In evaluation mode, on the CPU, float32, with as many filters and units as the arrays have.

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If it is HDF5 and h5py is not installed.
    ValueError
        If it is no such file, would have to run pickled code, or an array does not fit; the
        message names the array.

    Notes
    -----
    Kernels go from H W I O to O I H W. Keras flattens height, width, channels; the columns of fc1
    are put in PyTorch's order, so that each channel's two are neighbours.
    """
    weights = KerasWeights(path)
    state: dict[str, torch.Tensor] = {}
    filters: list[int] = []
    in_channels = 1
    for number in (1, 2, 3):
        state |= weights.take_conv(f"conv{number}", _KERNEL, in_channels)
        in_channels = len(state[f"conv{number}.bias"])
        state |= weights.take_batch_norm(f"bn{number}", in_channels)
        filters.append(in_channels)
    state |= weights.take_dense("fc1", _POSITIONS * in_channels, positions=_POSITIONS)
    hidden = len(state["fc1.bias"])
    state |= weights.take_dense("fc2", hidden)
    weights.finish()
    return _build(filters, hidden, len(state["fc2.bias"]), state, weights.source)


def _build(
    filters: Sequence[int], hidden: int, classes: int, state: dict[str, torch.Tensor], source: str
) -> Dcase21Baseline:
    with torch.device("meta"):
        model = Dcase21Baseline(filters, hidden=hidden, classes=classes)
    load_weights(model, state, source)
    return model.eval()


def load_dcase21(path: StrPath) -> Dcase21Baseline:
    """Load the baseline from Keras weights or from a PyTorch checkpoint.

    Parameters
    ----------
    path : str or os.PathLike
        What `load_keras` takes, or a state dict of `Dcase21Baseline` (``torch.save`` or
        safetensors), pruned or not.

    Returns
    -------
    Dcase21Baseline
        In evaluation mode, on the CPU.

    Raises
    ------
    OSError, ImportError, ValueError
        As `load_keras`; a state dict that does not fit is told by name.
    """
    if file_format(path) in ("hdf5", "npy"):
        return load_keras(path)
    state = read_checkpoint(path)
    return _build(
        [
            vector_length(state, name, usual)
            for name, usual in (("conv1.bias", 16), ("conv2.bias", 16), ("conv3.bias", 32))
        ],
        vector_length(state, "fc1.bias", 100),
        vector_length(state, "fc2.bias", 10),
        state,
        os.fspath(path),
    )

# SPDX-License-Identifier: MIT
"""VGGish, with the convolutions of the similarity papers and three heads.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017. The keys are
those of the common PyTorch port (``features.0.weight`` ... ``embeddings.4.bias``).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import torch
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

__all__ = ["Vggish", "load_vggish"]

_FILTERS = (64, 128, 256, 256, 512, 512)
_POOL_AFTER = (True, True, False, True, False, True)
_CONV_INDICES = (0, 3, 6, 8, 11, 13)
"""Where the convolutions stand in ``features``, between the ReLUs and the pools."""
_FRAMES, _MEL_BANDS = 96, 64
_POSITIONS = (_FRAMES // 16) * (_MEL_BANDS // 16)
_HEADS = ("embedding", "scenes", "pooled")


class Vggish(nn.Module):
    """VGGish: six 3x3 convolutions with ReLU, four 2x2 maximum pools, and a head.

    Parameters
    ----------
    classes : int or None
        Classes of the head; None with the embedding head only.
    head : {"embedding", "scenes", "pooled"} or None
        ``"embedding"``: dense 4096, 4096, 128, each with ReLU, the published VGGish.
        ``"scenes"``: dense 4096, 128 with ReLU, then `classes`, the scene classifier of the
        similarity papers. ``"pooled"``: mean over time and frequency, then `classes`; takes other
        sizes of input too. None: "embedding" without `classes`, "pooled" with.
    filters : sequence of six int, default (64, 128, 256, 256, 512, 512)
        Filters of the convolutions.

    Raises
    ------
    TypeError, ValueError
        If a size is not an int of at least 1, there are not six filters, the head is unknown, or
        `classes` is missing or out of place.

    Notes
    -----
    VGGish flattens the last feature maps channels-last: the columns of one channel in the first
    dense layer are not neighbours, which `hubprune.plan` finds out by probing. Classifiers give
    logits. New weights are drawn as PyTorch does by default.

    Examples
    --------
    >>> model = Vggish(classes=10, filters=(4, 4, 8, 8, 8, 8))
    >>> model(torch.zeros(1, 1, 96, 64)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        classes: int | None = None,
        *,
        head: str | None = None,
        filters: Sequence[int] = _FILTERS,
    ) -> None:
        if head is None:
            head = "embedding" if classes is None else "pooled"
        if head not in _HEADS:
            raise ValueError(f"head must be one of {', '.join(_HEADS)} or None; got {head!r}")
        if head == "embedding" and classes is not None:
            raise ValueError(f"the embedding head has no classes; got classes={classes}")
        if len(filters) != len(_FILTERS):
            raise ValueError(f"filters must hold six numbers; got {len(filters)}")
        for index, count in enumerate(filters):
            check_count(count, f"filters[{index}]")
        super().__init__()
        self.head = head
        layers: list[nn.Module] = []
        in_channels = 1
        for out_channels, pooled in zip(filters, _POOL_AFTER, strict=True):
            layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()]
            if pooled:
                layers.append(nn.MaxPool2d(2))
            in_channels = out_channels
        self.features = nn.Sequential(*layers)
        if head == "pooled":
            self.embeddings = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            width = in_channels
        else:
            hidden = (4096, 4096, 128) if head == "embedding" else (4096, 128)
            dense: list[nn.Module] = [
                nn.Linear(_POSITIONS * in_channels, hidden[0]),
                nn.ReLU(),
            ]
            for before, after in itertools.pairwise(hidden):
                dense += [nn.Linear(before, after), nn.ReLU()]
            # The flatten stands outside, so that the dense layers have the published numbers.
            self.embeddings = nn.Sequential(*dense)
            width = hidden[-1]
        if head != "embedding":
            if classes is None:
                raise ValueError(f"head {head!r} needs classes")
            check_count(classes, "classes")
            self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed or classify log-mel patches.

        Parameters
        ----------
        x : torch.Tensor
            Log-mel energies, shape (batch, 1, 96 frames, 64 mel bands), floating point; with the
            pooled head any frames and mel bands from 16.

        Returns
        -------
        torch.Tensor
            Embeddings, shape (batch, 128), or logits, shape (batch, classes).

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If the shape differs.
        """
        if self.head == "pooled":
            check_input(x, ("batch", 1, "frames", "mel bands"))
            if min(x.shape[2], x.shape[3]) < 16:
                raise ValueError(
                    f"x must have at least 16 frames and 16 mel bands; got shape {tuple(x.shape)}"
                )
            x = self.embeddings(self.features(x))
        else:
            check_input(x, ("batch", 1, _FRAMES, _MEL_BANDS))
            x = self.embeddings(self.features(x).permute(0, 2, 3, 1).flatten(1))
        if self.head != "embedding":
            x = self.classifier(x)
        return x


def _load_keras(path: StrPath) -> Vggish:
    weights = KerasWeights(path)
    state: dict[str, torch.Tensor] = {}
    filters: list[int] = []
    in_channels = 1
    for index in _CONV_INDICES:
        state |= weights.take_conv(f"features.{index}", (3, 3), in_channels)
        in_channels = len(state[f"features.{index}.bias"])
        filters.append(in_channels)
    # No positions here: the network flattens channels-last, as Keras does.
    state |= weights.take_dense("embeddings.0", _POSITIONS * in_channels, 4096)
    state |= weights.take_dense("embeddings.2", 4096, 128)
    state |= weights.take_dense("classifier", 128)
    weights.finish()
    with torch.device("meta"):
        model = Vggish(len(state["classifier.bias"]), head="scenes", filters=filters)
    load_weights(model, state, weights.source)
    return model.eval()


def load_vggish(path: StrPath) -> Vggish:
    """Load VGGish from a PyTorch checkpoint or from the published Keras weights.

    Parameters
    ----------
    path : str or os.PathLike
        A state dict with the keys of the common PyTorch port, or of this class with any head
        (``torch.save`` or safetensors); or the 18 arrays of the similarity papers' scene
        classifier, as HDF5 or ``.npy``.

    Returns
    -------
    Vggish
        In evaluation mode, on the CPU, with the head and the filters of the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If it is HDF5 and h5py is not installed.
    ValueError
        If it is no such file, would have to run pickled code, or does not fit; the message names
        what is missing, unexpected or misshaped.
    """
    if file_format(path) in ("hdf5", "npy"):
        return _load_keras(path)
    state = read_checkpoint(path)
    filters = [
        vector_length(state, f"features.{index}.bias", usual)
        for index, usual in zip(_CONV_INDICES, _FILTERS, strict=True)
    ]
    classes, head = None, "embedding"
    if "classifier.bias" in state:
        classes = vector_length(state, "classifier.bias", 1)
        head = "scenes" if "embeddings.0.weight" in state else "pooled"
    with torch.device("meta"):
        model = Vggish(classes, head=head, filters=filters)
    load_weights(model, state, os.fspath(path))
    return model.eval()

# SPDX-License-Identifier: MIT
"""The PANNs audio tagging networks CNN14, CNN10 and CNN6.

Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
IEEE/ACM Transactions on Audio, Speech and Language Processing, 2020.

The body (everything that is trained) is separate from the front end (`log_mel`, fixed), so that the
body can be pruned, exported and timed alone. Together they carry the keys of the official
checkpoints. The training-time augmentations of the papers (SpecAugment, mixup) have no weights and
take no part in inference: the bodies leave them out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from hubprune.arguments import check_count
from hubprune.models.checkpoints import StrPath, load_weights, read_checkpoint, vector_length
from hubprune.models.checks import check_input
from hubprune.models.log_mel import FRONT_ENDS, MEL_BINS, front_end_at

__all__ = ["AudioTagger", "Cnn6", "Cnn10", "Cnn14", "PannsBody", "load_panns"]

_FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    """A "same" convolution without bias, initialised as the authors do."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv


def _dense(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer, initialised as the authors do."""
    dense = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return dense


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and ReLU (CNN10, CNN14)."""

    convs: ClassVar[int] = 2

    def __init__(self, in_channels: int, between: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, between, 3)
        self.conv2 = _convolution(between, out_channels, 3)
        self.bn1 = nn.BatchNorm2d(between)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h, w)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class ConvBlock5x5(nn.Module):
    """One 5x5 convolution with batch normalisation and ReLU (CNN6)."""

    convs: ClassVar[int] = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels, 5)
        self.bn1 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h, w)."""
        return F.relu(self.bn1(self.conv1(x)))


class PannsBody(nn.Module):
    """What CNN14, CNN10 and CNN6 share: everything behind the log-mel spectrogram.

    Batch normalisation over the mel bins, convolution blocks with 2x2 average pooling, mean over
    frequency, maximum plus mean over time, a hidden layer, and independent sigmoids.

    Parameters
    ----------
    classes_num : int, default 527
        Outputs; 527 are AudioSet's classes.
    filters : sequence of int or None, default None
        Filters of every convolution in order; None: as published. A pruned network has fewer, such
        as the published E-PANNs: `Cnn14` with ``(64, 64, 128, 128, 256, 256, 256, 256, 512, 512,
        1024, 1024)``.
    hidden : int or None, default None
        Units of the hidden layer; None: as published.

    Raises
    ------
    TypeError, ValueError
        If a size is not an int of at least 1, or there are not as many as convolutions.
    """

    widths: ClassVar[tuple[int, ...]]
    """Filters of each block."""
    pooled_blocks: ClassVar[int]
    """How many of the blocks, from the first, are followed by 2x2 average pooling."""
    block: ClassVar[type[ConvBlock] | type[ConvBlock5x5]]
    """The kind of block."""

    def __init__(
        self,
        classes_num: int = 527,
        *,
        filters: Sequence[int] | None = None,
        hidden: int | None = None,
    ) -> None:
        check_count(classes_num, "classes_num")
        convs = self.block.convs
        if filters is None:
            filters = [width for width in self.widths for _ in range(convs)]
        if len(filters) != convs * len(self.widths):
            raise ValueError(
                f"filters must hold {convs * len(self.widths)} numbers for {type(self).__name__}; "
                f"got {len(filters)}"
            )
        for index, count in enumerate(filters):
            check_count(count, f"filters[{index}]")
        if hidden is None:
            hidden = self.widths[-1]
        check_count(hidden, "hidden")
        super().__init__()
        self.bn0 = nn.BatchNorm2d(MEL_BINS)
        in_channels = 1
        for number in range(1, len(self.widths) + 1):
            own = filters[convs * (number - 1) : convs * number]
            self.add_module(f"conv_block{number}", self.block(in_channels, *own))
            in_channels = own[-1]
        self.fc1 = _dense(in_channels, hidden)
        self.fc_audioset = _dense(hidden, classes_num)

    @property
    def min_frames(self) -> int:
        """The fewest frames that survive the pooling."""
        return int(2**self.pooled_blocks)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Tag log-mel spectrograms.

        Parameters
        ----------
        x : torch.Tensor
            Log-mel power in dB, shape (batch, 1, frames, 64), floating point.

        Returns
        -------
        dict of str to torch.Tensor
            ``"clipwise_output"``, shape (batch, classes_num), the probability of each class, and
            ``"embedding"``, shape (batch, units of the hidden layer).

        Raises
        ------
        TypeError
            If `x` is not a floating-point tensor.
        ValueError
            If the shape differs, or there are fewer than `min_frames` frames.
        """
        check_input(x, ("batch", 1, "frames", MEL_BINS))
        if x.shape[2] < self.min_frames:
            raise ValueError(
                f"x must have at least {self.min_frames} frames for {type(self).__name__}; "
                f"got {x.shape[2]} (shape {tuple(x.shape)})"
            )
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for number in range(1, len(self.widths) + 1):
            x = self.get_submodule(f"conv_block{number}")(x)
            if number <= self.pooled_blocks:
                x = F.avg_pool2d(x, 2)
            x = F.dropout(x, 0.2, self.training)
        x = x.mean(dim=3)
        x = x.amax(dim=2) + x.mean(dim=2)
        x = F.dropout(x, 0.5, self.training)
        x = F.relu(self.fc1(x))
        embedding = F.dropout(x, 0.5, self.training)
        # The classifier reads the activations before that dropout, as the authors' code does.
        return {"clipwise_output": torch.sigmoid(self.fc_audioset(x)), "embedding": embedding}


class Cnn14(PannsBody):
    """CNN14 without its front end: 12 convolutions in 6 blocks, 80,753,615 parameters.

    Parameters, input and output as in `PannsBody`. Keys as in ``Cnn14_mAP=0.431.pth``.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     body = Cnn14()
    >>> sum(parameter.numel() for parameter in body.parameters())
    80753615
    """

    widths = (64, 128, 256, 512, 1024, 2048)
    pooled_blocks = 5
    block = ConvBlock


class Cnn10(PannsBody):
    """CNN10 without its front end: 8 convolutions in 4 blocks, 5,219,279 parameters.

    Parameters, input and output as in `PannsBody`. Keys as in ``Cnn10_mAP=0.380.pth``.
    """

    widths = (64, 128, 256, 512)
    pooled_blocks = 4
    block = ConvBlock


class Cnn6(PannsBody):
    """CNN6 without its front end: 4 convolutions of 5x5, 4,837,455 parameters.

    Parameters, input and output as in `PannsBody`. Keys as in ``Cnn6_mAP=0.343.pth``.
    """

    widths = (64, 128, 256, 512)
    pooled_blocks = 4
    block = ConvBlock5x5


class AudioTagger(nn.Module):
    """A front end and a body: from the waveform to the tags.

    Its `load_state_dict` also takes an official PANNs checkpoint as it is, with ``strict=True``:
    there the names of the front end and of the body stand side by side, without the prefixes
    ``frontend.`` and ``body.``.

    Parameters
    ----------
    frontend : torch.nn.Module
        Waveform (batch, samples) to features, such as `LogMel`.
    body : torch.nn.Module
        Features to the output, such as `Cnn14`.
    """

    def __init__(self, frontend: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend
        self.body = body

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # In place, because the children read the same mapping afterwards.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key[len(prefix) :]
            if not name.startswith(("frontend.", "body.")):
                part = "frontend." if name.startswith(_FRONT_END) else "body."
                state_dict[f"{prefix}{part}{name}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Tag waveforms.

        Parameters
        ----------
        waveform : torch.Tensor
            Shape (batch, samples) at the front end's sample rate.

        Returns
        -------
        dict of str to torch.Tensor
            What the body returns.
        """
        tags: dict[str, torch.Tensor] = self.body(self.frontend(waveform))
        return tags


_BODIES: dict[str, type[PannsBody]] = {"cnn14": Cnn14, "cnn10": Cnn10, "cnn6": Cnn6}


def _recognise(names: set[str], source: str) -> type[PannsBody]:
    """Tell the three networks apart by the blocks that a checkpoint names."""
    if "conv_block1.conv1.weight" not in names:
        raise ValueError(
            f"{source} is not a checkpoint of Cnn14, Cnn10 or Cnn6: "
            "it has no conv_block1.conv1.weight"
        )
    if any(name.startswith(("conv_block5.", "conv_block6.")) for name in names):
        return Cnn14
    return Cnn10 if "conv_block1.conv2.weight" in names else Cnn6


def _filters(weights: Mapping[str, torch.Tensor], body: type[PannsBody]) -> list[int]:
    """Read the filters of every convolution from its weight, or take the published number."""
    filters = []
    for number, usual in enumerate(body.widths, start=1):
        for layer in range(1, body.block.convs + 1):
            weight = weights.get(f"conv_block{number}.conv{layer}.weight")
            filters.append(usual if weight is None or weight.ndim != 4 else len(weight))
    return filters


def load_panns(path: StrPath, model: str | None = None, *, sample_rate: int = 32000) -> PannsBody:
    """Load the body of a PANNs checkpoint, pruned or not.

    Parameters
    ----------
    path : str or os.PathLike
        An official checkpoint, ``{"model": state_dict}``, or a bare state dict, with or without
        the front end's entries; also one of an `AudioTagger`.
    model : {"Cnn14", "Cnn10", "Cnn6"} or None
        Which network it is, in any case of letters. None: told by the names in the file.
    sample_rate : {32000, 16000, 8000}, default 32000
        Hz, that the network was trained at. 16000 and 8000 are ``Cnn14_16k`` and ``Cnn14_8k``,
        whose body is `Cnn14`; their front end is ``LogMel.at(sample_rate)``.

    Returns
    -------
    PannsBody
        A `Cnn14`, `Cnn10` or `Cnn6` in evaluation mode, on the CPU, with as many filters, hidden
        units and classes as the file has.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If `model` or `sample_rate` is unknown, the file is no checkpoint, would have to run pickled
        code, or does not fit: the message names what is missing, unexpected or misshaped. Also if
        the file's front end is another one than that of `sample_rate`.

    Notes
    -----
    The decision-level variants (``Cnn14_DecisionLevelMax`` and others) have the names and shapes
    of `Cnn14` but another forward pass; no look at the weights can tell.

    The published E-PANNs checkpoint (``checkpoint_closeto_.44.pt``) is a bare state dict with the
    same names and half the filters from conv_block4 on. The class in its demonstration
    (github.com/Arshdeep-Singh-Boparai/E-PANNs, sed_demo/models.py) ends in a softmax over the
    classes; here, as in every network of this module, they are independent sigmoids of the same
    logits.
    """
    if model is not None and model.lower() not in _BODIES:
        known = ", ".join(body.__name__ for body in _BODIES.values())
        raise ValueError(f"model must be one of {known} or None; got {model!r}")
    window, _, _ = front_end_at(sample_rate)
    source = os.fspath(path)
    state = read_checkpoint(path)
    if any(name.startswith("body.") for name in state):
        state = {
            name.removeprefix("frontend.").removeprefix("body."): value
            for name, value in state.items()
        }
    mel = state.get("logmel_extractor.melW")
    if mel is not None and tuple(mel.shape) != (window // 2 + 1, MEL_BINS):
        other = [
            rate
            for rate, (size, _, _) in FRONT_ENDS.items()
            if rate != sample_rate and tuple(mel.shape) == (size // 2 + 1, MEL_BINS)
        ]
        hint = f" (pass sample_rate={other[0]})" if other else ""
        raise ValueError(
            f"{source}: logmel_extractor.melW must have shape ({window // 2 + 1}, {MEL_BINS}), "
            f"the front end at {sample_rate} Hz; got shape {tuple(mel.shape)}{hint}"
        )
    weights = {name: value for name, value in state.items() if not name.startswith(_FRONT_END)}
    body_class = _recognise(set(weights), source) if model is None else _BODIES[model.lower()]
    with torch.device("meta"):
        body = body_class(
            vector_length(weights, "fc_audioset.bias", 527),
            filters=_filters(weights, body_class),
            hidden=vector_length(weights, "fc1.bias", body_class.widths[-1]),
        )
    load_weights(body, weights, source)
    return body.eval()

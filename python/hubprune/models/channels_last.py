# SPDX-License-Identifier: MIT
"""The linear layer behind a channels-last flatten, kept so that its channels can be cut.

VGGish and CREPE come from TensorFlow, where feature maps of shape (batch, height, width, channels)
are flattened with the channel running fastest; their PyTorch checkpoints keep that order.
Structural pruning works on PyTorch's own order, where the columns of one channel are neighbours:
Torch-Pruning maps channel i to the columns [i * positions, (i + 1) * positions) whatever
permutation came before, and would cut the wrong columns without a word. So the live weight is
channel-major, and only the *stored* weight (`state_dict`) has the published order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hubprune.models.checks import check_positive

__all__ = ["ChannelsLastLinear", "channel_major", "position_major"]


def channel_major(weight: torch.Tensor, positions: int) -> torch.Tensor:
    """Reorder the columns of a dense weight from channels-last to channels-first.

    ``out[:, c * positions + p] = weight[:, p * channels + c]``

    Parameters
    ----------
    weight : torch.Tensor
        Shape (out, positions * channels), any dtype.
    positions : int
        Height times width of the feature maps that were flattened.

    Returns
    -------
    torch.Tensor
        Shape (out, channels * positions), contiguous, same dtype.

    Examples
    --------
    >>> channel_major(torch.tensor([[0, 10, 1, 11, 2, 12]]), positions=3).tolist()
    [[0, 1, 2, 10, 11, 12]]
    """
    out, columns = weight.shape
    blocks = weight.reshape(out, positions, columns // positions)
    return blocks.transpose(1, 2).flatten(1).contiguous()


def position_major(weight: torch.Tensor, positions: int) -> torch.Tensor:
    """Reorder the columns of a dense weight from channels-first to channels-last.

    The inverse of `channel_major`.

    Parameters
    ----------
    weight : torch.Tensor
        Shape (out, channels * positions), any dtype.
    positions : int
        Height times width of the feature maps that were flattened.

    Returns
    -------
    torch.Tensor
        Shape (out, positions * channels), contiguous, same dtype.

    Examples
    --------
    >>> position_major(torch.tensor([[0, 1, 2, 10, 11, 12]]), positions=3).tolist()
    [[0, 10, 1, 11, 2, 12]]
    """
    out, columns = weight.shape
    blocks = weight.reshape(out, columns // positions, positions)
    return blocks.transpose(1, 2).flatten(1).contiguous()


class ChannelsLastLinear(nn.Linear):
    """A linear layer over flattened feature maps, stored in channels-last order.

    `forward` takes PyTorch's own flatten (channel-major). `state_dict` writes, and
    `load_state_dict` reads, the columns in channels-last order, before and after pruning.

    Parameters
    ----------
    channels : int
        Channels of the feature maps.
    positions : int
        Their height times width.
    out_features : int
        Outputs of the layer.

    Raises
    ------
    TypeError, ValueError
        If a size is not an int of at least 1.

    Notes
    -----
    The entry of `state_dict` is a copy, not a view of the parameter.
    """

    positions: int

    def __init__(self, channels: int, positions: int, out_features: int) -> None:
        check_positive("channels", channels)
        check_positive("positions", positions)
        check_positive("out_features", out_features)
        super().__init__(channels * positions, out_features)
        self.positions = positions

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        key = prefix + "weight"
        destination[key] = position_major(destination[key], self.positions)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        key = prefix + "weight"
        weight = state_dict.get(key)
        # A weight that does not even divide is left alone: the caller's shape error names it.
        if (
            isinstance(weight, torch.Tensor)
            and weight.ndim == 2
            and weight.shape[1] % self.positions == 0
        ):
            state_dict = {**state_dict, key: channel_major(weight, self.positions)}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Say the number of positions beside what `torch.nn.Linear` says."""
        return f"{super().extra_repr()}, positions={self.positions}"

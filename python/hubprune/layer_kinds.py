# SPDX-License-Identifier: MIT
"""What a layer is: which modules make channels, pass them on or mix them, and how many they have.

Everything that looks at the layers of a model (finding what belongs together, cutting, counting,
compensating) asks here which kind a layer is, so that a kind that is added is known everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = [
    "BATCH_NORMS",
    "CONVOLUTIONS",
    "INPUT_WEIGHTS",
    "MIXING_NORMS",
    "NORMS",
    "RECURRENT",
    "TRANSPOSED",
    "channel_axis",
    "is_attention_projection",
    "is_channelwise",
    "is_depthwise",
    "is_grouped",
    "is_producer",
    "owner_and_leaf",
    "side_size",
    "sizes",
    "uncuttable",
]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""The layers whose output filters are pruned by default."""

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
INPUT_WEIGHTS = ("weight_ih_l0", "weight_ih_l0_reverse", "weight_ih")
"""The matrices (rows, input features) through which a recurrent layer reads its input."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm)
NORMS = (*BATCH_NORMS, *_INSTANCE_NORMS, *MIXING_NORMS)


def is_depthwise(module: nn.Module) -> bool:
    """Whether each output channel of this convolution sees its own input channel only."""
    return (
        isinstance(module, CONVOLUTIONS)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def is_producer(module: nn.Module) -> bool:
    """Whether the layer makes channels of its own, and reads all those of its input."""
    return isinstance(module, (*CONVOLUTIONS, nn.Linear)) and not is_depthwise(module)


def is_channelwise(module: nn.Module) -> bool:
    """Whether the layer passes every channel on, with parameters of its own per channel."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == module.num_channels
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    return is_depthwise(module) or isinstance(module, (*BATCH_NORMS, *_INSTANCE_NORMS))


def is_grouped(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONS) and module.groups > 1 and not is_depthwise(module)


def is_attention_projection(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the layer of this name is one of an attention layer, which is not cut."""
    owner, leaf = owner_and_leaf(name)
    return bool(leaf) and isinstance(modules.get(owner), nn.MultiheadAttention)


def sizes(module: nn.Module) -> dict[str, int]:
    """The integer attributes of a layer that change when it is cut.

    Parameters
    ----------
    module : torch.nn.Module
        Any module.

    Returns
    -------
    dict of str to int
        Attribute name to value; empty for a module that is never cut.

    Examples
    --------
    >>> sizes(nn.Linear(3, 2))
    {'in_features': 3, 'out_features': 2}
    """
    if isinstance(module, CONVOLUTIONS):
        names = ["in_channels", "out_channels", "groups"]
    elif isinstance(module, nn.Linear):
        names = ["in_features", "out_features"]
    elif isinstance(module, (*BATCH_NORMS, *_INSTANCE_NORMS)):
        names = ["num_features"]
    elif isinstance(module, nn.GroupNorm):
        names = ["num_channels", "num_groups"]
    elif isinstance(module, nn.PReLU):
        names = ["num_parameters"]
    elif isinstance(module, RECURRENT):
        names = ["input_size"]
    else:
        names = []
    return {name: int(getattr(module, name)) for name in names}


def side_size(module: nn.Module, side: str) -> int | None:
    """Channels on one side of a layer; None if it has no such side."""
    known = sizes(module)
    names: tuple[str, ...] = ()
    if is_channelwise(module):
        if side == "channels":
            names = ("num_features", "num_channels", "num_parameters", "out_channels")
    elif side == "out":
        names = ("out_channels", "out_features")
    elif side == "in":
        names = ("in_channels", "in_features", "input_size")
    return next((known[n] for n in names if n in known), None)


def channel_axis(module: nn.Module, x: torch.Tensor) -> int:
    """Which axis of the layer's input or output counts its channels."""
    if isinstance(module, CONVOLUTIONS):
        return x.dim() - len(module.kernel_size) - 1
    if isinstance(module, _INSTANCE_NORMS):
        spatial = 1 + next(i for i, kind in enumerate(_INSTANCE_NORMS) if isinstance(module, kind))
        return x.dim() - spatial - 1
    if isinstance(module, (nn.Linear, *RECURRENT)):
        return x.dim() - 1
    return min(1, x.dim() - 1)


def uncuttable(module: nn.Module) -> str | None:
    """Why the parameters of a layer cannot be replaced by smaller ones, or None."""
    if parametrize.is_parametrized(module):
        names = list(module.parametrizations)  # type: ignore[arg-type]
        return (
            "is parametrized: call torch.nn.utils.parametrize.remove_parametrizations(layer, "
            f"'{names[0]}') first"
        )
    hook_made = (
        "has a weight that a hook recomputes: call torch.nn.utils.prune.remove (for a mask), "
        "remove_weight_norm or remove_spectral_norm first"
    )
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return None if module._parameters.get("weight") is not None else hook_made
    if isinstance(module, nn.RNNBase):
        return None if module._parameters.get("weight_ih_l0") is not None else hook_made
    return None


def owner_and_leaf(name: str) -> tuple[str, str]:
    """The module's name and the own name of a parameter, from its qualified name."""
    owner, _, leaf = name.rpartition(".")
    return owner, leaf

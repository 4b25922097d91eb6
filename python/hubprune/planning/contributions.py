# SPDX-License-Identifier: MIT
"""How much of each filter the network hears: what a scorer may weigh its filters by."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from ..channels.groups import ChannelGroups
from ..layer_kinds import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED

__all__ = ["contribution_scales"]


def contribution_scales(
    groups: ChannelGroups, modules: Mapping[str, nn.Module]
) -> dict[str, torch.Tensor]:
    """Return, for every layer, how much of each filter the network hears: (n,), float64.

    |gamma| of the first batch norm that its channel passes, times the norm of the weights with
    which the next layers read it; a factor is 1 where there is none.
    """
    gamma: dict[int, float] = {}
    heard: dict[int, float] = {}
    for (target, side, dim), units in groups.sides.items():
        module = modules.get(target)
        if side == "channels" and isinstance(module, BATCH_NORMS) and module.weight is not None:
            for unit, value in zip(units, module.weight.detach().abs().tolist(), strict=False):
                gamma.setdefault(unit, value)
        if side == "in" and dim == 0 and module is not None:
            squares = _input_squares(module)
            if squares is None:
                continue
            for unit, square in zip(units, squares.tolist(), strict=True):
                heard[unit] = heard.get(unit, 0.0) + square
    return {
        target: torch.tensor(
            [
                gamma.get(u, 1.0) * math.sqrt(heard[u]) if u in heard else gamma.get(u, 1.0)
                for u in units
            ],
            dtype=torch.float64,
            device="cpu",
        )
        for (target, side, _), units in groups.sides.items()
        if side == "out" and target in modules
    }


def _input_squares(module: nn.Module) -> torch.Tensor | None:
    """Return the squared norm of the weights that read each input channel, (channels,)."""
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().double()
        return weight.square().sum(0)
    if isinstance(module, CONVOLUTIONS) and module.groups == 1:
        weight = module.weight.detach().double()
        inputs = 0 if isinstance(module, TRANSPOSED) else 1
        return weight.square().transpose(0, inputs).flatten(1).sum(1)
    return None

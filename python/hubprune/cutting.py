# SPDX-License-Identifier: MIT
"""Cutting a model: which axes of which tensors shrink, whether that fits a model, and doing it.

A `Cut` says what stays of one side of a layer. The cuts of a plan are made by
`hubprune.channels.groups`, which finds out what belongs together; here they are only carried out,
in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .layer_kinds import (
    CONVOLUTIONS,
    INPUT_WEIGHTS,
    TRANSPOSED,
    is_depthwise,
    owner_and_leaf,
    side_size,
    sizes,
    uncuttable,
)

__all__ = ["Cut", "SideKey", "apply_cuts", "check_cuts"]

SideKey = tuple[str, str, int]  # (target, side, dim), as in Cut


@dataclass(frozen=True)
class Cut:
    """One tensor axis, or all axes of one side of a layer, and what stays of it.

    Attributes
    ----------
    target : str
        Qualified name of a module, or of a parameter when `side` is ``"parameter"``.
    side : str
        ``"out"`` or ``"in"`` of a convolution or linear layer, ``"in"`` of a recurrent layer,
        ``"channels"`` of a layer that treats every channel by itself (batch and instance
        normalisation, depthwise convolution, PReLU), ``"parameter"`` of a bare parameter.
    size : int
        Channels before.
    kept : tuple of int
        The positions that stay, ascending.
    dim : int
        The axis of a bare parameter, otherwise 0.
    """

    target: str
    side: str
    size: int
    kept: tuple[int, ...]
    dim: int = 0


def _current_size(model: nn.Module, cut: Cut, done: bool) -> tuple[int | None, str]:
    """The size that a cut finds in a model, None if its target is missing; and why."""
    owner, leaf = owner_and_leaf(cut.target) if cut.side == "parameter" else (cut.target, "")
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        return None, f"it has no layer '{owner}'"
    if cut.side == "parameter":
        tensor = module._parameters.get(leaf)
        if tensor is None or cut.dim >= tensor.dim():
            return None, f"it has no parameter '{cut.target}' with an axis {cut.dim}"
        return int(tensor.shape[cut.dim]), ""
    size = side_size(module, cut.side)
    if size is None and done and is_depthwise(module) and cut.side in ("in", "out"):
        size = sizes(module)["out_channels"]  # a grouped convolution left with one channel a group
    elif size is None and done and cut.side == "channels" and _has_one_channel(module):
        size = 1  # a depthwise convolution or a PReLU: with one channel, not told from the others
    if size is None:
        return None, f"'{cut.target}' is a {type(module).__name__} without a side '{cut.side}'"
    return size, ""


def _has_one_channel(module: nn.Module) -> bool:
    if isinstance(module, nn.PReLU):
        return module.num_parameters == 1
    return isinstance(module, CONVOLUTIONS) and module.in_channels == module.out_channels == 1


_SIDE_WORDS = {
    "out": "filters",
    "in": "input channels",
    "channels": "channels",
    "parameter": "entries",
}


def check_cuts(model: nn.Module, cuts: Iterable[Cut], *, done: bool = False) -> None:
    """Refuse a model that a list of cuts was not made for.

    Parameters
    ----------
    model : torch.nn.Module
        The model before the cuts, or after them with `done`.
    cuts : iterable of Cut
        At most one for each target, side and dim.
    done : bool, default False
        Expect the sizes after the cuts.

    Raises
    ------
    ValueError
        If a target is missing or has another size: the message names it.
    """
    for cut in cuts:
        expected = len(cut.kept) if done else cut.size
        found, why = _current_size(model, cut, done)
        if found is None:
            raise ValueError(f"the plan does not fit the model: {why}")
        if found != expected:
            words = _SIDE_WORDS[cut.side]
            raise ValueError(
                f"the plan does not fit the model: '{cut.target}' must have {expected} {words}"
                f"{' after pruning' if done else ''}; got {found}"
            )
        module = None if cut.side == "parameter" else model.get_submodule(cut.target)
        if module is not None and (reason := uncuttable(module)) is not None:
            raise ValueError(f"the plan does not fit the model: '{cut.target}' {reason}")


def _replace(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Give a parameter or buffer new values of another shape, keeping all else that it is."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        values = values.contiguous(memory_format=torch.channels_last)
    tensor.data = values
    tensor.grad = None


def _select(tensor: torch.Tensor | None, dim: int, kept: Sequence[int]) -> None:
    """Keep some entries of one axis of a parameter or buffer."""
    if tensor is not None:
        index = torch.tensor(kept, dtype=torch.long, device=tensor.device)
        _replace(tensor, tensor.data.index_select(dim, index))


def _by_group(kept: Sequence[int], size: int, groups: int, name: str) -> list[list[int]]:
    """Split kept positions by the group they fall into, counted from the group's start.

    A group may go as a whole; the others keep the same number.
    """
    width = size // groups
    parts = [[k - g * width for k in kept if k // width == g] for g in range(groups)]
    if len({len(part) for part in parts if part}) > 1:
        counts = [len(part) for part in parts]
        raise ValueError(
            f"'{name}' has {groups} groups, each of which must keep the same number of channels; "
            f"got {counts}"
        )
    return parts


def _cut_convolution(
    conv: Any, name: str, kept_out: Sequence[int] | None, kept_in: Sequence[int] | None
) -> None:
    """Cut one or both sides of a convolution that is not depthwise."""
    groups = int(conv.groups)
    rows = range(conv.out_channels) if kept_out is None else kept_out
    columns = range(conv.in_channels) if kept_in is None else kept_in
    row_parts = _by_group(rows, conv.out_channels, groups, name)
    column_parts = _by_group(columns, conv.in_channels, groups, name)
    if [bool(part) for part in row_parts] != [bool(part) for part in column_parts]:
        raise ValueError(f"'{name}' has {groups} groups, which must go on both sides or stay")
    weight = conv.weight.data
    pieces: list[torch.Tensor] = []
    for part, row, column in zip(weight.chunk(groups), row_parts, column_parts, strict=True):
        if not row:
            continue
        # Transposed weights are (in, out / groups, *kernel), others (out, in / groups, *kernel).
        out_axis, in_axis = (1, 0) if isinstance(conv, TRANSPOSED) else (0, 1)
        row_index = torch.tensor(row, dtype=torch.long, device=weight.device)
        column_index = torch.tensor(column, dtype=torch.long, device=weight.device)
        pieces.append(part.index_select(out_axis, row_index).index_select(in_axis, column_index))
    _replace(conv.weight, torch.cat(pieces))
    if kept_out is not None:
        _select(conv.bias, 0, kept_out)
    conv.out_channels, conv.in_channels = len(rows), len(columns)
    conv.groups = sum(map(bool, row_parts))


def _cut_linear(linear: Any, kept_out: Sequence[int] | None, kept_in: Sequence[int] | None) -> None:
    if kept_out is not None:
        _select(linear.weight, 0, kept_out)
        _select(linear.bias, 0, kept_out)
        linear.out_features = len(kept_out)
    if kept_in is not None:
        _select(linear.weight, 1, kept_in)
        linear.in_features = len(kept_in)


def _input_weights(module: nn.Module) -> list[torch.Tensor]:
    return [p for name in INPUT_WEIGHTS if (p := module._parameters.get(name)) is not None]


def _cut_recurrent(module: Any, kept: Sequence[int]) -> None:
    for weight in _input_weights(module):
        _select(weight, 1, kept)
    module.input_size = len(kept)
    if isinstance(module, nn.RNNBase):
        module.flatten_parameters()


def _cut_channels(module: Any, kept: Sequence[int]) -> None:
    """Cut a layer that treats every channel by itself."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        _select(getattr(module, name, None), 0, kept)
    for name in sizes(module):
        setattr(module, name, len(kept))


def apply_cuts(model: nn.Module, cuts: Iterable[Cut]) -> None:
    """Cut a model in place.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its parameters keep their identity, `requires_grad`, dtype and device, and lose
        their gradients' old shapes.
    cuts : iterable of Cut
        What `ChannelGroups.cuts` returns.

    Raises
    ------
    ValueError
        If they do not fit (`check_cuts`); then nothing has been changed.
    """
    cuts = list(cuts)
    check_cuts(model, cuts)
    by_target: dict[str, dict[str, Cut]] = {}
    with torch.no_grad():
        for cut in cuts:
            if cut.side == "parameter":
                owner, leaf = owner_and_leaf(cut.target)
                parameter = model.get_submodule(owner)._parameters[leaf]
                _select(parameter, cut.dim, cut.kept)
            else:
                by_target.setdefault(cut.target, {})[cut.side] = cut
        for name, sides in by_target.items():
            module: Any = model.get_submodule(name)
            kept = {side: cut.kept for side, cut in sides.items()}
            if "channels" in kept:
                _cut_channels(module, kept["channels"])
            elif isinstance(module, CONVOLUTIONS):
                _cut_convolution(module, name, kept.get("out"), kept.get("in"))
            elif isinstance(module, nn.Linear):
                _cut_linear(module, kept.get("out"), kept.get("in"))
            else:
                _cut_recurrent(module, kept["in"])

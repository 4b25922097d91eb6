# SPDX-License-Identifier: MIT
"""Branches that run in training only, such as the auxiliary heads of GoogLeNet.

What they read may be cut, and then they have to be cut too, although a model in evaluation mode
calls none of their layers.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from ..layer_kinds import is_attention_projection, is_producer
from ..model_runs import ExampleInputs, duplicate, equal_tensors, run, tensors_of

__all__ = ["copy_for_analysis", "training_branches"]


def training_branches(
    model: nn.Module, example_inputs: ExampleInputs, called: Collection[str]
) -> frozenset[str]:
    """Find the modules that must be in training mode for more layers to be called.

    Parameters
    ----------
    model : torch.nn.Module
        The model. It is copied and not touched.
    example_inputs : tensor, sequence or mapping
        What it is called with.
    called : collection of str
        The layers that are called in evaluation mode.

    Returns
    -------
    frozenset of str
        The modules around the layers that are not called then. Empty if none of those is called in
        training mode either, or if the model does something else too: leaves other layers out,
        fails, or is random.
    """
    modules = dict(model.named_modules())
    producers = {
        name
        for name, module in modules.items()
        if is_producer(module) and not is_attention_projection(name, modules)
    }
    awake = frozenset(around for name in producers - set(called) for around in _around(name))
    if not awake:
        return awake
    try:
        seen, outputs = _watched(model, awake, example_inputs, 0)
        more = seen & producers > producers & set(called)
        same = more and equal_tensors(outputs, _watched(model, awake, example_inputs, 1)[1])
    except Exception:
        return frozenset()
    return awake if same else frozenset()


def copy_for_analysis(
    model: nn.Module, awake: Collection[str], dtype: torch.dtype | None = None
) -> nn.Module:
    """Copy a model, in evaluation mode but for the modules `awake` themselves.

    Their normalisations and dropout, which are modules of their own, are in evaluation mode.
    """
    twin = duplicate(model, dtype).eval()
    for name in awake:
        twin.get_submodule(name).training = True
    return twin


def _around(name: str) -> list[str]:
    """The names of the modules that hold a layer, the model's own among them."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts))]


def _watched(
    model: nn.Module, awake: Collection[str], example_inputs: ExampleInputs, seed: int
) -> tuple[set[str], list[torch.Tensor]]:
    """The layers that a copy calls, and what it returns."""
    twin = copy_for_analysis(model, awake)
    seen: set[str] = set()
    for name, module in twin.named_modules():
        if is_producer(module):
            module.register_forward_pre_hook(lambda _module, _args, name=name: seen.add(name))
    torch.manual_seed(seed)
    with torch.no_grad():
        return seen, tensors_of(run(twin, example_inputs))

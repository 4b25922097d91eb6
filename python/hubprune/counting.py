# SPDX-License-Identifier: MIT
"""Counting: the parameters and multiply-adds of a model, as a whole and layer by layer.

What a plan's budget limits and what a report shows are both counted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from .layer_kinds import CONVOLUTIONS, RECURRENT, is_attention_projection
from .model_runs import ExampleInputs, evaluating, plain_attention, run, undisturbed_rng

__all__ = ["Amount", "Counts", "count", "counted_layers"]


@dataclass(frozen=True)
class Amount:
    """Parameters, and multiply-adds of one call."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Counts:
    """What a model consists of.

    Attributes
    ----------
    layers : dict of str to Amount
        Those of `counted_layers`, each with all that it holds.
    rest : Amount
        What is in none of them.
    total : Amount
        The whole model; a parameter that several layers share counts once.
    """

    layers: dict[str, Amount]
    rest: Amount
    total: Amount


def counted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions, linear, recurrent and attention layers, in the model's order.

    The projections of an attention layer belong to it.

    Examples
    --------
    >>> list(counted_layers(nn.TransformerEncoderLayer(4, 2)))
    ['self_attn', 'linear1', 'linear2']
    """
    modules = dict(model.named_modules())
    kinds = (*CONVOLUTIONS, nn.Linear, *RECURRENT, nn.MultiheadAttention)
    return {
        name: module
        for name, module in modules.items()
        if isinstance(module, kinds) and not is_attention_projection(name, modules)
    }


def count(model: nn.Module, example_inputs: ExampleInputs) -> Counts:
    """Count a model's parameters, and the multiply-adds of one call in evaluation mode.

    Notes
    -----
    Multiply-adds are half the flops that `torch.utils.flop_counter` counts: convolutions and matrix
    products, those inside recurrent layers and attention too, which it does not see where one
    operator does it all: a recurrent layer multiplies every step of its input by each of its
    matrices once.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_fused_flops())
    with undisturbed_rng(model), evaluating(model), torch.no_grad(), plain_attention(), counter:
        run(model, example_inputs)
    root, found = type(model).__name__, counter.get_flop_counts()
    layers = {
        name: Amount(
            sum(parameter.numel() for parameter in module.parameters()),
            sum(found.get(f"{root}.{name}" if name else root, {}).values()) // 2,
        )
        for name, module in counted_layers(model).items()
    }
    total = Amount(
        sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2
    )
    outermost = dict(_outermost(model, "", layers))
    held = {id(each) for module in outermost.values() for each in module.parameters()}
    rest = Amount(
        sum(each.numel() for each in model.parameters() if id(each) not in held),
        total.macs - sum(layers[name].macs for name in outermost),
    )
    return Counts(layers, rest, total)


def _outermost(
    module: nn.Module, name: str, layers: dict[str, Amount]
) -> Iterator[tuple[str, nn.Module]]:
    """The layers that lie in no other one."""
    if name in layers:
        yield name, module
        return
    for leaf, child in module.named_children():
        yield from _outermost(child, f"{name}.{leaf}" if name else leaf, layers)


Shape = Sequence[int]


def _fused_flops() -> dict[Any, Callable[..., int]]:
    """The flops of operators that `torch.utils.flop_counter` leaves out, from their shapes."""
    aten = torch.ops.aten
    return {
        aten.mkldnn_rnn_layer: _rnn_layer_flops,  # LSTM on the CPU
        aten._cudnn_rnn: _rnn_flops,
        aten.miopen_rnn: _rnn_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_fused_attention_overrideable: _attention_flops,
    }


def _rnn_flops(x: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    """All layers and directions: inputs (..., features), matrices and biases."""
    return 2 * math.prod(x[:-1]) * sum(math.prod(shape) for shape in weights if len(shape) == 2)


def _rnn_layer_flops(x: Shape, w0: Shape, w1: Shape, *_: Any, **__: Any) -> int:
    """One layer in one direction: its two matrices come first."""
    return _rnn_flops(x, (w0, w1))


def _attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))

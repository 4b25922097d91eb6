# SPDX-License-Identifier: MIT
"""Recurrent layers as one step of autograd, so that a trace ends at them.

Torch computes some of them by small operators, one time step after the other: which ones depends
on its version and on whether the input is packed. Whoever follows autograd backwards from their
output walks through all of these, and through the splits of the gates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

__all__ = ["recurrent_as_one_step"]


class _OneStep(torch.autograd.Function):
    """Hands tensors on as if they were made from an input and a weight in one step."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, *made: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.clone() for tensor in made)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, ...]:
        raise NotImplementedError("a trace is only read")


_one_step: Any = _OneStep.apply


def _forward(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        output, hidden = original(*args, **kwargs)
    x = args[0] if args else kwargs["input"]
    weight = next(module.parameters())
    states = hidden if isinstance(hidden, tuple) else (hidden,)  # an LSTM has two
    if isinstance(output, PackedSequence):
        data, *states = _one_step(x.data, weight, output.data, *states)
        output = output._replace(data=data)
    else:
        output, *states = _one_step(x, weight, output, *states)
    return output, tuple(states) if isinstance(hidden, tuple) else states[0]


@contextmanager
def recurrent_as_one_step(model: nn.Module) -> Iterator[None]:
    """Make every GRU, LSTM and RNN of a model one step of autograd, until the block ends."""
    forwards = []
    for module in model.modules():
        if isinstance(module, nn.GRU | nn.LSTM | nn.RNN):
            forwards.append((module, module.__dict__.get("forward")))
            replacement = functools.partial(_forward, module, module.forward)
            object.__setattr__(module, "forward", replacement)
    try:
        yield
    finally:
        for module, own in forwards:
            if own is None:
                object.__delattr__(module, "forward")
            else:
                object.__setattr__(module, "forward", own)

# SPDX-License-Identifier: MIT
"""The proof of some cuts: what is left computes what the whole computes without the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..cutting import Cut, apply_cuts, ignore_removed_inputs
from ..model_runs import ExampleInputs, analysing, duplicate, first_line, run, tensors_of

__all__ = ["failure_of"]


def failure_of(cuts: Sequence[Cut], model: nn.Module, example_inputs: ExampleInputs) -> str | None:
    """Say what goes wrong with some cuts of a model on example inputs; None if they are right.

    The pruned copy must compute what the whole copy computes whose layers ignore the removed
    channels, to the square root of the working precision.
    """
    with analysing(model), torch.no_grad():
        twin = duplicate(model).eval()
        ignore_removed_inputs(twin, cuts)
        expected = tensors_of(_seeded_run(twin, example_inputs, 0))
        again = tensors_of(_seeded_run(twin, example_inputs, 1))
        repeatable = all(
            torch.equal(a.nan_to_num(), b.nan_to_num())
            for a, b in zip(expected, again, strict=True)
        )
        apply_cuts(twin, cuts)
        try:
            computed = tensors_of(_seeded_run(twin, example_inputs, 0))
        except Exception as error:
            return (
                "the forward pass fails without its filters "
                f"({type(error).__name__}: {first_line(error)})"
            )
    if [t.shape for t in computed] != [t.shape for t in expected]:
        return "the outputs change their shape without its filters"
    if repeatable and not all(map(_close, computed, expected)):
        return "removing its filters changes more than their own contribution"
    return None


def _seeded_run(model: nn.Module, example_inputs: ExampleInputs, seed: int) -> Any:
    torch.manual_seed(seed)
    return run(model, example_inputs)


def _close(computed: torch.Tensor, expected: torch.Tensor) -> bool:
    """Equal to the square root of the precision, measured against the largest value."""
    if not expected.is_floating_point():
        return torch.equal(computed, expected)
    tolerance = math.sqrt(torch.finfo(expected.dtype).eps)
    computed, expected = computed.double(), expected.double()
    finite = expected[expected.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(computed, expected, rtol=0.0, atol=tolerance * scale, equal_nan=True)

# SPDX-License-Identifier: MIT
"""The inputs that a compensation is measured on, and running a model on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from .arguments import shape_text
from .model_runs import (
    ExampleInputs,
    device_of,
    evaluating,
    first_line,
    layer_input,
    moved,
    run,
    tensors_of,
    undisturbed_rng,
)
from .progress import progress_bar

__all__ = ["example_count", "hooked", "listed_batches", "run_all", "run_batch"]


def listed_batches(batches: Any) -> list[ExampleInputs]:
    """Return the inputs of each batch, without targets: finite, and one at least."""
    if isinstance(batches, (torch.Tensor, Mapping)):
        batches = [batches]
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise TypeError(
            "batches must be a tensor, or an iterable of tensors or (inputs, targets); got "
            f"{type(batches).__name__}"
        )
    result: list[ExampleInputs] = []
    for number, batch in enumerate(batches):
        inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        tensors = tensors_of(inputs)
        if not tensors:
            raise TypeError(f"batch {number} must hold a tensor; got {type(inputs).__name__}")
        if not all(bool(x.isfinite().all()) for x in tensors if x.is_floating_point()):
            raise ValueError(f"batch {number} must be finite; it holds NaN or infinity")
        result.append(inputs)
    if not sum(x.numel() for x in tensors_of(result)):
        raise ValueError("batches must hold at least one input; got none")
    return result


def example_count(inputs: ExampleInputs) -> int:
    """How many examples a batch holds."""
    return next((len(x) for x in tensors_of(inputs) if x.dim()), 1)


@contextmanager
def hooked(
    model: nn.Module, names: Iterable[str], call: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Call back with what the layers of these names read."""

    def given(name: str, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call(name, layer_input(args, kwargs))

    handles = [
        model.get_submodule(name).register_forward_pre_hook(partial(given, name), with_kwargs=True)
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_all(model: nn.Module, inputs: list[ExampleInputs], text: str) -> None:
    """Run a model on every batch, in evaluation mode; `text` is what the progress bar says."""
    device = device_of(model)
    with (
        undisturbed_rng(model),
        evaluating(model),
        torch.no_grad(),
        progress_bar(text, len(inputs)) as done,
    ):
        for number, x in enumerate(inputs, start=1):
            run_batch(model, moved(x, device), number - 1)
            done(number)


def run_batch(model: nn.Module, inputs: ExampleInputs, number: int) -> None:
    """Run a model on one batch; what it cannot run on is the fault of the batches."""
    try:
        run(model, inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        shapes = ", ".join(shape_text(x.shape) for x in tensors_of(inputs))
        hint = ""
        if isinstance(error, TypeError):
            hint = "; several inputs go as a dict, or as the first of (inputs, targets)"
        raise ValueError(
            f"batches must be inputs of the model; it cannot run on batch {number} of shape "
            f"{shapes} ({type(error).__name__}: {first_line(error)}){hint}"
        ) from error

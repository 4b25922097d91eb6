# SPDX-License-Identifier: MIT
"""Running a model without leaving a trace: inputs, modes, random states, copies.

Models are run on example inputs to find out what they do. Here is how they are called, and how they
are afterwards as they were; and the checks of the model and of the example inputs that come first.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from .arguments import shape_text
from .large_pages import with_large_pages

__all__ = [
    "ExampleInputs",
    "analysing",
    "check_example_inputs",
    "check_model",
    "device_of",
    "duplicate",
    "equal_tensors",
    "evaluating",
    "first_line",
    "fresh",
    "layer_input",
    "map_tensors",
    "moved",
    "plain_attention",
    "run",
    "tensors_of",
    "undisturbed_rng",
]

_RUNNING = threading.RLock()

ExampleInputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """All tensors in nested mappings, sequences and dataclasses, in order.

    Examples
    --------
    >>> [t.item() for t in tensors_of({"a": torch.tensor(1), "b": [torch.tensor(2), "x"]})]
    [1, 2]
    """
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        children: Iterable[Any] = tree.values()
    elif isinstance(tree, list | tuple):
        children = tree
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        children = [getattr(tree, entry.name) for entry in dataclasses.fields(tree)]
    else:
        children = []
    return [tensor for child in children for tensor in tensors_of(child)]


def equal_tensors(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> bool:
    """Whether two runs returned the same bits; a NaN equals a NaN."""
    return len(first) == len(second) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(first, second, strict=True)
    )


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], tree: Any) -> Any:
    """The same inputs with another tensor for each, in nested mappings and sequences."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        items = [map_tensors(function, value) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return tree


def fresh(tree: Any) -> Any:
    """The same inputs with copies of all tensors: a model may write into its input."""
    return map_tensors(lambda tensor: tensor.detach().clone(), tree)


def moved(tree: Any, device: torch.device) -> Any:
    """The same inputs on a device."""
    return map_tensors(lambda tensor: tensor.to(device), tree)


def run(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Call a model: a tensor as its argument, a sequence as several, a mapping as keywords."""
    inputs = fresh(example_inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple):
        return model(*inputs)
    return model(inputs)


def layer_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a layer reads, however it is called; the data alone of a packed sequence.

    Examples
    --------
    >>> layer_input((), {"input": 3})
    3
    """
    # All layers of torch call it so; those derived from them may not.
    x = args[0] if args else kwargs.get("input", next(iter(kwargs.values()), None))
    return x.data if isinstance(x, nn.utils.rnn.PackedSequence) else x


@contextmanager
def undisturbed_rng(model: nn.Module) -> Iterator[None]:
    """Put the random number generators of torch, NumPy and Python back afterwards.

    They belong to the whole process, as do the hooks that count and the operators that are chosen
    meanwhile, so only one thread is in here at a time; the others wait.
    """
    devices = {
        tensor.device.index
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.device.type == "cuda"
    }
    with _RUNNING:
        python_state, numpy_state = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices=sorted(i for i in devices if i is not None)):
                yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Make attention layers call the layers and operators that they consist of.

    In evaluation mode torch computes a whole `TransformerEncoderLayer` in one operator, in which
    its linear layers cannot be watched. The switch belongs to the whole process: use it within
    `undisturbed_rng`.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def analysing(model: nn.Module) -> Iterator[None]:
    """Run a model to find out what it does: in its own precision, layer by layer.

    Within are `undisturbed_rng` and `plain_attention`; no inference mode and no autocast of the
    caller's, under which tensors cannot be traced and precisions differ from layer to layer.
    """
    state = itertools.chain(model.parameters(), model.buffers())
    kinds = sorted({"cpu", *(tensor.device.type for tensor in state)})
    with ExitStack() as stack:
        stack.enter_context(undisturbed_rng(model))
        stack.enter_context(plain_attention())
        stack.enter_context(torch.inference_mode(False))
        for kind in filter(torch.amp.is_autocast_available, kinds):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def duplicate(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A deep copy without gradients, of ordinary tensors also under `torch.inference_mode`.

    With `dtype`, its plain floating-point parameters are of that kind, without a copy in between.
    Their memory is in large pages: a copy of CNN14 takes half the time.

    Raises
    ------
    ValueError
        If the model cannot be copied.
    """
    with torch.inference_mode(False), torch.no_grad():
        copies = _computed(model)
        try:
            for parameter in model.parameters():
                plain = type(parameter) is nn.Parameter and parameter.layout == torch.strided
                if plain and parameter.is_floating_point():
                    values = with_large_pages(torch.empty_like(parameter, dtype=dtype))
                    values.copy_(parameter)
                    copies[id(parameter)] = nn.Parameter(values, parameter.requires_grad)
            twin = copy.deepcopy(model, copies)
        except Exception as error:
            raise ValueError(
                f"model cannot be copied ({type(error).__name__}: {first_line(error)})"
            ) from error
        for parameter in twin.parameters():
            parameter.grad = None
    return twin


def _computed(model: nn.Module) -> dict[int, Any]:
    """{id: copy} of tensors that modules hold besides their state, such as masked weights.

    A hook computes them before each call, with a history of gradients, which torch does not copy.
    """
    copies: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            for tensor in value if isinstance(value, list | tuple) else [value]:
                if isinstance(tensor, torch.Tensor) and not tensor.is_leaf:
                    copies[id(tensor)] = tensor.detach().clone()
    return copies


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter is."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of our own."""
    return next(iter(str(error).splitlines()), "")


def check_model(
    model: nn.Module, name: str = "model", *, filled: bool = False, quantised: bool = False
) -> None:
    """Refuse what is not a plain, initialised module.

    Raises
    ------
    TypeError
        If it is no `torch.nn.Module`.
    ValueError
        If it is a wrapper (data parallel, compiled, scripted) or has uninitialised parameters,
        or, where it must be `filled`, parameters or buffers without values; or quantised layers,
        unless it is only run (`quantised`).
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module; got {type(model).__name__}")
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    if isinstance(model, wrappers):
        raise ValueError(
            f"{name} must be the model itself; got a {type(model).__name__} wrapper: pass "
            f"{name}.module"
        )
    if "_orig_mod" in model._modules:
        raise ValueError(
            f"{name} must be the model itself; got a compiled one: pass {name}._orig_mod, and "
            "compile the pruned model"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(f"{name} must be an ordinary module; got TorchScript, which cannot be cut")
    for key, module in () if quantised else model.named_modules():
        kind = type(module)
        if kind.__module__.startswith("torch.") and ".quantized" in kind.__module__:
            raise ValueError(
                f"{name} must have ordinary layers; '{key}' is a quantised {kind.__name__}: prune "
                "and fine-tune first, and quantise the result"
            )
    for key, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"{name} must be initialised; '{key}' is lazy: run the model once")
    for key, tensor in (*model.named_parameters(), *model.named_buffers()) if filled else ():
        if tensor.is_meta:
            raise ValueError(
                f"{name} must hold values; '{key}' is on the meta device, which has none"
            )


def check_example_inputs(model: nn.Module, example_inputs: Any) -> None:
    """Refuse example inputs of the wrong kind or on another device than the model.

    Raises
    ------
    TypeError
        If they are no tensor, sequence or mapping.
    ValueError
        If they hold no tensor, only empty ones, or lie on a device on which the model has nothing.
    """
    if not isinstance(example_inputs, torch.Tensor | list | tuple | Mapping):
        raise TypeError(
            "example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; "
            f"got {type(example_inputs).__name__}"
        )
    tensors = tensors_of(example_inputs)
    if not tensors:
        raise ValueError("example_inputs must hold at least one tensor; got none")
    if not any(tensor.numel() for tensor in tensors):
        shapes = ", ".join(shape_text(tensor.shape) for tensor in tensors)
        raise ValueError(f"example_inputs must not be empty; got shape {shapes}")
    state = itertools.chain(model.parameters(), model.buffers())
    devices = {str(tensor.device) for tensor in state}
    for tensor in tensors:
        if devices and str(tensor.device) not in devices:
            raise ValueError(
                f"example_inputs must be on the model's device ({', '.join(sorted(devices))}); "
                f"got {tensor.device}"
            )

# SPDX-License-Identifier: MIT
"""Which channels of a model belong together, and how to cut them out.

Removing filter 3 of a convolution also removes channel 3 of the batch normalisation behind it,
column 3 of the next layer, and filter 3 of every layer whose output is added to it. Here that is
found out, in four steps, each of which can only make the answer safer:

1. *Coupling.* Torch-Pruning's DependencyGraph traces the model through autograd and says which
   filters of which layers stand or fall together.
2. *Probing.* Every such unit gets a code word and the model runs once per bit: the channels of the
   units whose bit is set become NaN, and what arrives where is read at the input of every layer.
   All words have the same number of ones, so a position that hears two units shows too many. The
   positions therefore come from the model itself, whatever it does on the way (flattening,
   channels-last permutations, concatenation, shuffling), and a channel that is mixed with others
   before a layer reads it (softmax, layer normalisation, attention) is noticed instead of cut.
3. *Guard rails.* What reaches an output, couples with the input normalisation, is frozen, shared
   or recomputed stays whole, with the reason.
4. *Proof.* `ChannelGroups.failure` cuts the copy and compares it with the original whose readers
   ignore the removed channels, on the example inputs.

Layers between a convolution and its readers are assumed to be pure functions of their input in
evaluation mode; a model that computes something else on another input shape or in training mode is
only known as far as the example inputs show it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

__all__ = [
    "BATCH_NORMS",
    "CONVOLUTIONS",
    "Block",
    "ChannelGroups",
    "Cut",
    "apply_cuts",
    "channel_axis",
    "check_cuts",
    "duplicate",
    "evaluating",
    "find_channel_groups",
    "is_depthwise",
    "run",
    "sizes",
    "tensors_of",
    "undisturbed_rng",
]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""The layers whose output filters are pruned by default."""

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm)
_NORMS = (*BATCH_NORMS, *_INSTANCE_NORMS, *_MIXING_NORMS)

ExampleInputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]
Place = tuple[str | None, int]  # (module, call number), or (None, number of the output tensor)
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


# --- what a layer is -----------------------------------------------------------------------------


def is_depthwise(module: nn.Module) -> bool:
    """Whether each output channel of this convolution sees its own input channel only."""
    return (
        isinstance(module, CONVOLUTIONS)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def _is_producer(module: nn.Module) -> bool:
    """Whether the layer makes channels of its own, and reads all those of its input."""
    return isinstance(module, (*CONVOLUTIONS, nn.Linear)) and not is_depthwise(module)


def _is_channelwise(module: nn.Module) -> bool:
    """Whether the layer passes every channel on, with parameters of its own per channel."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == module.num_channels
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    return is_depthwise(module) or isinstance(module, (*BATCH_NORMS, *_INSTANCE_NORMS))


def _is_grouped(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTIONS) and module.groups > 1 and not is_depthwise(module)


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
    elif isinstance(module, _RECURRENT):
        names = ["input_size"]
    else:
        names = []
    return {name: int(getattr(module, name)) for name in names}


def _side_size(module: nn.Module, side: str) -> int | None:
    """Channels on one side of a layer; None if it has no such side."""
    known = sizes(module)
    names: tuple[str, ...] = ()
    if _is_channelwise(module):
        if side == "channels":
            names = ("num_features", "num_channels", "num_parameters", "out_channels")
    elif side == "out":
        names = ("out_channels", "out_features")
    elif side == "in":
        names = ("in_channels", "in_features", "input_size")
    return next((known[n] for n in names if n in known), None)


def channel_axis(module: nn.Module, x: torch.Tensor, side: str) -> int:
    """Which axis of the layer's input or output counts its channels."""
    if isinstance(module, CONVOLUTIONS):
        return x.dim() - len(module.kernel_size) - 1
    if isinstance(module, _INSTANCE_NORMS):
        spatial = 1 + next(i for i, kind in enumerate(_INSTANCE_NORMS) if isinstance(module, kind))
        return x.dim() - spatial - 1
    if isinstance(module, (nn.Linear, *_RECURRENT)):
        return x.dim() - 1
    return min(1, x.dim() - 1)


def _uncuttable(module: nn.Module) -> str | None:
    """Why the parameters of a layer cannot be replaced by smaller ones, or None."""
    if parametrize.is_parametrized(module):
        return "is parametrized (torch.nn.utils.parametrize): remove the parametrization first"
    hook_made = "has a weight that a hook recomputes (weight_norm, torch.nn.utils.prune)"
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return None if module._parameters.get("weight") is not None else hook_made
    if isinstance(module, nn.RNNBase):
        return None if module._parameters.get("weight_ih_l0") is not None else hook_made
    return None


# --- cutting -------------------------------------------------------------------------------------


def _split(name: str) -> tuple[str, str]:
    owner, _, leaf = name.rpartition(".")
    return owner, leaf


def _current_size(model: nn.Module, cut: Cut) -> tuple[int | None, str]:
    """The size that a cut finds in a model, None if its target is missing; and why."""
    owner, leaf = _split(cut.target) if cut.side == "parameter" else (cut.target, "")
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        return None, f"it has no layer '{owner}'"
    if cut.side == "parameter":
        tensor = module._parameters.get(leaf)
        if tensor is None or cut.dim >= tensor.dim():
            return None, f"it has no parameter '{cut.target}' with an axis {cut.dim}"
        return int(tensor.shape[cut.dim]), ""
    size = _side_size(module, cut.side)
    if size is None:
        return None, f"'{cut.target}' is a {type(module).__name__} without a side '{cut.side}'"
    return size, ""


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
        found, why = _current_size(model, cut)
        if found is None:
            raise ValueError(f"the plan does not fit the model: {why}")
        if found != expected:
            words = _SIDE_WORDS[cut.side]
            raise ValueError(
                f"the plan does not fit the model: '{cut.target}' must have {expected} {words}"
                f"{' after pruning' if done else ''}; got {found}"
            )
        module = None if cut.side == "parameter" else model.get_submodule(cut.target)
        if module is not None and (reason := _uncuttable(module)) is not None:
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
    """Split kept positions by the group they fall into, counted from the group's start."""
    width = size // groups
    parts = [[k - g * width for k in kept if k // width == g] for g in range(groups)]
    if len({len(part) for part in parts}) > 1:
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
    weight = conv.weight.data
    pieces: list[torch.Tensor] = []
    for part, row, column in zip(weight.chunk(groups), row_parts, column_parts, strict=True):
        # Transposed weights are (in, out / groups, *kernel), others (out, in / groups, *kernel).
        out_axis, in_axis = (0, 1)
        if isinstance(conv, TRANSPOSED):
            part = weight[len(pieces) * part.shape[0] :][: part.shape[0]]
            out_axis, in_axis = (1, 0)
        row_index = torch.tensor(row, dtype=torch.long, device=weight.device)
        column_index = torch.tensor(column, dtype=torch.long, device=weight.device)
        pieces.append(part.index_select(out_axis, row_index).index_select(in_axis, column_index))
    _replace(conv.weight, torch.cat(pieces))
    if kept_out is not None:
        _select(conv.bias, 0, kept_out)
    conv.out_channels, conv.in_channels = len(rows), len(columns)


def _cut_linear(linear: Any, kept_out: Sequence[int] | None, kept_in: Sequence[int] | None) -> None:
    if kept_out is not None:
        _select(linear.weight, 0, kept_out)
        _select(linear.bias, 0, kept_out)
        linear.out_features = len(kept_out)
    if kept_in is not None:
        _select(linear.weight, 1, kept_in)
        linear.in_features = len(kept_in)


def _input_weights(module: nn.Module) -> list[torch.Tensor]:
    """The matrices (rows, input features) through which a recurrent layer reads its input."""
    names = ("weight_ih_l0", "weight_ih_l0_reverse", "weight_ih")
    return [p for name in names if (p := module._parameters.get(name)) is not None]


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
                owner, leaf = _split(cut.target)
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


def _ignore_removed_inputs(model: nn.Module, cuts: Iterable[Cut]) -> None:
    """Zero the weights through which layers read the channels that are about to be removed."""
    with torch.no_grad():
        for cut in cuts:
            if cut.side != "in":
                continue
            module: Any = model.get_submodule(cut.target)
            removed = sorted(set(range(cut.size)) - set(cut.kept))
            if isinstance(module, _RECURRENT):
                for weight in _input_weights(module):
                    weight[:, removed] = 0
            elif isinstance(module, nn.Linear):
                module.weight[:, removed] = 0
            elif isinstance(module, TRANSPOSED):
                module.weight[removed] = 0
            else:
                width = module.in_channels // module.groups
                height = module.out_channels // module.groups
                for position in removed:
                    g = position // width
                    module.weight[g * height : (g + 1) * height, position % width] = 0


# --- running a model without leaving a trace -----------------------------------------------------


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


def _fresh(tree: Any) -> Any:
    """The same inputs with copies of all tensors: a model may write into its input."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: _fresh(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(_fresh, tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map(_fresh, tree))
    return tree


def run(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Call a model: a tensor as its argument, a sequence as several, a mapping as keywords."""
    inputs = _fresh(example_inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple):
        return model(*inputs)
    return model(inputs)


@contextmanager
def undisturbed_rng(model: nn.Module) -> Iterator[None]:
    """Put the random number generators of torch, NumPy and Python back afterwards."""
    devices = {
        tensor.device.index
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.device.type == "cuda"
    }
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=sorted(i for i in devices if i is not None)):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


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


def duplicate(model: nn.Module) -> nn.Module:
    """A deep copy without gradients, of ordinary tensors also under `torch.inference_mode`.

    Raises
    ------
    ValueError
        If the model cannot be copied.
    """
    with torch.inference_mode(False), torch.no_grad():
        try:
            twin = copy.deepcopy(model)
        except Exception as error:
            raise ValueError(
                f"model cannot be copied ({type(error).__name__}: {_first_line(error)})"
            ) from error
        for parameter in twin.parameters():
            parameter.grad = None
    return twin


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def check_model(model: nn.Module, name: str = "model") -> None:
    """Refuse what is not a plain, initialised module.

    Raises
    ------
    TypeError
        If it is no `torch.nn.Module`.
    ValueError
        If it is a wrapper (data parallel, compiled, scripted) or has uninitialised parameters.
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
    for key, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"{name} must be initialised; '{key}' is lazy: run the model once")


def check_example_inputs(model: nn.Module, example_inputs: Any) -> None:
    """Refuse example inputs of the wrong kind or on another device than the model.

    Raises
    ------
    TypeError
        If they are no tensor, sequence or mapping.
    ValueError
        If they hold no tensor, or lie on a device on which the model has nothing.
    """
    if not isinstance(example_inputs, torch.Tensor | list | tuple | Mapping):
        raise TypeError(
            "example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; "
            f"got {type(example_inputs).__name__}"
        )
    tensors = tensors_of(example_inputs)
    if not tensors:
        raise ValueError("example_inputs must hold at least one tensor; got none")
    state = itertools.chain(model.parameters(), model.buffers())
    devices = {str(tensor.device) for tensor in state}
    for tensor in tensors:
        if devices and str(tensor.device) not in devices:
            raise ValueError(
                f"example_inputs must be on the model's device ({', '.join(sorted(devices))}); "
                f"got {tensor.device}"
            )


# --- probing -------------------------------------------------------------------------------------


class _Probe:
    """Watches the inputs of a model's layers, and replays their recorded outputs.

    In a replay the layers that mix all their input channels (convolutions, linear and recurrent
    layers) return what they returned in the recorded run, so NaN put into their output is the only
    NaN behind them, and a replay costs next to nothing.
    """

    def __init__(
        self, model: nn.Module, example_inputs: ExampleInputs, axes: Mapping[str, int]
    ) -> None:
        self.model = model
        self.inputs = example_inputs
        self.axes = axes  # bare parameter -> its channel axis
        self.modules = {
            name: module
            for name, module in model.named_modules()
            if _is_producer(module) or _is_channelwise(module) or isinstance(module, _RECURRENT)
        }
        self.mode = "off"
        self.through: set[str] = set()  # readers whose input has the channels on another axis
        self.calls: dict[str, int] = {}
        self.recorded: dict[Place, Any] = {}
        self.units: dict[str, torch.Tensor] = {}  # producer -> (channels,) unit number or -1
        self.lit = torch.zeros(0, dtype=torch.bool)
        self.seen: dict[Place, torch.Tensor] = {}

    def __enter__(self) -> _Probe:
        self._own_forwards = {
            name: module.__dict__.get("forward") for name, module in self.modules.items()
        }
        for name, module in self.modules.items():
            original = module.forward
            replacement = functools.partial(self._forward, name, module, original)
            object.__setattr__(module, "forward", replacement)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, module in self.modules.items():
            own = self._own_forwards[name]
            if own is None:
                object.__delattr__(module, "forward")
            else:
                object.__setattr__(module, "forward", own)

    def record(self) -> Any:
        """Run the model once as it is."""
        self.recorded, self.calls = {}, {}
        return self._run("record")

    def replay(self, lit: torch.Tensor) -> dict[Place, torch.Tensor]:
        """Make the channels of some units NaN and see where NaN arrives.

        Parameters
        ----------
        lit : torch.Tensor
            (units,) bool.

        Returns
        -------
        dict of place to torch.Tensor
            For each input of a watched layer and each output of the model, bool, its shape.
        """
        self.lit = torch.cat([lit, torch.zeros(1, dtype=torch.bool)])  # so that -1 is never lit
        self.seen = {}
        with self._lit_parameters():
            outputs = tensors_of(self._run("replay"))
        floating = [tensor for tensor in outputs if tensor.is_floating_point()]
        for number, tensor in enumerate(floating):
            self.seen[None, number] = tensor.isnan()
        return self.seen

    def _run(self, mode: str) -> Any:
        self.mode, self.calls = mode, {}
        try:
            with torch.no_grad():
                return run(self.model, self.inputs)
        finally:
            self.mode = "off"

    @contextmanager
    def _lit_parameters(self) -> Iterator[None]:
        """Bare parameters make their channels NaN themselves."""
        saved = []
        for name, units in self.units.items():
            if name in self.modules:
                continue
            owner, leaf = _split(name)
            parameter = self.model.get_submodule(owner)._parameters[leaf]
            if parameter is not None:
                saved.append((parameter, parameter.data))
                parameter.data = self._lighten(parameter.data, units, self.axes[name])
        try:
            yield
        finally:
            for parameter, data in saved:
                parameter.data = data

    def _lighten(self, x: torch.Tensor, units: torch.Tensor, axis: int) -> torch.Tensor:
        mask = self.lit[units].to(x.device)
        shape = [1] * x.dim()
        shape[axis] = len(mask)
        return x.masked_fill(mask.view(shape), math.nan)

    def _forward(
        self, name: str, module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if self.mode == "off":
            return original(*args, **kwargs)
        call = self.calls.get(name, 0)
        self.calls[name] = call + 1
        place = (name, call)
        x = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(x, nn.utils.rnn.PackedSequence):
            x = x.data
        if isinstance(x, torch.Tensor) and x.is_floating_point():
            if self.mode == "record":
                if x.isnan().any():
                    raise _NaNFoundError(name)
            else:
                self.seen[place] = x.isnan()
        replayed = not _is_channelwise(module) and name not in self.through
        if self.mode == "record" or not replayed:
            output = original(*args, **kwargs)
            if self.mode == "record" and not _is_channelwise(module):
                self.recorded[place] = _fresh(output)
        elif place in self.recorded:
            output = _fresh(self.recorded[place])
        else:
            raise _ControlFlowError(name)
        if self.mode == "replay" and name in self.units and isinstance(output, torch.Tensor):
            axis = channel_axis(module, output, "out")
            output = self._lighten(output, self.units[name], axis)
        return output


class _NaNFoundError(Exception):
    """The model itself computes NaN."""


class _ControlFlowError(Exception):
    """The model took another way than in the recorded run."""


def _code_words(count: int) -> tuple[list[int], int, int]:
    """`count` different words with the same number of ones: the words, their bits, their ones.

    Then the union of two different words always has more ones than a word (Sperner).
    """
    bits = 1
    while math.comb(bits, (bits + 1) // 2) < count:
        bits += 1
    ones = (bits + 1) // 2
    words = itertools.islice(itertools.combinations(range(bits), ones), count)
    return [sum(1 << bit for bit in word) for word in words], bits, ones


# --- the groups ----------------------------------------------------------------------------------


@dataclass
class Block:
    """Filters that are pruned by one decision: units that all consist of the same layers.

    Attributes
    ----------
    number : int
        Its number among all blocks.
    layers : tuple of str
        The convolutions and linear layers whose filters make up the units, in module order.
    parameters : tuple of str
        Bare parameters with one entry per unit.
    units : tuple of int
        The units' numbers, in the order of the first layer's filters.
    channels : dict of str to list of tuple of int
        For each layer and parameter, the positions that belong to each unit.
    followers : tuple of str
        Depthwise convolutions that the units pass through, in module order.
    cells : tuple of int
        The cell of each unit: every cell must keep the same number of units, because the groups of
        a grouped convolution must stay equally large. All cells have the same size.
    """

    number: int
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    units: tuple[int, ...]
    channels: dict[str, list[tuple[int, ...]]]
    followers: tuple[str, ...] = ()
    cells: tuple[int, ...] = ()

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return len(set(self.cells))


@dataclass
class ChannelGroups:
    """What `find_channel_groups` found out.

    Attributes
    ----------
    blocks : list of Block
        What can be pruned, in the order of the model's modules.
    kept : dict of str to str
        Layers that were asked for and cannot be pruned, with the reason.
    input_norms : tuple of str
        Normalisations of the model's input.
    outputs : tuple of str
        Layers with nothing but channel-wise operations between them and an output.
    sides : dict
        (target, side, dim) -> unit number of each position, -1 where it never leaves.
    """

    blocks: list[Block]
    kept: dict[str, str]
    input_norms: tuple[str, ...]
    outputs: tuple[str, ...]
    sides: dict[SideKey, list[int]]
    _model: nn.Module = field(repr=False)
    _inputs: ExampleInputs = field(repr=False)

    def cuts(self, removed: Collection[int]) -> tuple[Cut, ...]:
        """The cuts that remove some units.

        Parameters
        ----------
        removed : collection of int
            Unit numbers, of `Block.units`.

        Returns
        -------
        tuple of Cut
            One for each side that changes.
        """
        gone = set(removed)
        cuts = []
        for (target, side, dim), units in self.sides.items():
            kept = tuple(i for i, unit in enumerate(units) if unit not in gone)
            if len(kept) < len(units):
                cuts.append(Cut(target, side, len(units), kept, dim))
        return tuple(cuts)

    def failure(self, cuts: Sequence[Cut]) -> str | None:
        """Prove some cuts on the example inputs.

        The pruned copy must compute what the whole copy computes whose layers ignore the removed
        channels, to the square root of the working precision.

        Parameters
        ----------
        cuts : sequence of Cut
            What `cuts` returns.

        Returns
        -------
        str or None
            What goes wrong, in words; None when the cuts are right.
        """
        with undisturbed_rng(self._model), torch.inference_mode(False), torch.no_grad():
            twin = duplicate(self._model).eval()
            _ignore_removed_inputs(twin, cuts)
            expected = tensors_of(_seeded_run(twin, self._inputs, 0))
            again = tensors_of(_seeded_run(twin, self._inputs, 1))
            repeatable = all(
                torch.equal(a.nan_to_num(), b.nan_to_num())
                for a, b in zip(expected, again, strict=True)
            )
            apply_cuts(twin, cuts)
            try:
                computed = tensors_of(_seeded_run(twin, self._inputs, 0))
            except Exception as error:
                return (
                    "the forward pass fails without its filters "
                    f"({type(error).__name__}: {_first_line(error)})"
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


def find_channel_groups(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    roots: Collection[str],
    veto: Mapping[str, str],
) -> ChannelGroups:
    """Find which filters of a model can be removed together.

    Parameters
    ----------
    model : torch.nn.Module
        The model, on any device, in any mode. It is copied and not touched.
    example_inputs : tensor, sequence or mapping
        What the model is called with: one argument, several, or keyword arguments.
    roots : collection of str
        The convolutions and linear layers that are to be pruned.
    veto : mapping of str to str
        Layers that must keep all their filters, with the reason.

    Returns
    -------
    ChannelGroups
        The blocks that hold a layer of `roots` and can be pruned, and why the others cannot.

    Raises
    ------
    ValueError
        If the model cannot be copied, run or traced, or computes NaN.

    Notes
    -----
    Costs a copy of the model, one forward pass with gradients, and about log2(filters) + 3
    replays of everything but the convolutions and linear layers.
    """
    with undisturbed_rng(model), torch.inference_mode(False):
        return _Analysis(model, example_inputs, roots, veto).groups()


class _Analysis:
    """One run of `find_channel_groups`: the state that its steps share."""

    def __init__(
        self,
        model: nn.Module,
        example_inputs: ExampleInputs,
        roots: Collection[str],
        veto: Mapping[str, str],
    ) -> None:
        self.model = model
        self.inputs = example_inputs
        self.roots = set(roots)
        self.veto = dict(veto)
        self.twin = duplicate(model).eval()
        self.names = {module: name for name, module in self.twin.named_modules()}
        self.modules = dict(self.twin.named_modules())
        self.order = {name: number for number, name in enumerate(self.modules)}
        self.blocks: list[Block] = []
        self.dropped: dict[int, tuple[str | None, str]] = {}  # block -> (layer at fault, reason)
        self.kept: dict[str, str] = {}
        self.sides: dict[SideKey, list[int]] = {}
        self.axes: dict[str, int] = {}  # bare parameters
        self.mixers: dict[str, list[str]] = {}  # layer -> normalisations that Torch-Pruning meets
        for parameter in self.twin.parameters():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(True)  # Torch-Pruning traces through autograd

    def groups(self) -> ChannelGroups:
        probe = _Probe(self.twin, self.inputs, self.axes)
        with probe:
            self._record(probe)
            called = set(probe.calls)
            graph = self._trace()
            self._find_shared_parameters()
            self._find_blocks(graph, called)
            if any(self._active()):
                self._probe_until_stable(probe)
        self._check_sides()
        blocks = [block for block in self._active() if self._read_somewhere(block)]
        live = {unit for block in blocks for unit in block.units}
        for block in blocks:
            self._name_followers(block)
        sides = {
            key: [unit if unit in live else -1 for unit in units]
            for key, units in self.sides.items()
            if live.intersection(units)
        }
        self._explain_dropped()
        return ChannelGroups(
            blocks,
            self.kept,
            self.input_norms,
            self._find_outputs(graph),
            sides,
            self.model,
            self.inputs,
        )

    # --- step 1: coupling ---

    def _record(self, probe: _Probe) -> None:
        try:
            outputs = probe.record()
        except _NaNFoundError as error:
            raise ValueError(
                "the model must compute finite numbers on example_inputs; NaN reaches the layer "
                f"'{error}'"
            ) from None
        except Exception as error:
            raise ValueError(
                "the model cannot run on example_inputs "
                f"({type(error).__name__}: {_first_line(error)})"
            ) from error
        tensors = [tensor for tensor in tensors_of(outputs) if tensor.is_floating_point()]
        if not tensors:
            raise ValueError(
                "the model must return at least one floating-point tensor (alone, or in a dict, "
                f"tuple or dataclass); got {type(outputs).__name__}"
            )
        if any(tensor.isnan().any() for tensor in tensors):
            raise ValueError(
                "the model must compute finite numbers on example_inputs; its output holds NaN"
            )

    def _trace(self) -> Any:
        """Torch-Pruning's dependency graph of the copy."""
        import torch_pruning  # here, because it is slow to import and only planning needs it

        class RecurrentPruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
            """Lets Torch-Pruning see recurrent layers as one node that nothing passes through."""

            def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
                raise NotImplementedError("the dependency graph is only read")

            def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
                raise NotImplementedError("the dependency graph is only read")

            def get_out_channels(self, layer: Any) -> int:
                return int(layer.hidden_size)

            def get_in_channels(self, layer: Any) -> int:
                return int(layer.input_size)

        def outputs(tree: Any) -> list[torch.Tensor]:
            # A clone, so that the output is a node of its own behind the last operation.
            found = [tensor.clone() for tensor in tensors_of(tree) if tensor.requires_grad]
            if not found:
                raise ValueError("no output depends on a parameter through autograd")
            return found

        graph = torch_pruning.DependencyGraph()
        try:
            # Its warnings are about parameters that it would cut by itself; here it cuts nothing.
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                graph.build_dependency(
                    self.twin,
                    self.inputs,
                    forward_fn=run,
                    output_transform=outputs,
                    customized_pruners={nn.GRU: RecurrentPruner(), nn.RNN: RecurrentPruner()},
                    verbose=False,
                )
        except Exception as error:
            raise ValueError(
                "the model cannot be traced by Torch-Pruning "
                f"({type(error).__name__}: {_first_line(error)})"
            ) from error
        self.input_norms = self._find_input_norms(graph)
        return graph

    def _find_input_norms(self, graph: Any) -> tuple[str, ...]:
        """Normalisations with no trainable convolution or linear layer before them."""
        found = []
        trainable = {name for name, p in self.model.named_parameters() if p.requires_grad}
        any_trainable = bool(trainable)
        for module, node in graph.module2node.items():
            if not isinstance(module, _NORMS) or module not in self.names:
                continue
            stack, visited, fed = list(node.inputs), set(), False
            while stack and not fed:
                upstream = stack.pop()
                if upstream in visited:
                    continue
                visited.add(upstream)
                if isinstance(upstream.module, (*CONVOLUTIONS, nn.Linear)):
                    name = f"{self.names[upstream.module]}.weight"
                    fed = not any_trainable or name in trainable
                stack.extend(upstream.inputs)
            if not fed:
                found.append(self.names[module])
        return tuple(sorted(found, key=self.order.__getitem__))

    def _find_outputs(self, graph: Any) -> tuple[str, ...]:
        """The first layers on the way back from each output."""
        found = set()
        stack = [n for n in graph.module2node.values() if isinstance(n.module, graph.ops._OutputOp)]
        visited = set()
        while stack:
            node = stack.pop()
            if node in visited:
                continue
            visited.add(node)
            name = self.names.get(node.module)
            if name is not None and (_is_producer(node.module) or is_depthwise(node.module)):
                found.add(name)
            if name is None or not _is_producer(node.module):
                stack.extend(node.inputs)
        return tuple(sorted(found, key=self.order.__getitem__))

    def _find_shared_parameters(self) -> None:
        owners: dict[int, list[str]] = {}
        for name, module in self.twin.named_modules():
            for leaf, parameter in module._parameters.items():
                if parameter is not None:
                    owners.setdefault(id(parameter), []).append(f"{name}.{leaf}".lstrip("."))
        self.shared: dict[str, str] = {}
        for names in owners.values():
            for name in names if len(names) > 1 else ():
                others = ", ".join(f"'{other}'" for other in names if other != name)
                owner, leaf = _split(name)
                self.shared[owner] = self.shared[name] = f"shares its {leaf} with {others}"

    def _obstacle(self, name: str) -> str | None:
        """Why a layer, or a bare parameter, cannot be resized at all."""
        if name in self.shared:
            return self.shared[name]
        module = self.modules.get(name)
        return None if module is None else _uncuttable(module)

    def _find_blocks(self, graph: Any, called: set[str]) -> None:
        """Join the filters that Torch-Pruning couples into units, and the units into blocks."""
        producers = [name for name, module in self.modules.items() if _is_producer(module)]
        width = {name: _side_size(self.modules[name], "out") or 0 for name in producers}
        for name in producers:
            if name not in called:
                self.veto.setdefault(name, "is not used by the forward pass on example_inputs")
            elif self.modules[name] not in graph.module2node:
                self.veto.setdefault(
                    name, "is not on the way from the input to an output through autograd"
                )
            elif (obstacle := self._obstacle(name)) is not None:
                self.veto.setdefault(name, obstacle)
        joined = _Joined()
        for name in producers:
            if name in called and self.modules[name] in graph.module2node:
                self._join(graph, name, width, joined)
        components: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for name, count in width.items():
            for channel in range(count):
                components.setdefault(joined.find((name, channel)), []).append((name, channel))
        by_layers: dict[tuple[str, ...], list[list[tuple[str, int]]]] = {}
        for members in components.values():
            by_layers.setdefault(tuple(sorted(name for name, _ in members)), []).append(members)
        unit = 0
        for names, units in by_layers.items():
            channels: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
            for members in units:
                for name in channels:
                    channels[name].append(tuple(c for owner, c in members if owner == name))
            layers = sorted((n for n in channels if n in self.modules), key=self.order.__getitem__)
            block = Block(
                number=len(self.blocks),
                layers=tuple(layers),
                parameters=tuple(n for n in channels if n not in self.modules),
                units=tuple(range(unit, unit + len(units))),
                channels=channels,
                cells=(0,) * len(units),
            )
            unit += len(units)
            self.blocks.append(block)
            self._drop_vetoed(block)

    def _join(self, graph: Any, name: str, width: dict[str, int], joined: _Joined) -> None:
        """Read one group of Torch-Pruning: everything that the filters of one layer touch."""
        module = self.modules[name]
        if self._is_misread(module):
            return
        pruner = graph.get_pruner_of_module(module)
        try:
            group = graph.get_pruning_group(
                module, pruner.prune_out_channels, list(range(width[name]))
            )
        except (IndexError, ValueError):
            # Its index arithmetic fails behind splits such as the gates of a GRU. Without a
            # coupling the units are single filters: the probe drops those that meet others, and
            # the proof is the same.
            return
        mixers = self.mixers.setdefault(name, [])
        for item in range(len(group)):
            dependency, positions = group[item]
            origins = group[item].root_idxs
            target = dependency.target.module
            if isinstance(target, nn.Parameter):
                self._join_parameter(name, target, positions, origins, width, joined)
                continue
            other = self.names.get(target)
            if other is None:
                continue
            if other in self.input_norms:
                self.veto.setdefault(name, f"couples with the input normalisation '{other}'")
            if isinstance(target, _MIXING_NORMS) and not _is_channelwise(target):
                mixers.append(other)
            is_output = graph.is_out_channel_pruning_fn(dependency.handler)
            if other == name or not is_output or other not in width or self._is_misread(target):
                continue
            if len(origins) != len(positions) or max(positions, default=0) >= width[other]:
                continue  # not a coupling one to one: the probe will show what it is
            for position, origin in zip(positions, origins, strict=True):
                if origin is not None:
                    joined.join((name, origin), (other, position))

    @staticmethod
    def _is_misread(module: nn.Module) -> bool:
        """Torch-Pruning calls a convolution depthwise when groups == out_channels."""
        return (
            isinstance(module, CONVOLUTIONS)
            and not is_depthwise(module)
            and module.groups == module.out_channels > 1
        )

    def _join_parameter(
        self,
        name: str,
        parameter: nn.Parameter,
        positions: list[int],
        origins: list[int],
        width: dict[str, int],
        joined: _Joined,
    ) -> None:
        """A bare parameter, such as a scale per channel, joins the filters that it multiplies."""
        full = next(key for key, p in self.twin.named_parameters() if p is parameter)
        owner = self.modules[_split(full)[0]]
        if isinstance(owner, _RECURRENT) or _is_producer(owner) or _is_channelwise(owner):
            return
        if isinstance(owner, _MIXING_NORMS):
            return
        long = [d for d, size in enumerate(parameter.shape) if size > 1]
        same = [d for d in long if parameter.shape[d] == width[name]]
        if full in self.axes or len(same) == 1:
            axis = self.axes.get(full, same[0] if same else 0)
            pairs = [(i, i) for i in range(width[name])]
        elif len(long) == 1:
            axis, pairs = long[0], list(zip(positions, origins, strict=True))
        else:
            self.veto.setdefault(
                name,
                f"meets the parameter '{full}' of shape {tuple(parameter.shape)}, in which its "
                "channels cannot be told",
            )
            return
        if max((p for p, _ in pairs), default=0) >= parameter.shape[axis]:
            return
        if (obstacle := self._obstacle(full)) is not None:
            self.veto.setdefault(name, f"meets the parameter '{full}', which {obstacle}")
            return
        self.axes[full] = axis
        width.setdefault(full, int(parameter.shape[axis]))
        for position, origin in pairs:
            if origin is not None:
                joined.join((name, origin), (full, position))

    def _drop_vetoed(self, block: Block) -> None:
        """Take a block out if nobody asked for it, or a layer in it must stay whole."""
        at_fault = next((name for name in block.layers if name in self.veto), None)
        if at_fault is not None:
            self.dropped[block.number] = (at_fault, self.veto[at_fault])
        elif not self.roots.intersection(block.layers):
            self.dropped[block.number] = (None, "")

    def _active(self) -> list[Block]:
        return [block for block in self.blocks if block.number not in self.dropped]

    # --- step 2: probing ---

    def _probe_until_stable(self, probe: _Probe) -> None:
        """Read which unit arrives where, dropping blocks until nothing is ambiguous."""
        total = sum(len(block.units) for block in self.blocks)
        owner = torch.empty(total, dtype=torch.long)
        for block in self.blocks:
            owner[list(block.units)] = block.number
        while self._active():
            active = torch.zeros(len(self.blocks), dtype=torch.bool)
            active[[block.number for block in self._active()]] = True
            probe.units = self._units_by_producer()
            live = torch.nonzero(active[owner]).flatten()
            words, bits, ones = _code_words(len(live))
            codes = torch.zeros(total, dtype=torch.long)
            codes[live] = torch.tensor(words, dtype=torch.long)
            try:
                reading = _Reading(probe, codes, bits, ones)
                stable = self._judge(probe, reading, owner)
            except _ControlFlowError as error:
                raise ValueError(
                    "the model must take the same way through its layers in every forward pass; "
                    f"'{error}' was called another number of times"
                ) from None
            except Exception as error:
                raise ValueError(
                    "the model's forward pass does not survive NaN, with which its channels are "
                    f"followed ({type(error).__name__}: {_first_line(error)})"
                ) from error
            if stable:
                return

    def _units_by_producer(self) -> dict[str, torch.Tensor]:
        units: dict[str, list[int]] = {}
        for block in self._active():
            for name, positions in block.channels.items():
                size = self._producer_size(name)
                row = units.setdefault(name, [-1] * size)
                for unit, channels in zip(block.units, positions, strict=True):
                    for channel in channels:
                        row[channel] = unit
        return {name: torch.tensor(row) for name, row in units.items()}

    def _producer_size(self, name: str) -> int:
        if name in self.modules:
            return _side_size(self.modules[name], "out") or 0
        owner, leaf = _split(name)
        return int(getattr(self.modules[owner], leaf).shape[self.axes[name]])

    def _judge(self, probe: _Probe, reading: _Reading, owner: torch.Tensor) -> bool:
        """Decide what one reading means; False if blocks were dropped and it must be repeated."""
        dropped, through = len(self.dropped), len(probe.through)
        for unit in reading.units_at_outputs():
            self._drop(int(owner[unit]), "produces the model's output")
        mixed = {place: mask for place, mask in reading.mixed().items() if mask.any()}
        if mixed:
            self._drop_mixed(probe, mixed)
        sides: dict[SideKey, list[int]] = {}
        for name, module in self._in_order(probe.modules):
            rows = [reading.units_at(place) for place in reading.calls_of(name)]
            whole = [row for row in rows if row is not None]
            if not whole or name in probe.through:
                continue
            side = "channels" if _is_channelwise(module) else "in"
            if any((row == -2).any() for row in whole):
                if side == "in" and not any(name == place[0] for place in mixed):
                    probe.through.add(name)  # its channels lie on another axis: it passes them on
                continue
            units = whole[0].clone()
            for row in whole[1:]:
                clash = (units >= 0) & (row >= 0) & (units != row)
                for unit in torch.cat([units[clash], row[clash]]).tolist():
                    self._drop(int(owner[unit]), f"feeds '{name}', called on different channels")
                units = torch.maximum(units, row)
            sides[name, side, 0] = units.tolist()
        if dropped != len(self.dropped):
            probe.through.clear()  # what is left may be read in another way
            return False
        if through != len(probe.through):
            return False
        for name, row in probe.units.items():
            if name in self.modules:
                sides[name, "out", 0] = row.tolist()
            else:
                sides[name, "parameter", self.axes[name]] = row.tolist()
        self.sides = sides
        return True

    def _in_order(self, modules: Mapping[str, nn.Module]) -> list[tuple[str, nn.Module]]:
        return sorted(modules.items(), key=lambda item: self.order[item[0]])

    def _drop(self, number: int, reason: str) -> None:
        self.dropped.setdefault(number, (self.blocks[number].layers[0], reason))

    def _drop_mixed(self, probe: _Probe, mixed: dict[Place, torch.Tensor]) -> None:
        """Find out, block by block, who takes part in a mixture."""
        total = sum(len(block.units) for block in self.blocks)
        for block in self._active():
            lit = torch.zeros(total, dtype=torch.bool)
            lit[list(block.units)] = True
            seen = probe.replay(lit)
            places = [place for place, mask in mixed.items() if (seen[place] & mask).any()]
            if not places:
                continue
            norms = [norm for name in block.layers for norm in self.mixers.get(name, [])]
            if norms:
                reason = f"is normalised across channels by '{norms[0]}'"
            elif places[0][0] is None:
                reason = "produces the model's output"
            else:
                reason = f"is mixed with other channels before '{places[0][0]}' reads it"
            self._drop(block.number, reason)

    # --- step 3: what the sides allow ---

    def _check_sides(self) -> None:
        owner = {unit: block for block in self.blocks for unit in block.units}
        for (target, side, _), units in self.sides.items():
            blocks = {owner[unit].number for unit in units if unit >= 0}
            obstacle = self._obstacle(target)
            for number in blocks if obstacle is not None else ():
                words = "is" if target in self.blocks[number].layers else f"feeds '{target}', which"
                self._drop(number, f"{words} {obstacle}")
            module = self.modules.get(target)
            if module is not None and _is_grouped(module) and side in ("in", "out"):
                self._split_by_group(target, module, units, owner)
        for block in self._active():
            signatures = sorted({self._signatures.get(unit, ()) for unit in block.units})
            cells = [signatures.index(self._signatures.get(unit, ())) for unit in block.units]
            if len({cells.count(cell) for cell in set(cells)}) > 1:
                reason = "feeds several grouped convolutions that split it unevenly"
                self._drop(block.number, reason)
            block.cells = tuple(cells)

    def _split_by_group(
        self, target: str, module: Any, units: list[int], owner: dict[int, Block]
    ) -> None:
        """Note for each unit which groups of a grouped convolution it belongs to."""
        width = len(units) // module.groups
        counts: dict[int, list[int]] = {}
        for position, unit in enumerate(units):
            if unit >= 0:
                group = position // width
                row = counts.setdefault(owner[unit].number, [0] * module.groups)
                row[group] += 1
                self._signatures[unit] = (*self._signatures.get(unit, ()), (target, group))
        for number, row in counts.items():
            if len(set(row)) > 1:
                self._drop(number, f"feeds the groups of '{target}' unevenly")

    @functools.cached_property
    def _signatures(self) -> dict[int, tuple[tuple[str, int], ...]]:
        return {}

    def _read_somewhere(self, block: Block) -> bool:
        """Whether some layer reads the block; what nothing reads may be an output in disguise."""
        units = set(block.units)
        read = any(
            side == "in" and units.intersection(row) for (_, side, _), row in self.sides.items()
        )
        if not read:
            self._drop(block.number, "is read by no layer that could be followed")
        return read

    def _name_followers(self, block: Block) -> None:
        units = set(block.units)
        block.followers = tuple(
            target
            for (target, side, _), row in self.sides.items()
            if side == "channels" and is_depthwise(self.modules[target]) and units.intersection(row)
        )

    def _explain_dropped(self) -> None:
        for number, (at_fault, reason) in self.dropped.items():
            for name in self.blocks[number].layers:
                if not reason:
                    continue
                if name == at_fault or name in self.veto:
                    self.kept.setdefault(name, self.veto.get(name, reason))
                else:
                    self.kept.setdefault(name, f"is coupled with '{at_fault}', which {reason}")


class _Joined:
    """Union-find over (layer, channel)."""

    def __init__(self) -> None:
        self._parent: dict[tuple[str, int], tuple[str, int]] = {}

    def find(self, item: tuple[str, int]) -> tuple[str, int]:
        root = item
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(item, item)) != root:
            self._parent[item], item = root, parent
        return root

    def join(self, a: tuple[str, int], b: tuple[str, int]) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[b] = a


class _Reading:
    """What all bits together say about every watched place."""

    def __init__(self, probe: _Probe, codes: torch.Tensor, bits: int, ones: int) -> None:
        self._ones = ones
        self._unit_of = {int(code): unit for unit, code in enumerate(codes.tolist()) if code}
        self._heard: dict[Place, torch.Tensor] = {}  # how many bits each element saw
        self._words: dict[Place, torch.Tensor] = {}  # the word of each position, or output element
        for bit in range(bits):
            for place, mask in probe.replay((codes >> bit) & 1 == 1).items():
                summary = self._positions(probe, place, mask).long() << bit
                if place in self._heard:
                    self._heard[place] += mask
                    self._words[place] |= summary
                else:
                    self._heard[place] = mask.to(torch.int8)
                    self._words[place] = summary

    @staticmethod
    def _positions(probe: _Probe, place: Place, mask: torch.Tensor) -> torch.Tensor:
        name = place[0]
        if name is None or mask.dim() == 0:
            return mask.flatten()
        axis = channel_axis(probe.modules[name], mask, "in")
        if axis < 0:
            return mask.flatten()
        return mask.movedim(axis, 0).flatten(1).any(1) if mask.dim() > 1 else mask

    def calls_of(self, name: str) -> list[Place]:
        return sorted((place for place in self._words if place[0] == name), key=lambda p: p[1])

    def mixed(self) -> dict[Place, torch.Tensor]:
        """Where single elements heard more than one unit."""
        return {place: heard > self._ones for place, heard in self._heard.items()}

    def units_at(self, place: Place) -> torch.Tensor | None:
        """(positions,) the unit at each position, -1 for none, -2 for several; None if none."""
        words = self._words[place].tolist()
        if not any(words):
            return None
        return torch.tensor([self._unit_of.get(word, -2) if word else -1 for word in words])

    def units_at_outputs(self) -> list[int]:
        """The units that reach an output of the model alone."""
        words = {
            word
            for place, row in self._words.items()
            if place[0] is None
            for word in row.unique().tolist()
        }
        return sorted(self._unit_of[word] for word in words if word in self._unit_of)

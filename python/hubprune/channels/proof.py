# SPDX-License-Identifier: MIT
"""The proof of some cuts: what is left computes what the whole computes without the rest.

Two copies of the model run on the example inputs. In one, the layers that read removed channels are
given zeros there ("silenced"); the other one is cut. Every layer that reads less must be given the
same by both, and they must return the same.

What the example inputs do not show would go unnoticed: zeros, dead filters, activations that die
out on the way down, saturated outputs. So both copies get the same noise on the output of every
convolution and linear layer, as large as that output varies; a sound cut passes with any, because
what lies between two layers is a function of what the first puts out. And both run in float64,
where rounding hides nothing. A model that cannot bear the one or the other does without.
"""

from __future__ import annotations

import functools
import math
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from ..cutting import Cut, apply_cuts
from ..layer_kinds import channel_axis, is_producer
from ..model_runs import (
    ExampleInputs,
    analysing,
    equal_tensors,
    first_line,
    map_tensors,
    run,
    tensors_of,
)
from .branches import copy_for_analysis

__all__ = ["failure_of"]

Place = tuple[str, int]  # (layer, call number)

# In float64: what float32 operations inside a model may round, and far less than a channel that is
# mistaken for another one makes.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class _Setting:
    """How the two copies run.

    Attributes
    ----------
    exact : bool
        In float64, otherwise in the model's own precision.
    strength : float
        The noise, in standard deviations of the output that it is added to (above 1: in root mean
        squares); 0 for none.
    outward : bool
        Whether no value changes its sign or comes nearer to zero, for what must stay positive.
    still : frozenset of str
        Layers that get no noise.
    awake : frozenset of str
        Modules in training mode, for branches that run only then.
    """

    exact: bool
    strength: float
    outward: bool = False
    still: frozenset[str] = frozenset()
    awake: frozenset[str] = frozenset()


# (strength, outward), the most telling first. Stronger noise, and the opposite, is for layers that
# a rectifier lets nothing pass to.
_NOISES: tuple[tuple[float, bool], ...] = (
    (1.0, False),
    (1.0, True),
    *((strength, False) for strength in (-1.0, 4.0, -4.0, 16.0, -16.0)),
    (0.0, False),
)


@dataclass
class _Seen:
    """What a run of the silenced copy shows.

    Attributes
    ----------
    read : dict of place to torch.Tensor
        What the layers that read removed channels are given of the others.
    outputs : list of torch.Tensor
        What the model returns.
    noise : dict of place to (tuple of int, float)
        The shape and the size of the noise on the layers' outputs.
    """

    read: dict[Place, torch.Tensor] = field(default_factory=dict)
    outputs: list[torch.Tensor] = field(default_factory=list)
    noise: dict[Place, tuple[tuple[int, ...], float]] = field(default_factory=dict)

    def tensors(self) -> list[torch.Tensor]:
        return [*self.read.values(), *self.outputs]


def failure_of(
    cuts: Sequence[Cut],
    model: nn.Module,
    example_inputs: ExampleInputs,
    awake: frozenset[str] = frozenset(),
) -> str | None:
    """Say what goes wrong with some cuts of a model on example inputs; None if they are right.

    In evaluation mode, but for the modules `awake` (`branches`).
    """
    still: frozenset[str] = frozenset()
    with analysing(model), torch.no_grad():
        while True:
            try:
                setting, seen = _silenced(cuts, model, example_inputs, still, awake)
            except Exception as error:
                return (
                    "the forward pass fails with zeros in place of its filters "
                    f"({type(error).__name__}: {first_line(error)})"
                )
            if (layer := _blind(seen, setting)) is not None:
                return (
                    f"nothing arrives at '{layer}' on example_inputs by which the cut could be "
                    "proven"
                )
            cut = _Bench(cuts, setting, seen)
            try:
                cut.run(model, example_inputs)
            except Exception as error:
                return (
                    "the forward pass fails without its filters "
                    f"({type(error).__name__}: {first_line(error)})"
                )
            if not cut.unfit:
                break
            still |= cut.unfit
        reason = cut.difference()
        if reason is not None and _is_random(seen, cuts, setting, model, example_inputs):
            return (
                f"the model is random in evaluation mode, and with the same random numbers {reason}"
            )
        return reason


def _silenced(
    cuts: Sequence[Cut],
    model: nn.Module,
    example_inputs: ExampleInputs,
    still: frozenset[str],
    awake: frozenset[str],
) -> tuple[_Setting, _Seen]:
    """Run the silenced copy in the most telling way that it survives."""
    for exact in (True, False):
        for strength, outward in _NOISES:
            setting = _Setting(exact, strength, outward, still, awake)
            try:
                seen = _Bench(cuts, setting).run(model, example_inputs)
            except Exception:
                if exact:
                    break  # most likely some layer has a precision of its own
                if not strength:
                    raise
                continue
            if not strength or not (
                any(tensor.isnan().any() for tensor in seen.tensors()) or _blind(seen, setting)
            ):
                return setting, seen
    raise AssertionError("unreachable: the last setting returns or raises")


def _blind(seen: _Seen, setting: _Setting) -> str | None:
    """The first layer that is given nothing by which a wrong cut would be noticed."""
    telling: dict[str, bool] = {}
    for (name, _), x in seen.read.items():
        rows = x.flatten(1) if x.dim() > 1 else x[:, None]
        shown = bool(rows.count_nonzero())
        if not setting.strength and rows.shape[1] > 1:  # shifts of constants are not seen either
            shown = bool((rows != rows[:, :1]).any())
        telling[name] = telling.get(name, False) or shown
    return next((name for name, shown in telling.items() if not shown), None)


def _is_random(
    seen: _Seen,
    cuts: Sequence[Cut],
    setting: _Setting,
    model: nn.Module,
    example_inputs: ExampleInputs,
) -> bool:
    """Whether a model computes something else with other random numbers."""
    again = _Bench(cuts, setting).run(model, example_inputs, seed=1)
    return not equal_tensors(seen.tensors(), again.tensors())


class _Bench:
    """One run of a copy: the silenced one, or the one that is cut, which is compared with it.

    Parameters
    ----------
    cuts : sequence of Cut
        What is removed.
    setting : _Setting
        How it runs.
    expected : _Seen, optional
        What the silenced copy showed, if this is the other one.

    Attributes
    ----------
    unfit : set of str
        Layers whose output the noise does not fit when cut: they pass on other channels along
        another axis.
    """

    def __init__(
        self, cuts: Sequence[Cut], setting: _Setting, expected: _Seen | None = None
    ) -> None:
        self.setting = setting
        self.unfit: set[str] = set()
        self._cuts = cuts
        self._kept_in = {cut.target: cut for cut in cuts if cut.side == "in"}
        self._kept_out = {cut.target: cut.kept for cut in cuts if cut.side == "out"}
        self._expected = expected
        self._seen = _Seen()
        self._calls: dict[str, int] = {}
        self._precision = 0.0  # the coarsest that was met, without float64
        self._compared: set[Place] = set()
        self._producers: set[str] = set()
        self._reason: str | None = None

    def run(self, model: nn.Module, example_inputs: ExampleInputs, seed: int = 0) -> _Seen:
        """Run a copy of its own, because a model may write into its weights and buffers."""
        whole = self._expected is None
        # What is cut is cast afterwards, when there is less of it.
        kind = torch.float64 if whole and self.setting.exact else None
        twin = copy_for_analysis(model, self.setting.awake, kind)
        if not whole:
            apply_cuts(twin, self._cuts)
        if self.setting.exact:
            twin._apply(_exact)
            example_inputs = map_tensors(_exact, example_inputs)
        met = [*twin.parameters(), *twin.buffers(), *tensors_of(example_inputs)]
        self._precision = _coarsest(met + (self._expected.tensors() if self._expected else []))
        # As it is whole: a grouped convolution that is left with one channel a group is depthwise.
        self._producers = {name for name, module in model.named_modules() if is_producer(module)}
        watched = [
            (name, module)
            for name, module in twin.named_modules()
            if name in self._kept_in or name in self._producers
        ]
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            for name, module in watched:
                forward = functools.partial(self._forward, name, module, module.forward)
                object.__setattr__(module, "forward", forward)
            outputs = run(twin, example_inputs)
        finally:
            for _, module in watched:
                module.__dict__.pop("forward", None)  # a cycle, which would keep the copy alive
        self._seen.outputs = [_plain(tensor) for tensor in tensors_of(outputs)]
        return self._seen

    def difference(self) -> str | None:
        """Say how the copy that was cut differs from the silenced one."""
        expected = self._expected
        if expected is None:
            raise TypeError("only the copy that is cut is compared")
        if [t.shape for t in self._seen.outputs] != [t.shape for t in expected.outputs]:
            return "the outputs change their shape without its filters"
        if self._compared != set(expected.read):
            return "layers are called another number of times without its filters"
        pairs = zip(self._seen.outputs, expected.outputs, strict=True)
        if self._reason is None and not all(self._close(a, b, None) for a, b in pairs):
            self._reason = "removing its filters changes more than their own contribution"
        return self._reason

    def _forward(
        self, name: str, module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        place = (name, self._calls.get(name, 0))
        self._calls[name] = place[1] + 1
        if name in self._kept_in:
            args, kwargs = self._read(place, module, args, kwargs)
        output = original(*args, **kwargs)
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            output = self._stirred(place, module, output)
        return output

    def _read(
        self, place: Place, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Note what a layer is given, or compare it; put zeros where channels are removed."""
        key = next((key for key in ("input", "x") if key in kwargs), next(iter(kwargs), ""))
        given = args[0] if args else kwargs[key]
        x = given.data if isinstance(given, PackedSequence) else given
        axis = channel_axis(module, x)
        if self._expected is not None:
            self._compare(place, _plain(x).movedim(axis, 0))
            return args, kwargs
        cut = self._kept_in[place[0]]
        index = torch.tensor(cut.kept, device=x.device)
        self._seen.read[place] = _plain(x.index_select(axis, index)).movedim(axis, 0)
        removed = sorted(set(range(cut.size)) - set(cut.kept))
        x = x.index_fill(axis, torch.tensor(removed, device=x.device), 0)
        if isinstance(given, PackedSequence):
            x = given._replace(data=x)
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, key: x})

    def _compare(self, place: Place, x: torch.Tensor) -> None:
        """Compare at once: an operation in place may change it later."""
        self._compared.add(place)
        expected = self._expected.read.get(place) if self._expected is not None else None
        if expected is None or expected.shape != x.shape or self._reason is not None:
            return  # of another shape is what a layer that passes on other channels is given
        if not self._close(x, expected, 0):
            self._reason = f"removing its filters changes what else arrives at '{place[0]}'"

    def _stirred(self, place: Place, module: nn.Module, output: torch.Tensor) -> torch.Tensor:
        """Add noise to a layer's output: the same for every filter, whether others are cut."""
        name = place[0]
        quiet = not self.setting.strength or name in self.setting.still
        if quiet or name not in self._producers or not output.numel():
            return output
        if self._expected is None:
            values = output.double()
            strong = abs(self.setting.strength) > 1.0  # against what all have in common, too
            size = float(values.square().mean().sqrt() if strong else values.std(correction=0))
            if not 0.0 < size < math.inf:  # all the same, or not finite
                size = 1.0
            self._seen.noise[place] = (tuple(output.shape), size)
        shape, size = (self._expected or self._seen).noise.get(place, ((), 0.0))
        generator = torch.Generator("cpu").manual_seed(zlib.crc32(repr(place).encode()))
        noise = torch.empty(shape, dtype=torch.float32, device="cpu")
        noise.uniform_(-1.0, 1.0, generator=generator)
        noise += torch.copysign(
            noise.new_tensor(0.5), noise
        )  # 0.5 to 1.5 either way, never next to 0
        axis = channel_axis(module, output)
        if self._expected is not None and name in self._kept_out and noise.dim() > axis:
            noise = noise.index_select(axis, torch.tensor(self._kept_out[name], device="cpu"))
        if noise.shape != output.shape:
            self.unfit.add(name)
            return output
        noise = noise.to(output) * (self.setting.strength * size)
        if self.setting.outward:
            noise = torch.copysign(noise, output)
        return output + noise

    def _close(self, computed: torch.Tensor, expected: torch.Tensor, axis: int | None) -> bool:
        """Equal but for rounding, measured against the largest value; of each channel, if exact."""
        if torch.equal(computed, expected):
            return True
        if not expected.is_floating_point():
            return False
        exact = self.setting.exact and expected.dtype == torch.float64
        tolerance = max(_TOLERANCE, math.sqrt(torch.finfo(expected.dtype).eps))
        if not self.setting.exact:
            tolerance = max(tolerance, math.sqrt(self._precision))
        computed, expected = computed.double(), expected.double()
        size = expected.nan_to_num(0.0, 0.0, 0.0).abs()
        scale = size.amax()
        if exact and axis == 0:
            rest = tuple(range(1, size.dim()))
            # A hundredth, because the sums in which channels cancel round like their terms.
            scale = (size.amax(rest, keepdim=True) if rest else size) + 0.01 * scale
        same = (computed == expected) | (computed.isnan() & expected.isnan())
        return bool((same | ((computed - expected).abs() <= tolerance * scale)).all())


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Complex numbers as pairs, along an axis behind the others."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _coarsest(tensors: Iterable[torch.Tensor]) -> float:
    """The largest rounding step of some tensors' precisions."""
    floating = {t.dtype for t in tensors if t.is_floating_point() or t.is_complex()}
    return max((torch.finfo(dtype).eps for dtype in floating), default=0.0)

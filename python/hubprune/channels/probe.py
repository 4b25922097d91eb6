# SPDX-License-Identifier: MIT
"""The probe: which channel arrives where in a model, read from where NaN arrives.

Every unit (filters that stand or fall together) gets a code word, and the model runs once per bit:
the channels of the units whose bit is set become NaN, and what arrives where is read at the input
of every layer. All words have the same number of ones, so a position that hears two units shows too
many.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..layer_kinds import RECURRENT, channel_axis, is_channelwise, is_producer, owner_and_leaf
from ..model_runs import ExampleInputs, fresh, run, tensors_of

__all__ = ["ControlFlowError", "NaNFoundError", "Place", "Probe", "Reading", "code_words"]

Place = tuple[str | None, int]  # (module, call number), or (None, number of the output tensor)


class Probe:
    """Watches the inputs of a model's layers, and replays their recorded outputs.

    In a replay the layers that mix all their input channels (convolutions, linear and recurrent
    layers) return what they returned in the recorded run, so NaN put into their output is the only
    NaN behind them, and a replay costs next to nothing.
    """

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs) -> None:
        self.model = model
        self.inputs = example_inputs
        self.axes: Mapping[str, int] = {}  # bare parameter -> its channel axis
        self.modules = {
            name: module
            for name, module in model.named_modules()
            if is_producer(module) or is_channelwise(module) or isinstance(module, RECURRENT)
        }
        self.mode = "off"
        self.through: set[str] = set()  # readers whose input has the channels on another axis
        self.calls: dict[str, int] = {}
        self.recorded: dict[Place, Any] = {}
        self.units: dict[str, torch.Tensor] = {}  # producer -> (channels,) unit number or -1
        self.lit = torch.zeros(0, dtype=torch.bool, device="cpu")
        self.looked_at: Collection[Place] | None = None  # all places
        self.seen: dict[Place, torch.Tensor] = {}

    def __enter__(self) -> Probe:
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

    def replay(
        self, lit: torch.Tensor, places: Collection[Place] | None = None
    ) -> dict[Place, torch.Tensor]:
        """Make the channels of some units NaN and see where NaN arrives.

        Parameters
        ----------
        lit : torch.Tensor
            (units,) bool.
        places : collection of place, optional
            Where to look; everywhere by default.

        Returns
        -------
        dict of place to torch.Tensor
            For each input of a watched layer and each output of the model, bool, its shape.
        """
        self.looked_at = places
        self.lit = torch.cat([lit, lit.new_zeros(1)])  # so that -1 is never lit
        self.seen = {}
        with self._lit_parameters():
            outputs = tensors_of(self._run("replay"))
        floating = [tensor for tensor in outputs if tensor.is_floating_point()]
        for number, tensor in enumerate(floating):
            if places is None or (None, number) in places:
                self.seen[None, number] = tensor.isnan()
        return self.seen

    def positions(self, place: Place, mask: torch.Tensor) -> torch.Tensor:
        """Whether NaN arrives at each channel, row (where channels are passed on) or element."""
        axis = self.axis(place, mask)
        if axis < 0:
            return mask.flatten()
        if place[0] in self.through:
            return mask.any(axis).flatten()
        return mask.movedim(axis, 0).flatten(1).any(1) if mask.dim() > 1 else mask

    def axis(self, place: Place, x: torch.Tensor) -> int:
        """Where the channels of what arrives lie; below 0 where each element is on its own."""
        name = place[0]
        return -1 if name is None or x.dim() == 0 else channel_axis(self.modules[name], x)

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
            owner, leaf = owner_and_leaf(name)
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
                    raise NaNFoundError(name)
            elif self.looked_at is None or place in self.looked_at:
                self.seen[place] = x.isnan()
        replayed = not is_channelwise(module) and name not in self.through
        if self.mode == "record" or not replayed:
            output = original(*args, **kwargs)
            if self.mode == "record" and not is_channelwise(module):
                self.recorded[place] = fresh(output)
        elif place in self.recorded:
            output = fresh(self.recorded[place])
        else:
            raise ControlFlowError(name)
        if self.mode == "replay" and name in self.units and isinstance(output, torch.Tensor):
            axis = channel_axis(module, output)
            output = self._lighten(output, self.units[name], axis)
        return output


class NaNFoundError(Exception):
    """The model itself computes NaN."""


class ControlFlowError(Exception):
    """The model took another way than in the recorded run."""


def code_words(count: int) -> tuple[list[int], int, int]:
    """`count` different words with the same number of ones: the words, their bits, their ones.

    Then the union of two different words always has more ones than a word (Sperner).
    """
    bits = 1
    while math.comb(bits, (bits + 1) // 2) < count:
        bits += 1
    ones = (bits + 1) // 2
    words = itertools.islice(itertools.combinations(range(bits), ones), count)
    return [sum(1 << bit for bit in word) for word in words], bits, ones


class Reading:
    """Where some units arrive: what all bits together say about every watched place.

    Parameters
    ----------
    probe : Probe
        Runs the model, once a bit.
    lit : torch.Tensor
        Which units get a word, (units,) bool.
    apart : collection of place, default ()
        Where each element is a position of its own.
    """

    def __init__(self, probe: Probe, lit: torch.Tensor, *, apart: Collection[Place] = ()) -> None:
        words, bits, self._ones = code_words(int(lit.sum()))
        self._probe = probe
        codes = torch.zeros(len(lit), dtype=torch.long, device="cpu")
        codes[lit] = torch.tensor(words, dtype=torch.long, device="cpu")
        self._unit_of = {int(code): unit for unit, code in enumerate(codes.tolist()) if code}
        self._found: dict[Place, torch.Tensor | None] = {}  # what `units_at` has read
        self._heard: dict[Place, torch.Tensor] = {}  # how many bits each element saw
        # the word of each position, row (of a layer that passes channels on), or output element
        self._words: dict[Place, torch.Tensor] = {}
        for bit in range(bits):
            for place, mask in probe.replay((codes >> bit) & 1 == 1).items():
                heard = mask.flatten() if place in apart else probe.positions(place, mask)
                summary = heard.long() << bit
                if place in self._heard:
                    self._heard[place] += mask
                    self._words[place] |= summary
                else:
                    self._heard[place] = mask.to(torch.int8)
                    self._words[place] = summary

    def calls_of(self, name: str) -> list[Place]:
        return sorted((place for place in self._words if place[0] == name), key=lambda p: p[1])

    def mixed(self) -> dict[Place, torch.Tensor]:
        """Where single elements heard more than one unit."""
        return {place: heard > self._ones for place, heard in self._heard.items()}

    def units_at(self, place: Place) -> torch.Tensor | None:
        """(positions,) the unit at each position, -1 for none, -2 for several; None if none."""
        if place not in self._found:
            words = self._words[place]
            self._found[place] = self._units(words) if words.any() else None
        return self._found[place]

    def is_shared(self, place: Place) -> bool:
        """Whether any position has several units."""
        row = self.units_at(place)
        return row is not None and bool((row == -2).any())

    def units_by_channel(self, place: Place) -> list[set[int]]:
        """The units at the elements of each channel that a layer reads, of a place in `apart`."""
        units = self._units(self._words[place]).view(self._heard[place].shape)
        rows = units.movedim(self._probe.axis(place, units), 0)
        return [set(row.unique().tolist()) - {-1, -2} for row in rows]

    def units_of_rows(self, name: str) -> list[int]:
        """The same for the rows of a layer that passes channels on, those of all its calls."""
        words = torch.cat([self._words[place] for place in self.calls_of(name)])
        units: list[int] = self._units(words).tolist()
        return units

    def _units(self, words: torch.Tensor) -> torch.Tensor:
        found, index = words.cpu().unique(return_inverse=True)
        units = [self._unit_of.get(word, -2) if word else -1 for word in found.tolist()]
        return torch.tensor(units, dtype=torch.long, device="cpu")[index]

    def units_at_outputs(self) -> list[int]:
        """The units that reach an output of the model alone."""
        words = {
            word
            for place, row in self._words.items()
            if place[0] is None
            for word in row.unique().tolist()
        }
        return sorted(self._unit_of[word] for word in words if word in self._unit_of)

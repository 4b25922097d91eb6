# SPDX-License-Identifier: MIT
"""What each channel was last: which channel of which layer or batch norm arrives where.

The channel groups know the unit at every position, but not by which of several ways it came. The
same probe answers that: every layer and batch norm has a voice, a code word, and the model runs
once per bit, with NaN in the outputs of those whose bit is set. Unlike there, batch norms too
return what they returned in the recorded run, so that only the last on the way is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ..layer_kinds import BATCH_NORMS, RECURRENT, channel_axis, is_producer
from ..model_runs import ExampleInputs, fresh, layer_input, tensors_of
from .groups import ChannelGroups
from .probe import ControlFlowError, Place, Probe, code_words

__all__ = ["Channel", "SourceProbe"]

Channel = tuple[str, int]  # (layer or batch norm, its channel)
_Voice = tuple[str, int]  # (layer or batch norm, how often its channel's unit occurred before)


class SourceProbe(Probe):
    """Tells which channels make the inputs of layers and batch norms.

    Use as a context; call `record`, then `sources`.

    Parameters
    ----------
    model : torch.nn.Module
        A copy of the model of `groups`.
    example_inputs : tensor, sequence or mapping
        What it is called with.
    groups : ChannelGroups
        What belongs together.
    """

    def __init__(
        self, model: nn.Module, example_inputs: ExampleInputs, groups: ChannelGroups
    ) -> None:
        super().__init__(model, example_inputs)
        self.modules = {
            name: module
            for name, module in model.named_modules()
            if is_producer(module) or isinstance(module, (*BATCH_NORMS, *RECURRENT))
        }
        self._inputs: dict[str, list[int]] = {}  # layers and norms whose inputs are asked for
        self._channels: dict[_Voice, dict[int, int]] = {}  # what a voice says of a unit: a channel
        voices: dict[_Voice, int] = {}
        for (target, side, _), units in groups.sides.items():
            is_norm = side == "channels" and isinstance(self.modules.get(target), BATCH_NORMS)
            if is_norm or side == "in":
                self._inputs[target] = units
            if is_norm or side == "out":
                row, met = [-1] * len(units), dict[int, int]()
                for channel, unit in enumerate(units):
                    if unit < 0:
                        continue
                    voice = (target, met.setdefault(unit, 0))
                    met[unit] += 1
                    row[channel] = voices.setdefault(voice, len(voices))
                    self._channels.setdefault(voice, {})[unit] = channel
                self.units[target] = torch.tensor(row, device="cpu")
        self._voices = list(voices)

    def sources(self) -> dict[str, list[list[Channel]]]:
        """Follow the channels.

        Returns
        -------
        dict of str to list of list of (str, int)
            For each input position of the layers whose inputs can be cut, and of the batch norms
            that these channels pass: the filters or channels of batch norms that arrive there,
            with nothing of that kind in between. Several, where outputs are added or a layer is
            called more than once.

        Notes
        -----
        About log2(layers) + 3 replays of everything but convolutions, linear layers and batch
        norms, and as many as layers are added to each other at most.
        """
        found: dict[str, list[list[Channel]]] = {
            name: [[] for _ in units] for name, units in self._inputs.items()
        }
        words, bits, ones = code_words(len(self._voices))
        codes = torch.tensor(words, dtype=torch.long, device="cpu")
        heard = {
            name: torch.zeros(len(row), dtype=torch.long, device="cpu")
            for name, row in found.items()
        }
        for bit in range(bits):
            for name, mask in self._heard((codes >> bit) & 1 == 1).items():
                heard[name] |= mask.long() << bit
        voice_of = {word: number for number, word in enumerate(words)}
        several: list[tuple[str, int]] = []  # where more than one voice is heard
        unions: dict[int, set[int]] = {}  # what is heard there -> by which units
        for name, row in heard.items():
            for position, word in enumerate(row.tolist()):
                if word.bit_count() > ones:
                    several.append((name, position))
                    unions.setdefault(word, set()).add(self._inputs[name][position])
                elif word:
                    self._note(found, name, position, voice_of.get(word))
        candidates = [
            number
            for number, code in enumerate(words)
            if any(
                code & word == code and not units.isdisjoint(self._channels[self._voices[number]])
                for word, units in unions.items()
            )
        ]
        for lit in self._apart(candidates):
            speaking = [number in lit for number in range(len(words))]
            heard = self._heard(torch.tensor(speaking, device="cpu"))
            is_heard = {name: mask.tolist() for name, mask in heard.items()}
            speaker = {unit: n for n in lit for unit in self._channels[self._voices[n]]}
            for name, position in several:
                if is_heard[name][position]:
                    self._note(found, name, position, speaker.get(self._inputs[name][position]))
        return found

    def _apart(self, voices: Iterable[int]) -> list[set[int]]:
        """Put voices into as few sets as it takes that no two of a set speak of the same unit."""
        parts: list[set[int]] = []
        taken: list[set[int]] = []
        for number in voices:
            units = set(self._channels[self._voices[number]])
            free = next((i for i, row in enumerate(taken) if row.isdisjoint(units)), len(parts))
            if free == len(parts):
                parts.append(set())
                taken.append(set())
            parts[free].add(number)
            taken[free] |= units
        return parts

    def _heard(self, lit: torch.Tensor) -> dict[str, torch.Tensor]:
        """Where NaN arrives in any call of the layers that are asked for, (positions,) bool."""
        union: dict[str, torch.Tensor] = {}
        for (name, _), mask in self.replay(lit).items():
            if name is not None:
                union[name] = union[name] | mask if name in union else mask
        return union

    def _note(
        self, found: dict[str, list[list[Channel]]], name: str, position: int, number: int | None
    ) -> None:
        unit = self._inputs[name][position]
        if number is not None and unit in self._channels[self._voices[number]]:
            voice = self._voices[number]
            found[name][position].append((voice[0], self._channels[voice][unit]))

    def _forward(
        self, name: str, module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if self.mode == "off":
            return original(*args, **kwargs)
        place: Place = (name, self.calls.get(name, 0))
        self.calls[name] = place[1] + 1
        if self.mode == "record":
            output = original(*args, **kwargs)
            self.recorded[place] = fresh(output)
            return output
        if name in self._inputs:
            x = layer_input(args, kwargs)
            if isinstance(x, torch.Tensor):
                self.seen[place] = _arrives(module, x)
        elif any(bool(tensor.isnan().any()) for tensor in tensors_of((args, kwargs))):
            return original(*args, **kwargs)  # it passes the channels on, along another axis
        if place not in self.recorded:
            raise ControlFlowError(name)
        output = self.recorded[place]
        if name in self.units and isinstance(output, torch.Tensor):
            return self._lighten(output, self.units[name], channel_axis(module, output))
        return fresh(output)


def _arrives(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Whether any element of each of a layer's inputs is NaN, (positions,) bool."""
    mask = x.isnan().movedim(channel_axis(module, x), 0)
    return mask.reshape(len(mask), -1).any(1).cpu()

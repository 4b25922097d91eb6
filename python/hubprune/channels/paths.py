# SPDX-License-Identifier: MIT
"""What happens to a filter's output on its way to the layers that read it.

To make up for a removed filter, its readers must know which of their inputs it was, which batch
norm fixed its mean and spread, and whether a rectifier (ReLU) came before or after that norm.
`find_readers` takes the first two from a probe (`hubprune.channels.sources`), the last from one run
of the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..cutting import Cut
from ..layer_kinds import BATCH_NORMS
from ..model_runs import layer_input, tensors_of, undisturbed_rng
from .branches import copy_for_analysis
from .groups import ChannelGroups
from .sources import Channel, SourceProbe

__all__ = ["RECTIFIED", "Path", "Reader", "compose_readers", "find_readers"]

RECTIFIED = ("no", "before norm", "after norm")


@dataclass(frozen=True)
class Path:
    """From the filters of one layer to the inputs of another.

    Attributes
    ----------
    layer : str
        The layer that makes the channels.
    norm : str or None
        The last batch norm that they pass on the way.
    rectified : str
        Where they pass a rectifier: ``"no"``, ``"before norm"`` or ``"after norm"`` (also where
        there is no norm).
    filters : tuple of int
        Filters of `layer`; a filter appears once for each input that it reaches.
    positions : tuple of int
        The inputs of the reader that they reach, as long as `filters`; a position appears more than
        once where filters of the layer are added or multiplied.
    norm_channels : tuple of int or None
        The channels of `norm` that they pass, as long as `filters`; None where those have the
        filters' own numbers. Behind a concatenation, a shuffling or a flattening they have not.
    """

    layer: str
    norm: str | None
    rectified: str
    filters: tuple[int, ...]
    positions: tuple[int, ...]
    norm_channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.norm is None or self.norm_channels == self.filters:  # one way to say it
            object.__setattr__(self, "norm_channels", None)

    @property
    def at_norm(self) -> tuple[int, ...]:
        """The channels of `norm` that the filters pass."""
        return self.filters if self.norm_channels is None else self.norm_channels


@dataclass(frozen=True)
class Reader:
    """A layer whose inputs are pruned.

    Attributes
    ----------
    paths : tuple of Path
        Where its inputs come from: several paths where outputs are concatenated (other positions)
        or added (the same positions).
    norm : str or None
        The batch norm that reads its output directly, if nothing else reads it and the norm reads
        nothing else: a change of the norm's mean is then a change of that output.
    """

    paths: tuple[Path, ...]
    norm: str | None = None


def compose_readers(
    first: dict[str, Reader],
    second: dict[str, Reader],
    filters: dict[str, tuple[int, ...]],
    inputs: dict[str, tuple[int, ...]],
    channels: dict[str, tuple[int, ...]],
) -> dict[str, Reader]:
    """Return the readers of two plans, one after the other, for the original model.

    `filters`, `inputs` and `channels`: what the first plan keeps of each layer's filters, of its
    inputs, and of each norm's channels.
    """

    def back(indices: tuple[int, ...], kept: tuple[int, ...] | None) -> tuple[int, ...]:
        return indices if kept is None else tuple(kept[i] for i in indices)

    moved = {
        name: Reader(
            tuple(
                Path(
                    path.layer,
                    path.norm,
                    path.rectified,
                    back(path.filters, filters.get(path.layer)),
                    back(path.positions, inputs.get(name)),
                    None if path.norm is None else back(path.at_norm, channels.get(path.norm)),
                )
                for path in reader.paths
            ),
            reader.norm,
        )
        for name, reader in second.items()
    }
    return {**moved, **first}  # the first plan saw all filters


def find_readers(
    model: nn.Module, example_inputs: Any, groups: ChannelGroups, cuts: Iterable[Cut]
) -> dict[str, Reader]:
    """Find where the inputs of all layers come from that lose inputs.

    Parameters
    ----------
    model : torch.nn.Module
        The model of `groups`. It is copied and not touched.
    example_inputs : tensor, tuple or dict
        What it is called with.
    groups : ChannelGroups
        What belongs together.
    cuts : iterable of Cut
        The plan's.

    Returns
    -------
    dict of str to Reader
        One for each layer whose inputs are cut.

    Notes
    -----
    A rectifier is recognised by its outcome on the example inputs: nothing below zero, and zeros,
    where there was something below zero before. Leaky and smooth activations count as none. Of
    several batch norms on the way the last counts.
    """
    names = [cut.target for cut in cuts if cut.side == "in"]
    if not names:
        return {}
    model = copy_for_analysis(model, groups.awake)
    probe = SourceProbe(model, example_inputs, groups)
    with undisturbed_rng(model), torch.inference_mode(False), torch.no_grad(), probe:
        with _Signs(model) as signs:
            signs.returned(probe.record())
        sources = probe.sources()
    order = {key[0]: number for number, key in enumerate(groups.sides) if key[1] == "out"}
    norms = {name for name, module in model.named_modules() if isinstance(module, BATCH_NORMS)}

    @functools.cache  # what is added to often is read by many
    def made(source: Channel) -> list[tuple[Channel, tuple[str | None, int]]]:
        return list(_made(source, sources, norms))

    readers = {}
    for name in names:
        found: dict[tuple[str, str | None], list[tuple[int, int, int]]] = {}
        before = {layer for layer in order if signs.called(layer) < signs.called(name)}
        for position, nearest in enumerate(sources[name]):
            ways = [way for source in nearest for way in made(source)]
            for (layer, index), (norm, channel) in sorted(ways, key=lambda way: order[way[0][0]]):
                if layer in before:  # else: its own output, or later ones
                    found.setdefault((layer, norm), []).append((index, position, channel))
        readers[name] = Reader(
            tuple(
                Path(layer, norm, signs.rectified(layer, norm, name), *zip(*way, strict=True))
                for (layer, norm), way in found.items()
            ),
            signs.norm_after(name),
        )
    return readers


def _made(
    source: Channel, sources: Mapping[str, list[list[Channel]]], norms: set[str]
) -> Iterator[tuple[Channel, tuple[str | None, int]]]:
    """Yield the filters behind a source, and the batch norm that each passes last."""
    if source[0] not in norms:
        yield source, (None, source[1])
        return
    behind, met = [source], {source}
    while behind:
        name, channel = behind.pop()
        for before in sources[name][channel]:
            if before in met:
                continue
            met.add(before)
            if before[0] in norms:
                behind.append(before)
            else:
                yield before, source


class _Reads(TorchDispatchMode):
    """Calls back with every tensor that an operation is given."""

    def __init__(self, call: Callable[[torch.Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._call = call

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for tensor in tensors_of((args, kwargs or {})):
            self._call(tensor)
        return func(*args, **(kwargs or {}))


class _Signs:
    """Which layers see or make values below zero, and which norm alone reads which layer."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._handles: list[Any] = []
        self._rectified_in: dict[str, bool] = {}
        self._negative_out: dict[str, bool] = {}
        self._made_by: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []  # else a freed tensor's id could come again
        self._inside: str | None = None  # the layer that is running
        self._read_by: dict[str, set[str | None]] = {}  # None: the model itself, or its output
        self._read_from: dict[str, set[str | None]] = {}  # norm -> whose outputs it reads
        self._order: dict[str, int] = {}
        self._reads = _Reads(self._read)

    def __enter__(self) -> _Signs:
        for name, module in self._modules.items():
            # TorchScript takes no hooks; what it reads is seen all the same. A norm may hold an
            # activation (timm's BatchNormAct2d).
            is_leaf = next(module.children(), None) is None
            if (is_leaf or isinstance(module, BATCH_NORMS)) and not isinstance(
                module, torch.jit.ScriptModule
            ):
                self._handles += [
                    module.register_forward_pre_hook(partial(self._before, name), with_kwargs=True),
                    module.register_forward_hook(partial(self._after, name)),
                ]
        self._reads.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._reads.__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._alive.clear()

    def _before(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._order.setdefault(name, len(self._order))
        self._inside = name  # what is looked at here counts as read by the layer
        x = layer_input(args, kwargs)
        if isinstance(x, torch.Tensor):
            self._rectified_in[name] = bool((x >= 0).all()) and bool((x == 0).any())
        if isinstance(module, BATCH_NORMS):
            self._read_from.setdefault(name, set()).add(self._made_by.get(id(x)))

    def _after(self, name: str, module: nn.Module, _args: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor):
            # In-place activations change it later: looked at now. A norm that was derived may have
            # an activation of its own, behind which its own output is not seen.
            if type(module) in BATCH_NORMS or not isinstance(module, BATCH_NORMS):
                self._negative_out[name] = bool((out < 0).any())
            self._made_by.setdefault(id(out), name)  # others hand on what they were given
            self._alive.append(out)
        self._inside = None

    def _read(self, tensor: torch.Tensor) -> None:
        maker = self._made_by.get(id(tensor))
        if maker is not None:
            self._read_by.setdefault(maker, set()).add(self._inside)

    def returned(self, outputs: Any) -> None:
        """Count the model's outputs as read."""
        for tensor in tensors_of(outputs):
            self._read(tensor)

    def rectified(self, layer: str, norm: str | None, reader: str) -> str:
        if self._rectified_in.get(reader) and self._negative_out.get(norm or layer, True):
            return "after norm"
        if norm is not None and self._rectified_in.get(norm) and self._negative_out.get(layer):
            return "before norm"
        return "no"

    def called(self, name: str) -> int:
        """When the layer was first called; a layer that was not comes last."""
        return self._order.get(name, len(self._modules))

    def norm_after(self, name: str) -> str | None:
        """The batch norm that alone reads a layer's output and reads nothing else."""
        readers = self._read_by.get(name, set())
        alone = (norm for norm in readers if norm is not None and len(readers) == 1)
        return next((norm for norm in alone if self._read_from.get(norm) == {name}), None)

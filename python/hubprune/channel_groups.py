# SPDX-License-Identifier: MIT
"""Which channels of a model belong together.

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

import functools
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .channel_probe import ControlFlowError, NaNFoundError, Place, Probe, Reading, code_words
from .cutting import Cut, SideKey, apply_cuts, ignore_removed_inputs
from .layer_kinds import (
    CONVOLUTIONS,
    MIXING_NORMS,
    NORMS,
    RECURRENT,
    is_channelwise,
    is_depthwise,
    is_grouped,
    is_producer,
    owner_and_leaf,
    side_size,
    uncuttable,
)
from .model_runs import ExampleInputs, duplicate, first_line, run, tensors_of, undisturbed_rng
from .recurrent_tracing import recurrent_as_one_step

__all__ = ["Block", "ChannelGroups", "find_channel_groups"]


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
            ignore_removed_inputs(twin, cuts)
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
        probe = Probe(self.twin, self.inputs, self.axes)
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

    def _record(self, probe: Probe) -> None:
        try:
            outputs = probe.record()
        except NaNFoundError as error:
            raise ValueError(
                "the model must compute finite numbers on example_inputs; NaN reaches the layer "
                f"'{error}'"
            ) from None
        except Exception as error:
            raise ValueError(
                "the model cannot run on example_inputs "
                f"({type(error).__name__}: {first_line(error)})"
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
            one_step = recurrent_as_one_step(self.twin)
            with warnings.catch_warnings(), torch.enable_grad(), one_step:
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
                f"({type(error).__name__}: {first_line(error)})"
            ) from error
        self.input_norms = self._find_input_norms(graph)
        return graph

    def _find_input_norms(self, graph: Any) -> tuple[str, ...]:
        """Normalisations with no trainable convolution or linear layer before them."""
        found = []
        trainable = {name for name, p in self.model.named_parameters() if p.requires_grad}
        any_trainable = bool(trainable)
        for module, node in graph.module2node.items():
            if not isinstance(module, NORMS) or module not in self.names:
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
            if name is not None and (is_producer(node.module) or is_depthwise(node.module)):
                found.add(name)
            if name is None or not is_producer(node.module):
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
                owner, leaf = owner_and_leaf(name)
                self.shared[owner] = self.shared[name] = f"shares its {leaf} with {others}"

    def _obstacle(self, name: str) -> str | None:
        """Why a layer, or a bare parameter, cannot be resized at all."""
        if name in self.shared:
            return self.shared[name]
        module = self.modules.get(name)
        return None if module is None else uncuttable(module)

    def _find_blocks(self, graph: Any, called: set[str]) -> None:
        """Join the filters that Torch-Pruning couples into units, and the units into blocks."""
        producers = [name for name, module in self.modules.items() if is_producer(module)]
        width = {name: side_size(self.modules[name], "out") or 0 for name in producers}
        for name in producers:
            if isinstance(self.modules.get(owner_and_leaf(name)[0]), nn.MultiheadAttention):
                self.veto.setdefault(name, "is a projection of attention, which is not cut")
            elif name not in called:
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
            if isinstance(target, MIXING_NORMS) and not is_channelwise(target):
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
        owner = self.modules[owner_and_leaf(full)[0]]
        if isinstance(owner, RECURRENT) or is_producer(owner) or is_channelwise(owner):
            return
        if isinstance(owner, MIXING_NORMS):
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

    def _probe_until_stable(self, probe: Probe) -> None:
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
            words, bits, ones = code_words(len(live))
            codes = torch.zeros(total, dtype=torch.long)
            codes[live] = torch.tensor(words, dtype=torch.long)
            try:
                reading = Reading(probe, codes, bits, ones)
                stable = self._judge(probe, reading, owner)
            except ControlFlowError as error:
                raise ValueError(
                    "the model must take the same way through its layers in every forward pass; "
                    f"'{error}' was called another number of times"
                ) from None
            except Exception as error:
                raise ValueError(
                    "the model's forward pass does not survive NaN, with which its channels are "
                    f"followed ({type(error).__name__}: {first_line(error)})"
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
            return side_size(self.modules[name], "out") or 0
        owner, leaf = owner_and_leaf(name)
        return int(getattr(self.modules[owner], leaf).shape[self.axes[name]])

    def _judge(self, probe: Probe, reading: Reading, owner: torch.Tensor) -> bool:
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
            side = "channels" if is_channelwise(module) else "in"
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

    def _drop_mixed(self, probe: Probe, mixed: dict[Place, torch.Tensor]) -> None:
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
            if module is not None and is_grouped(module) and side in ("in", "out"):
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

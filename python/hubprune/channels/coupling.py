# SPDX-License-Identifier: MIT
"""Which filters of a model are coupled, as Torch-Pruning's dependency graph has it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import nn

from ..layer_kinds import (
    CONVOLUTIONS,
    MIXING_NORMS,
    NORMS,
    RECURRENT,
    is_attention_projection,
    is_channelwise,
    is_depthwise,
    is_producer,
    owner_and_leaf,
    side_size,
    uncuttable,
)
from ..model_runs import ExampleInputs

__all__ = ["Coupling"]

Channel = tuple[str, int]  # (layer or bare parameter, position)


class Coupling:
    """The filters of a model that stand or fall together.

    Parameters
    ----------
    model : torch.nn.Module
        All its parameters require gradients: it is traced through autograd.
    example_inputs : tensor, sequence or mapping
        What it is called with.
    trainable : collection of str
        The parameters that are not frozen in the model that this is a copy of.
    called : collection of str
        The layers that the forward pass calls.

    Attributes
    ----------
    modules : dict of str to torch.nn.Module
        All modules.
    order : dict of str to int
        The place of each among them.
    input_norms, outputs : tuple of str
        As in `ChannelGroups`.
    width : dict of str to int
        The layers that make channels, and the bare parameters that meet them -> how many.
    axes : dict of str to int
        Those parameters -> the dimension of the channels.
    mixers : dict of str to list of str
        Layers -> the normalisations across channels that they meet.
    faults : dict of str to str
        Layers that must keep all their filters, with the reason.

    Raises
    ------
    ValueError
        If the model cannot be traced.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: ExampleInputs,
        *,
        trainable: Collection[str],
        called: Collection[str],
    ) -> None:
        from .tracing import dependency_graph  # here, because Torch-Pruning is slow to import

        self._model = model
        self.modules = dict(model.named_modules())
        self.order = {name: number for number, name in enumerate(self.modules)}
        self._names = {module: name for name, module in self.modules.items()}
        self._shared = _shared_parameters(model)
        self._graph = dependency_graph(model, example_inputs)
        self.input_norms = self._find_input_norms(trainable)
        self.outputs = self._find_outputs()
        self.width = {
            name: side_size(module, "out") or 0
            for name, module in self.modules.items()
            if is_producer(module)
        }
        self.axes: dict[str, int] = {}
        self.mixers: dict[str, list[str]] = {}
        self.faults: dict[str, str] = {}
        self._couplings: dict[frozenset[str], list[tuple[Channel, Channel]]] = {}
        self._doubtful: set[frozenset[str]] = set()  # of those, what may be misread
        self._join_all(called)
        self._joined = self._as_traced()

    def units(self) -> list[list[Channel]]:
        """The channels that stand or fall together, in the order of the first of each."""
        found: dict[Channel, list[Channel]] = {}
        for name, count in self.width.items():
            for position in range(count):
                channel = (name, position)
                found.setdefault(self._joined.find(channel), []).append(channel)
        return list(found.values())

    def join(self, channels: Sequence[Channel]) -> None:
        """Let channels stand or fall together that the trace does not show to."""
        for channel in channels:
            self._joined.join(channels[0], channel)

    def doubt(self, layers: Collection[str]) -> bool:
        """Forget the couplings of some layers that may be misread, and all that `join` was told.

        Torch-Pruning does not see the sizes of a view. Channels that are split into two axes, such
        as the weights of several paths, it takes for neighbours where they lie apart. Such a
        coupling is not one to one. False if these layers have none.
        """
        misread = {pair for pair in self._doubtful if not pair.isdisjoint(layers)}
        if not misread:
            return False
        self._doubtful -= misread
        for pair in misread:
            del self._couplings[pair]
        self._joined = self._as_traced()
        return True

    def _as_traced(self) -> _Joined:
        joined = _Joined()
        for pairs in self._couplings.values():
            for one, other in pairs:
                joined.join(one, other)
        return joined

    def obstacle(self, name: str) -> str | None:
        """Why a layer, or a bare parameter, cannot be resized at all."""
        if name in self._shared:
            return self._shared[name]
        module = self.modules.get(name)
        return None if module is None else uncuttable(module)

    def _find_input_norms(self, trainable: Collection[str]) -> tuple[str, ...]:
        """Normalisations with no trainable convolution or linear layer before them."""
        found = []
        for module, node in self._graph.module2node.items():
            if not isinstance(module, NORMS) or module not in self._names:
                continue
            stack, visited, fed = list(node.inputs), set(), False
            while stack and not fed:
                upstream = stack.pop()
                if upstream in visited:
                    continue
                visited.add(upstream)
                if isinstance(upstream.module, (*CONVOLUTIONS, nn.Linear)):
                    name = f"{self._names[upstream.module]}.weight"
                    fed = not trainable or name in trainable
                stack.extend(upstream.inputs)
            if not fed:
                found.append(self._names[module])
        return tuple(sorted(found, key=self.order.__getitem__))

    def _find_outputs(self) -> tuple[str, ...]:
        """The first layers on the way back from each output."""
        found = set()
        stack, visited = self._graph.output_nodes(), set()
        while stack:
            node = stack.pop()
            if node in visited:
                continue
            visited.add(node)
            name = self._names.get(node.module)
            if name is not None and (is_producer(node.module) or is_depthwise(node.module)):
                found.add(name)
            if name is None or not is_producer(node.module):
                stack.extend(node.inputs)
        return tuple(sorted(found, key=self.order.__getitem__))

    def _join_all(self, called: Collection[str]) -> None:
        for name in list(self.width):
            in_graph = self.modules[name] in self._graph.module2node
            if is_attention_projection(name, self.modules):
                self.faults[name] = "is a projection of attention, which is not cut"
            elif name not in called:
                self.faults[name] = "is not called by the forward pass on example_inputs"
            elif not in_graph:
                self.faults[name] = "is not on the way from the input to an output through autograd"
            elif (obstacle := self.obstacle(name)) is not None:
                self.faults[name] = obstacle
            if name in called and in_graph:
                self._join(name)

    def _join(self, name: str) -> None:
        """Read one group of Torch-Pruning: everything that the filters of one layer touch."""
        module = self.modules[name]
        if _is_misread(module):
            return
        pruner = self._graph.get_pruner_of_module(module)
        try:
            group = self._graph.get_pruning_group(
                module, pruner.prune_out_channels, list(range(self.width[name]))
            )
        except (IndexError, TypeError, ValueError, ZeroDivisionError):
            # Its index arithmetic fails behind splits such as the gates of a GRU, and multiplies
            # without end behind overlapping frames (istft). Without a coupling the units are
            # single filters: the probe joins or drops those that meet others, and the proof is the
            # same.
            return
        mixers = self.mixers.setdefault(name, [])
        for item in range(len(group)):
            dependency, positions = group[item]
            origins = group[item].root_idxs
            target = dependency.target.module
            if isinstance(target, nn.Parameter):
                self._join_parameter(name, target, positions, origins)
                continue
            other = self._names.get(target)
            if other is None:
                continue
            if other in self.input_norms:
                self.faults.setdefault(name, f"couples with the input normalisation '{other}'")
            if isinstance(target, MIXING_NORMS) and not is_channelwise(target):
                mixers.append(other)
            is_output = self._graph.is_out_channel_pruning_fn(dependency.handler)
            if other == name or not is_output or other not in self.width or _is_misread(target):
                continue
            if 1 in (self.width[name], self.width[other]):
                continue  # one filter always stays; it may reach all channels, as a gate does
            if len(origins) != len(positions) or max(positions, default=0) >= self.width[other]:
                continue  # not a coupling one to one: the probe will show what it is
            self._couple(name, other, zip(origins, positions, strict=True))

    def _couple(self, name: str, other: str, filters: Iterable[tuple[int, int]]) -> None:
        """Note which filters of one layer meet which of another."""
        ends = [(o, p) for o, p in filters if o is not None]
        pair = frozenset((name, other))
        if any(len(set(end)) != len(end) for end in zip(*ends, strict=True)):
            self._doubtful.add(pair)
        self._couplings.setdefault(pair, []).extend(((name, o), (other, p)) for o, p in ends)

    def _join_parameter(
        self,
        name: str,
        parameter: nn.Parameter,
        positions: list[int],
        origins: list[int],
    ) -> None:
        """A bare parameter, such as a scale per channel, joins the filters that it multiplies."""
        full = next(key for key, p in self._model.named_parameters() if p is parameter)
        owner = self.modules[owner_and_leaf(full)[0]]
        if isinstance(owner, RECURRENT) or is_producer(owner) or is_channelwise(owner):
            return
        if isinstance(owner, MIXING_NORMS):
            return
        long = [d for d, size in enumerate(parameter.shape) if size > 1]
        same = [d for d in long if parameter.shape[d] == self.width[name]]
        known = [self.axes[full]] if full in self.axes else same if len(same) == 1 else long
        if len(known) != 1:
            self.faults.setdefault(
                name,
                f"meets the parameter '{full}' of shape {tuple(parameter.shape)}, in which its "
                "channels cannot be told",
            )
            return
        axis = known[0]
        if parameter.shape[axis] == self.width[name]:
            origins = positions = list(range(self.width[name]))
        # else it is longer: of concatenated layers each multiplies a part
        if len(origins) != len(positions) or max(positions, default=0) >= parameter.shape[axis]:
            return
        if (obstacle := self.obstacle(full)) is not None:
            self.faults.setdefault(name, f"meets the parameter '{full}', which {obstacle}")
            return
        self.axes[full] = axis
        self.width.setdefault(full, int(parameter.shape[axis]))
        self._couple(name, full, zip(origins, positions, strict=True))


def _shared_parameters(model: nn.Module) -> dict[str, str]:
    """Layers and parameters that share a parameter with others, with that reason."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(f"{name}.{leaf}".lstrip("."))
    shared: dict[str, str] = {}
    for names in owners.values():
        for name in names if len(names) > 1 else ():
            others = ", ".join(f"'{other}'" for other in names if other != name)
            owner, leaf = owner_and_leaf(name)
            shared[owner] = shared[name] = f"shares its {leaf} with {others}"
    return shared


def _is_misread(module: nn.Module) -> bool:
    """Torch-Pruning calls a convolution depthwise when groups == out_channels."""
    return (
        isinstance(module, CONVOLUTIONS)
        and not is_depthwise(module)
        and module.groups == module.out_channels > 1
    )


class _Joined:
    """Union-find over (layer, channel)."""

    def __init__(self) -> None:
        self._parent: dict[Channel, Channel] = {}

    def find(self, item: Channel) -> Channel:
        root = item
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(item, item)) != root:
            self._parent[item], item = root, parent
        return root

    def join(self, a: Channel, b: Channel) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[b] = a

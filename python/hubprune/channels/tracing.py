# SPDX-License-Identifier: MIT
"""Torch-Pruning's dependency graph of a model, which is only read."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.overrides import TorchFunctionMode

from ..layer_kinds import side_size
from ..model_runs import ExampleInputs, first_line, run, tensors_of
from .recurrent_tracing import recurrent_as_one_step

__all__ = ["dependency_graph"]

# The longest list of indices, in widths of the widest layer. A channel that is flattened becomes
# many inputs, but no more than a layer reads; lists grow beyond that by being mapped in circles.
# The networks of the tests need up to 4.
_LONGEST_LIST = 20

# The longest way through the graph: so many steps, and so many for each of its dependencies. Gates
# that channels are split for and multiplied by again (focal modulation) lead in circles, with other
# indices each time. The networks of the tests need up to 165 with 36 dependencies, others 0.9 each.
_LONGEST_WAY = (200, 2)

_ARITHMETIC = (IndexError, TypeError, ZeroDivisionError)  # how Torch-Pruning's fails, of indices


def dependency_graph(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Trace a model.

    Parameters
    ----------
    model : torch.nn.Module
        All its parameters require gradients: it is traced through autograd, in the mode that each
        module is in.
    example_inputs : tensor, sequence or mapping
        What it is called with.

    Returns
    -------
    torch_pruning.DependencyGraph
        Whose groups fail with IndexError, TypeError, ValueError or ZeroDivisionError where its
        arithmetic of indices does.

    Raises
    ------
    ValueError
        If the model cannot be traced.
    """
    graph, loose = _Graph(), _LooseEnds([module for module in model.modules() if module.training])
    try:
        # Its warnings are about parameters that it would cut by itself; here it cuts nothing.
        with (
            warnings.catch_warnings(),
            torch.enable_grad(),
            recurrent_as_one_step(model),
            _linear_outputs_owned(model),
        ):
            warnings.simplefilter("ignore")
            graph.build_dependency(
                model,
                example_inputs,
                forward_fn=loose.run,
                output_transform=lambda tree: graph.ends(_outputs(tree), loose),
                customized_pruners={nn.GRU: _RecurrentPruner(), nn.RNN: _RecurrentPruner()},
                verbose=False,
            )
    except Exception as error:
        if not (isinstance(error, _ARITHMETIC) and hasattr(graph, "module2node")):
            raise ValueError(
                "the model cannot be traced by Torch-Pruning "
                f"({type(error).__name__}: {first_line(error)})"
            ) from error
        graph.leave_unreckoned()
    _limit_indices(graph, model)
    return graph


@contextmanager
def _linear_outputs_owned(model: nn.Module) -> Iterator[None]:
    """Let no linear layer return a view, until the block ends.

    Of more than two axes it does, and an operation in place, such as a rectifier's, then hides
    from autograd what the layer returned.
    """
    handles = [
        module.register_forward_hook(_own_output)
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _own_output(_module: nn.Module, _args: Any, output: Any) -> Any:
    return output.clone() if isinstance(output, torch.Tensor) else output


class _RecurrentPruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
    """Lets Torch-Pruning see recurrent layers as one node that nothing passes through."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        raise NotImplementedError("the dependency graph is only read")

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        raise NotImplementedError("the dependency graph is only read")

    def get_out_channels(self, layer: Any) -> int:
        return int(layer.hidden_size)

    def get_in_channels(self, layer: Any) -> int:
        return int(layer.input_size)


def _outputs(tree: Any) -> list[torch.Tensor]:
    # A clone, so that the output is a node of its own behind the last operation.
    found = [tensor.clone() for tensor in tensors_of(tree) if tensor.requires_grad]
    if not found:
        raise ValueError("no output depends on a parameter through autograd")
    return found


class _LooseEnds(TorchFunctionMode):
    """Finds where a model brings together what it then throws away.

    Such as the last sum of a WaveNet's residual stream: a trace backwards from the outputs does not
    show what the layer must fit that adds to it. Runs it with the modules `awake` in training mode.
    """

    def __init__(self, awake: Sequence[nn.Module]) -> None:
        super().__init__()
        self._loose: dict[int, torch.Tensor] = {}
        self._awake = awake

    def run(self, model: nn.Module, example_inputs: ExampleInputs) -> Any:
        for module in self._awake:  # Torch-Pruning has put all into evaluation mode
            module.training = True
        with self:
            return run(model, example_inputs)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = tensors_of(result)
        for tensor in tensors_of([args, kwargs]) if made else ():
            self._loose.pop(id(tensor), None)
        self._loose.update({id(tensor): tensor for tensor in made if tensor.requires_grad})
        return result

    def found(self, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors behind which things meet on no way to an output."""
        reached = _behind([tensor.grad_fn for tensor in outputs], set())
        ends = []
        for tensor in self._loose.values():
            behind = _behind([tensor.grad_fn], reached)
            before = {each for node in behind for each, _ in node.next_functions}
            parameters = {node for node in behind if hasattr(node, "variable")}
            if len((before & reached) | parameters) > 1:
                ends.append(tensor)
            reached |= behind
        return ends


def _behind(nodes: list[Any], known: AbstractSet[Any]) -> set[Any]:
    """The nodes of autograd that are reached from some, but for those that are known."""
    found: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in known and node not in found:
            found.add(node)
            nodes += [following for following, _ in node.next_functions]
    return found


class _Graph(torch_pruning.DependencyGraph):  # type: ignore[misc]
    """Leaves slices to the probe that it would take for slices of the channels."""

    def ends(self, outputs: list[torch.Tensor], loose: _LooseEnds) -> list[torch.Tensor]:
        """Where to trace from: the model's outputs and what it throws away."""
        self._outputs = {tensor.grad_fn for tensor in outputs}
        return [*outputs, *(tensor.clone() for tensor in loose.found(outputs))]

    def output_nodes(self) -> list[Any]:
        """The nodes of the model's outputs."""
        return [node for node in self.module2node.values() if node.grad_fn in self._outputs]

    def leave_unreckoned(self) -> None:
        """Leave to the probe what passes nodes at which the arithmetic of indices fails.

        It does by a zero behind views that split channels (ShuffleNet V2), and by a missing size
        where what is concatenated comes from no layer (WaveRNN). One such node would fail the
        groups of all layers.
        """
        nodes: dict[Any, Any] = self.module2node
        failed = set()
        for module, node in nodes.items():
            self.module2node: dict[Any, Any] = {module: node}
            try:
                torch_pruning.dependency.index_mapping.update_index_mapping(self)
            except _ARITHMETIC:
                failed.add(node)
        self.module2node = nodes
        for node in nodes.values():
            ways = [] if node in failed else node.dependencies
            node.dependencies = [way for way in ways if way.target not in failed]
        for node in failed:
            node.type = self.ops.OPTYPE.ELEMENTWISE

    def get_pruning_group(self, *args: Any) -> Any:
        """The group of some channels; ValueError where the way to it does not end."""
        whole = sum(len(node.dependencies) for node in self.module2node.values())
        self._steps_left = _LONGEST_WAY[0] + _LONGEST_WAY[1] * whole
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they say how deep its recursions are
            return super().get_pruning_group(*args)

    def step(self) -> None:
        """Count one step on the way to a group."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise ValueError("the way through the graph leads in circles")

    def _build_dependency(self, module2node: dict[Any, Any]) -> None:
        super()._build_dependency(module2node)
        for node in module2node.values():
            # Of three axes Torch-Pruning takes the last for the channels, of five any.
            if node.type == self.ops.OPTYPE.SLICE:
                axes = len(node.grad_fn._saved_self_sym_sizes)
                if axes not in (2, 4) or node.module.dim != 1:
                    node.type = self.ops.OPTYPE.ELEMENTWISE


def _limit_indices(graph: _Graph, model: nn.Module) -> None:
    """Let a graph fail with ValueError where its lists of indices grow beyond all layers, or its
    ways do not end.
    """
    widest = max((side_size(m, s) or 0 for m in model.modules() for s in ("in", "out")), default=0)
    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = _LimitedMappings(
                dependency.index_mapping, _LONGEST_LIST * widest, graph.step
            )


class _LimitedMappings(list[Any]):
    """The steps by which Torch-Pruning maps indices from one node to the next, each checked."""

    def __init__(self, mappings: Sequence[Any], limit: int, step: Callable[[], None]) -> None:
        super().__init__(mappings)
        self._limit = limit
        self._step = step

    def __iter__(self) -> Iterator[Any]:
        self._step()
        for mapping in super().__iter__():
            yield None if mapping is None else functools.partial(self._mapped, mapping)

    def _mapped(self, mapping: Callable[[Any], Any], indices: Any) -> Any:
        # A flattening makes each index `_stride` ones: asked before they fill the memory.
        flattened = not getattr(mapping, "reverse", True)
        if len(indices) * (getattr(mapping, "_stride", 1) if flattened else 1) > self._limit:
            raise ValueError("the indices of one layer's channels grow without end")
        return mapping(indices)

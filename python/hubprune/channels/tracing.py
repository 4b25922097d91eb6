# SPDX-License-Identifier: MIT
"""Torch-Pruning's dependency graph of a model, which is only read."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
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
_LONGEST_LIST = 100


def dependency_graph(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Trace a model.

    Parameters
    ----------
    model : torch.nn.Module
        All its parameters require gradients: it is traced through autograd.
    example_inputs : tensor, sequence or mapping
        What it is called with.

    Returns
    -------
    torch_pruning.DependencyGraph
        Whose groups fail with IndexError, ValueError or ZeroDivisionError where its arithmetic of
        indices does.

    Raises
    ------
    ValueError
        If the model cannot be traced.
    """
    graph, loose = _Graph(), _LooseEnds()
    try:
        # Its warnings are about parameters that it would cut by itself; here it cuts nothing.
        with warnings.catch_warnings(), torch.enable_grad(), recurrent_as_one_step(model):
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
        # Its arithmetic of indices fails by a zero, after the trace, behind views that split
        # channels (ShuffleNet V2), and will again for each layer.
        if not (isinstance(error, ZeroDivisionError) and hasattr(graph, "module2node")):
            raise ValueError(
                "the model cannot be traced by Torch-Pruning "
                f"({type(error).__name__}: {first_line(error)})"
            ) from error
    _limit_indices(graph, model)
    return graph


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
    show what the layer must fit that adds to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loose: dict[int, torch.Tensor] = {}

    def run(self, model: nn.Module, example_inputs: ExampleInputs) -> Any:
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

    def _build_dependency(self, module2node: dict[Any, Any]) -> None:
        super()._build_dependency(module2node)
        for node in module2node.values():
            # Of three axes Torch-Pruning takes the last for the channels, of five any.
            if node.type == self.ops.OPTYPE.SLICE:
                axes = len(node.grad_fn._saved_self_sym_sizes)
                if axes not in (2, 4) or node.module.dim != 1:
                    node.type = self.ops.OPTYPE.ELEMENTWISE


def _limit_indices(graph: Any, model: nn.Module) -> None:
    """Let a graph fail with ValueError where its lists of indices grow beyond all layers."""
    widest = max((side_size(m, s) or 0 for m in model.modules() for s in ("in", "out")), default=0)
    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = _LimitedMappings(
                dependency.index_mapping, _LONGEST_LIST * widest
            )


class _LimitedMappings(list[Any]):
    """The steps by which Torch-Pruning maps indices from one node to the next, each checked."""

    def __init__(self, mappings: Sequence[Any], limit: int) -> None:
        super().__init__(mappings)
        self._limit = limit

    def __iter__(self) -> Iterator[Any]:
        for mapping in super().__iter__():
            yield None if mapping is None else functools.partial(self._mapped, mapping)

    def _mapped(self, mapping: Callable[[Any], Any], indices: Any) -> Any:
        # A flattening makes each index `_stride` ones: asked before they fill the memory.
        flattened = not getattr(mapping, "reverse", True)
        if len(indices) * (getattr(mapping, "_stride", 1) if flattened else 1) > self._limit:
            raise ValueError("the indices of one layer's channels grow without end")
        return mapping(indices)

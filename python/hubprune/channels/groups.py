# SPDX-License-Identifier: MIT
"""Which channels of a model belong together.

Removing filter 3 of a convolution also removes channel 3 of the batch normalisation behind it,
column 3 of the next layer, and filter 3 of every layer whose output is added to it. Here that is
found out, in four steps, each of which can only make the answer safer (`analysis` takes the first
three):

1. *Coupling* (`coupling`). Torch-Pruning's DependencyGraph traces the model through autograd and
   says which filters of which layers stand or fall together.
2. *Probing* (`probe`). Every such unit gets a code word and the model runs once per bit: the
   channels of the units whose bit is set become NaN, and what arrives where is read at the input of
   every layer. All words have the same number of ones, so a position that hears two units shows too
   many. The positions therefore come from the model itself, whatever it does on the way
   (flattening, channels-last permutations, concatenation, shuffling). Units that meet in twos or
   threes (`meetings`: the halves of a gated linear unit, a sum that the trace misread), or make one
   channel together (a pixel shuffle), are joined, and probed again; a channel that is mixed with
   many before a layer reads it (softmax, layer normalisation, attention) is noticed instead of cut.
3. *Guard rails.* What reaches an output, couples with the input normalisation, is frozen, shared
   or recomputed stays whole, with the reason.
4. *Proof* (`proof`). `ChannelGroups.failure` cuts a copy and compares what its layers are given,
   and what it returns, with the original whose readers are given zeros for the removed channels, on
   the example inputs.

Layers between a convolution and its readers are assumed to be pure functions of their input in
evaluation mode; a model that computes something else on another input shape is only known as far as
the example inputs show it, and one that does so in training mode as far as `branches` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from torch import nn

from ..cutting import Cut, SideKey
from ..model_runs import ExampleInputs, analysing, first_line, tensors_of
from .analysis import Analysis
from .blocks import Block
from .branches import copy_for_analysis, training_branches
from .coupling import Coupling
from .probe import NaNFoundError, Probe
from .proof import failure_of

__all__ = ["ChannelGroups", "find_channel_groups"]


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
    rows : dict of str to list of int
        Linear and recurrent layers that take each channel by itself, along another axis than that
        of their input features -> the same for the rows of their input.
    awake : frozenset of str
        Modules in training mode, so that branches that run only then are seen.
    """

    blocks: list[Block]
    kept: dict[str, str]
    input_norms: tuple[str, ...]
    outputs: tuple[str, ...]
    sides: dict[SideKey, list[int]]
    rows: dict[str, list[int]]
    awake: frozenset[str]
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

        A pruned copy must compute what a whole one computes whose layers are given zeros in place
        of the removed channels: in float64 and with noise on the layers' outputs, so that nothing
        hides in rounding or in what the example inputs leave out. A model that does not run so
        runs in its own precision, to the square root of it, or without noise.

        Parameters
        ----------
        cuts : sequence of Cut
            What `cuts` returns.

        Returns
        -------
        str or None
            What goes wrong, in words; None when the cuts are right.
        """
        return failure_of(cuts, self._model, self._inputs, self.awake)


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
    replays of everything but the convolutions and linear layers; three copies and forward passes
    more where a layer is not called in evaluation mode.
    """
    with analysing(model), ExitStack() as stack:
        probe = stack.enter_context(_recorded(model, example_inputs))
        awake = training_branches(model, example_inputs, probe.calls)
        if awake:
            stack.close()
            probe = stack.enter_context(_recorded(model, example_inputs, awake))
        coupling = Coupling(
            probe.model,
            example_inputs,
            trainable={name for name, p in model.named_parameters() if p.requires_grad},
            called=set(probe.calls),
        )
        analysis = Analysis(coupling, probe, roots, veto)
        analysis.probe_until_stable()
        blocks, sides, rows = analysis.settled()
    return ChannelGroups(
        blocks,
        analysis.kept,
        coupling.input_norms,
        coupling.outputs,
        sides,
        rows,
        awake,
        model,
        example_inputs,
    )


@contextmanager
def _recorded(
    model: nn.Module, example_inputs: ExampleInputs, awake: Collection[str] = ()
) -> Iterator[Probe]:
    """Watch a copy that has run once."""
    twin = copy_for_analysis(model, awake)
    for parameter in twin.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(True)  # Torch-Pruning traces through autograd
    with Probe(twin, example_inputs) as probe:
        _record(probe)
        yield probe


def _record(probe: Probe) -> None:
    """Run the model once, whose outputs must be such that channels can be followed to them."""
    try:
        outputs = probe.record()
    except NaNFoundError as error:
        raise ValueError(
            "the model must compute finite numbers on example_inputs; NaN reaches the layer "
            f"'{error}'"
        ) from None
    except Exception as error:
        raise ValueError(
            f"the model cannot run on example_inputs ({type(error).__name__}: {first_line(error)})"
        ) from error
    found = tensors_of(outputs)
    tensors = [tensor for tensor in found if tensor.is_floating_point()]
    if not tensors:
        kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found})
        got = type(outputs).__name__ + (f" of {' and '.join(kinds)}" if kinds else "")
        raise ValueError(
            "the model must return at least one floating-point tensor (alone, or in a dict, "
            f"tuple or dataclass); got {got}"
        )
    if any(tensor.isnan().any() for tensor in tensors):
        raise ValueError(
            "the model must compute finite numbers on example_inputs; its output holds NaN"
        )

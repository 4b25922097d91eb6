# SPDX-License-Identifier: MIT
"""What pruning changed: filters, parameters, multiply-adds, bytes and measured time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from .counting import Counts, count, counted_layers
from .layer_kinds import is_depthwise, side_size
from .model_runs import (
    ExampleInputs,
    check_example_inputs,
    check_model,
    evaluating,
    first_line,
    run,
    undisturbed_rng,
)
from .planning.pruning_plan import PruningPlan, check_plan
from .tables import text_table

__all__ = ["REST", "LayerReport", "Report", "RestReport", "Totals", "report"]

_RUNS = 7

REST = "everything else"
"""What tables call that which is in no layer."""


@dataclass(frozen=True)
class LayerReport:
    """One layer, before and after. MACs are multiply-adds of one call.

    Recurrent and attention layers have no filters (None): of them only the input is cut, if at all.
    """

    name: str
    kind: str
    filters_before: int | None
    filters_after: int | None
    dead: int
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class RestReport:
    """What is in no layer, before and after: normalisations, bare parameters, other products."""

    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing."""
        return not any(asdict(self).values())


@dataclass(frozen=True)
class Totals:
    """A whole model: parameters, MACs and bytes (parameters and buffers), seconds of one call.

    `seconds` is the median, `seconds_spread` the largest minus the smallest; None if not measured.
    """

    parameters: int
    macs: int
    bytes: int
    seconds: float | None
    seconds_spread: float | None


@dataclass(frozen=True)
class Report:
    """What `report` found; prints as a table.

    Attributes
    ----------
    layers : tuple of LayerReport
        Every convolution, linear, recurrent and attention layer, in the model's order.
    rest : RestReport
        What is in none of them.
    before, after : Totals
        The two models.
    """

    layers: tuple[LayerReport, ...]
    rest: RestReport
    before: Totals
    after: Totals

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [
            [
                layer.name,
                layer.kind,
                _filters_text(layer),
                str(layer.dead) if layer.dead else "",
                *_amounts_text(layer),
            ]
            for layer in self.layers
        ]
        if not self.rest.empty:
            rows.append([REST, "", "", "", *_amounts_text(self.rest)])
        table = text_table(["layer", "kind", "filters", "dead", "MACs", "parameters"], rows)
        before, after = self.before, self.after
        totals = [
            ["parameters", f"{before.parameters:,}", f"{after.parameters:,}"],
            ["MACs", f"{before.macs:,}", f"{after.macs:,}"],
            ["bytes", f"{before.bytes:,}", f"{after.bytes:,}"],
        ]
        lost = [
            _less(before.parameters, after.parameters),
            _less(before.macs, after.macs),
            _less(before.bytes, after.bytes),
        ]
        if before.seconds is not None and after.seconds is not None:
            totals.append(
                [
                    "time of one call",
                    f"{before.seconds * 1e3:.2f} ms",
                    f"{after.seconds * 1e3:.2f} ms",
                ]
            )
            lost.append(_less(before.seconds, after.seconds))
        rows = [[*row, less] for row, less in zip(totals, lost, strict=True)]
        return f"{table}\n\n{text_table(['total', 'before', 'after', 'less'], rows)}"


def report(
    model: nn.Module,
    pruned: nn.Module,
    example_inputs: ExampleInputs,
    *,
    plan: PruningPlan | None = None,
    latency: bool = True,
) -> Report:
    """Compare a model with its pruned version.

    Parameters
    ----------
    model, pruned : torch.nn.Module
        The same architecture, before and after; left as they are (mode, statistics, gradients).
    example_inputs : tensor, tuple or dict
        What both are called with, as in `hubprune.plan`. MACs and time are of this input.
    plan : PruningPlan, optional
        Adds the number of dead filters per layer.
    latency : bool, default True
        Measure time: the median of 7 interleaved calls of each, in evaluation mode, without
        gradients, with the threads torch is set to.

    Returns
    -------
    Report

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the inputs do not fit, the models have different layers, or the plan is another's.

    Notes
    -----
    MACs are half the flops of convolutions and matrix products, as is usual, those inside recurrent
    layers and attention too; activations and normalisations are not counted. The projections of an
    attention layer are part of it. Unless layers lie in layers or share parameters, `layers` and
    `rest` add up to the totals.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.Conv1d(4, 2, 3))
    >>> example = torch.zeros(1, 1, 9)
    >>> pruned = hp.prune(body, hp.plan(body, example))
    >>> hp.report(body, pruned, example).after.parameters
    22
    """
    for name, each in (("model", model), ("pruned", pruned)):
        check_model(each, name, quantised=True)
        check_example_inputs(each, example_inputs)
    if plan is not None:
        check_plan(plan)
    before, after = counted_layers(model), counted_layers(pruned)
    if list(before) != list(after):
        other = sorted(set(before) ^ set(after))
        raise ValueError(
            "pruned must have the layers of model; they differ in "
            f"{', '.join(repr(name) for name in other[:3]) or 'their order'}"
        )
    if plan is not None:
        _check_sizes(plan, before, after)
    whole, left = _counts("model", model, example_inputs), _counts("pruned", pruned, example_inputs)
    seconds = _times(model, pruned, example_inputs) if latency else ((None, None), (None, None))
    dead = plan.dead if plan is not None else {}
    layers = tuple(
        LayerReport(
            name,
            type(module).__name__,
            _filters(module),
            _filters(after[name]),
            len(dead.get(name, ())),
            whole.layers[name].macs,
            left.layers[name].macs,
            whole.layers[name].parameters,
            left.layers[name].parameters,
        )
        for name, module in before.items()
    )
    rest = RestReport(whole.rest.macs, left.rest.macs, whole.rest.parameters, left.rest.parameters)
    return Report(
        layers, rest, _totals(model, whole, seconds[0]), _totals(pruned, left, seconds[1])
    )


def _counts(name: str, model: nn.Module, example_inputs: ExampleInputs) -> Counts:
    try:
        return count(model, example_inputs)
    except Exception as error:  # whatever a forward pass may raise
        raise ValueError(
            f"{name} cannot run on example_inputs ({type(error).__name__}: {first_line(error)})"
        ) from error


def _check_sizes(
    plan: PruningPlan, before: Mapping[str, nn.Module], after: Mapping[str, nn.Module]
) -> None:
    """Require that the plan leads from one model to the other."""
    for name, kept in plan.layers.items():
        if name not in before:
            raise ValueError(f"plan must be of this model; it has no layer {name!r}")
        sizes = _filters(before[name]), _filters(after[name])
        if sizes != (plan.filters[name], len(kept)):
            raise ValueError(
                f"plan must be that of pruned; layer {name!r} goes from {plan.filters[name]} to "
                f"{len(kept)} filters in the plan and from {sizes[0]} to {sizes[1]} in the models"
            )


def _filters(module: nn.Module) -> int | None:
    return side_size(module, "channels" if is_depthwise(module) else "out")


def _totals(model: nn.Module, counts: Counts, seconds: tuple[float | None, float | None]) -> Totals:
    return Totals(counts.total.parameters, counts.total.macs, _bytes(model), *seconds)


def _bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _times(
    model: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(median, spread) in seconds of both, their calls interleaved."""
    taken: tuple[list[float], list[float]] = ([], [])
    cuda = any(parameter.is_cuda for parameter in model.parameters())
    with torch.no_grad():
        for turn in range(_RUNS + 1):  # the first warms up
            for each, times in zip((model, pruned), taken, strict=True):
                seconds = _seconds(each, example_inputs, cuda=cuda)
                if turn:
                    times.append(seconds)
    first, second = taken
    return (
        (statistics.median(first), max(first) - min(first)),
        (statistics.median(second), max(second) - min(second)),
    )


def _seconds(model: nn.Module, example_inputs: ExampleInputs, *, cuda: bool) -> float:
    with undisturbed_rng(model), evaluating(model):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run(model, example_inputs)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


def _engineering(value: int) -> str:
    """Three digits with k, M, G, T or P."""
    for unit, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:  # less is three digits of the next smaller unit
            return f"{value / unit:.3g}{letter}"
    return str(value)


def _filters_text(layer: LayerReport) -> str:
    if layer.filters_before is None or layer.filters_after is None:
        return ""
    return _change(layer.filters_before, layer.filters_after)


def _amounts_text(row: LayerReport | RestReport) -> list[str]:
    return [
        _change(row.macs_before, row.macs_after, _engineering),
        _change(row.parameters_before, row.parameters_after, _engineering),
    ]


def _change(before: int, after: int, text: Any = str) -> str:
    return text(before) if before == after else f"{text(before)} -> {text(after)}"


def _less(before: float, after: float) -> str:
    return f"{100 * (1 - after / before):.1f} %" if before else "-"

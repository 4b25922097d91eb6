# SPDX-License-Identifier: MIT
"""What pruning changed: filters, parameters, multiply-adds, bytes and measured time."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from .layer_kinds import CONVOLUTIONS
from .model_runs import (
    ExampleInputs,
    check_example_inputs,
    check_model,
    evaluating,
    run,
    undisturbed_rng,
)
from .planning.budgets import count_macs
from .planning.pruning_plan import PruningPlan
from .tables import text_table

__all__ = ["LayerReport", "Report", "Totals", "report"]

_RUNS = 7


@dataclass(frozen=True)
class LayerReport:
    """One convolution or linear layer, before and after. MACs are multiply-adds of one call."""

    name: str
    kind: str
    filters_before: int
    filters_after: int
    dead: int
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


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
        Every convolution and linear layer, in the model's order.
    before, after : Totals
        The two models.
    """

    layers: tuple[LayerReport, ...]
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
                _change(layer.filters_before, layer.filters_after),
                str(layer.dead) if layer.dead else "",
                _change(layer.macs_before, layer.macs_after, _engineering),
                _change(layer.parameters_before, layer.parameters_after, _engineering),
            ]
            for layer in self.layers
        ]
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
        If the inputs do not fit, or the models have different layers.

    Notes
    -----
    MACs are half the flops of convolutions and matrix products, as is usual, those inside recurrent
    layers and attention too; activations and normalisations are not counted.

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
        check_model(each, name)
        check_example_inputs(each, example_inputs)
    before, after = _counted(model), _counted(pruned)
    if list(before) != list(after):
        other = sorted(set(before) ^ set(after))
        raise ValueError(
            "pruned must have the layers of model; they differ in "
            f"{', '.join(repr(name) for name in other[:3]) or 'their order'}"
        )
    macs_before, all_before = count_macs(model, example_inputs)
    macs_after, all_after = count_macs(pruned, example_inputs)
    seconds = _times(model, pruned, example_inputs) if latency else ((None, None), (None, None))
    dead = plan.dead if plan is not None else {}
    layers = tuple(
        LayerReport(
            name,
            type(module).__name__,
            _filters(module),
            _filters(after[name]),
            len(dead.get(name, ())),
            macs_before.get(name, 0),
            macs_after.get(name, 0),
            _parameters(module),
            _parameters(after[name]),
        )
        for name, module in before.items()
    )
    return Report(
        layers,
        Totals(_parameters(model), all_before, _bytes(model), *seconds[0]),
        Totals(_parameters(pruned), all_after, _bytes(pruned), *seconds[1]),
    )


def _counted(model: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
    }


def _filters(module: nn.Module) -> int:
    filters = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    return int(filters)  # type: ignore[arg-type]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


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
                with undisturbed_rng(each), evaluating(each):
                    if cuda:
                        torch.cuda.synchronize()
                    start = time.perf_counter()
                    run(each, example_inputs)
                    if cuda:
                        torch.cuda.synchronize()
                    if turn:
                        times.append(time.perf_counter() - start)
    first, second = taken
    return (
        (statistics.median(first), max(first) - min(first)),
        (statistics.median(second), max(second) - min(second)),
    )


def _engineering(value: int) -> str:
    """Three digits with k, M or G."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return str(value)


def _change(before: int, after: int, text: Any = str) -> str:
    return text(before) if before == after else f"{text(before)} -> {text(after)}"


def _less(before: float, after: float) -> str:
    return f"{100 * (1 - after / before):.1f} %" if before else "-"

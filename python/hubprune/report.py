# SPDX-License-Identifier: MIT
"""The report: parameters, multiply-accumulates, bytes and measured time, before and after."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .channel_groups import (
    CONVOLUTIONS,
    ExampleInputs,
    check_example_inputs,
    check_model,
    evaluating,
    run,
    undisturbed_rng,
)
from .planning import PruningPlan, text_table

__all__ = ["LayerReport", "Report", "Totals", "report"]

_RUNS = 5  # of each model, alternating, so that both meet the same machine
_MORE_RUNS_SECONDS = 1.0  # fast models are measured more often, up to this long in all


@dataclass(frozen=True)
class LayerReport:
    """One convolution or linear layer before and after.

    Attributes
    ----------
    layer, kind : str
        Name and class.
    filters_before, filters_after : int
        Output filters.
    dead : int or None
        Dead filters before; None without a plan, or where the plan says nothing.
    macs_before, macs_after : int
        Multiply-accumulates of one call of the model.
    parameters_before, parameters_after : int
        Trainable or not.
    """

    layer: str
    kind: str
    filters_before: int
    filters_after: int
    dead: int | None
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class Totals:
    """A whole model.

    Attributes
    ----------
    parameters : int
        Trainable or not.
    macs : int
        Multiply-accumulates of convolutions and matrix products in one call on the example inputs,
        half of what `torch.utils.flop_counter.FlopCounterMode` counts. Element-wise operations are
        not counted, nor recurrent layers where one fused kernel computes them.
    bytes : int
        Parameters and buffers.
    latency : float or None
        Median seconds of one call; None if it was not measured.
    """

    parameters: int
    macs: int
    bytes: int
    latency: float | None


@dataclass(frozen=True)
class Report:
    """What pruning changed. Prints as a table.

    Attributes
    ----------
    layers : tuple of LayerReport
        In module order.
    before, after : Totals
        The whole models.
    runs : int
        Timed calls of each model.
    """

    layers: tuple[LayerReport, ...]
    before: Totals
    after: Totals
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values: ``layers``, ``before``, ``after``, ``runs``."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "before": asdict(self.before),
            "after": asdict(self.after),
            "runs": self.runs,
        }

    def __str__(self) -> str:
        rows = [
            [
                layer.layer,
                layer.kind,
                _change(layer.filters_before, layer.filters_after),
                "-" if layer.dead is None else str(layer.dead),
                _change(layer.macs_before, layer.macs_after, _scaled),
                _change(layer.parameters_before, layer.parameters_after, _scaled),
            ]
            for layer in self.layers
        ]
        parts = [("parameters", "parameters", _scaled), ("macs", "MACs", _scaled)]
        parts += [("bytes", "bytes", _scaled)]
        if self.before.latency is not None and self.after.latency is not None:
            parts += [("latency", f"latency (median of {self.runs})", _duration)]
        totals = [
            [
                name,
                text(getattr(self.before, key)),
                text(getattr(self.after, key)),
                _percent(getattr(self.before, key), getattr(self.after, key)),
            ]
            for key, name, text in parts
        ]
        header = ["layer", "kind", "filters", "dead", "MACs", "parameters"]
        return (
            text_table(header, rows)
            + "\n\n"
            + text_table(["whole model", "before", "after", "change"], totals)
        )


def _scaled(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return (
                f"{value / size:.3g} {unit}"
                if value < 1000 * size
                else f"{value / size:.0f} {unit}"
            )
    return f"{value:g}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _change(before: int, after: int, text: Callable[[float], str] = str) -> str:
    return text(before) if before == after else f"{text(before)} -> {text(after)}"


def _percent(before: float, after: float) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else "-"


def report(
    model: nn.Module,
    pruned: nn.Module,
    example_inputs: ExampleInputs,
    *,
    plan: PruningPlan | None = None,
    latency: bool = True,
) -> Report:
    """Compare a model with its pruned copy.

    Parameters
    ----------
    model, pruned : torch.nn.Module
        Before and after, on the same device. They are run in evaluation mode, without gradients,
        and left as they were.
    example_inputs : tensor, tuple or dict
        What they are called with; MACs and latency are those of one such call.
    plan : PruningPlan, optional
        Adds the number of dead filters.
    latency : bool, default True
        Measure the time: one call to warm up, then the median of at least 5 calls of each model,
        in turns.

    Returns
    -------
    Report
        Layer by layer and in all; ``print`` it, or take `Report.to_dict`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the models have different layers, or a model cannot run on the example inputs.
    """
    check_model(model)
    check_model(pruned, "pruned")
    if plan is not None and not isinstance(plan, PruningPlan):
        raise TypeError(f"plan must be a PruningPlan or None; got {type(plan).__name__}")
    check_example_inputs(model, example_inputs)
    layers, twins = _layers(model), _layers(pruned)
    if list(layers) != list(twins):
        name = min(set(layers) ^ set(twins), default="")
        raise ValueError(
            f"pruned must have the layers of model; '{name}' is in one of them only"
            if name
            else "pruned must have the layers of model in the same order"
        )
    with (
        undisturbed_rng(model),
        evaluating(model),
        evaluating(pruned),
        torch.no_grad(),
    ):
        before_macs, before_by_layer = _macs(model, example_inputs, "model")
        after_macs, after_by_layer = _macs(pruned, example_inputs, "pruned")
        times = _times((model, pruned), example_inputs) if latency else ([], [])
    rows = tuple(
        LayerReport(
            layer=name,
            kind=type(layer).__name__,
            filters_before=_filters(layer),
            filters_after=_filters(twins[name]),
            dead=len(plan.dead[name]) if plan is not None and name in plan.dead else None,
            macs_before=before_by_layer.get(name, 0),
            macs_after=after_by_layer.get(name, 0),
            parameters_before=_parameters(layer),
            parameters_after=_parameters(twins[name]),
        )
        for name, layer in layers.items()
    )
    return Report(
        rows,
        _totals(model, before_macs, times[0]),
        _totals(pruned, after_macs, times[1]),
        len(times[0]),
    )


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
    }


def _filters(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _totals(model: nn.Module, macs: int, times: list[float]) -> Totals:
    tensors = [*model.parameters(), *model.buffers()]
    return Totals(
        parameters=_parameters(model),
        macs=macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        latency=statistics.median(times) if times else None,
    )


def _macs(
    model: nn.Module, example_inputs: ExampleInputs, argument: str
) -> tuple[int, dict[str, int]]:
    """Multiply-accumulates in all, and by layer."""
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            run(model, example_inputs)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"{argument} cannot run on example_inputs ({type(error).__name__}: {first})"
        ) from error
    root = type(model).__name__
    by_layer = {
        name.removeprefix(root).removeprefix("."): sum(counts.values()) // 2
        for name, counts in counter.get_flop_counts().items()
        if name != "Global"
    }
    return counter.get_total_flops() // 2, by_layer


def _times(
    models: tuple[nn.Module, nn.Module], example_inputs: ExampleInputs
) -> tuple[list[float], list[float]]:
    """Seconds of each call, the models in turns."""
    devices = {p.device for model in models for p in model.parameters() if p.is_cuda}

    def once(model: nn.Module) -> float:
        for device in devices:
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run(model, example_inputs)
        for device in devices:
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for model in models:
        once(model)
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + _MORE_RUNS_SECONDS
    while len(times[0]) < _RUNS or (time.perf_counter() < end and len(times[0]) < 10 * _RUNS):
        for model, measured in zip(models, times, strict=True):
            measured.append(once(model))
    return times

# SPDX-License-Identifier: MIT
"""Measuring the statistics of batch norms again, behind what was cut."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .calibration import example_count, hooked, run_all, run_batch
from .layer_kinds import BATCH_NORMS
from .model_runs import ExampleInputs, device_of, evaluating, moved, undisturbed_rng
from .planning.pruning_plan import PruningPlan
from .progress import progress_bar

__all__ = ["recalibrate"]


def recalibrate(
    original: nn.Module, pruned: nn.Module, plan: PruningPlan, inputs: list[ExampleInputs]
) -> None:
    """Measure again the statistics of the batch norms behind the cuts, in place.

    A norm whose input is what it was before keeps its statistics. All inputs count alike, whatever
    the size of their batch; as in training, each batch is normalised by its own statistics, so
    batches should be large (100 inputs in one, where memory allows).
    """
    norms: list[Any] = [
        pruned.get_submodule(name) for name in _changed_norms(original, pruned, plan, inputs[0])
    ]
    settings = [norm.momentum for norm in norms]
    try:
        with undisturbed_rng(pruned), evaluating(pruned), torch.no_grad():
            for norm in norms:
                norm.train()
            _average(pruned, norms, inputs)
    finally:
        for norm, momentum in zip(norms, settings, strict=True):
            norm.momentum = momentum


def _average(model: nn.Module, norms: list[Any], inputs: list[ExampleInputs]) -> None:
    """Run a model on every batch, so that the norms hold means over all inputs."""
    seen = 0
    with progress_bar("recalibrating", len(inputs)) as done:
        for number, batch in enumerate(inputs, start=1):
            seen += example_count(batch)
            for norm in norms:
                norm.momentum = example_count(batch) / seen  # a running mean
            run_batch(model, moved(batch, device_of(model)), number - 1)
            done(number)


def _changed_norms(
    original: nn.Module, pruned: nn.Module, plan: PruningPlan, x: ExampleInputs
) -> list[str]:
    """The norms of the pruned model whose input is another than in the original."""
    kept = {c.target: c.kept for c in plan.cuts if c.side == "channels"}
    before = _norm_inputs(original, x)
    after = _norm_inputs(pruned, x)
    changed = []
    for name, read in after.items():
        was = before.get(name)
        if was is not None and name in kept:
            was = was.index_select(1, torch.tensor(kept[name], device=was.device))
        if (
            was is None
            or was.shape != read.shape
            or not torch.allclose(was, read, rtol=1e-4, atol=1e-5)
        ):
            changed.append(name)
    return changed


def _norm_inputs(model: nn.Module, x: ExampleInputs) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, read: torch.Tensor) -> None:
        seen.setdefault(name, read)

    with hooked(model, _tracking_norms(model), keep):
        run_all(model, [x], "running")
    return seen


def _tracking_norms(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None
    ]

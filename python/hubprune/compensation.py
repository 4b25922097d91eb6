# SPDX-License-Identifier: MIT
r"""Making up for removed filters: fold what they did into the layers that read them.

A layer that reads channels z computes ``W_K z_K + W_R z_R + b``; K stays, R goes. With
``z_R ~ m_R + B (z_K - m_K)`` the layer that is left should compute

    ``(W_K + W_R B) z_K + b + W_R (m_R - B m_K)``.

The ways differ in B: none (``bias``), one entry per removed filter (``merge``), the regression on
all kept filters (``interpolate``). The means m and the covariance C of the channels are measured on
batches where there are any; without data they are predicted from the weights
(`hubprune.channels.prediction`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from .calibration import listed_batches
from .channels.moments import (
    Moments,
    Site,
    channels_of,
    measured_moments,
    predicted_moments,
)
from .channels.prediction import ChannelPredictor, filters_by_group
from .layer_kinds import CONVOLUTIONS, TRANSPOSED
from .model_runs import ExampleInputs, duplicate
from .planning.pruning_plan import PruningPlan
from .progress import progress_bar
from .recalibration import recalibrate

__all__ = ["COMPENSATIONS", "check_compensation", "compensate"]

COMPENSATIONS = ("none", "bias", "merge", "interpolate", "recalibrate")
_FOLDS = ("bias", "merge", "interpolate")
_FOLDED = (*CONVOLUTIONS, nn.Linear)  # the readers that are folded into
_RIDGE_LEAST = 1e-12


def check_compensation(
    how: object, batches: object, argument: str = "batches"
) -> tuple[str | None, bool]:
    """Return the fold, if any, and whether to recalibrate.

    Raises
    ------
    TypeError
        If `how` is no str.
    ValueError
        If it is unknown, names two folds, or needs batches and has none.
    """
    if not isinstance(how, str):
        raise TypeError(f"compensate must be a str; got {type(how).__name__}")
    parts = how.split("+")
    wrong = [part for part in parts if part not in COMPENSATIONS]
    folds = [part for part in parts if part in _FOLDS]
    if wrong or len(folds) > 1 or len(set(parts)) < len(parts) or ("none" in parts and parts[1:]):
        raise ValueError(
            f"compensate must be one of {', '.join(map(repr, COMPENSATIONS))}, or a fold with "
            f"recalibration such as 'interpolate+recalibrate'; got {how!r}"
        )
    if "recalibrate" in parts and batches is None:
        raise ValueError(f"compensate={how!r} needs {argument}: a few unlabelled inputs")
    if parts == ["none"] and batches is not None:
        raise ValueError(f"{argument} is only used to compensate; compensate is 'none'")
    return (folds[0] if folds else None), "recalibrate" in parts


def compensate(
    original: nn.Module, pruned: nn.Module, plan: PruningPlan, how: str, batches: Any = None
) -> None:
    """Fold what the removed filters did into their readers, in place.

    Parameters
    ----------
    original : torch.nn.Module
        The model before.
    pruned : torch.nn.Module
        The same model, cut by the plan and not changed since.
    plan : PruningPlan
        The plan.
    how : str
        One of `COMPENSATIONS`, or a fold and ``"recalibrate"`` joined by a plus sign.
    batches : tensor, dict, or iterable of tensors, dicts or (inputs, targets), optional
        Unlabelled inputs; targets are ignored. Of a model with several: dicts of keyword arguments,
        or tuples of arguments in the place of `inputs`.

    Raises
    ------
    TypeError, ValueError
        As `check_compensation`; or if the batches are empty, not finite or do not fit.

    Warns
    -----
    UserWarning
        If a reader stays as cut, with the reason.
    """
    fold, again = check_compensation(how, batches)
    inputs = None if batches is None else listed_batches(batches)
    if inputs is not None:
        original = duplicate(original)  # it is hooked and run: the caller's is not touched
    if fold is not None:
        for name, reason in _fold_readers(original, pruned, plan, inputs, fold):
            warnings.warn(
                f"nothing makes up for what '{name}' loses: {reason}", UserWarning, stacklevel=3
            )
    if again and inputs is not None:
        recalibrate(original, pruned, plan, inputs)


def _fold_readers(
    original: nn.Module,
    pruned: nn.Module,
    plan: PruningPlan,
    inputs: list[ExampleInputs] | None,
    fold: str,
) -> list[tuple[str, str]]:
    """Fold into every reader; return those into which nothing is folded, each with the reason."""
    with _on_the_cpu():
        sites = _sites(plan)
    moments_of = _moments_of(original, plan, sites, inputs, fold)
    left = []
    with _on_the_cpu(), progress_bar("compensating", len(sites)) as done:
        for number, site in enumerate(sites, start=1):
            reason = _fold(original, pruned, site, moments_of, fold)
            if reason is not None:
                left.append((site.name, reason))
            done(number)
    return left


def _on_the_cpu() -> torch.device:
    """Where moments and folds are computed, whatever the default device; not where models run."""
    return torch.device("cpu")


def _sites(plan: PruningPlan) -> list[Site]:
    outputs = {cut.target: cut.kept for cut in plan.cuts if cut.side == "out"}
    return [
        Site(cut.target, cut, reader, outputs.get(cut.target), channels_of(cut, reader))
        for cut in plan.cuts
        if cut.side == "in"
        for reader in [plan.readers.get(cut.target)]
    ]


def _moments_of(
    model: nn.Module,
    plan: PruningPlan,
    sites: list[Site],
    inputs: list[ExampleInputs] | None,
    fold: str,
) -> Callable[[Site], Moments | str]:
    """How the moments of a reader's channels are found: by measuring, or from the weights."""
    if inputs is None:
        predictor = ChannelPredictor(model, plan.readers, correlated=fold != "bias")
        return partial(predicted_moments, predictor)
    folded = [site for site in sites if isinstance(model.get_submodule(site.name), _FOLDED)]
    measured = measured_moments(model, folded, inputs)
    return lambda site: measured[site.name]


def _regression(moments: Moments, kept: torch.Tensor, removed: torch.Tensor, fold: str) -> Any:
    """Return B, (removed, kept): what of the removed channels follows from the kept."""
    C = moments.covariance
    across = C[removed][:, kept]
    if fold == "bias" or not len(kept):
        return torch.zeros_like(across)
    variance = C.diagonal()[kept]
    least = float(variance.mean()) * _RIDGE_LEAST + torch.finfo(torch.float64).tiny
    if fold == "interpolate":
        ridge = torch.full_like(variance, float(variance.mean()) * moments.ridge + least)
        return torch.linalg.solve(C[kept][:, kept] + torch.diag(ridge), across.T).T
    # The one kept channel that explains most of a removed one's variance.
    best = (across.square() / (variance + least)).argmax(1, keepdim=True)
    slope = across.gather(1, best) / (variance[best] + least)
    return torch.zeros_like(across).scatter(1, best, slope)


def _fold(
    original: nn.Module,
    pruned: nn.Module,
    site: Site,
    moments_of: Callable[[Site], Moments | str],
    fold: str,
) -> str | None:
    """Fold the removed inputs of one reader into the kept ones and the bias, or say why not."""
    module = original.get_submodule(site.name)
    if not isinstance(module, _FOLDED):
        return f"{type(module).__name__} layers are left as they are"
    moments = moments_of(site)
    if isinstance(moments, str):
        return moments + "; batches would help"
    folded, shift = _folded(filters_by_group(module), site, moments, fold)
    return _store(pruned, site, folded, shift)


def _folded(
    weight: torch.Tensor, site: Site, moments: Moments, fold: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is left of the weights (groups, filters, inputs, taps), with the fold; the biases' gain.

    Filters that are cut themselves are left out first.
    """
    groups, per_group, width, _ = weight.shape
    channels = site.channels
    rows = torch.arange(groups * per_group)
    if site.outputs is not None:
        rows = torch.tensor(site.outputs)
    kept_in = torch.tensor(site.cut.kept)
    group_of = channels.positions // width  # a group sees its own inputs only
    parts, shifts = [], []
    for g in range(groups):
        filters = weight[g][rows[rows // per_group == g] - g * per_group]
        shift = torch.zeros(len(filters), dtype=torch.float64)
        for place, columns in enumerate(channels.positions):
            mine = group_of[place] == g
            kept = torch.nonzero(mine & channels.kept)[:, 0]
            removed = torch.nonzero(mine & channels.removed)[:, 0]
            if not len(removed):
                continue
            if place == 0 or groups > 1:  # in one group the places share it
                B = _regression(moments, kept, removed, fold)
            gone = filters[:, columns[removed] - g * width]  # (filters, removed, taps)
            if fold != "bias":  # else B is 0
                filters[:, columns[kept] - g * width] += torch.einsum("ort,rk->okt", gone, B)
            rest = moments.mean[place][removed] - B @ moments.mean[place][kept]
            shift += torch.einsum("ort,r->o", gone, rest)
        columns = kept_in[kept_in // width == g] - g * width
        if len(columns):  # else the group went as a whole
            parts.append(filters[:, columns])
        shifts.append(shift)
    return torch.stack(parts), torch.cat(shifts)


def _store(pruned: nn.Module, site: Site, folded: torch.Tensor, shift: torch.Tensor) -> str | None:
    """Write the folded weights, and the shift, or say why the shift is lost."""
    twin: Any = pruned.get_submodule(site.name)
    if isinstance(twin, TRANSPOSED):
        folded = folded.transpose(1, 2)
    with torch.no_grad():
        twin.weight.copy_(folded.reshape(twin.weight.shape).to(twin.weight))
        if twin.bias is not None:
            twin.bias.copy_((twin.bias.double().cpu() + shift).to(twin.bias))
        elif (mean := _running_mean(pruned, site.norm)) is not None:
            mean.copy_((mean.double().cpu() - shift).to(mean))  # the same, one layer on
        elif bool(shift.any()):
            return "it has neither a bias nor a batch norm of its own to take up the mean"
    return None


def _running_mean(model: nn.Module, norm: str | None) -> torch.Tensor | None:
    if norm is None:
        return None
    module: Any = model.get_submodule(norm)
    mean: torch.Tensor | None = module.running_mean
    return mean

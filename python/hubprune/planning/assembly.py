# SPDX-License-Identifier: MIT
"""Putting a plan together: its cuts, what they are based on, and why the rest stays whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from .. import _native
from ..channels.groups import ChannelGroups
from ..channels.paths import find_readers
from ..layer_kinds import is_depthwise
from ..model_runs import ExampleInputs, analysing
from .block_choices import Choice, ScoreBench
from .plan_records import LayerRecord
from .pruning_plan import PruningPlan
from .request import Request

__all__ = ["assembled_plan", "whole_reason"]


def assembled_plan(
    request: Request,
    bench: ScoreBench,
    groups: ChannelGroups,
    choices: list[Choice],
    kept: dict[str, str],
    example_inputs: ExampleInputs,
    *,
    stepwise: bool,
) -> PruningPlan:
    """Return the plan that the choices make.

    Parameters
    ----------
    request : Request
        What was asked for.
    bench : ScoreBench
        The scores.
    groups : ChannelGroups
        What belongs together.
    choices : list of Choice
        Which units go.
    kept : dict of str to str
        Layers that could not be pruned -> the reason.
    example_inputs : tensor, tuple or dict
        What the model is called with.
    stepwise : bool
        Whether the counts are those of one of several steps.
    """
    removed = {unit for choice in choices for unit in choice.removed}
    cuts = groups.cuts(removed)
    by_layer = {cut.target: cut for cut in cuts if cut.side in ("out", "channels")}
    pruned = [name for name in request.layers if name in by_layer]
    by_unit = {
        unit: (choice, position)
        for choice in choices
        for position, unit in enumerate(choice.block.units)
    }
    # Followers (depthwise, linear) that nobody asked to score have no dead filters of their own.
    followers = {
        name
        for name, module in request.layers.items()
        if is_depthwise(module) or isinstance(module, nn.Linear)
    }
    scored = {name for name in pruned if name in request.ratios or name not in followers}
    with analysing(request.modules[""]):
        readers = find_readers(request.modules[""], example_inputs, groups, cuts)
    reasons: dict[str, str] = {}
    for name in request.modules:
        if name in by_layer:
            continue
        if name in groups.input_norms:
            reasons[name] = "normalises the model's input"
        elif name in request.layers:
            reasons[name] = whole_reason(name, request, groups, kept, stepwise=stepwise)
    return PruningPlan(
        layers={name: by_layer[name].kept for name in pruned},
        filters={name: by_layer[name].size for name in pruned},
        kept=reasons,
        dead={name: tuple(bench[name].dead.tolist()) if name in scored else () for name in pruned},
        scorer=request.scorer.name,
        cuts=cuts,
        records={name: _layer_record(name, bench, groups, by_unit) for name in pruned},
        steps=(request.step,),
        versions={"hubprune": _native.__version__, "torch": str(torch.__version__)},
        readers=readers,
    )


def whole_reason(
    name: str,
    request: Request,
    groups: ChannelGroups,
    kept: Mapping[str, str],
    *,
    stepwise: bool = False,
) -> str:
    """Why a convolution or linear layer stays whole. Parameters as in `assembled_plan`."""
    module = request.layers[name]
    if name in kept:
        return kept[name]
    if name in request.veto:
        return request.veto[name]
    if name in groups.outputs:
        return "produces the model's output"
    if is_depthwise(module):
        return "depthwise: follows the layer before it, which is kept"
    if name not in request.ratios:
        if isinstance(module, nn.Linear):
            return "linear layers are pruned only when named in ratio"
        return "not named in ratio"
    ratio = request.ratios[name]
    if stepwise:
        asked = "this step"
    elif ratio is None:
        asked = "the scorer"
    else:
        asked = "the threshold" if request.global_ else f"ratio {ratio:g}"
    bounds = [f"round_to={request.round_to}"] if request.round_to > 1 else []
    if any(name in block.layers and block.cell_count > 1 for block in groups.blocks):
        bounds.append("the groups of a grouped convolution stay equally large")
    because = f" ({', '.join(bounds)})" if bounds else ""
    return f"{asked} removes none of its filters{because}"


def _layer_record(
    name: str,
    bench: ScoreBench,
    groups: ChannelGroups,
    by_unit: Mapping[int, tuple[Choice, int]],
) -> LayerRecord:
    """What decided about each filter of one pruned layer."""
    is_follower = (name, "channels", 0) in groups.sides
    units = groups.sides[name, "channels" if is_follower else "out", 0]
    scores: list[float | None] = []
    coupled: dict[str, None] = {}
    meanings: dict[str, None] = {}
    scored = False
    for unit in units:
        if unit not in by_unit:
            scores.append(None)
            continue
        choice, position = by_unit[unit]
        scored = scored or name in choice.scored
        meanings[choice.meaning] = None
        scores.append(choice.score(position, bench))
        coupled.update(dict.fromkeys((*choice.block.layers, *choice.block.followers)))
    coupled.pop(name, None)
    nearest, similarity = [-1] * len(units), [None] * len(units)
    if scored:
        cosine, index = bench[name].nearest()
        nearest = index.tolist()
        similarity = [c if i >= 0 else None for c, i in zip(cosine.tolist(), nearest, strict=True)]
    meaning = "; ".join(meanings)
    return LayerRecord(tuple(scores), tuple(nearest), tuple(similarity), tuple(coupled), meaning)

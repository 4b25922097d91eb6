# SPDX-License-Identifier: MIT
"""Making a plan: which filters of which layers go.

`plan` scores the layers, asks `hubprune.channels.groups` what belongs together, and chooses
(`hubprune.planning.block_choices`); what it returns is a `hubprune.PruningPlan`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import nn

from ..channels.groups import ChannelGroups, find_channel_groups
from ..layer_kinds import CONVOLUTIONS
from ..model_runs import ExampleInputs, check_example_inputs, check_model
from ..progress import Progress
from ..scorers import Scorer, filter_weight
from .assembly import assembled_plan, whole_reason
from .block_choices import Choice, ScoreBench
from .budgets import Remains, shares_text
from .contributions import contribution_scales
from .counts import BlockCounts, block_counts, set_counts, set_counts_within, set_given_counts
from .pruning_plan import PruningPlan
from .request import Request, read_request

__all__ = ["plan", "plan_counts", "plan_to_counts"]


def plan(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    scorer: str | Scorer = "degree",
    ratio: float | Mapping[str, float] | None = None,
    budget: Mapping[str, float] | None = None,
    keep: Collection[str] = (),
    round_to: int = 1,
    global_: bool = False,
    progress: Progress | None = None,
) -> PruningPlan:
    """Decide which filters of a model to remove. The model is not touched.

    A ratio r keeps ceil((1 - r) n) of a layer's n filters, at least one, and removes those that the
    scorer ranks first. What must stay, stays, and the plan says why: layers that produce an output,
    the normalisation of the input and what couples with it, frozen front ends, and layers that
    cannot be traced or cut.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that Torch-Pruning can trace through autograd, on any device, in any mode.
    example_inputs : tensor, tuple or dict
        What the model is called with: one argument, several, or keyword arguments. Short inputs
        are enough; batch normalisation statistics and random states are left alone.
    scorer : str or Scorer, default "degree"
        As in `hubprune.score`.
    ratio : float, mapping of str to float, or None
        The part to remove, in [0, 1), from every convolution; or per layer, and then only the
        layers that are named, linear layers too. The name of a module that holds several stands for
        all convolutions in it. Default: 0.5, but a scorer that decides the count itself ("pairs")
        removes what it says.
    budget : mapping of str to float, optional
        Instead of a ratio: the share of the model's ``"parameters"``, of its ``"macs"``
        (multiply-adds), or of each, that may remain at most, in (0, 1]. All convolutions lose the
        same part, the smallest that meets the budget; with `global_`, filters go by one threshold
        for all layers, the fewest that meet it.
    keep : collection of str, default ()
        Layers, or modules that hold layers, to leave whole.
    round_to : int, default 1
        The kept filters become a multiple of it, rounded up (never down), at most all.
    global_ : bool, default False
        One threshold for all layers: `ratio` of all filters together, ranked by redundancy divided
        by the mean absolute redundancy of the layer ("landmarks": by the part of the layer's
        energy that goes with a filter). No layer loses more than 90 %.
    progress : callable (done, total, layer), optional
        Called after each layer is scored.

    Returns
    -------
    PruningPlan
        Apply it with `hubprune.prune`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a ratio or a name is wrong (close names are listed), a weight is not finite (layer and
        first bad filter are named), the example inputs do not fit or are on another device, the
        model is wrapped or cannot be copied, run or traced, or the budget cannot be met (the
        smallest share that can be reached and the layers that are kept whole are named).

    Warns
    -----
    UserWarning
        If the plan changes nothing, or leaves whole a layer that `ratio` names, with the reasons.

    Notes
    -----
    *Coupled layers* (added to each other, as in residual networks) lose the same channels, by the
    mean over the layers of each channel's place in the removal order. A channel goes first
    as dead only if it is dead in all of them; if the scorer decides the count, the smallest counts.
    Filters of one layer that meet, as in the halves of a gated linear unit, go together in the same
    way; parts of a layer that go to different layers lose the same share each. A depthwise
    convolution follows the layer before it. Each group of a grouped convolution keeps the same
    number of channels, rounded up.

    Every plan is proven on the example inputs before it is returned: a pruned copy computes what
    the whole model computes with zeros in place of the removed channels, in float64 and with noise
    on the output of every layer, so that zeros as an example do as well as any. A layer that fails
    is kept. A model that is random in evaluation mode is compared under the same random numbers.

    *Branches that run in training only*, such as auxiliary heads, are cut and proven with the rest,
    unless the model does something else too in training mode: is random beyond its dropout layers,
    calls other layers instead, needs targets. Their layers are kept then, as those are that run
    only on other inputs; what they read may be cut.

    *Budgets* count all parameters and the multiply-adds of `hubprune.report` on the example inputs,
    exactly: what the plan's last step says remains is what the report finds. Only multiply-adds of
    attention, of products outside of layers, and of convolutions in which the channels lie along
    another axis than their own, count as if nothing were removed.

    Memory: for the proof, a float32 model once more and in float64, and the inputs of the layers
    that read less. A caller's autocast is off meanwhile. Several threads may plan for
    one model at once: each has its own copy, and they run them in turn.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)
    ... )
    >>> decision = hp.plan(body, torch.zeros(1, 1, 8, 8), scorer="l2", ratio=0.75)
    >>> len(decision.layers["0"]), decision.kept
    (2, {'2': "produces the model's output"})
    """
    check_model(model, filled=True)
    check_example_inputs(model, example_inputs)
    request = read_request(
        model,
        scorer=scorer,
        ratio=ratio,
        budget=budget,
        keep=keep,
        round_to=round_to,
        global_=global_,
    )
    return _decide(model, example_inputs, request, progress=progress)[0]


def plan_counts(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    scorer: str | Scorer,
    ratio: float | Mapping[str, float] | None,
    budget: Mapping[str, float] | None,
    keep: Collection[str],
    round_to: int,
    global_: bool,
) -> tuple[BlockCounts, PruningPlan]:
    """Decide how many units of each block stay, as `plan` does; return the plan too."""
    request = read_request(
        model,
        scorer=scorer,
        ratio=ratio,
        budget=budget,
        keep=keep,
        round_to=round_to,
        global_=global_,
    )
    result, counts = _decide(model, example_inputs, request)
    return counts, result


def plan_to_counts(
    model: nn.Module,
    example_inputs: ExampleInputs,
    counts: BlockCounts,
    *,
    scorer: str | Scorer,
    ratio: float | Mapping[str, float] | None,
    keep: Collection[str],
    round_to: int,
) -> PruningPlan:
    """Plan to leave so many units of each block, of a model that may have fewer than it had.

    `ratio` tells which layers are pruned, not how much. The plan's step records the part that each
    layer loses.

    Warns
    -----
    UserWarning
        If a block cannot be brought to its count.
    """
    request = read_request(model, scorer=scorer, ratio=ratio, keep=keep, round_to=round_to)
    result, reached = _decide(model, example_inputs, request, counts=counts)
    lost = {name: 1 - len(kept) / result.filters[name] for name, kept in result.layers.items()}
    failed = [key for key, (kept, whole) in counts.items() if kept < whole and key not in reached]
    if failed:
        names = ", ".join(dict.fromkeys(name for layers, _ in failed for name in layers))
        warnings.warn(f"this step cannot prune {names} any further", stacklevel=3)
    return replace(result, steps=(replace(request.step, ratio=lost),))


def _decide(
    model: nn.Module,
    example_inputs: ExampleInputs,
    request: Request,
    *,
    counts: BlockCounts | None = None,
    progress: Progress | None = None,
) -> tuple[PruningPlan, BlockCounts]:
    """The plan, and how many units of each block stay; to `counts`, where they are given."""
    asked = [name for name in request.ratios if name not in request.veto]
    if request.scorer.uses_contributions:
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
        scales = contribution_scales(groups, request.modules)
        bench = ScoreBench(request.layers, request.scorer, asked, progress, scales)
    else:
        bench = ScoreBench(request.layers, request.scorer, asked, progress, {})
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
    choices = [Choice(block, bench) for block in groups.blocks]
    kept = dict(groups.kept)
    if request.budget is not None:
        remains = Remains(model, example_inputs, groups)
        choices, request = _within_budget(request, bench, groups, choices, kept, remains)
    else:
        if counts is None:
            set_counts(request, choices, bench)
        else:
            set_given_counts(counts, request, groups, choices)
        choices = _proven(groups, choices, kept)
    result = assembled_plan(
        request, bench, groups, choices, kept, example_inputs, stepwise=counts is not None
    )
    if counts is None:
        _warn_of_whole_layers(result, request)
    return result, block_counts(groups, choices)


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        plain = parameter.dtype in (torch.float32, torch.float64) and parameter.numel()
        # NaN is the least and the largest; a mask of all entries costs ten times as much.
        if plain and bool(torch.stack(parameter.detach().aminmax()).isfinite().all()):
            continue
        bad = torch.nonzero(~parameter.detach().isfinite())
        if not len(bad):
            continue
        layer, _, leaf = name.rpartition(".")
        module = model.get_submodule(layer)
        if leaf == "weight" and isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            bad = torch.nonzero(~filter_weight(module).detach().isfinite())
            raise ValueError(
                f"layer {layer!r}: weight must be finite; filter {int(bad[0, 0])} holds NaN or "
                "infinity"
            )
        where = ", ".join(map(str, bad[0].tolist()))
        value = float(parameter.detach()[tuple(bad[0])])
        raise ValueError(f"parameter {name!r} must be finite; entry {where} is {value}")


def _proven(groups: ChannelGroups, choices: list[Choice], kept: dict[str, str]) -> list[Choice]:
    """The choices that pass the proof together; the others are kept, with what went wrong."""
    cuts = groups.cuts({unit for choice in choices for unit in choice.removed})
    if not cuts or groups.failure(cuts) is None:
        return choices
    passed: list[Choice] = []
    for choice in choices:
        trial = {unit for other in (*passed, choice) for unit in other.removed}
        reason = groups.failure(groups.cuts(trial))
        if reason is None:
            passed.append(choice)
        else:
            kept.update(dict.fromkeys(choice.block.layers, f"cannot be pruned: {reason}"))
    return passed


def _within_budget(
    request: Request,
    bench: ScoreBench,
    groups: ChannelGroups,
    choices: list[Choice],
    kept: dict[str, str],
    remains: Remains,
) -> tuple[list[Choice], Request]:
    """The choices that meet the budget and pass the proof, and the request with what it took.

    Raises
    ------
    ValueError
        If no choices meet it.
    """
    while True:
        met, reached = set_counts_within(request, choices, bench, remains)
        if not met:
            raise _budget_error(reached, groups, kept)
        passed = _proven(groups, choices, kept)
        if len(passed) == len(choices):
            return choices, reached
        choices = passed  # the others must lose more


def _budget_error(request: Request, groups: ChannelGroups, kept: Mapping[str, str]) -> ValueError:
    reachable = request.step.remaining or {}
    whole = {
        name: whole_reason(name, request, groups, kept)
        for name in request.layers
        if not any(name in (*block.layers, *block.followers) for block in groups.blocks)
        or name in kept
    }
    limits = ["every layer keeps at least " + ("10 %" if request.global_ else "one filter")]
    if request.round_to > 1:
        limits.append(f"a multiple of round_to={request.round_to}")
    reasons = "".join(f"\n  {name}: {why}" for name, why in whole.items())
    return ValueError(
        f"budget: at most {shares_text(request.budget or {})} may remain, but the least that "
        f"pruning can reach is {shares_text(reachable)} ({', and '.join(limits)}). Kept whole:"
        f"{reasons or ' no layer'}"
    )


def _warn_of_whole_layers(result: PruningPlan, request: Request) -> None:
    whole = {name: why for name, why in result.kept.items() if name in request.named}
    if not result.layers:
        lines = "".join(f"\n  {name}: {why}" for name, why in result.kept.items())
        reasons = lines or (
            " the model has no layer of torch.nn. One that calls functions with parameters of its "
            "own cannot be cut; in place of what torch.export made, plan for the model it was given"
        )
        warnings.warn(f"the plan changes nothing:{reasons}", UserWarning, stacklevel=4)
    elif any(request.ratios[name] for name in whole):
        lines = "".join(f"\n  {name}: {why}" for name, why in whole.items() if request.ratios[name])
        warnings.warn(f"layers named in ratio are kept:{lines}", UserWarning, stacklevel=4)

# SPDX-License-Identifier: MIT
"""Making a plan: which filters of which layers go.

`plan` scores the layers, asks `hubprune.channel_groups` what belongs together, and chooses
(`hubprune.block_choices`); what it returns is a `hubprune.pruning_plan.PruningPlan`.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from numbers import Real
from typing import Any

import torch
from torch import nn

from . import _native
from .arguments import unknown_layer_text
from .block_choices import Choice, ScoreBench, global_sequence
from .budgets import Remains, check_budget, first_within, shares_text
from .channel_groups import ChannelGroups, find_channel_groups
from .channel_paths import find_readers
from .layer_kinds import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, is_depthwise
from .model_runs import ExampleInputs, check_example_inputs, check_model
from .plan_records import LayerRecord, Step
from .progress import Progress
from .pruning_plan import PruningPlan
from .scorers import Scorer, filter_weight, make_scorer

__all__ = ["BlockCounts", "kept_count", "plan", "plan_counts", "plan_to_counts"]


def kept_count(n: int, ratio: float) -> int:
    """How many of n filters a ratio keeps: ceil((1 - ratio) n), at least one.

    Parameters
    ----------
    n : int
        Filters, at least 1.
    ratio : float
        Part to remove, in [0, 1).

    Returns
    -------
    int
        The exact ceiling for the decimal that was written: 0.9 of 10 keeps 1, although
        (1 - 0.9) * 10 is a little more than 1 in binary.

    Examples
    --------
    >>> kept_count(10, 0.9), kept_count(5, 0.5), kept_count(3, 0.99)
    (1, 3, 1)
    """
    return max(1, n - math.floor(n * ratio + 1e-9))


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
    A depthwise convolution follows the layer before it. Each group of a grouped convolution keeps
    the same number of channels, rounded up.

    Every plan is proven on the example inputs before it is returned: the pruned copy computes what
    the whole model computes with the removed channels ignored. A layer that fails is kept. Layers
    that run only in training, or only on other inputs, are not seen.

    *Budgets* count all parameters and the multiply-adds of `hubprune.report` on the example inputs,
    exactly: what the plan's last step says remains is what the report finds. Multiply-adds of
    layers other than convolutions and linear ones count as if nothing were removed.

    Memory: twice the model and the activations of one forward pass. Several threads may plan for
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
    request = _Request(model, scorer, ratio, keep, round_to, global_, budget)
    return _decide(model, example_inputs, request, progress)[0]


BlockCounts = dict[tuple[tuple[str, ...], int], tuple[int, int]]
"""Blocks, by their layers and their number among the blocks of these layers -> how many units stay,
of how many."""


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
    request = _Request(model, scorer, ratio, keep, round_to, global_, budget)
    result, counts = _decide(model, example_inputs, request, None)
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
    request = _Request(model, scorer, ratio, keep, round_to, False)
    request.counts = counts
    result, reached = _decide(model, example_inputs, request, None)
    lost = {name: 1 - len(kept) / result.filters[name] for name, kept in result.layers.items()}
    failed = [key for key, (kept, whole) in counts.items() if kept < whole and key not in reached]
    if failed:
        names = ", ".join(dict.fromkeys(name for layers, _ in failed for name in layers))
        warnings.warn(f"this step cannot prune {names} any further", stacklevel=3)
    return replace(result, steps=(replace(request.step, ratio=lost),))


def _decide(
    model: nn.Module, example_inputs: ExampleInputs, request: _Request, progress: Progress | None
) -> tuple[PruningPlan, BlockCounts]:
    asked = [name for name in request.ratios if name not in request.veto]
    if request.scorer.uses_contributions:
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
        scales = _scales(groups, request.modules)
        bench = ScoreBench(request.layers, request.scorer, asked, progress, scales)
    else:
        bench = ScoreBench(request.layers, request.scorer, asked, progress, {})
        _check_finite(model)
        groups = find_channel_groups(model, example_inputs, roots=request.ratios, veto=request.veto)
    choices = [Choice(block, bench) for block in groups.blocks]
    kept = dict(groups.kept)
    if request.counts is not None:
        keys = _block_keys(groups)
        for choice in choices:
            n = len(choice.block.units)
            count, _ = request.counts.get(keys[choice.block.number], (n, n))
            choice.keep(min(n, count), request.round_to)
        choices = _proven(groups, choices, kept)
    elif request.budget is None:
        request.set_counts(choices, bench)
        choices = _proven(groups, choices, kept)
    else:
        remains = Remains(model, example_inputs, groups.sides)
        choices = _within_budget(request, bench, groups, choices, kept, remains)
    result = _assemble(request, bench, groups, choices, kept, example_inputs)
    if request.counts is None:
        _warn_of_whole_layers(result, request)
    return result, _block_counts(groups, choices)


def _block_keys(groups: ChannelGroups) -> dict[int, tuple[tuple[str, ...], int]]:
    """How to know a block again in the same model with fewer filters: by its number here."""
    seen: Counter[tuple[str, ...]] = Counter()
    keys = {}
    for block in groups.blocks:
        keys[block.number] = (block.layers, seen[block.layers])
        seen[block.layers] += 1
    return keys


def _block_counts(groups: ChannelGroups, choices: Iterable[Choice]) -> BlockCounts:
    keys = _block_keys(groups)
    return {
        keys[choice.block.number]: (
            len(choice.block.units) - len(choice.removed),
            len(choice.block.units),
        )
        for choice in choices
    }


def _scales(groups: ChannelGroups, modules: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Return, for every layer, how much of each filter the network hears: (n,), float64.

    |gamma| of the first batch norm that its channel passes, times the norm of the weights with
    which the next layers read it; a factor is 1 where there is none.
    """
    gamma: dict[int, float] = {}
    heard: dict[int, float] = {}
    for (target, side, dim), units in groups.sides.items():
        module = modules.get(target)
        if side == "channels" and isinstance(module, BATCH_NORMS) and module.weight is not None:
            for unit, value in zip(units, module.weight.detach().abs().tolist(), strict=False):
                gamma.setdefault(unit, value)
        if side == "in" and dim == 0 and module is not None:
            squares = _input_squares(module, len(units))
            if squares is None:
                continue
            for unit, square in zip(units, squares.tolist(), strict=True):
                heard[unit] = heard.get(unit, 0.0) + square
    return {
        target: torch.tensor(
            [
                gamma.get(u, 1.0) * math.sqrt(heard[u]) if u in heard else gamma.get(u, 1.0)
                for u in units
            ],
            dtype=torch.float64,
        )
        for (target, side, _), units in groups.sides.items()
        if side == "out" and target in modules
    }


def _input_squares(module: nn.Module, count: int) -> torch.Tensor | None:
    """Return the squared norm of the weights that read each input channel, (count,)."""
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().double()
        return weight.square().sum(0)
    if isinstance(module, CONVOLUTIONS) and module.groups == 1:
        weight = module.weight.detach().double()
        inputs = 0 if isinstance(module, TRANSPOSED) else 1
        return weight.square().transpose(0, inputs).flatten(1).sum(1)
    return None


def _check_ratio(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where} must be a number in [0, 1); got {type(value).__name__}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"{where} must be in [0, 1); got {value}")
    return float(value)


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
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


class _Request:
    """The arguments of `plan`, checked and resolved to layer names."""

    def __init__(
        self,
        model: nn.Module,
        scorer: str | Scorer,
        ratio: float | Mapping[str, float] | None,
        keep: Collection[str],
        round_to: int,
        global_: bool,
        budget: Mapping[str, float] | None = None,
    ) -> None:
        self.scorer = make_scorer(scorer)
        self.budget = None if budget is None else check_budget(budget)
        self.counts: BlockCounts | None = None  # `plan_to_counts`: instead of ratio and budget
        if self.budget is not None and ratio is not None:
            raise ValueError("give ratio or budget, not both: the budget decides the ratio")
        self.modules = dict(model.named_modules())
        self.layers = {
            name: module
            for name, module in self.modules.items()
            if isinstance(module, (*CONVOLUTIONS, nn.Linear))
        }
        if isinstance(round_to, bool) or not isinstance(round_to, int):
            raise TypeError(f"round_to must be an int; got {type(round_to).__name__}")
        if round_to < 1:
            raise ValueError(f"round_to must be at least 1; got {round_to}")
        self.round_to = round_to
        self.global_ = bool(global_)
        self.named: set[str] = set()  # layers that the caller wrote out
        self.ratios = self._resolve_ratio(
            0.0 if budget is not None else ratio
        )  # layer -> ratio, None: the scorer's own count
        self.veto = self._resolve_veto(model, keep)
        own_count = ratio is None and any(r is None for r in self.ratios.values())
        stored = dict(ratio) if isinstance(ratio, Mapping) else ratio
        self.step = Step(
            scorer=scorer if isinstance(scorer, str) else repr(scorer),
            ratio=None if own_count or budget is not None else 0.5 if stored is None else stored,
            round_to=round_to,
            global_=self.global_,
            budget=self.budget,
        )

    def _resolve_ratio(self, ratio: float | Mapping[str, float] | None) -> dict[str, float | None]:
        convolutions = [
            name
            for name, module in self.layers.items()
            if not isinstance(module, nn.Linear) and not is_depthwise(module)
        ]
        decides_itself = self.scorer.name == "pairs"
        if ratio is None and decides_itself:
            if self.global_:
                raise ValueError(
                    "global_=True needs a ratio: the scorer 'pairs' decides the count of each "
                    "layer by itself"
                )
            return dict.fromkeys(convolutions)
        if not isinstance(ratio, Mapping):
            checked = _check_ratio(0.5 if ratio is None else ratio, "ratio")
            return dict.fromkeys(convolutions, checked)
        if self.global_:
            raise ValueError("global_=True needs one ratio for all layers; got a mapping")
        resolved: dict[str, float | None] = {}
        for name, value in ratio.items():
            part = _check_ratio(value, f"ratio[{name!r}]")
            module = self._module(name, "ratio")
            if name in self.layers:
                if is_depthwise(module):
                    raise ValueError(
                        f"ratio[{name!r}]: a depthwise convolution follows the layer before it; "
                        "name that layer"
                    )
                self.named.add(name)
                resolved[name] = part
                continue
            inside = [inner for inner in convolutions if inner.startswith(f"{name}.")]
            if not inside:
                raise ValueError(
                    f"ratio[{name!r}]: a {type(module).__name__} cannot be pruned; name "
                    "convolutions, linear layers, or modules that hold convolutions"
                )
            for inner in inside:
                if inner not in ratio:
                    resolved[inner] = part
        return resolved

    def _module(self, name: Any, argument: str) -> nn.Module:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must name layers by str; got {type(name).__name__}")
        if name not in self.modules:
            raise ValueError(f"{argument}: {unknown_layer_text('the model', name, self.modules)}")
        module: nn.Module = self.modules[name]
        return module

    def _resolve_veto(self, model: nn.Module, keep: Collection[str]) -> dict[str, str]:
        if isinstance(keep, str) or not isinstance(keep, Collection):
            raise TypeError(
                f"keep must be a collection of layer names, such as ['conv1']; got "
                f"{type(keep).__name__}"
            )
        veto: dict[str, str] = {}
        for name in keep:
            self._module(name, "keep")
            for layer in self.layers:
                if layer == name or layer.startswith(f"{name}."):
                    veto[layer] = "named in keep"
        # In a model that is frozen as a whole, being frozen does not mark a front end.
        if any(parameter.requires_grad for parameter in model.parameters()):
            for name, module in self.layers.items():
                own = list(module.parameters(recurse=False))
                frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
                if frozen and name not in self.named:
                    veto.setdefault(name, "front end: its parameters are frozen (requires_grad)")
        return veto

    def set_counts(self, choices: list[Choice], bench: ScoreBench) -> None:
        """Fill in how many units each block keeps."""
        if self.global_:
            self._set_global_counts(choices, bench)
            return
        for choice in choices:
            asked = {self.ratios[name] for name in choice.block.layers if name in self.ratios}
            if len(asked) > 1:
                wanted = {n: self.ratios[n] for n in choice.block.layers if n in self.ratios}
                raise ValueError(
                    f"ratio must be the same for coupled layers, which lose the same channels; "
                    f"got {wanted}"
                )
            (ratio,) = asked
            n = len(choice.block.units)
            if ratio is not None:
                choice.keep(kept_count(n, ratio), self.round_to)
                continue
            counts = [bench[name].count or 0 for name in choice.scored]
            choice.keep(max(1, n - min(counts)), self.round_to)

    def set_counts_within(self, choices: list[Choice], bench: ScoreBench, remains: Remains) -> bool:
        """Remove as little as meets the budget, or all that can go; return whether it is met."""
        budget = self.budget or {}

        def within() -> bool:
            return remains.within(budget, {u for choice in choices for u in choice.removed})

        if self.global_:
            sequence = global_sequence(choices, bench)

            def apply(number: int) -> None:
                counts = Counter(sequence[:number])
                for at, choice in enumerate(choices):
                    choice.keep(len(choice.block.units) - counts[at], self.round_to)

            last = len(sequence)
        else:
            sizes = {len(choice.block.units) for choice in choices}
            ratios = sorted({Fraction(k, n) for n in {1, *sizes} for k in range(n)})

            def apply(number: int) -> None:
                ratio = float(ratios[number])
                self.ratios = dict.fromkeys(self.ratios, ratio)
                self.step = replace(self.step, ratio=ratio)
                for choice in choices:
                    choice.keep(kept_count(len(choice.block.units), ratio), self.round_to)

            last = len(ratios) - 1

        def meets(number: int) -> bool:
            apply(number)
            return within()

        found = first_within(last + 1, meets)
        apply(last if found is None else found)
        shares = remains.shares({u for choice in choices for u in choice.removed})
        self.step = replace(self.step, remaining=shares)
        return found is not None

    def _set_global_counts(self, choices: list[Choice], bench: ScoreBench) -> None:
        """One threshold: the most redundant units of all blocks go until the budget is spent."""
        ratio = next(iter(self.ratios.values()), 0.0) or 0.0
        total = sum(len(choice.block.units) * choice.filters_per_unit for choice in choices)
        budget = total - kept_count(total, ratio) if total else 0
        removed = [0] * len(choices)
        for number in global_sequence(choices, bench):
            filters = choices[number].filters_per_unit
            if filters <= budget:
                removed[number] += 1
                budget -= filters
        for choice, count in zip(choices, removed, strict=True):
            choice.keep(len(choice.block.units) - count, self.round_to)


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
    request: _Request,
    bench: ScoreBench,
    groups: ChannelGroups,
    choices: list[Choice],
    kept: dict[str, str],
    remains: Remains,
) -> list[Choice]:
    """The choices that meet the budget and pass the proof; raises ValueError if none do."""
    while True:
        met = request.set_counts_within(choices, bench, remains)
        passed = _proven(groups, choices, kept) if met else choices
        if not met:
            raise _budget_error(request, groups, kept)
        if len(passed) == len(choices):
            return choices
        choices = passed  # the others must lose more


def _budget_error(request: _Request, groups: ChannelGroups, kept: Mapping[str, str]) -> ValueError:
    reachable = request.step.remaining or {}
    whole = {
        name: _reason(name, module, request, groups, kept)
        for name, module in request.layers.items()
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


def _assemble(
    request: _Request,
    bench: ScoreBench,
    groups: ChannelGroups,
    choices: list[Choice],
    kept: dict[str, str],
    example_inputs: ExampleInputs,
) -> PruningPlan:
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
    reasons: dict[str, str] = {}
    for name, module in request.modules.items():
        if name in by_layer:
            continue
        if name in groups.input_norms:
            reasons[name] = "normalises the model's input"
        elif name in request.layers:
            reasons[name] = _reason(name, module, request, groups, kept)
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
        readers=find_readers(request.modules[""], example_inputs, groups, cuts),
    )


def _reason(
    name: str,
    module: nn.Module,
    request: _Request,
    groups: ChannelGroups,
    kept: Mapping[str, str],
) -> str:
    """Why a convolution or linear layer stays whole."""
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
    if request.counts is not None:
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


def _warn_of_whole_layers(result: PruningPlan, request: _Request) -> None:
    whole = {name: why for name, why in result.kept.items() if name in request.named}
    if not result.layers:
        lines = "".join(f"\n  {name}: {why}" for name, why in result.kept.items())
        warnings.warn(f"the plan changes nothing:{lines or ' no layer'}", UserWarning, stacklevel=4)
    elif any(request.ratios[name] for name in whole):
        lines = "".join(f"\n  {name}: {why}" for name, why in whole.items() if request.ratios[name])
        warnings.warn(f"layers named in ratio are kept:{lines}", UserWarning, stacklevel=4)

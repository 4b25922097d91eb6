# SPDX-License-Identifier: MIT
"""What a plan is asked for: the arguments of `plan`, checked and resolved to layer names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import nn

from ..arguments import check_count, unknown_layer_text
from ..layer_kinds import CONVOLUTIONS, is_depthwise
from ..scorers import Scorer, make_scorer
from .budgets import check_budget
from .plan_records import Step

__all__ = ["Request", "read_request"]


@dataclass(frozen=True, eq=False)
class Request:
    """The arguments of `plan`, checked and resolved. It never changes.

    Attributes
    ----------
    scorer : Scorer
        Who scores.
    modules : dict of str to torch.nn.Module
        All modules of the model.
    layers : dict of str to torch.nn.Module
        Its convolutions and linear layers.
    ratios : dict of str to float or None
        The layers that are to be pruned -> the part to remove; None: as many as the scorer says.
        With a budget, 0 until the ratio that meets it is found.
    named : frozenset of str
        The layers that the caller wrote out.
    veto : dict of str to str
        Layers that must stay whole -> the reason.
    budget : dict of str to float, or None
        As in `plan`.
    round_to : int
        As in `plan`.
    global_ : bool
        As in `plan`.
    step : Step
        What the plan will remember of all this.
    """

    scorer: Scorer
    modules: dict[str, nn.Module]
    layers: dict[str, nn.Module]
    ratios: dict[str, float | None]
    named: frozenset[str]
    veto: dict[str, str]
    budget: dict[str, float] | None
    round_to: int
    global_: bool
    step: Step


def read_request(
    model: nn.Module,
    *,
    scorer: str | Scorer,
    ratio: float | Mapping[str, float] | None,
    keep: Collection[str],
    round_to: int,
    global_: bool = False,
    budget: Mapping[str, float] | None = None,
) -> Request:
    """Check and resolve the arguments of `plan`.

    Raises
    ------
    TypeError, ValueError
        As `plan` does, for what can be told without running the model.
    """
    chosen = make_scorer(scorer)
    shares = None if budget is None else check_budget(budget)
    if shares is not None and ratio is not None:
        raise ValueError("give ratio or budget, not both: the budget decides the ratio")
    check_count(round_to, "round_to")
    modules = dict(model.named_modules())
    layers: dict[str, nn.Module] = {
        name: module
        for name, module in modules.items()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
    }
    convolutions = [
        name
        for name, module in layers.items()
        if not isinstance(module, nn.Linear) and not is_depthwise(module)
    ]
    named: frozenset[str] = frozenset()
    ratios: dict[str, float | None]
    if isinstance(ratio, Mapping):
        if global_:
            raise ValueError("global_=True needs one ratio for all layers; got a mapping")
        ratios = _layer_ratios(ratio, modules, convolutions)
        named = frozenset(name for name in ratio if name in layers)
    elif ratio is None and shares is None and chosen.name == "pairs":
        if global_:
            raise ValueError(
                "global_=True needs a ratio: the scorer 'pairs' decides the count of each "
                "layer by itself"
            )
        ratios = dict.fromkeys(convolutions)
    else:
        default = 0.5 if shares is None else 0.0
        ratios = dict.fromkeys(convolutions, _check_ratio(default if ratio is None else ratio))
    veto = _vetoes(keep, modules, layers, named)
    own_count = ratio is None and any(part is None for part in ratios.values())
    stored = dict(ratio) if isinstance(ratio, Mapping) else ratio
    step = Step(
        scorer=scorer if isinstance(scorer, str) else repr(scorer),
        ratio=None if own_count or shares is not None else 0.5 if stored is None else stored,
        round_to=round_to,
        global_=bool(global_),
        budget=shares,
    )
    return Request(
        scorer=chosen,
        modules=modules,
        layers=layers,
        ratios=ratios,
        named=named,
        veto=veto,
        budget=shares,
        round_to=round_to,
        global_=bool(global_),
        step=step,
    )


def _layer_ratios(
    ratio: Mapping[str, float], modules: Mapping[str, nn.Module], convolutions: Collection[str]
) -> dict[str, float | None]:
    """The ratio of each layer that is named, or lies in a module that is named."""
    resolved: dict[str, float | None] = {}
    for name, value in ratio.items():
        part = _check_ratio(value, f"ratio[{name!r}]")
        module = _module(modules, name, "ratio")
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            if is_depthwise(module):
                raise ValueError(
                    f"ratio[{name!r}]: a depthwise convolution follows the layer before it; "
                    "name that layer"
                )
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


def _vetoes(
    keep: Collection[str],
    modules: Mapping[str, nn.Module],
    layers: Mapping[str, nn.Module],
    named: Collection[str],
) -> dict[str, str]:
    """Layers that must stay whole: what the caller keeps, and frozen front ends."""
    if isinstance(keep, str) or not isinstance(keep, Collection):
        raise TypeError(
            f"keep must be a collection of layer names, such as ['conv1']; got "
            f"{type(keep).__name__}"
        )
    veto: dict[str, str] = {}
    for name in keep:
        _module(modules, name, "keep")
        for layer in layers:
            if layer == name or layer.startswith(f"{name}."):
                veto[layer] = "is named in keep"
    # In a model that is frozen as a whole, being frozen does not mark a front end.
    if any(parameter.requires_grad for parameter in modules[""].parameters()):
        for name, module in layers.items():
            own = list(module.parameters(recurse=False))
            frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
            # A depthwise one, such as a fixed blur, says nothing about the layers before it.
            if frozen and name not in named and not is_depthwise(module):
                veto.setdefault(name, "is a front end: its parameters are frozen (requires_grad)")
    return veto


def _module(modules: Mapping[str, nn.Module], name: Any, argument: str) -> nn.Module:
    if not isinstance(name, str):
        raise TypeError(f"{argument} must name layers by str; got {type(name).__name__}")
    if name not in modules:
        raise ValueError(f"{argument}: {unknown_layer_text('the model', name, modules)}")
    return modules[name]


def _check_ratio(value: Any, where: str = "ratio") -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where} must be a number in [0, 1); got {type(value).__name__}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"{where} must be in [0, 1); got {value}")
    return float(value)

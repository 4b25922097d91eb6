# SPDX-License-Identifier: MIT
"""Budgets: how many parameters and multiply-adds a model has left after some cuts, counted.

A tensor axis that keeps k of its n entries leaves k / n of the tensor, and convolutions, linear and
recurrent layers do multiply-adds in proportion to each of their weights. So one measuring pass of
the whole model and the sizes of its tensors tell what every plan leaves, without cutting or running
it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
from torch import nn

from ..channels.groups import ChannelGroups
from ..counting import count, counted_layers
from ..cutting import SideKey
from ..layer_kinds import CONVOLUTIONS, INPUT_WEIGHTS, RECURRENT, is_depthwise
from ..model_runs import ExampleInputs, duplicate

__all__ = ["QUANTITIES", "Remains", "check_budget", "first_within", "shares_text"]

QUANTITIES = ("parameters", "macs")
"""What a budget can limit."""

_WORDS = {"parameters": "the parameters", "macs": "the multiply-adds"}


def check_budget(budget: Any) -> dict[str, float]:
    """Return a budget as a dict of float.

    Raises
    ------
    TypeError
        If it is no mapping of numbers.
    ValueError
        If it is empty, limits something unknown, or a share is not in (0, 1].
    """
    if not isinstance(budget, Mapping):
        raise TypeError(
            'budget must be a mapping such as {"parameters": 0.5} or {"macs": 0.3}; got '
            f"{type(budget).__name__}"
        )
    if not budget:
        raise ValueError("budget must limit parameters, macs or both; got an empty mapping")
    checked: dict[str, float] = {}
    for name, share in budget.items():
        if name not in QUANTITIES:
            raise ValueError(f"budget must limit {' or '.join(QUANTITIES)}; got {name!r}")
        if isinstance(share, bool) or not isinstance(share, Real):
            raise TypeError(
                f"budget[{name!r}] must be a number in (0, 1]; got {type(share).__name__}"
            )
        if not 0 < float(share) <= 1:
            raise ValueError(f"budget[{name!r}] must be in (0, 1]; got {share}")
        checked[name] = float(share)
    return checked


def shares_text(shares: Mapping[str, float]) -> str:
    """Say shares in words.

    Examples
    --------
    >>> shares_text({"parameters": 0.5, "macs": 0.125})
    '50 % of the parameters and 12.5 % of the multiply-adds'
    """
    return " and ".join(f"{100 * share:.4g} % of {_WORDS[name]}" for name, share in shares.items())


@dataclass(frozen=True)
class _Term:
    """Something in proportion to what stays of some sides."""

    amount: int
    sides: tuple[SideKey, ...]


class Remains:
    """What a model has left when some units are removed.

    Parameters
    ----------
    model : torch.nn.Module
        The whole model; a copy of it is called once, in evaluation mode.
    example_inputs : tensor, sequence or mapping
        What it is called with. Shares of multiply-adds do not depend on the batch's size.
    groups : ChannelGroups
        The units of every axis that can shrink.

    Notes
    -----
    Parameters are exact, and so are multiply-adds of convolutions, linear and recurrent layers.
    Those of anything else (attention, layers that hold others, products outside of layers,
    convolutions in which the channels lie along another axis than their own) count as if nothing
    were removed, so there are never more than counted.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: ExampleInputs,
        groups: ChannelGroups,
    ) -> None:
        rows = {(name, "rows", 0): units for name, units in groups.rows.items()}
        sides: dict[SideKey, list[int]] = {**groups.sides, **rows}
        self._units = {key: np.array(list(row), dtype=np.int64) for key, row in sides.items()}
        self._unit_count = 1 + max(
            (int(row.max(initial=-1)) for row in self._units.values()), default=-1
        )
        self._terms = {
            "parameters": list(_parameter_terms(model, sides)),
            "macs": list(_mac_terms(model, example_inputs, sides)),
        }
        self.totals = self.counts(())

    def counts(self, removed: Collection[int]) -> dict[str, int]:
        """Parameters and multiply-adds that stay without some units."""
        gone = np.zeros(self._unit_count + 1, dtype=bool)  # the last entry: unit -1, which stays
        gone[list(removed)] = True
        kept = {key: len(row) - int(gone[row].sum()) for key, row in self._units.items()}
        found: dict[str, int] = {}
        for quantity, terms in self._terms.items():
            total = 0
            for term in terms:
                left, whole = term.amount, 1
                for key in term.sides:
                    left *= kept[key]
                    whole *= len(self._units[key])
                total += left // whole  # exact: every axis divides what it is an axis of
            found[quantity] = total
        return found

    def shares(self, removed: Collection[int]) -> dict[str, float]:
        """The parts of both that stay, in [0, 1]."""
        counts = self.counts(removed)
        return {name: counts[name] / (self.totals[name] or 1) for name in QUANTITIES}

    def within(self, budget: Mapping[str, float], removed: Collection[int]) -> bool:
        """Whether what stays is at most the budget, a share being the decimal that was written."""
        counts = self.counts(removed)
        return all(
            counts[name] <= Fraction(repr(share)) * self.totals[name]
            for name, share in budget.items()
        )


def first_within(count: int, within: Callable[[int], bool]) -> int | None:
    """The first of 0..count-1 that is within a budget, None if none is; once one is, all after are.

    Examples
    --------
    >>> first_within(10, lambda number: number >= 7)
    7
    """
    if count == 0 or not within(count - 1):
        return None
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if within(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _parameter_terms(model: nn.Module, sides: Mapping[SideKey, Any]) -> Iterator[_Term]:
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():  # what is shared, once: as it is stored
        owner, _, leaf = name.rpartition(".")
        axes = [key for key in sides if key[:2] == (name, "parameter")]
        axes += _sides_of(modules[owner], owner, leaf, sides)
        yield _Term(parameter.numel(), tuple(axes))


def _sides_of(
    module: nn.Module, owner: str, leaf: str, sides: Mapping[SideKey, Any]
) -> list[SideKey]:
    """The sides of a layer that shrink one of its parameters."""
    if leaf in ("weight", "bias"):
        layer = isinstance(module, (*CONVOLUTIONS, nn.Linear)) and not is_depthwise(module)
        wanted = ["channels"] if not layer else ["out", "in"] if leaf == "weight" else ["out"]
    elif isinstance(module, RECURRENT) and leaf in INPUT_WEIGHTS:
        wanted = ["in"]
    else:
        wanted = []
    return [key for side in wanted if (key := (owner, side, 0)) in sides]


def _mac_terms(
    model: nn.Module, example_inputs: ExampleInputs, sides: Mapping[SideKey, Any]
) -> Iterator[_Term]:
    counts = count(duplicate(model), example_inputs)
    rest = counts.total.macs
    for name, module in counted_layers(model).items():
        # A layer that holds others would count theirs again; it is left to the rest.
        if next(module.children(), None) is not None:
            continue
        rows = [key for key in sides if key[:2] == (name, "rows")]
        sizes = {
            leaf: parameter.numel()
            for leaf, parameter in module.named_parameters(recurse=False)
            if leaf.startswith("weight")
        }
        for leaf, size in sizes.items():
            axes = (*_sides_of(module, name, leaf, sides), *rows)
            if axes:
                # Each weight of a layer meets what arrives there equally often.
                amount = counts.layers[name].macs * size // sum(sizes.values())
                rest -= amount
                yield _Term(amount, axes)
    yield _Term(rest, ())

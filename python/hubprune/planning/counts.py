# SPDX-License-Identifier: MIT
"""How many units each block keeps: by a ratio, a budget, one threshold, or given counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from ..channels.groups import ChannelGroups
from .block_choices import Choice, ScoreBench, global_sequence
from .budgets import Remains, first_within
from .request import Request

__all__ = [
    "BlockCounts",
    "block_counts",
    "kept_count",
    "set_counts",
    "set_counts_within",
    "set_given_counts",
]

BlockCounts = dict[tuple[tuple[str, ...], int], tuple[int, int]]
"""Blocks, by their layers and their number among the blocks of these layers -> how many units stay,
of how many."""


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


def set_counts(request: Request, choices: list[Choice], bench: ScoreBench) -> None:
    """Fill in how many units each block keeps."""
    if request.global_:
        _set_global_counts(request, choices, bench)
        return
    for choice in choices:
        wanted = {n: request.ratios[n] for n in choice.block.layers if n in request.ratios}
        asked = set(wanted.values())
        if len(asked) > 1:
            raise ValueError(
                f"ratio must be the same for coupled layers, which lose the same channels; "
                f"got {wanted}"
            )
        (ratio,) = asked
        n = len(choice.block.units)
        if ratio is not None:
            choice.keep(kept_count(n, ratio), request.round_to)
            continue
        # Of a layer in several blocks, or with several filters in a unit, the same part.
        scores = [bench[name] for name in choice.scored]
        counts = [n * (each.count or 0) // len(each.values) for each in scores]
        choice.keep(max(1, n - min(counts)), request.round_to)


def _set_global_counts(request: Request, choices: list[Choice], bench: ScoreBench) -> None:
    """One threshold: the most redundant units of all blocks go until the budget is spent."""
    ratio = next(iter(request.ratios.values()), 0.0) or 0.0
    total = sum(len(choice.block.units) * choice.filters_per_unit for choice in choices)
    budget = total - kept_count(total, ratio) if total else 0
    removed = [0] * len(choices)
    for number in global_sequence(choices, bench):
        filters = choices[number].filters_per_unit
        if filters <= budget:
            removed[number] += 1
            budget -= filters
    for choice, count in zip(choices, removed, strict=True):
        choice.keep(len(choice.block.units) - count, request.round_to)


def set_counts_within(
    request: Request, choices: list[Choice], bench: ScoreBench, remains: Remains
) -> tuple[bool, Request]:
    """Remove as little as meets the budget, or all that can go.

    Returns
    -------
    met : bool
        Whether the budget is met.
    request : Request
        With the ratio that this took, and what remains.
    """
    if request.global_:
        sequence = global_sequence(choices, bench)
        last = len(sequence)
    else:
        sizes = {len(choice.block.units) for choice in choices}
        ratios = sorted({Fraction(k, n) for n in {1, *sizes} for k in range(n)})
        last = len(ratios) - 1

    def apply(number: int) -> None:
        counts = Counter(sequence[:number]) if request.global_ else None
        for at, choice in enumerate(choices):
            n = len(choice.block.units)
            kept = kept_count(n, float(ratios[number])) if counts is None else n - counts[at]
            choice.keep(kept, request.round_to)

    def removed() -> set[int]:
        return {unit for choice in choices for unit in choice.removed}

    def meets(number: int) -> bool:
        apply(number)
        return remains.within(request.budget or {}, removed())

    found = first_within(last + 1, meets)
    number = last if found is None else found
    apply(number)
    step = replace(request.step, remaining=remains.shares(removed()))
    if request.global_:
        return found is not None, replace(request, step=step)
    ratio = float(ratios[number])
    return found is not None, replace(
        request, ratios=dict.fromkeys(request.ratios, ratio), step=replace(step, ratio=ratio)
    )


def set_given_counts(
    counts: BlockCounts, request: Request, groups: ChannelGroups, choices: Iterable[Choice]
) -> None:
    """Fill in counts that were decided before, on the same model with more filters."""
    keys = _block_keys(groups)
    for choice in choices:
        n = len(choice.block.units)
        count, _ = counts.get(keys[choice.block.number], (n, n))
        choice.keep(min(n, count), request.round_to)


def block_counts(groups: ChannelGroups, choices: Iterable[Choice]) -> BlockCounts:
    """How many units of each block stay."""
    keys = _block_keys(groups)
    return {
        keys[choice.block.number]: (
            len(choice.block.units) - len(choice.removed),
            len(choice.block.units),
        )
        for choice in choices
    }


def _block_keys(groups: ChannelGroups) -> dict[int, tuple[tuple[str, ...], int]]:
    """How to know a block again in the same model with fewer filters: by its number here."""
    seen: Counter[tuple[str, ...]] = Counter()
    keys = {}
    for block in groups.blocks:
        keys[block.number] = (block.layers, seen[block.layers])
        seen[block.layers] += 1
    return keys

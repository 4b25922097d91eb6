# SPDX-License-Identifier: MIT
"""Which units meet in what a layer reads: at single elements, or in one channel.

To tell apart what meets at single elements, a random quarter of the units speaks at a time: where a
few meet, each is soon heard alone; where many do, hardly any ever is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch

from .probe import Place, Probe, Reading

__all__ = ["random_parts", "units_that_meet", "units_that_share"]

# Of as many runs, quarters tell four units apart that meet (the paths and their weights in SKNet)
# twice as often as halves, and two just as often.
_PARTS = 4
# How often in a row units that meet are told apart in vain: two of them mostly are at once.
_FRUITLESS = 2


def random_parts(count: int, parts: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Divide so many units at random into parts of about one size, each (units,) bool."""
    part = torch.randint(parts, (count,), generator=generator, device="cpu")
    return [part == number for number in range(parts)]


def units_that_meet(
    probe: Probe,
    mixed: Mapping[Place, torch.Tensor],
    lit: torch.Tensor,
    generator: torch.Generator,
) -> list[set[int]]:
    """Find the units that meet, themselves or through others.

    Parameters
    ----------
    probe : Probe
        Where the units are.
    mixed : mapping of place to torch.Tensor
        The elements at which several are heard, bool, of the shape of what arrives there.
    lit : torch.Tensor
        The units that may be among them, (units,) bool.
    generator : torch.Generator
        Decides who speaks when.

    Returns
    -------
    list of set of int
        Two units or more each; no unit is in two of them.
    """
    return _united(_heard_apart(probe, mixed, lit, generator))


def units_that_share(probe: Probe, places: Collection[Place], lit: torch.Tensor) -> list[set[int]]:
    """Find the units that have a channel together, each other elements of it.

    Parameters
    ----------
    probe : Probe
        Where the units are.
    places : collection of place
        Inputs of layers, at no element of which several units are heard.
    lit : torch.Tensor
        The units that may be there, (units,) bool.

    Returns
    -------
    list of set of int
        Two units or more each; no unit is in two of them.
    """
    reading = Reading(probe, lit, apart=places)
    return _united(units for place in sorted(places) for units in reading.units_by_channel(place))


def _united(found: Iterable[set[int]]) -> list[set[int]]:
    """Unite sets that have a unit in common; those of two units or more."""
    met: dict[int, set[int]] = {}
    for units in found:
        united = units.union(*(met.get(unit, ()) for unit in units))
        met.update(dict.fromkeys(united, united))
    return [units for units in {id(each): each for each in met.values()}.values() if len(units) > 1]


def _heard_apart(
    probe: Probe,
    mixed: Mapping[Place, torch.Tensor],
    lit: torch.Tensor,
    generator: torch.Generator,
) -> list[set[int]]:
    """The units at each position where some are mixed, as far as they can be told apart."""
    where = {p: probe.positions(p, mask).nonzero()[:, 0].tolist() for p, mask in mixed.items()}
    heard: dict[tuple[Place, int], set[int]] = {}
    found: set[frozenset[int]] = set()
    fruitless = 0
    while fruitless < _FRUITLESS:
        parts = random_parts(len(lit), _PARTS, generator)
        readings = [Reading(probe, lit & part) for part in parts]
        if all(each.is_crowded(*at) for each in readings for at in where.items()):
            break  # many everywhere: no round would tell any of them apart
        for reading in readings:
            for place, positions in where.items():
                row = reading.units_at(place)
                units = [] if row is None else row.tolist()
                for position in positions if units else ():
                    if units[position] >= 0:
                        heard.setdefault((place, position), set()).add(units[position])
        # Who else is heard at a position is no news where the units are known to meet elsewhere.
        before, found = found, set(map(frozenset, _united(heard.values())))
        fruitless = fruitless + 1 if found == before else 0
    return list(heard.values())

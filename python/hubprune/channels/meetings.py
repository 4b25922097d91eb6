# SPDX-License-Identifier: MIT
"""Which units meet in what a layer reads: at single elements, or in one channel.

What meets at single elements is told apart by group testing: a random eighth of the units speaks at
a time. Who speaks where nothing is heard is not there; who is the only one left to have been heard
is. Where 2, 4, 8 and 16 of 2000 units meet at each element, that takes about 75, 90, 160 and 460
runs; code words, which can be read only where one unit of a part is heard, took 1000 for 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch

from .probe import Place, Probe, Reading

__all__ = ["random_parts", "units_that_meet", "units_that_share"]

_PARTS = 8
# How often in a row all parts may speak in vain.
_FRUITLESS = 2
# Where more than about 20 units meet, more runs would be needed than they are worth.
_MOST_RUNS = 512
# Positions whose units are looked for at once: a matrix of these and of all units is in memory.
_ROWS = 1024


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
    where = {p: probe.positions(p, mask).nonzero()[:, 0] for p, mask in mixed.items()}
    speakers: list[torch.Tensor] = []
    heard: list[torch.Tensor] = []
    # Positions that have heard the same so far have one number.
    kind = torch.zeros(sum(map(len, where.values())), dtype=torch.long, device="cpu")
    known, fruitless = (-1, -1), 0
    certain = torch.zeros(0, len(lit), dtype=torch.bool, device="cpu")
    doubtful = lit
    while bool(doubtful.any()) and fruitless < _FRUITLESS and len(speakers) < _MOST_RUNS:
        for part in random_parts(len(lit), _PARTS, generator):
            if not bool((part & doubtful).any()):
                continue
            speakers.append(part & doubtful)
            seen = probe.replay(speakers[-1], where)
            at = [probe.positions(place, seen[place])[rows].cpu() for place, rows in where.items()]
            heard.append(torch.cat(at))
            kind = (2 * kind + heard[-1]).unique(return_inverse=True)[1]
        one_of_kind = torch.empty(int(kind.max()) + 1, dtype=torch.long, device="cpu")
        one_of_kind[kind] = torch.arange(len(kind), device="cpu")
        echoes = torch.stack(heard, 1)[one_of_kind]
        if bool(echoes.all()):
            break  # many everywhere: no run would tell any of them apart
        certain, possible = _located(torch.stack(speakers), echoes, lit)
        doubtful = (possible & ~certain)[~echoes.all(1)].any(0)  # what hears all tells nothing yet
        counts = int(possible.sum()), int(certain.sum())
        fruitless = fruitless + 1 if counts == known else 0
        known = counts
    return [set(row.nonzero()[:, 0].tolist()) for row in certain]


def _located(
    speakers: torch.Tensor, echoes: torch.Tensor, lit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which units are at each position, by who spoke, (runs, units), and was heard there.

    Parameters
    ----------
    speakers, echoes : torch.Tensor
        (runs, units) and (positions, runs), bool.
    lit : torch.Tensor
        The units that may be there, (units,) bool.

    Returns
    -------
    certain, possible : torch.Tensor
        (positions, units), bool: which are there for certain, and which may be.
    """
    certain, possible = [], []
    spoke = speakers.float()
    for rows in echoes.split(_ROWS):
        maybe = ((~rows).float() @ spoke == 0) & lit
        alone = (maybe.float() @ spoke.T == 1) & rows
        certain.append((alone.float() @ spoke > 0) & maybe)
        possible.append(maybe)
    return torch.cat(certain), torch.cat(possible)

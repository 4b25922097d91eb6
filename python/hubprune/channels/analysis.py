# SPDX-License-Identifier: MIT
"""The analysis behind `find_channel_groups`: from coupled filters to blocks that can be pruned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from ..cutting import SideKey
from ..layer_kinds import CONVOLUTIONS, RECURRENT, is_channelwise, is_depthwise, is_grouped
from ..model_runs import first_line
from .blocks import Block
from .coupling import Coupling
from .meetings import random_parts, units_that_meet, units_that_share
from .probe import ControlFlowError, Place, Probe, Reading

__all__ = ["Analysis"]

_Key = TypeVar("_Key")


def _living(places: Mapping[_Key, Sequence[int]], live: Collection[int]) -> dict[_Key, list[int]]:
    """The places where units are that can go, -1 for the others."""
    return {
        key: [unit if unit in live else -1 for unit in units]
        for key, units in places.items()
        if any(unit in live for unit in units)
    }


def _part(block: Block, numbers: Sequence[int]) -> Block:
    """The units of a block with these places."""
    return replace(
        block,
        units=tuple(block.units[n] for n in numbers),
        channels={name: [row[n] for n in numbers] for name, row in block.channels.items()},
        cells=(0,) * len(numbers),
    )


class Analysis:
    """One run of `find_channel_groups`: the state that its steps share."""

    def __init__(
        self, coupling: Coupling, probe: Probe, roots: Collection[str], veto: Mapping[str, str]
    ) -> None:
        self.coupling = coupling
        self.probe = probe
        self.probe.axes = coupling.axes
        self.roots = set(roots)
        self.veto = {**coupling.faults, **veto}
        self.modules = coupling.modules
        self.blocks: list[Block] = []
        self.dropped: dict[int, tuple[str | None, str]] = {}  # block -> (layer at fault, reason)
        self.kept: dict[str, str] = {}
        self.sides: dict[SideKey, list[int]] = {}
        self.rows: dict[str, list[int]] = {}
        # unit -> the groups of grouped convolutions that it belongs to
        self.signatures: dict[int, tuple[tuple[str, int], ...]] = {}
        self._random = torch.Generator("cpu").manual_seed(0)
        self._make_blocks()

    def settled(self) -> tuple[list[Block], dict[SideKey, list[int]], dict[str, list[int]]]:
        """The blocks that can be pruned, and the sides and rows on which their units are."""
        self._split_by_reader()
        self._check_sides()
        blocks = [block for block in self._active() if self._read_somewhere(block)]
        live = {unit for block in blocks for unit in block.units}
        for block in blocks:
            self._name_followers(block)
        sides, rows = _living(self.sides, live), _living(self.rows, live)
        self._explain_dropped()
        return blocks, sides, rows

    # --- step 1: coupling ---

    def _make_blocks(self) -> None:
        """Put the units that consist of the same layers into blocks."""
        self.blocks, self.dropped = [], {}
        by_layers: dict[tuple[str, ...], list[list[tuple[str, int]]]] = {}
        for members in self.coupling.units():
            by_layers.setdefault(tuple(sorted(name for name, _ in members)), []).append(members)
        unit = 0
        for names, units in by_layers.items():
            channels: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
            for members in units:
                mine: dict[str, list[int]] = {}
                for name, channel in members:
                    mine.setdefault(name, []).append(channel)
                for name, row in mine.items():
                    channels[name].append(tuple(row))
            layers = sorted(
                (n for n in channels if n in self.modules), key=self.coupling.order.__getitem__
            )
            block = Block(
                number=len(self.blocks),
                layers=tuple(layers),
                parameters=tuple(n for n in channels if n not in self.modules),
                units=tuple(range(unit, unit + len(units))),
                channels=channels,
                cells=(0,) * len(units),
            )
            unit += len(units)
            self.blocks.append(block)
            self._drop_vetoed(block)

    def _drop_vetoed(self, block: Block) -> None:
        """Take a block out that nobody asked for, of one unit, or with a layer that must stay."""
        at_fault = next((name for name in block.layers if name in self.veto), None)
        if at_fault is not None:
            self.dropped[block.number] = (at_fault, self.veto[at_fault])
        elif len(block.units) == 1 or not self.roots.intersection(block.layers):
            self.dropped[block.number] = (None, "")  # one filter, such as a gate's, always stays

    def _active(self) -> list[Block]:
        return [block for block in self.blocks if block.number not in self.dropped]

    # --- step 2: probing ---

    def probe_until_stable(self) -> None:
        """Read which unit arrives where; join or drop what meets until nothing is ambiguous."""
        while self._active():
            owner = torch.empty(self._unit_count(), dtype=torch.long, device="cpu")
            for block in self.blocks:
                owner[list(block.units)] = block.number
            self.probe.units = self._units_by_producer()
            try:
                stable = self._judge(Reading(self.probe, self._lit(self._active())), owner)
            except ControlFlowError as error:
                raise ValueError(
                    "the model must take the same way through its layers in every forward pass; "
                    f"'{error}' was called another number of times"
                ) from None
            except Exception as error:
                raise ValueError(
                    "the model's forward pass does not survive NaN, with which its channels are "
                    f"followed ({type(error).__name__}: {first_line(error)})"
                ) from error
            if stable:
                return

    def _unit_count(self) -> int:
        return sum(len(block.units) for block in self.blocks)

    def _lit(self, blocks: Iterable[Block]) -> torch.Tensor:
        """Which units are in some blocks, (units,) bool."""
        lit = torch.zeros(self._unit_count(), dtype=torch.bool, device="cpu")
        lit[[unit for block in blocks for unit in block.units]] = True
        return lit

    def _units_by_producer(self) -> dict[str, torch.Tensor]:
        units: dict[str, list[int]] = {}
        for block in self._active():
            for name, positions in block.channels.items():
                size = self.coupling.width[name]
                row = units.setdefault(name, [-1] * size)
                for unit, channels in zip(block.units, positions, strict=True):
                    for channel in channels:
                        row[channel] = unit
        return {name: torch.tensor(row, device="cpu") for name, row in units.items()}

    def _judge(self, reading: Reading, owner: torch.Tensor) -> bool:
        """Decide what one reading means; False if blocks have changed and it must be repeated."""
        dropped, through = len(self.dropped), len(self.probe.through)
        for unit in reading.units_at_outputs():
            self._drop(int(owner[unit]), "produces the model's output")
        mixed = {place: mask for place, mask in reading.mixed().items() if mask.any()}
        if mixed and dropped == len(self.dropped):
            self._untangle(mixed)
            self.probe.through.clear()
            return False
        if self._join_sharing(reading, mixed):
            self.probe.through.clear()
            return False
        sides = self._sides_of_readers(reading, owner, mixed)
        if dropped != len(self.dropped):
            self.probe.through.clear()  # what is left may be read in another way
            return False
        if through != len(self.probe.through):
            return False
        for name, row in self.probe.units.items():
            if name in self.modules:
                sides[name, "out", 0] = row.tolist()
            else:
                sides[name, "parameter", self.coupling.axes[name]] = row.tolist()
        self.sides = sides
        self.rows = {
            name: reading.units_of_rows(name)
            for name in sorted(self.probe.through)
            if isinstance(self.modules[name], (nn.Linear, *RECURRENT))
        }
        return True

    def _join_sharing(self, reading: Reading, mixed: dict[Place, torch.Tensor]) -> bool:
        """Join units that make one channel of what a convolution reads, each a part of it.

        As behind a pixel shuffle. Channels that lie along another axis of it stay apart.
        """
        unclear = {name for name, _ in mixed} | self.probe.through
        places = {
            place
            for name, module in self.modules.items()
            if isinstance(module, CONVOLUTIONS) and not is_channelwise(module)
            for place in reading.calls_of(name)
            if name not in unclear and reading.is_shared(place)
        }
        if not places:
            return False
        blocks = self._active()
        return self._join(units_that_share(self.probe, places, self._lit(blocks)), blocks)

    def _sides_of_readers(
        self, reading: Reading, owner: torch.Tensor, mixed: dict[Place, torch.Tensor]
    ) -> dict[SideKey, list[int]]:
        """Which unit each layer reads at each position; note layers that pass channels on."""
        sides: dict[SideKey, list[int]] = {}
        for name, module in self._in_order(self.probe.modules):
            rows = [reading.units_at(place) for place in reading.calls_of(name)]
            whole = [row for row in rows if row is not None]
            if not whole or name in self.probe.through:
                continue
            side = "channels" if is_channelwise(module) else "in"
            if any((row == -2).any() for row in whole):
                if side == "in" and not any(name == place[0] for place in mixed):
                    # Its channels lie on another axis: it passes them on.
                    self.probe.through.add(name)
                continue
            units = whole[0].clone()
            for row in whole[1:]:
                clash = (units >= 0) & (row >= 0) & (units != row)
                for unit in torch.cat([units[clash], row[clash]]).tolist():
                    self._drop(int(owner[unit]), f"feeds '{name}', called on different channels")
                units = torch.maximum(units, row)
            sides[name, side, 0] = units.tolist()
        return sides

    def _in_order(self, modules: Mapping[str, nn.Module]) -> list[tuple[str, nn.Module]]:
        return sorted(modules.items(), key=lambda item: self.coupling.order[item[0]])

    def _drop(self, number: int, reason: str) -> None:
        self.dropped.setdefault(number, (self.blocks[number].layers[0], reason))

    def _untangle(self, mixed: dict[Place, torch.Tensor]) -> None:
        """Join units that meet at single elements, or drop their blocks."""
        halves = random_parts(self._unit_count(), 2, self._random)
        reasons: dict[int, str] = {}  # of the blocks that take part
        certain, spread = set(), set()
        for block in self._active():
            lit = self._lit([block])
            one, other = (self.probe.replay(lit & half) for half in halves)
            places = [p for p, mask in mixed.items() if ((one[p] | other[p]) & mask).any()]
            if not places:
                continue
            if any((one[place] & other[place]).any() for place in places):
                spread.add(block.number)  # by itself it is mixed already
            reasons[block.number], is_certain = self._why_mixed(block, places[0])
            if is_certain:
                certain.add(block.number)
        if not reasons:  # no block by itself: it depends on how many channels are NaN at once
            place = next(iter(mixed))
            active = self._active()
            others = [block for block in active if place[0] not in block.layers]
            reasons = {block.number: self._why_mixed(block, place)[0] for block in others or active}
        # One after the other: without the first the rest may not be mixed.
        blocks = [self.blocks[number] for number in reasons]
        if certain or not self._join(
            units_that_meet(self.probe, mixed, self._lit(blocks), self._random), blocks
        ):
            at_fault = certain or spread or reasons.keys()
            involved = [self.blocks[number] for number in at_fault]
            if not certain and self.coupling.doubt([n for b in involved for n in b.channels]):
                self._make_blocks()
                return
            for number in at_fault:
                self._drop(number, reasons[number])

    def _why_mixed(self, block: Block, place: Place) -> tuple[str, bool]:
        """Why a block that is mixed at a place stays whole, and whether joining cannot help."""
        norms = [norm for name in block.layers for norm in self.coupling.mixers.get(name, [])]
        if norms:
            return f"is normalised across channels by '{norms[0]}'", True
        if place[0] is None:
            return "produces the model's output", True
        return f"is mixed with other channels before '{place[0]}' reads it", False

    def _join(self, found: Iterable[set[int]], blocks: list[Block]) -> bool:
        """Join units of some blocks, unless they are all of a block."""
        channel = {
            unit: next((name, rows[number][0]) for name, rows in block.channels.items())
            for block in blocks
            for number, unit in enumerate(block.units)
        }
        joined = [
            units for units in found if not any(units.issuperset(block.units) for block in blocks)
        ]
        for units in joined:
            self.coupling.join([channel[unit] for unit in units])
        if joined:
            self._make_blocks()
        return bool(joined)

    # --- step 3: what the sides allow ---

    def _split_by_reader(self) -> None:
        """Split blocks whose units go to different layers, as halves or quarters of a layer do.

        A layer whose output is split evenly can be cut if every part loses the same number.
        """
        readers: dict[int, tuple[SideKey, ...]] = {}
        for key, row in self.sides.items():
            for unit in set(row) if key[1] != "out" else ():
                readers[unit] = (*readers.get(unit, ()), key)
        for block in self._active():
            parts: dict[tuple[SideKey, ...], list[int]] = {}
            for number, unit in enumerate(block.units):
                parts.setdefault(readers.get(unit, ()), []).append(number)
            if len(parts) < 2:
                continue
            self.blocks[block.number], *others = (_part(block, each) for each in parts.values())
            for part in others:
                part.number = len(self.blocks)
                self.blocks.append(part)

    def _check_sides(self) -> None:
        owner = {unit: block for block in self.blocks for unit in block.units}
        for (target, side, _), units in self.sides.items():
            blocks = {owner[unit].number for unit in units if unit >= 0}
            obstacle = self.coupling.obstacle(target)
            if obstacle is None and side == "channels":
                obstacle = self.veto.get(target)  # a depthwise convolution, which is in no block
            for number in blocks if obstacle is not None else ():
                words = "is" if target in self.blocks[number].layers else f"feeds '{target}', which"
                self._drop(number, f"{words} {obstacle}")
            module = self.modules.get(target)
            if module is not None and is_grouped(module) and side in ("in", "out"):
                self._split_by_group(target, module, units, owner)
        for block in self._active():
            signatures = sorted({self.signatures.get(unit, ()) for unit in block.units})
            cells = [signatures.index(self.signatures.get(unit, ())) for unit in block.units]
            if len({cells.count(cell) for cell in set(cells)}) > 1:
                reason = "feeds several grouped convolutions that split it unevenly"
                self._drop(block.number, reason)
            block.cells = tuple(cells)

    def _split_by_group(
        self, target: str, module: Any, units: list[int], owner: dict[int, Block]
    ) -> None:
        """Note for each unit which groups of a grouped convolution it belongs to."""
        width = len(units) // module.groups
        counts: dict[int, list[int]] = {}
        for position, unit in enumerate(units):
            if unit >= 0:
                group = position // width
                row = counts.setdefault(owner[unit].number, [0] * module.groups)
                row[group] += 1
                self.signatures[unit] = (*self.signatures.get(unit, ()), (target, group))
        for number, row in counts.items():
            if len(set(row)) > 1:
                self._drop(number, f"feeds the groups of '{target}' unevenly")

    def _read_somewhere(self, block: Block) -> bool:
        """Whether some layer reads the block; what nothing reads may be an output in disguise."""
        units = set(block.units)
        read = any(
            side == "in" and units.intersection(row) for (_, side, _), row in self.sides.items()
        )
        if not read:
            self._drop(block.number, "is read by no layer that could be followed")
        return read

    def _name_followers(self, block: Block) -> None:
        units = set(block.units)
        block.followers = tuple(
            target
            for (target, side, _), row in self.sides.items()
            if side == "channels" and is_depthwise(self.modules[target]) and units.intersection(row)
        )

    def _explain_dropped(self) -> None:
        for number, (at_fault, reason) in self.dropped.items():
            for name in self.blocks[number].layers:
                if not reason:
                    continue
                if name == at_fault or name in self.veto:
                    self.kept.setdefault(name, self.veto.get(name, reason))
                else:
                    self.kept.setdefault(name, f"is coupled with '{at_fault}', which {reason}")

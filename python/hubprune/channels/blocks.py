# SPDX-License-Identifier: MIT
"""Blocks: the filters that are pruned by one decision."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block"]


@dataclass
class Block:
    """Filters that are pruned by one decision: units that all consist of the same layers.

    Attributes
    ----------
    number : int
        Its number among all blocks.
    layers : tuple of str
        The convolutions and linear layers whose filters make up the units, in module order.
    parameters : tuple of str
        Bare parameters with one entry per unit.
    units : tuple of int
        The units' numbers, in the order of the first layer's filters.
    channels : dict of str to list of tuple of int
        For each layer and parameter, the positions that belong to each unit.
    followers : tuple of str
        Depthwise convolutions that the units pass through, in module order.
    cells : tuple of int
        The cell of each unit: every cell must keep the same number of units, because the groups of
        a grouped convolution must stay equally large. All cells have the same size.
    """

    number: int
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    units: tuple[int, ...]
    channels: dict[str, list[tuple[int, ...]]]
    followers: tuple[str, ...] = ()
    cells: tuple[int, ...] = ()

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return len(set(self.cells))

# SPDX-License-Identifier: MIT
"""Which units of a block go: the scores of its layers, put into one order, and a count.

A block of `hubprune.channels.blocks` is pruned by one decision, though several layers may be in it.
A `Choice` ranks its units by the scores of all of them and removes as many as it is told; how many
that is, is decided in `hubprune.planning`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..channels.blocks import Block
from ..progress import Progress
from ..scorers import Scorer, Scores, score

__all__ = ["Choice", "ScoreBench", "global_sequence"]

#: With one threshold for all layers, at most this part of a layer is removed: a layer may be all
#: redundancy by its scores, and still cut off everything behind it.
_GLOBAL_LIMIT = 0.9


class ScoreBench:
    """Scores of the layers: all that were asked for at once, others when they are needed."""

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        scorer: Scorer,
        asked: Sequence[str],
        progress: Progress | None,
        scales: Mapping[str, torch.Tensor],
    ) -> None:
        self.layers = layers
        self._scorer = scorer
        self._scales = scales
        self._scores: dict[str, Scores] = {}
        for number, name in enumerate(asked, start=1):
            self[name]
            if progress is not None:
                progress(number, len(asked), name)

    def __getitem__(self, name: str) -> Scores:
        if name not in self._scores:
            module = self.layers[name]
            scale = self._scales.get(name)
            self._scores[name] = score(module, self._scorer, name=name, scale=scale)
        return self._scores[name]


class Choice:
    """Which units of one block go."""

    def __init__(self, block: Block, bench: ScoreBench) -> None:
        self.block = block
        modules = bench.layers
        convolutions = [n for n in block.layers if not isinstance(modules[n], nn.Linear)]
        self.scored = tuple(convolutions or block.layers)
        self.filters_per_unit = sum(len(block.channels[name][0]) for name in self.scored)
        self.removed: set[int] = set()
        self.meaning = (
            f"{bench[self.scored[0]].scorer} of {self.scored[0]}, higher goes first"
            if self.lone
            else f"mean place in the removal orders of {', '.join(self.scored)} (1 = first)"
        )
        places = []  # (filters of all scored layers in the unit) place in the removal order
        first = [True] * len(block.units)
        for name in self.scored:
            scores = bench[name]
            n = len(scores)
            place = [0.0] * n
            for position, index in enumerate(scores.order.tolist()):
                place[index] = 1.0 - position / max(1, n - 1)
            dead = scores.values.isposinf().tolist()
            for unit, channels in enumerate(block.channels[name]):
                first[unit] = first[unit] and all(dead[c] for c in channels)
            places.append([[place[c] for c in channels] for channels in block.channels[name]])
        self.redundancy = [
            math.inf if dead_everywhere else _mean([p for layer in places for p in layer[unit]])
            for unit, dead_everywhere in enumerate(first)
        ]
        self._order = sorted(
            range(len(block.units)),
            # Among the dead of a lone layer the scorer's own order stands.
            key=lambda u: (not first[u], -_mean([p for layer in places for p in layer[u]]), u),
        )

    @property
    def lone(self) -> bool:
        """Whether the units are single filters of one layer, so that its own scores decide."""
        return len(self.scored) == 1 and self.filters_per_unit == 1

    def use_values(self, bench: ScoreBench) -> None:
        """Rank by redundancies that are comparable over layers (`Scores.comparable`)."""
        totals = [0.0] * len(self.block.units)
        first = [True] * len(totals)
        unit_of = ""
        for name in self.scored:
            values, unit_of = bench[name].comparable()
            values = values.double().cpu()
            finite = values[values.isfinite()]
            relative = values.clamp(max=float(finite.max()) if len(finite) else 0.0)
            for unit, channels in enumerate(self.block.channels[name]):
                totals[unit] += float(relative[list(channels)].sum())
                first[unit] = first[unit] and bool(values[list(channels)].isposinf().all())
        self.redundancy = [
            math.inf if dead else total / self.filters_per_unit
            for total, dead in zip(totals, first, strict=True)
        ]
        if not self.lone:
            self.meaning = f"mean over {', '.join(self.scored)} of the redundancy, {unit_of}"
            self._order.sort(key=lambda unit: (-self.redundancy[unit], unit))

    def score(self, unit: int, bench: ScoreBench) -> float:
        """What decided about one unit: `meaning` says what it is."""
        if self.lone:
            name = self.scored[0]
            return float(bench[name].values[self.block.channels[name][unit][0]])
        return self.redundancy[unit]

    def keep(self, count: int, round_to: int) -> None:
        """Choose `count` units to stay, the same number in each cell, a multiple of `round_to`."""
        cells = self.block.cell_count
        size = len(self.block.units) // cells
        per_cell = math.ceil(count / cells)
        while per_cell < size and per_cell * cells % round_to:
            per_cell += 1
        self.removed = set()
        for cell in sorted(set(self.block.cells)):
            order = [u for u in self._order if self.block.cells[u] == cell]
            self.removed.update(self.block.units[u] for u in order[: size - per_cell])


def global_sequence(choices: list[Choice], bench: ScoreBench) -> list[int]:
    """In which order one threshold for all layers takes units: the choice's number for each."""
    ranked: list[tuple[float, int, int]] = []
    for number, choice in enumerate(choices):
        choice.use_values(bench)
        ranked += [(-s, number, i) for i, s in enumerate(choice.redundancy)]
    left = [math.floor(_GLOBAL_LIMIT * len(choice.block.units) + 1e-9) for choice in choices]
    sequence = []
    for _, number, _ in sorted(ranked):
        if left[number]:
            left[number] -= 1
            sequence.append(number)
    return sequence


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

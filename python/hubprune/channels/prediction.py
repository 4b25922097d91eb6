# SPDX-License-Identifier: MIT
r"""Means and correlations of a network's channels, predicted from its weights alone.

- A batch norm fixes mean beta and spread ``|gamma|`` of its output. A rectifier behind it turns
  them into those of a rectified Gaussian.
- The outputs of filters f and g, (channels, places), correlate as ``f' (C x P) g`` with C the
  predicted covariance of their input channels, three quarters of it off the diagonal, and P the
  correlation ``0.95^distance`` between places. The first layer's input channels are uncorrelated.
- A rectifier turns the correlation rho into ``(kappa(rho) - 1 / pi) / (1 - 1 / pi)`` with the
  arc-cosine kernel ``kappa(rho) = (sqrt(1 - rho^2) + (pi - arccos rho) rho) / pi`` (Cho & Saul,
  NeurIPS 2009).

Poolings are taken for nothing: they change every channel's mean in the same direction, and hardly
the correlations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..arguments import compute_dtype
from ..layer_kinds import CONVOLUTIONS, TRANSPOSED
from .paths import Path, Reader

__all__ = ["ChannelPredictor", "filters_by_group"]

# Chosen together with the ridge of moments.py by the AUC of musicnn's MTT_vgg with half of its
# filters, on clips of TimGM6mb with a seed of their own: of 0.5 to 0.99 between neighbours and of 0
# to 1 across channels. From 0.9 and 0.6 to 0.99 and 0.85 all are within 0.004 of the best.
_NEIGHBOURS = 0.95  # correlation of neighbouring places
_ACROSS = 0.75  # part of the correlation between channels that the next layer is told of

_ROWS_AT_ONCE = 256  # of a symmetric product


def filters_by_group(module: nn.Module, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return the weights of a layer as (groups, filters per group, inputs per group, taps)."""
    weight = module.weight.detach().to("cpu", dtype)  # type: ignore[operator]
    groups = int(getattr(module, "groups", 1))
    if isinstance(module, TRANSPOSED):  # (inputs, filters per group, *taps)
        weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return weight.transpose(1, 2)
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


class ChannelPredictor:
    """Predicts what arrives at the layers of a model; looks at each layer once.

    Parameters
    ----------
    model : torch.nn.Module
        The model, not pruned.
    readers : mapping of str to Reader
        Where the layers' inputs come from, as in a plan; a layer that it does not name has
        uncorrelated inputs of spread 1.
    correlated : bool, default True
        False: of the channels only means and spreads are asked for, which takes no time.
    """

    def __init__(
        self, model: nn.Module, readers: Mapping[str, Reader], *, correlated: bool = True
    ) -> None:
        self._model = model
        self._correlated = correlated
        self._readers = {
            name: reader
            for name, reader in readers.items()
            if all(_fits(model, path) for path in reader.paths)
        }
        self._correlations: dict[str, torch.Tensor] = {}

    def knows(self, layer: str) -> bool:
        """Whether the readers say where a layer's inputs come from, and fit the model."""
        return layer in self._readers

    def moments(
        self, paths: Sequence[Path], sources: Sequence[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict how channels are where they are read.

        Parameters
        ----------
        paths : sequence of Path
            Where they come from.
        sources : sequence of (int, int)
            The path and the filter of each channel; path -1: unknown, mean and spread 0.

        Returns
        -------
        mean : torch.Tensor
            (places, channels): more than one place where a filter passes several channels of its
            norm, behind a flattening.
        covariance : torch.Tensor
            (channels, channels), the mean over the places.
        """
        count = len(sources)
        parts = []
        correlation = torch.eye(count, dtype=torch.float64)
        for number, path in enumerate(paths):
            at = torch.tensor([i for i, (owner, _) in enumerate(sources) if owner == number])
            if not len(at):
                continue
            filters = torch.tensor([sources[i][1] for i in at])
            correlation[at[:, None], at] = self._where_read(path)[filters][:, filters]
            entries = _entries(path, filters.tolist())  # (places, channels)
            parts.append((at, _mean_and_spread(self._model, path)[:, entries]))
        places = max((len(moments[0]) for _, moments in parts), default=1)
        mean = torch.zeros(places, count, dtype=torch.float64)
        spread = torch.zeros(places, count, dtype=torch.float64)
        for at, moments in parts:
            mean[:, at], spread[:, at] = moments[0], moments[1]
        return mean, (correlation * spread[:, :, None] * spread[:, None]).mean(0)

    def _where_read(self, path: Path) -> torch.Tensor:
        """Correlation of a layer's filters at the end of a path, (n, n)."""
        made = self._made(path.layer)
        if path.rectified == "no":
            return made
        return _rectified(made).fill_diagonal_(1.0)

    def _made(self, layer: str) -> torch.Tensor:
        """Correlation of a layer's outputs, (n, n)."""
        if layer not in self._correlations:
            module = self._model.get_submodule(layer)
            # Two products of all filters with all: in float64 wide layers would take twice as long.
            filters = filters_by_group(module, compute_dtype(module.weight))  # type: ignore[arg-type]
            # What a layer sees of its own outputs, if it reads them: nothing is known yet.
            self._correlations[layer] = torch.eye(
                filters.shape[0] * filters.shape[1], dtype=torch.float64
            )
            if self._correlated:
                self._correlations[layer] = self._computed(layer, module, filters)
        return self._correlations[layer]

    def _computed(self, layer: str, module: Any, filters: torch.Tensor) -> torch.Tensor:
        groups, per_group, width, _ = filters.shape
        # Filters and covariances up to 1, so that no product leaves the range of float32.
        filters = filters / filters.abs().amax((2, 3), keepdim=True).clamp_min(1e-37)
        if isinstance(module, CONVOLUTIONS):
            filters = filters @ _place_factor(module.kernel_size).to(filters)
        gram = torch.zeros(groups, per_group, per_group, dtype=torch.float64)
        for columns, covariance in self._inputs(layer, groups * width):
            loudest = 1.0 if covariance is None else float(covariance.diagonal().max())
            if not loudest:
                continue
            for group in range(groups):  # groups see other inputs: uncorrelated
                mine = torch.nonzero(columns // width == group)[:, 0]
                part = filters[group][:, columns[mine] - group * width]  # (filters, inputs, taps)
                mixed = part
                if covariance is not None:
                    among = (covariance[mine][:, mine] / loudest).to(part)
                    mixed = torch.einsum("fit,ij->fjt", part, among)
                gram[group] += loudest * _symmetric(mixed.flatten(1), part.flatten(1)).double()
        norm = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
        correlation = (gram / norm[:, :, None] / norm[:, None]).clamp(-1.0, 1.0)
        blocks: torch.Tensor = torch.block_diag(*correlation)
        return blocks

    def _inputs(self, layer: str, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """Yield parts of a layer's inputs, and their covariance (None: the unit matrix).

        Parts do not correlate; where outputs are added, several parts hold the same inputs.
        """
        unknown = torch.ones(count, dtype=torch.bool)
        reader = self._readers.get(layer)
        for path in () if reader is None else reader.paths:
            spread = _mean_and_spread(self._model, path)[1]
            correlation = (_ACROSS * self._where_read(path)).fill_diagonal_(1.0)
            for entries, filters, columns in _places(path):
                scale = spread[entries]
                yield columns, correlation[filters][:, filters] * scale[:, None] * scale
                unknown[columns] = False
        if bool(unknown.any()):
            yield torch.nonzero(unknown)[:, 0], None


def _symmetric(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a b', where that is symmetric: little more than the upper triangle is computed."""
    product = a.new_empty(len(a), len(a))
    for first in range(0, len(a), _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, len(a))
        product[first:last, first:] = a[first:last] @ b[first:].T
        product[last:, first:last] = product[first:last, last:].T
    return product


def _fits(model: nn.Module, path: Path) -> bool:
    """Whether the norm of a path has the channels that the path says.

    Plans that do not tell them take them for the filters' own numbers, wherever the norm stands.
    """
    norm = None if path.norm is None else model.get_submodule(path.norm)
    return norm is None or max(path.at_norm, default=-1) < int(norm.num_features)  # type: ignore[arg-type]


def _places(path: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield parts of a path: places in its lists, the filters and the positions there.

    Every part has a filter at most once. Behind a flattening there are several: places in time or
    frequency.
    """
    parts: list[list[int]] = []
    met: dict[int, int] = {}
    for entry, index in enumerate(path.filters):
        number = met[index] = met.get(index, -1) + 1
        if number == len(parts):
            parts.append([])
        parts[number].append(entry)
    filters, positions = torch.tensor(path.filters), torch.tensor(path.positions)
    for part in parts:
        entries = torch.tensor(part)
        yield entries, filters[entries], positions[entries]


def _entries(path: Path, filters: Sequence[int]) -> torch.Tensor:
    """Where filters stand in the lists of a path, (places, filters).

    One place, if all places of a filter pass the same channel of the norm.
    """
    rows: dict[int, list[int]] = {index: [] for index in filters}
    for entry, index in enumerate(path.filters):
        if index in rows:
            rows[index].append(entry)
    at_norm = path.at_norm
    if all(at_norm[entry] == at_norm[row[0]] for row in rows.values() for entry in row):
        return torch.tensor([[rows[index][0] for index in filters]])
    return torch.tensor([rows[index] for index in filters]).T


def _place_factor(kernel_size: tuple[int, ...]) -> torch.Tensor:
    """Return L, (taps, taps), with L L' the correlation between the places of a kernel."""
    axes = [torch.arange(size, dtype=torch.float64) for size in kernel_size]
    places = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    correlation = torch.pow(_NEIGHBOURS, torch.cdist(places, places))
    factor: torch.Tensor = torch.linalg.cholesky(correlation)
    return factor


def _rectified(rho: torch.Tensor) -> torch.Tensor:
    kernel = ((1.0 - rho * rho).clamp_min(0).sqrt() + (math.pi - rho.arccos()) * rho) / math.pi
    return (kernel - 1.0 / math.pi) / (1.0 - 1.0 / math.pi)


def _mean_and_spread(model: nn.Module, path: Path) -> torch.Tensor:
    """Return mean and signed spread where they are read, of each entry of a path, (2, entries)."""
    if path.norm is None:
        # Nothing fixes the scale: relative spreads on white inputs, and no mean to speak of.
        spread = filters_by_group(model.get_submodule(path.layer)).flatten(2).norm(dim=2).flatten()
        spread = spread[list(path.filters)]
        return torch.stack([torch.zeros_like(spread), spread])
    module: Any = model.get_submodule(path.norm)
    n = module.num_features
    gamma = torch.ones(n).double() if module.weight is None else module.weight.detach().double()
    beta = torch.zeros(n).double() if module.bias is None else module.bias.detach().double()
    gamma, beta = gamma.cpu()[list(path.at_norm)], beta.cpu()[list(path.at_norm)]
    if path.rectified != "after norm":
        return torch.stack([beta, gamma])
    scale = gamma.abs().clamp_min(1e-100)  # of a weight of 0: a * a must stay finite
    a = beta / scale
    density = torch.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
    below = 0.5 * torch.erfc(-a / math.sqrt(2.0))
    mean = a * below + density
    square = (a * a + 1.0) * below + a * density
    return torch.stack([scale * mean, gamma * (square - mean * mean).clamp_min(0).sqrt()])

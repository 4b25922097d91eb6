# SPDX-License-Identifier: MIT
"""Means and covariances of the channels that a layer reads, measured or predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..calibration import hooked, run_all
from ..cutting import Cut
from ..layer_kinds import channel_axis
from ..model_runs import ExampleInputs
from .paths import Reader
from .prediction import ChannelPredictor

__all__ = ["Channels", "Moments", "Site", "channels_of", "measured_moments", "predicted_moments"]

# Ridge, in units of the kept channels' mean variance. Predicted correlations are rough: of 3e-2,
# 1e-1 and 3e-1 the middle is the best on musicnn's MTT_vgg, see prediction.py.
_RIDGE_PREDICTED = 1e-1
_RIDGE_MEASURED = 1e-3
_ROUNDINGS = 8.0  # of a constant channel, in steps of its precision
_ROWS_AT_ONCE = 1 << 15  # in float64: of a wide layer's spectrograms not all at once


@dataclass(frozen=True)
class Channels:
    """The inputs of a reader, sorted by the filter that makes them.

    ``positions[k, i]``: the k-th input that filter i reaches; several per filter behind a
    flattening, where they are places in time or frequency.
    """

    positions: torch.Tensor  # (places, channels), int64
    sources: list[tuple[int, int]] | None  # path and filter of each channel, if it is just one
    removed: torch.Tensor  # (channels,), bool

    @property
    def kept(self) -> torch.Tensor:
        return ~self.removed


def channels_of(cut: Cut, reader: Reader | None) -> Channels:
    """Sort the inputs that a cut is of; without a reader each is a filter of its own."""
    gone = torch.ones(cut.size, dtype=torch.bool)
    gone[list(cut.kept)] = False
    made: dict[tuple[int, int], list[int]] = {}
    owner: dict[int, tuple[int, int]] = {}
    lone = reader is not None
    for number, path in enumerate(reader.paths if reader is not None else ()):
        for index, position in zip(path.filters, path.positions, strict=True):
            if position in owner:
                lone = False  # two layers are added here
                continue
            owner[position] = (number, index)
            made.setdefault((number, index), []).append(position)
    free = [(-1, position) for position in range(cut.size) if position not in owner]
    if len({len(row) for row in made.values()} | ({1} if free else set())) != 1:
        made, lone = {(-1, position): [position] for position in range(cut.size)}, False
    else:
        made.update({key: [key[1]] for key in free})
    columns = torch.tensor(list(made.values())).T.contiguous()
    return Channels(columns, list(made) if lone else None, gone[columns[0]])


@dataclass(frozen=True)
class Site:
    """A layer whose inputs are cut: what a fold must know of it."""

    name: str
    cut: Cut
    reader: Reader | None  # None: the plan does not say
    outputs: tuple[int, ...] | None  # the filters it keeps; None: all
    channels: Channels

    @property
    def norm(self) -> str | None:
        return None if self.reader is None else self.reader.norm


@dataclass(frozen=True)
class Moments:
    """How the channels of a reader are, and the ridge that their certainty asks for."""

    mean: torch.Tensor  # (places, channels), float64
    covariance: torch.Tensor  # (channels, channels), float64, pooled over the places
    ridge: float


class _Sums:
    """Running first and second moments of a layer's input channels, around the first sample.

    Around zero, a channel that is constant on all batches would keep what rounding leaves of its
    square; around a sample it has no variance, and no covariance with another one either.
    """

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        places, count = channels.positions.shape
        self.count = 0
        self.step = 0.0  # the coarsest rounding of the inputs, relative to their size
        self.origin: torch.Tensor | None = None  # (places, channels)
        self.first = torch.zeros(places, count, dtype=torch.float64, device="cpu")
        self.second = torch.zeros(count, count, dtype=torch.float64, device="cpu")

    def add(self, x: torch.Tensor, axis: int) -> None:
        """Add inputs whose channels lie on an axis."""
        rows = x.detach().movedim(axis, -1).reshape(-1, x.shape[axis])
        if not len(rows):
            return
        self.count += len(rows)
        self.step = max(self.step, torch.finfo(rows.dtype).eps)
        positions = self.channels.positions.to(x.device)
        if self.origin is None:
            self.origin = rows[0][positions].double().cpu()
        origin = self.origin.to(x.device)
        for some in rows.split(_ROWS_AT_ONCE):
            for number, columns in enumerate(positions):
                part = some[:, columns].double() - origin[number]  # (samples, channels)
                self.first[number] += part.sum(0).cpu()
                self.second += (part.T @ part).cpu()

    def moments(self) -> Moments:
        if self.origin is None:
            return Moments(self.first, self.second, _RIDGE_MEASURED)
        mean = self.first / self.count
        # Each place around its own mean: what the bias of that place cannot make up for.
        covariance = (self.second / self.count - mean.T @ mean) / len(mean)
        mean = mean + self.origin
        return Moments(mean, _audible(mean, covariance, self.step), _RIDGE_MEASURED)


def _audible(mean: torch.Tensor, covariance: torch.Tensor, step: float) -> torch.Tensor:
    """Zero the covariances of channels that hardly vary: nothing else can be made of them.

    What varies by less than a few rounding steps, of its own mean or of the liveliest channel, is
    a constant as far as the layers before can compute it.
    """
    variance = covariance.diagonal()
    least = (_ROUNDINGS * step) ** 2 * (mean.square().mean(0) + variance.amax())
    varies = (variance > least).double()
    return covariance * varies[:, None] * varies


def measured_moments(
    model: nn.Module, sites: Sequence[Site], inputs: list[ExampleInputs]
) -> dict[str, Moments]:
    """Measure the channels of every reader on the original model."""
    sums = {site.name: _Sums(site.channels) for site in sites}

    def add(name: str, x: torch.Tensor) -> None:
        sums[name].add(x, channel_axis(model.get_submodule(name), x))

    with hooked(model, sums, add):
        run_all(model, inputs, "measuring channels")
    return {name: each.moments() for name, each in sums.items()}


def predicted_moments(predictor: ChannelPredictor, site: Site) -> Moments | str:
    """Predict the channels of a reader from the weights; or say why that is impossible."""
    if site.reader is None:
        return "the plan does not say where its inputs come from"
    if not predictor.knows(site.name):
        return "the plan does not say which channels of a norm its inputs pass"
    if site.channels.sources is None:
        return "its inputs are sums of several layers' outputs, or in no known order"
    mean, covariance = predictor.moments(site.reader.paths, site.channels.sources)
    covariance = _audible(mean, covariance, torch.finfo(torch.float32).eps)
    places = len(site.channels.positions)
    return Moments(mean.expand(places, -1), covariance, _RIDGE_PREDICTED)

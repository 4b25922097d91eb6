# SPDX-License-Identifier: MIT
"""Changes to training batches: mixtures of examples, masked stripes of spectrograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .arguments import shape_text

__all__ = ["Mixup", "SpecAugment"]


@dataclass(frozen=True)
class Mixup:
    """Train on mixtures of two examples and of their targets.

    ``x' = l x_i + (1 - l) x_j`` with l from Beta(alpha, alpha), drawn for each example; j from a
    random permutation of the batch (Zhang et al., "mixup: Beyond Empirical Risk Minimization",
    2018).

    Parameters
    ----------
    alpha : float, default 1
        Above 0: the larger, the more even the mixtures.
    classes : int or None
        How many classes there are; needed where the targets are classes.

    Raises
    ------
    ValueError
        If alpha is not above 0.
    """

    alpha: float = 1.0
    classes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha must be above 0 and finite; got {self.alpha}")

    def __call__(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; targets of classes become probabilities, shape (batch, classes)."""
        if not targets.is_floating_point():
            if self.classes is None:
                raise ValueError("Mixup must know how many classes there are: pass classes")
            if len(targets) and int(targets.max()) >= self.classes:
                raise ValueError(
                    f"targets must be below Mixup's classes, {self.classes}; got "
                    f"{int(targets.max())}"
                )
            targets = F.one_hot(targets, self.classes)
        targets = targets.float()
        count = len(inputs)
        seed = int(torch.randint(2**63 - 1, (), generator=generator, device="cpu"))
        # torch draws no beta variates from a generator of the caller's.
        drawn = np.random.default_rng(seed).beta(self.alpha, self.alpha, count)
        share = torch.from_numpy(drawn).to(inputs)
        other = torch.randperm(count, generator=generator, device="cpu").to(inputs.device)
        of_inputs = share.reshape(-1, *[1] * (inputs.ndim - 1))
        of_targets = share.to(targets.dtype).unsqueeze(1)
        return (
            inputs * of_inputs + inputs[other] * (1 - of_inputs),
            targets * of_targets + targets[other] * (1 - of_targets),
        )


@dataclass(frozen=True)
class SpecAugment:
    """Train on spectrograms with stripes masked in time and in frequency.

    Each example gets its own stripes, of widths uniform from 0 to the largest, at uniform places
    (Park et al., "SpecAugment", 2019, without the warping of time).

    Parameters
    ----------
    time, frequency : int, default 64 and 8
        The widest stripe in frames and in bands; 0: none. The defaults are those of PANNs.
    stripes : int, default 2
        Of either kind.
    time_axis, frequency_axis : int, default -2 and -1
        Axes of the input (batch, 1, frames, bands); the DCASE baseline has -1 and -2.
    value : float, default 0
        What a masked place holds.

    Raises
    ------
    ValueError
        If a width or the number of stripes is negative.
    """

    time: int = 64
    frequency: int = 8
    stripes: int = 2
    time_axis: int = -2
    frequency_axis: int = -1
    value: float = 0.0

    def __post_init__(self) -> None:
        for name in ("time", "frequency", "stripes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name)}")

    def __call__(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask a batch; the targets stay."""
        if inputs.ndim < 3:
            raise ValueError(
                f"SpecAugment must get inputs (batch, ..., frames, bands); got shape "
                f"{shape_text(inputs.shape)}"
            )
        for axis, widest in ((self.time_axis, self.time), (self.frequency_axis, self.frequency)):
            if not -inputs.ndim < axis < inputs.ndim or axis == 0:
                raise ValueError(
                    "time_axis and frequency_axis must be axes behind the first of inputs "
                    f"{shape_text(inputs.shape)}; got {axis}"
                )
            size = inputs.shape[axis]
            shape = (len(inputs), self.stripes, 1)
            width = torch.randint(min(widest, size) + 1, shape, generator=generator, device="cpu")
            where = torch.rand(shape, generator=generator, device="cpu")
            start = (where * (size - width + 1)).long()
            place = torch.arange(size, device="cpu")
            masked = ((place >= start) & (place < start + width)).any(1)
            view = [1] * inputs.ndim
            view[0], view[axis] = len(inputs), size
            inputs = inputs.masked_fill(masked.reshape(view).to(inputs.device), self.value)
        return inputs, targets

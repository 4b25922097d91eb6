# SPDX-License-Identifier: MIT
"""Arguments of the command line: numbers, shapes and ratios, checked as they are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from ..model_runs import first_line

__all__ = ["count", "device_of", "examples", "input_shape", "ratios", "seed"]


def seed(text: str) -> int:
    """A seed of torch's generators, for argparse."""
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**63:  # what torch's generators take
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2**63 - 1; got {text!r}")
    return value


def count(text: str) -> int:
    """A number of threads, for argparse."""
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 1024:  # far above any machine; torch takes less than 2**31
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to 1024; got {text!r}")
    return value


def examples(text: str) -> int:
    """A number of examples, for argparse."""
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to 2**31 - 1; got {text!r}")
    return value


def input_shape(text: str) -> tuple[int, ...]:
    """Parse `--input-shape 1,1,64,64`."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(
            f"--input-shape must be positive integers with commas, such as 1,1,64,64; got {text!r}"
        )
    return shape


def ratios(entries: Sequence[str] | None) -> float | dict[str, float] | None:
    """Parse `--ratio 0.5` or `--ratio layer=0.5 --ratio other=0.25`."""
    if not entries:
        return None
    named: dict[str, float] = {}
    for entry in entries:
        layer, _, number = entry.rpartition("=")
        try:
            ratio = float(number)
        except ValueError:
            raise ValueError(
                f"--ratio must be a number in [0, 1), or LAYER=number; got {entry!r}"
            ) from None
        if not layer:
            if len(entries) > 1:
                raise ValueError("--ratio takes one number for all layers, or LAYER=number each")
            return ratio
        if layer in named:
            raise ValueError(f"--ratio names {layer} twice")
        named[layer] = ratio
    return named


def device_of(name: str) -> torch.device:
    """The device of `--device`, tried out."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA in it
        reason = first_line(error) or type(error).__name__
        raise ValueError(f"--device {name!r} cannot be used: {reason}") from error
    if device.type == "meta":
        raise ValueError("--device 'meta' computes nothing")
    return device

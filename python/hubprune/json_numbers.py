# SPDX-License-Identifier: MIT
"""Infinity and NaN in JSON, which has no such numbers: as the texts that JavaScript gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["all_numbers", "all_writable"]

_TEXTS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def all_writable(value: Any) -> Any:
    """The same values with texts for the numbers that JSON has not.

    Examples
    --------
    >>> all_writable({"log_loss": float("inf"), "accuracy": 0.5})
    {'log_loss': 'Infinity', 'accuracy': 0.5}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {name: all_writable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_writable(each) for each in value]
    return value


def all_numbers(value: Any) -> Any:
    """What `all_writable` was given; for values among which no text is a text of its own.

    Examples
    --------
    >>> all_numbers({"log_loss": "Infinity", "accuracy": 0.5})
    {'log_loss': inf, 'accuracy': 0.5}
    """
    if isinstance(value, str):
        return _TEXTS.get(value, value)
    if isinstance(value, Mapping):
        return {name: all_numbers(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_numbers(each) for each in value]
    return value

# SPDX-License-Identifier: MIT
"""The library that the operators are registered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["library", "register"]

library = torch.library.Library("hubprune", "DEF")


def register(
    schema: str, cpu: Callable[..., Any], cuda: Callable[..., Any], fake: Callable[..., Any]
) -> None:
    """Define an operator: its kernels for both devices, and what it returns of fake tensors."""
    library.define(schema)
    name = schema.partition("(")[0]
    library.impl(name, cpu, "CPU")
    library.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"hubprune::{name}", fake, lib=library)

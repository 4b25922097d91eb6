# SPDX-License-Identifier: MIT
"""The library that the operators are registered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["library", "register", "take_batches", "take_more_rows"]

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


def take_batches(name: str) -> None:
    """Let `torch.vmap` map an operator whose tensors take batches (..., n, d), in one call."""
    operator = getattr(torch.ops.hubprune, name).default

    def mapped(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, int]:
        return operator(*_in_front(arguments, in_dims, info.batch_size)), 0

    torch.library.register_vmap(f"hubprune::{name}", mapped, lib=library)


def take_more_rows(name: str) -> None:
    """Let `torch.vmap` map an operator on lists of weights (n, ...) that takes each row alone."""
    operator = getattr(torch.ops.hubprune, name).default

    def mapped(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, int]:
        weights, *others = _in_front(arguments, in_dims, info.batch_size)
        results = operator([weight.flatten(0, 1) for weight in weights], *others)
        return _as_batches(results, info.batch_size), 0

    torch.library.register_vmap(f"hubprune::{name}", mapped, lib=library)


def _in_front(argument: Any, dim: Any, size: int) -> Any:
    """Move the mapped dimension of every tensor to the front; repeat those without one."""
    if isinstance(argument, (list, tuple)):
        return [_in_front(*pair, size) for pair in zip(argument, dim, strict=True)]
    if not isinstance(argument, torch.Tensor):
        return argument
    return argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)


def _as_batches(rows: Any, size: int) -> Any:
    if isinstance(rows, torch.Tensor):
        return rows.unflatten(0, (size, rows.shape[0] // size))
    return type(rows)(_as_batches(each, size) for each in rows)

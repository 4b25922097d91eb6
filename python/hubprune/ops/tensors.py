# SPDX-License-Identifier: MIT
"""What the operators do with their tensors: layout, scratch, addresses, the caller's stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..arguments import compute_dtype
from ..large_pages import with_large_pages


def dense_tensor(x: torch.Tensor) -> torch.Tensor:
    """Return x contiguous, in the dtype the kernels compute in (half precision becomes float32)."""
    dtype = compute_dtype(x)
    if x.dtype == dtype and x.is_contiguous():  # asking is a quarter of what two calls cost
        return x
    return x.to(dtype).contiguous()


def in_double(x: torch.Tensor) -> bool:
    return x.dtype == torch.float64


def scratch_tensor(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return `size` bytes for a kernel's own use, on the device of `like`."""
    return with_large_pages(torch.empty(size, dtype=torch.uint8, device=like.device))


def batch_rows(x: torch.Tensor) -> tuple[int, int, int]:
    """Return (batch, n, d) of a (..., n, d) tensor."""
    *batch, n, d = x.shape
    return math.prod(batch), n, d


def by_dtype(tensors: list[torch.Tensor]) -> Iterator[tuple[bool, list[int]]]:
    """Yield (whether they compute in float64, positions) of the tensors that share a kernel."""
    if len(tensors) == 1:  # a small layer takes no longer than the bookkeeping for many
        yield in_double(tensors[0]), [0]
        return
    doubles = [compute_dtype(tensor) == torch.float64 for tensor in tensors]
    for is_double in (False, True):
        positions = [at for at, double in enumerate(doubles) if double == is_double]
        if positions:
            yield is_double, positions


def by_dtype_and_device(tensors: list[torch.Tensor]) -> Iterator[tuple[bool, list[int]]]:
    """As `by_dtype`, each device's tensors apart: a launch runs on one."""
    for is_double, positions in by_dtype(tensors):
        for device in dict.fromkeys(tensors[at].device for at in positions):
            yield is_double, [at for at in positions if tensors[at].device == device]


def where_each_lives(cpu: Callable[..., Any], cuda: Callable[..., Any]) -> Callable[..., Any]:
    """Return the CUDA kernel of an operator on a list of tensors, some of which may be on the host.

    The dispatcher takes CUDA as soon as one of them is there. The others go to the CPU's kernel.
    Both return a list with an entry for every tensor, or a tuple of such lists.
    """

    def kernel(tensors: list[torch.Tensor], *options: Any, **named: Any) -> Any:
        host = [tensor.device.type == "cpu" for tensor in tensors]
        if not any(host):
            return cuda(tensors, *options, **named)
        parts = []
        for on_host, part in ((True, cpu), (False, cuda)):
            chosen = [tensor for tensor, here in zip(tensors, host, strict=True) if here == on_host]
            parts.append(part(chosen, *options, **named))
        if isinstance(parts[0], tuple):
            return tuple(_merged(host, *lists) for lists in zip(*parts, strict=True))
        return _merged(host, *parts)

    return kernel


def _merged(first: list[bool], a: list[torch.Tensor], b: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the entries of `a` where `first` says so and those of `b` elsewhere, each in order."""
    entries = iter(a), iter(b)
    return [next(entries[0] if from_a else entries[1]) for from_a in first]


def given_address(y: torch.Tensor | None, scratch: torch.Tensor) -> int:
    """Return y's address, 0 for None; an empty y has none, so any other says that it is there."""
    return 0 if y is None else y.data_ptr() or scratch.data_ptr()


def address(optional: torch.Tensor | None) -> int:
    """Return where an optional argument lies, 0 for None."""
    return 0 if optional is None else optional.data_ptr()


def stream_of(x: torch.Tensor) -> tuple[int, int]:
    """Return the device index and the caller's current stream on it."""
    index = x.device.index if x.device.index is not None else torch.cuda.current_device()
    return index, torch.cuda.current_stream(index).cuda_stream

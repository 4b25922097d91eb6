# SPDX-License-Identifier: MIT
"""A line of the device's table: ours beside a peer, with their errors against float64."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import gpu_clock
from gpu_clock import Route

HOST_SECONDS = 1.0  # for the calls of one of our CPU kernels
ERROR_BOUND = 1e-6  # of a cosine, a vector entry, and a degree relative to its sum of magnitudes

# The least that a result takes, whatever computes it, by the name of its ceiling in
# `gpu_clock.ceilings`: bytes read and written once ("copy"), operations in a dtype.
Work = dict[str, float]


@dataclass(frozen=True)
class Line:
    """One line of the table; times are medians in milliseconds."""

    operation: str
    shape: str
    ms: float
    graph_ms: float | None  # of a replay; None where it was not captured
    rate: float
    unit: str
    error: float
    peer: str
    peer_ms: float
    peer_graph_ms: float | None
    peer_error: float
    repetitions: int
    bound: float = ERROR_BOUND
    work: Work = field(default_factory=dict)
    # The first and the third of the times behind "ms", "graph_ms", "peer_ms", "peer_graph_ms".
    quartiles: dict[str, tuple[float, float]] = field(default_factory=dict)

    def reached(self, ceilings: dict[str, float]) -> tuple[float, str] | None:
        """Return how much of the ceiling that limits the work was reached, in percent, and which.

        None where nothing is known of the work or of the ceilings.
        """
        least = {
            name: size / ceilings[name] for name, size in self.work.items() if name in ceilings
        }
        if not least:
            return None
        limit = max(least, key=least.__getitem__)
        best = self.ms if self.graph_ms is None else min(self.ms, self.graph_ms)
        return least[limit] / best * 100, limit

    @property
    def times_faster(self) -> float:
        """By the calls' times, as a caller sees them."""
        return self.peer_ms / self.ms


@dataclass(frozen=True)
class Ours:
    """One of our ways to a result."""

    operation: str
    run: Route
    bound: float = ERROR_BOUND
    work: Work = field(default_factory=dict)
    capturable: bool = True


@dataclass(frozen=True)
class Peer:
    """Somebody else's; not capturable is what waits for the device."""

    name: str
    run: Route
    capturable: bool = True


Error = Callable[[Any], float]  # of a result, the largest
Rate = tuple[float, str]  # what is done in a millisecond if a call takes one, and its unit


def largest(errors: Iterable[float]) -> float:
    """Return the largest error; one that is not a number is larger than any."""
    return max(errors, key=lambda error: (error != error, error))


def pair_rate(n: int) -> Rate:
    return n * (n - 1) / 2 / 1e6, "G pairs/s"


def pair_work(n: int, d: int, dtype: str = "float32", products: int = 1) -> Work:
    """Return the work of a product or several for every pair of rows: each pair once."""
    return {dtype: float(products) * n * (n - 1) * d, "copy": 4.0 * n * (d + 1)}


def gaussian(*shape: int) -> torch.Tensor:
    """Return random values, the same for a shape every time."""
    generator = torch.Generator(device=gpu_clock.DEVICE).manual_seed(sum(shape))
    return torch.randn(*shape, device=gpu_clock.DEVICE, generator=generator)


def compared(
    shape: str,
    value: Any,
    ours: Sequence[Ours],
    peers: Sequence[Peer],
    error: Error,
    rate: Rate,
    known_peers: Iterable[tuple[str, float, float]] = (),
) -> list[Line]:
    """Return a line for each of ours and each peer; of `known_peers` (name, ms, error) is known."""
    every: list[Ours | Peer] = [*ours, *peers]
    timings, repetitions = gpu_clock.interleaved(
        [each.run for each in every], value, capturable=[each.capturable for each in every]
    )
    others = [
        (
            peer.name,
            each.ms,
            each.graph_ms,
            error(each.result),
            {f"peer_{name}": pair for name, pair in each.quartiles.items()},
        )
        for peer, each in zip(peers, timings[len(ours) :], strict=True)
    ]
    others += [(name, ms, None, its_error, {}) for name, ms, its_error in known_peers]
    found = []
    for own, each in zip(ours, timings, strict=False):
        results = [each.result] + ([] if each.replayed is None else [each.replayed])
        own_error = largest(error(result) for result in results)
        found += [
            Line(
                operation=own.operation,
                shape=shape,
                ms=each.ms,
                graph_ms=each.graph_ms,
                rate=rate[0] / each.ms,
                unit=rate[1],
                error=own_error,
                peer=name,
                peer_ms=peer_ms,
                peer_graph_ms=peer_graph_ms,
                peer_error=peer_error,
                repetitions=repetitions,
                bound=own.bound,
                work=own.work,
                quartiles=each.quartiles | peer_quartiles,
            )
            for name, peer_ms, peer_graph_ms, peer_error, peer_quartiles in others
        ]
    return found


def compared_on_rows(
    n: int,
    d: int,
    ours: Sequence[Ours],
    peers: Sequence[Peer],
    error_on: Callable[[torch.Tensor], Error],
    rate: Rate,
) -> list[Line]:
    """Return the lines of random rows; `error_on` makes the error, given the rows."""
    x = gaussian(n, d)
    return compared(f"{n} x {d}", x, ours, peers, error_on(x), rate)


def compared_with_host(
    shape: str,
    value: torch.Tensor,
    own: Ours,
    peers: Sequence[Peer],
    error_beside: Callable[[Any], Error],
    rate: Rate,
) -> list[Line]:
    """Return the lines beside our own CPU kernel too; `error_beside` makes the error, given its."""
    result, ms = host_call(own.run, value.cpu())
    error = error_beside(result)
    host = f"hubprune, CPU, {torch.get_num_threads()} threads", ms, error(result)
    return compared(shape, value, [own], peers, error, rate, [host])


def host_call(run: Route, value: Any) -> tuple[Any, float]:
    """Return the result of a call on the CPU and its time in ms.

    The median of at most five, behind one that starts the threads; but no call begins after
    `HOST_SECONDS`, and of a single one its time is taken.
    """
    times: list[float] = []
    while len(times) < 6 and sum(times) < HOST_SECONDS:
        began = time.perf_counter()
        result = run(value)
        times.append(time.perf_counter() - began)
    return result, statistics.median(times[1:] or times) * 1e3

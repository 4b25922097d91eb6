# SPDX-License-Identifier: MIT
"""The clock of the device's benchmarks: events on the stream, a cold cache, graph replays, turns.

Times are between two events on the stream; 256 MB are written just before the first, so that
nothing is found in the L2 cache. A call begins when they are written: its time holds what the host
takes to launch, which is most of a short call. Where a call that is not long can be captured in a
graph, a replay is timed beside it: launched while they are written, its time is the device's alone.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

DEVICE = "cuda"
BUDGET_MS = 1000.0  # for the repetitions of one line
SLOW_MS = 500.0  # all routes once: from here on three repetitions, not five
WARM_SECONDS = 0.03  # of calls before those that count: a device that rested has a lower clock
GRAPH_MS = 100.0  # of a call: thousands of launches take less
FLUSH_VALUES = 2**26  # that are written before every call: 256 MB, more than any L2 cache
CEILING_VALUES = 2**30  # that are copied
CEILING_ROWS = 8192  # of the matrices that are multiplied

Route = Callable[[Any], Any]


@dataclass(frozen=True)
class Timing:
    """Of one route: the first call's result, and median times in milliseconds.

    `quartiles`: the first and the third of the times behind "ms" and, if it is there, "graph_ms".
    """

    result: Any
    ms: float
    graph_ms: float | None
    replayed: Any  # the result of the replays, None without
    quartiles: dict[str, tuple[float, float]]


@functools.cache
def flush_buffer() -> torch.Tensor:
    return torch.empty(FLUSH_VALUES, device=DEVICE)


def once(route: Route, value: Any, *, queued: bool = False) -> tuple[float, Any]:
    """Return the time of a call in ms and its result.

    The device is idle when the call begins, unless it is `queued` behind the write of the buffer:
    in the 60 us of that the host launches some calls whole, and others in part.
    """
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush_buffer().zero_()
    if not queued:
        torch.cuda.synchronize()
    start.record()
    result = route(value)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)), result


# Graphs whose capture failed, kept because torch's allocator goes on asking them which memory is
# theirs, and why.
_refused: list[tuple[torch.cuda.CUDAGraph, str]] = []


def capture_refused() -> str | None:
    """Return why this process captures nothing any more, None while it does."""
    return _refused[0][1] if _refused else None


def captured(route: Route, value: Any) -> tuple[Route, Any] | None:
    """Return replays of a call and their result; None if it cannot be captured.

    Nor is any call of this process that comes after one that could not: for torch that capture
    never ends.
    """
    if _refused:
        return None
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        # Of a capture that fails, torch leaves the stream current.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            result = route(value)
    except RuntimeError as error:
        print(f"not captured in a graph, and nothing after it: {error}", file=sys.stderr)
        _refused.append((graph, str(error).partition("\n")[0]))
        return None
    return lambda _: graph.replay(), result


def interleaved(
    routes: Sequence[Route],
    value: Any,
    budget_ms: float | None = None,
    capturable: Sequence[bool] = (),
) -> tuple[list[Timing], int]:
    """Return each route's times and the repetitions, all routes taking turns.

    The repetitions, replays among them, take `budget_ms` (`BUDGET_MS` unless given), but there are
    5 at least, or 3 of what takes long.
    """
    first = [once(route, value)[1] for route in routes]  # loads and compiles: no time of it counts
    began = time.perf_counter()
    estimates = [once(route, value)[0] for route in routes]
    replays = [
        captured(route, value) if wanted and ms < GRAPH_MS else None
        for route, wanted, ms in zip(
            routes, capturable or [False] * len(routes), estimates, strict=True
        )
    ]
    times: list[list[float]] = [[] for _ in routes]
    graph_times: list[list[float]] = [[] for _ in routes]

    def turns() -> None:
        for at, route in enumerate(routes):
            times[at].append(once(route, value)[0])
            replay = replays[at]
            if replay is not None:
                graph_times[at].append(once(replay[0], value, queued=True)[0])

    if any(replays):  # the device rested, and torch gave its memory back; a first replay loads
        began = time.perf_counter()
        turns()
    while time.perf_counter() - began < WARM_SECONDS:
        turns()
    for warm in (*times, *graph_times):
        warm.clear()
    both = [ms * (2 if replay else 1) for ms, replay in zip(estimates, replays, strict=True)]
    a_pass = max(sum(both), 1e-3)
    budget_ms = BUDGET_MS if budget_ms is None else budget_ms
    repetitions = int(min(50, max(3 if a_pass > SLOW_MS else 5, budget_ms / a_pass)))
    for _ in range(repetitions):
        turns()
    found = []
    for result, replay, calls, of_graph in zip(first, replays, times, graph_times, strict=True):
        measured = {"ms": calls, "graph_ms": of_graph} if of_graph else {"ms": calls}
        medians = {name: statistics.median(each) for name, each in measured.items()}
        quartiles = {name: first_and_third(each) for name, each in measured.items()}
        replayed = replay[1] if replay else None
        found.append(Timing(result, medians["ms"], medians.get("graph_ms"), replayed, quartiles))
    return found, repetitions


def first_and_third(times: Sequence[float]) -> tuple[float, float]:
    """Return the quartiles on both sides of the median."""
    first, _, third = statistics.quantiles(times, n=4, method="inclusive")
    return first, third


def ceilings() -> dict[str, float]:
    """Measure what this device reaches, a millisecond: bytes copied, operations of products."""
    source = torch.randn(CEILING_VALUES, device=DEVICE)
    target = torch.empty_like(source)
    (copy,), _ = interleaved([lambda pair: pair[1].copy_(pair[0])], (source, target))
    found = {"copy": 2.0 * 4 * len(source) / copy.ms}
    n = CEILING_ROWS
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("float64", torch.float64, "highest"),
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        square = torch.randn(n, n, device=DEVICE).to(dtype)
        product = torch.empty_like(square)
        torch.set_float32_matmul_precision(precision)
        try:
            (mm,), _ = interleaved(
                [lambda pair: torch.mm(pair[0], pair[0], out=pair[1])], (square, product)
            )
        finally:
            torch.set_float32_matmul_precision(before)
        found[name] = 2.0 * n**3 / mm.ms
    return found

# SPDX-License-Identifier: MIT
"""Time on a shared machine: routes in turns, threads and memory set alike, others' load told."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .packages import optional_module


def reuse_large_blocks() -> bool:
    """Let the C library keep large freed blocks instead of giving them back to the system.

    By default glibc returns every block above 32 MiB at once, and the next temporary of that size
    pays for its pages again. The peers make many, hubprune's kernels few: leaving that in would
    flatter hubprune.

    Returns
    -------
    bool
        Whether it is done; False where the C library has no such setting.

    Notes
    -----
    Holds for the rest of the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim, threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    # Older glibc takes at most 32 MiB.
    kept = mallopt(threshold, 2**30) == 1 or mallopt(threshold, 2**25) == 1
    return bool(mallopt(trim, 2**31 - 1) == 1 and kept)


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Set torch's threads, and those of NumPy's matrix library where threadpoolctl is installed."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if importlib.util.find_spec("threadpoolctl") is None:
            yield
        else:
            with optional_module("threadpoolctl").threadpool_limits(threads, user_api="blas"):
                yield
    finally:
        torch.set_num_threads(before)


# Seconds of one look whether threads are at rest. The system adds up what runs on other processors
# at its ticks, 100 to 1000 a second: a look between two of them sees nothing.
_LOOK = 0.012


def _settle() -> None:
    """Wait until the last call's threads have stopped spinning: they would slow the next one.

    OpenBLAS' threads spin for 40 ms after a product, OpenMP's for 4 to 12 ms.
    """
    for _ in range(10):
        start, used = time.perf_counter(), time.process_time()
        time.sleep(_LOOK)
        if time.process_time() - used < 0.1 * (time.perf_counter() - start):
            return


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# Seconds: before a shorter call is timed it is made untimed, for so long but at least once. The
# system may put a thread that wakes on a busy processor, and move it only some 20 ms later.
_SHORT, _WAKING, _WAKING_SEVERAL = 0.01, 0.002, 0.03


class OtherPrograms:
    """How many processors other programs keep busy, from the making of this object on.

    Times on a machine that others use are not the kernels': a thread whose processor is taken is
    waited for by all others, for milliseconds.
    """

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds passed, used by all programs, used by this one; None where nothing tells."""
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
            ticks = float(os.sysconf("SC_CLK_TCK"))
        except (OSError, ValueError, AttributeError):
            return None
        user, nice, system, _, _, irq, softirq, *_ = map(float, line.split()[1:])
        used = (user + nice + system + irq + softirq) / ticks
        return time.perf_counter(), used, time.process_time()

    def processors(self) -> float | None:
        """Return the mean number of processors they used; None where the system does not tell."""
        start, now = self._start, self._now()
        if start is None or now is None or now[0] <= start[0]:
            return None
        passed, used, own = (after - before for after, before in zip(now, start, strict=True))
        return max(0.0, (used - own) / passed)


def _wake(call: Callable[[], Any], seconds: float) -> None:
    start = time.perf_counter()
    call()
    while time.perf_counter() - start < seconds:
        call()


def interleaved(
    routes: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    warmup: int = 1,
    *,
    budget: float = float("inf"),
) -> dict[str, list[float]]:
    """Time routes that take turns, so that all meet the same clock, caches and neighbours.

    Parameters
    ----------
    routes : mapping of str to callable
        What to time, called without arguments.
    rounds : int
        The most timed calls of a route.
    warmup : int
        Untimed calls of each route first, at least 1.
    budget : float
        Seconds for all routes together, shared out evenly: a route gets as many of the rounds as
        fit its share, at least one. One whose first call takes more than its share is not called
        again: that call is its only measurement.

    Returns
    -------
    dict of str to list of float
        Seconds of every timed call, by route; its length is the number of rounds the route got.

    Raises
    ------
    ValueError
        If rounds or warmup is below 1.

    Notes
    -----
    The order changes from round to round. Garbage is collected before, not during. Before a route's
    turn the threads of the one before come to rest; a call below 10 ms is then made untimed for
    2 ms, or 30 ms with several threads, so that none pays for waking them or the processor.
    """
    if rounds < 1 or warmup < 1:
        raise ValueError(f"rounds and warmup must be at least 1; got {rounds} and {warmup}")
    share = budget / max(1, len(routes))
    awake = _WAKING if torch.get_num_threads() == 1 else _WAKING_SEVERAL
    found: dict[str, list[float]] = {}
    turns: dict[str, int] = {}
    start = time.perf_counter()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        shortest: dict[str, float] = {}
        for name, call in routes.items():
            _settle()
            first = _seconds(call)
            if first > share:
                found[name], turns[name] = [first], 0
                continue
            shortest[name] = min([first, *(_seconds(call) for _ in range(warmup - 1))])
            # A turn also takes the wait for the threads to rest, and untimed calls if it is short.
            waking = max(shortest[name], awake) if shortest[name] < _SHORT else 0.0
            turn = shortest[name] + waking + _LOOK
            found[name], turns[name] = [], int(min(rounds, max(1, (share - first) / turn)))
        order = list(routes)
        shuffle = random.Random(0).shuffle
        for at in range(rounds):
            shuffle(order)
            for name in order:
                # Fewer turns than rounds are spread evenly from the first round on: -(-a // b) is
                # a / b rounded up.
                if -(-(at + 1) * turns[name] // rounds) == -(-at * turns[name] // rounds):
                    continue
                _settle()
                if shortest[name] < _SHORT:
                    _wake(routes[name], awake)
                found[name].append(_seconds(routes[name]))
            # On a disturbed machine every turn takes longer than the first call promised.
            if time.perf_counter() - start > 2 * budget:
                break
    finally:
        if collecting:
            gc.enable()
    return found

# SPDX-License-Identifier: MIT
"""A case measured: every route timed in turns, and every result checked against float64."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .cases import OURS, Case
from .packages import optional_module, peer_needs
from .timing import blas_threads, interleaved


@dataclass(frozen=True)
class Timing:
    """How long a route took and how wrong it was.

    Attributes
    ----------
    route : str
        Its name.
    seconds : tuple of float
        Of every timed call.
    error : float or None
        The largest against float64; None for a route that computes another quantity.
    checked_error : float or None
        What is held against the bound: of ours the largest error, of a peer's the 99th percentile.
    """

    route: str
    seconds: tuple[float, ...]
    error: float | None
    checked_error: float | None

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def measured(
    case: Case, threads: Sequence[int], *, rounds: int = 7, budget: float = float("inf")
) -> dict[int, dict[str, Timing]]:
    """Time every route of a case at each number of threads, and check every result.

    Parameters
    ----------
    case : Case
        The work.
    threads : sequence of int
        Numbers of threads.
    rounds, budget : int, float
        As in `interleaved`, for each number of threads.

    Returns
    -------
    dict of int to dict of str to Timing
        By number of threads, then by route.

    Raises
    ------
    RuntimeError
        If an error of ours, or too many of a peer's, is above the case's bound.
    """
    for name in case.routes:
        _, modules = peer_needs(name) or ("", ())
        for module in modules:  # here, or the first call would be timed with the import
            optional_module(module)
    data = case.inputs()
    exact = case.exact(data)
    found: dict[int, dict[str, Timing]] = {}
    for count in threads:
        with blas_threads(count), torch.no_grad():
            results: dict[str, Any] = {}

            def keep(name: str, results: dict[str, Any] = results) -> None:
                results[name] = case.routes[name](data)

            seconds = interleaved(
                {name: partial(keep, name) for name in case.routes}, rounds, budget=budget
            )
            found[count] = {
                name: _timing(case, name, each, results.pop(name), exact)
                for name, each in seconds.items()
            }
    return found


def _timing(case: Case, name: str, seconds: list[float], result: Any, exact: Any) -> Timing:
    if name in case.unchecked:
        return Timing(name, tuple(seconds), None, None)
    errors = case.errors(result, exact).double()
    largest = float(errors.max())
    # Of a peer 99 in 100: a float32 Gram matrix cannot always tell the sign of a rank-1 vector,
    # and that is shown, not hidden.
    kept = errors.kthvalue(max(1, int(0.99 * len(errors)))).values
    checked = largest if name == OURS else float(kept)
    bound = case.bound if name == OURS else case.peer_bound
    if not checked <= bound:
        raise RuntimeError(f"{case.name}: error {checked:.1e} of {name} is above {bound:.0e}")
    return Timing(name, tuple(seconds), largest, checked)

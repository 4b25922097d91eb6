# SPDX-License-Identifier: MIT
"""The short version for one's own machine: its cases, and `run`, behind ``hubprune bench``."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..config import configuration
from .cases import (
    OURS,
    Case,
    cosine_case,
    degree_case,
    eigenvector_case,
    nearest_case,
    network_case,
    vectors_case,
)
from .inputs import CNN14
from .measuring import Timing, measured
from .peers import (
    ABS_PEERS,
    Peers,
    abs_degree_bf16,
    abs_degree_chunked,
    nearest_chunked,
    nearest_naive,
    rank1_gram,
)
from .report import BenchResult, Comparison
from .timing import OtherPrograms, reuse_large_blocks


def _short_cases(quick: bool) -> list[Case]:
    """Return the cases of the short version; their peers leave out what never wins there."""
    layer = (64, 64, 3, 3) if quick else (1024, 512, 3, 3)
    short, mid, wide = (256, 512, 4096) if quick else (2048, 8192, 1_000_000)
    n, d = (128, 1152) if quick else (1024, 4608)
    layers = CNN14[:4] if quick else CNN14
    few: Peers = {key: ABS_PEERS[key] for key in ("torch chunked", "torch naive", "numpy syrk")}
    chunked: Peers = {"torch chunked": abs_degree_chunked}
    part = f"first {len(layers)} layers" if quick else "vectors + degree"
    return [
        vectors_case(
            f"rank-1 vectors {'x'.join(map(str, layer))}",
            [layer],
            {"torch bmm + eigh": rank1_gram},
        ),
        # So small that the call itself is most of the time: where a library loses, if it does.
        degree_case("abs degree 32 x 49", 32, 49, peers=few),
        degree_case(f"abs degree {short} x 9", short, 9, peers=few),
        degree_case(f"abs degree {mid} x 9", mid, 9, peers=chunked),
        degree_case(f"abs degree {n} x {d}", n, d, peers=few),
        degree_case(
            f"abs degree {n} x {d}, medium",
            n,
            d,
            precision="medium",
            peers={"torch bfloat16": abs_degree_bf16, **few},
        ),
        degree_case(f"signed degree {short} x 9", short, 9, edge="signed"),
        degree_case(f"signed degree {wide} x 9", wide, 9, edge="signed"),
        nearest_case(
            f"nearest {short} x 9",
            short,
            9,
            {"torch chunked": nearest_chunked, "torch naive": nearest_naive},
        ),
        eigenvector_case(f"eigenvector {short // 2} x 9", short // 2, 9),
        cosine_case(f"pairwise cosine {short} x 256", short, 256),
        network_case(f"CNN14, {part}", [(n, c, 3, 3) for n, c in layers]),
    ]


def case_names(*, quick: bool = False) -> list[str]:
    """Return the names of the cases that `run` measures."""
    return [case.name for case in _short_cases(quick)]


def run(
    *,
    quick: bool = False,
    threads: int | None = None,
    only: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Measure hubprune beside its peers on this machine, in about a minute.

    Parameters
    ----------
    quick : bool
        Small sizes and three rounds: seconds; shows that all works, not how fast.
    threads : int, optional
        This many threads. Default: one, then ``torch.get_num_threads()``.
    only : str, optional
        Only the cases whose name contains this, in any case.
    progress : callable (done, total, text), optional
        Called before each case, and once at the end.

    Returns
    -------
    BenchResult
        Prints as tables and a summary.

    Raises
    ------
    ValueError
        If `threads` is below 1 or `only` fits no case; the message lists them.
    RuntimeError
        If a result is wrong.

    Notes
    -----
    Weights are Gaussian and seeded. Calls `reuse_large_blocks`, which holds for the rest of the
    process; torch's number of threads is put back.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    start = time.perf_counter()
    cases = _short_cases(quick)
    if only is not None:
        chosen = [case for case in cases if only.lower() in case.name.lower()]
        if not chosen:
            names = "; ".join(case.name for case in cases)
            raise ValueError(f"only={only!r} fits no case; there are: {names}")
        cases = chosen
    counts = sorted({1, torch.get_num_threads()}) if threads is None else [threads]
    reuse_large_blocks()
    others = OtherPrograms()
    found: dict[int, list[Comparison]] = {count: [] for count in counts}
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases), case.name)
        rounds, budget = (3, 0.2) if quick else (25, 2.0)
        for count, timings in measured(case, counts, rounds=rounds, budget=budget).items():
            found[count].append(_comparison(case, count, timings))
    if progress is not None:
        progress(len(cases), len(cases), "done")
    return BenchResult(
        comparisons=tuple(each for count in counts for each in found[count]),
        environment=configuration(),
        processor=_processor(),
        cores=_cores(),
        quick=quick,
        seconds=time.perf_counter() - start,
        others=others.processors(),
    )


def _comparison(case: Case, threads: int, timings: Mapping[str, Timing]) -> Comparison:
    ours = timings[OURS]
    peers = [each for name, each in timings.items() if name not in {OURS, *case.unchecked}]
    work = {"GP/s": case.pairs, "GB/s": case.bytes, "GFLOP/s": case.flops}.get(case.unit, 0.0)
    return Comparison(
        name=case.name,
        threads=threads,
        ours=ours,
        peers=tuple(sorted(peers, key=lambda each: each.median)),
        left_out=case.left_out,
        rate=work / ours.median / 1e9 if work else None,
        unit=case.unit,
    )


def _processor() -> str:
    """Return the processor's name as Linux tells it, or what the platform knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine() or "unknown processor"])[0]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

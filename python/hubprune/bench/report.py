# SPDX-License-Identifier: MIT
"""What the short version found: tables, JSON, and a summary in words that names the losses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..file_writing import replaced_file
from ..tables import text_table
from .measuring import Timing

_DISTURBED = 0.2  # processors that others use above which the times are called disturbed
_EVEN = 0.05  # ratios within this of 1 are called even


@dataclass(frozen=True)
class Comparison:
    """One case at one number of threads.

    Attributes
    ----------
    name : str
        The case.
    threads : int
        Of torch, hubprune and the BLAS.
    ours : Timing
        hubprune.
    peers : tuple of Timing
        The others, fastest first.
    left_out : mapping of str to str
        Peers that did not run, with the reason.
    rate : float or None
        What ours reached, in 1e9 a second.
    unit : str
        Of the rate: "GP/s" is pairs of rows; "GB/s" and "GFLOP/s" are of the bytes and of the
        multiplications and additions that the operation needs at least.
    """

    name: str
    threads: int
    ours: Timing
    peers: tuple[Timing, ...]
    left_out: Mapping[str, str]
    rate: float | None
    unit: str

    @property
    def times_faster(self) -> float | None:
        """The best peer's median time over ours; None without a peer."""
        return self.peers[0].median / self.ours.median if self.peers else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, JSON-able."""
        result = {**asdict(self), "left_out": dict(self.left_out)}
        return {**result, "times_faster": self.times_faster}


@dataclass(frozen=True)
class BenchResult:
    """What the short benchmark measured; prints as tables and a summary in words.

    Attributes
    ----------
    comparisons : tuple of Comparison
        By number of threads, then in the order of the cases.
    environment : dict
        `hubprune.config.configuration()`.
    processor : str
        Its name, where the system tells it.
    cores : int
        That this process may use.
    quick : bool
        Smaller sizes and fewer rounds.
    seconds : float
        For all of it.
    others : float or None
        Processors that other programs kept busy meanwhile, where the system tells it.
    """

    comparisons: tuple[Comparison, ...]
    environment: dict[str, Any]
    processor: str
    cores: int
    quick: bool
    seconds: float
    others: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, JSON-able."""
        return {
            "processor": self.processor,
            "cores": self.cores,
            "quick": self.quick,
            "seconds": self.seconds,
            "others": self.others,
            "environment": self.environment,
            "summary": self.summary(),
            "comparisons": [each.to_dict() for each in self.comparisons],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file, whole or not at all."""
        with replaced_file(path) as file:
            file.write_text(self.to_json() + "\n", encoding="utf-8")

    def summary(self) -> list[str]:
        """Say in words, by number of threads, where hubprune is faster and where it is slower."""
        return [_summary(threads, each) for threads, each in self._by_threads().items()]

    def _by_threads(self) -> dict[int, list[Comparison]]:
        groups: dict[int, list[Comparison]] = {}
        for each in self.comparisons:
            groups.setdefault(each.threads, []).append(each)
        return groups

    def __str__(self) -> str:
        env = self.environment
        lines = [
            f"hubprune {env['hubprune']}, torch {env['torch']}, Python {env['python']}",
            f"{self.processor}, {self.cores} cores; level {env['simd']['in_use']}",
        ]
        for threads, comparisons in self._by_threads().items():
            lines += ["", f"{_threads(threads)}:", "", _table(comparisons)]
        left_out = {
            f"{name}: {reason}"
            for each in self.comparisons
            for name, reason in each.left_out.items()
        }
        lines += [
            "",
            "ms: median. times: the best peer's over ours. GP/s: 1e9 pairs of rows a second; GB/s",
            "and GFLOP/s: of what the operation needs at least. error: the largest against",
            "float64, relative for degrees; 1 or 2 is a rank-1 vector of the wrong sign.",
            *(f"left out: {each}" for each in sorted(left_out)),
            "",
            *self.summary(),
            f"measured in {self.seconds:.0f} s",
            *(
                [
                    f"disturbed: other programs kept {self.others:.1f} processors busy meanwhile; "
                    "repeat this when they rest"
                ]
                if self.others is not None and self.others > _DISTURBED
                else []
            ),
        ]
        return "\n".join(lines)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def _table(comparisons: Sequence[Comparison]) -> str:
    rows = []
    for each in comparisons:
        best = each.peers[0] if each.peers else None
        times = each.times_faster
        rows.append(
            [
                each.name,
                _milliseconds(each.ours.median),
                "-" if each.rate is None else f"{each.rate:.3g} {each.unit}",
                "-" if best is None else best.route,
                "-" if best is None else _milliseconds(best.median),
                "-" if times is None else f"{times:.1f}x",
                f"{each.ours.error:.0e}",
                "-" if best is None else f"{best.error:.0e}",
            ]
        )
    return text_table(["work", "ms", "rate", "best peer", "ms", "times", "error", "peer's"], rows)


def _summary(threads: int, comparisons: Sequence[Comparison]) -> str:
    compared = [(each, each.times_faster) for each in comparisons]
    known = [(each, times) for each, times in compared if times is not None]
    faster = [times for _, times in known if times > 1 + _EVEN]
    even = [each.name for each, times in known if 1 - _EVEN <= times <= 1 + _EVEN]
    slower = [
        f"{each.name} ({times:.2f}x of {each.peers[0].route})"
        for each, times in known
        if times < 1 - _EVEN
    ]
    parts = [f"faster in {len(faster)} of {len(known)}"]
    if faster:
        ends = dict.fromkeys(f"{end:.1f}x" for end in (min(faster), max(faster)))
        parts[0] += f": {' to '.join(ends)}"
    if even:
        parts.append(f"even (within 5 %): {', '.join(even)}")
    parts.append(f"slower: {', '.join(slower) or 'none'}")
    return f"{_threads(threads)}: {'; '.join(parts)}"

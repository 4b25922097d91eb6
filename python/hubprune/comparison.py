# SPDX-License-Identifier: MIT
"""A fair comparison of scorers: the same models, data, recipe and seeds for all, and two controls.

What is unpruned but fine-tuned in the same way tells what pruning costs; what is pruned at random
tells what a scorer is worth.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .arguments import check_count
from .comparison_bench import Bench, Models
from .comparison_grid import Grid
from .comparison_result import Comparison, ComparisonRow, Summary
from .comparison_store import Job, Store
from .compensation import check_compensation
from .finetuning import finetune as fine_tune
from .model_runs import ExampleInputs
from .progress import Progress
from .scorers import Scorer
from .training_data import preserved_rng

__all__ = ["Comparison", "ComparisonRow", "Summary", "compare"]

StrPath = str | os.PathLike[str]

#: What `compare` decides itself.
_OURS = {"model", "train", "valid", "metric", "output", "seed", "checkpoint", "resume", "progress"}
OPTIONS = tuple(name for name in inspect.signature(fine_tune).parameters if name not in _OURS)


def compare(
    model: Models,
    train: Any,
    valid: Any,
    test: Any = None,
    *,
    example_inputs: ExampleInputs,
    scorers: Collection[str | Scorer] | Mapping[str, str | Scorer] = (
        "degree",
        "pairs",
        "landmarks",
        "l1",
    ),
    ratios: Sequence[float] = (0.25, 0.5),
    seeds: Sequence[int] = (0, 1, 2),
    compensate: Sequence[str] = ("none",),
    finetune: Mapping[str, Any] | None = None,
    layers: Collection[str] | None = None,
    keep: Collection[str] = (),
    round_to: int = 1,
    batches: Iterable[Any] | None = None,
    metric: str | None = None,
    output: str | None = None,
    batch_size: int = 32,
    directory: StrPath | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Prune with several scorers, fine-tune all in the same way, and measure.

    Two controls are always in it: the unpruned model, measured as it is and fine-tuned with the
    same recipe, and the scorer "random", with another draw for each seed.

    Parameters
    ----------
    model : torch.nn.Module or callable (seed) -> torch.nn.Module
        One trained model, or a function that gives a base network for each seed. The global
        generators are seeded before it is called.
    train, valid, test : Dataset, (inputs, targets) or DataLoader
        As in `hubprune.finetune`. `valid` chooses the best epoch; `test`, if given, is what tables
        and plots are measured on. `train` may be None without fine-tuning.
    example_inputs : tensor, tuple or dict
        What the model is called with, as in `hubprune.plan`. MACs are of this input.
    scorers : collection of str or Scorer, or mapping of str to str or Scorer
        Names or configured scorers; a mapping gives them labels.
    ratios : sequence of float, default (0.25, 0.5)
        Parts of the filters to remove. A scorer that decides the count itself ("pairs") is run
        once, with its own.
    seeds : sequence of int, default (0, 1, 2)
        A row each.
    compensate : sequence of str, default ("none",)
        What `hubprune.prune` does about the removed filters.
    finetune : mapping, optional
        Options of `hubprune.finetune` (``{}``: its defaults). None: no fine-tuning.
    layers : collection of str, optional
        Prune only these convolutions, or those in these modules.
    keep : collection of str
        Leave these layers whole.
    round_to : int, default 1
        As in `hubprune.plan`.
    batches : iterable, optional
        Inputs for the compensations that need them, as in `hubprune.prune`.
    metric : str, optional
        "accuracy", "log_loss", "mean_average_precision", "roc_auc" or "d_prime". Default: as
        `finetune`.
    output : {"logits", "probabilities"}, optional
        What the model returns, as in `finetune`.
    batch_size : int, default 32
        Of the evaluations.
    directory : str or os.PathLike, optional
        A folder for the rows, each stored when it is finished, and for the state of the row in
        work: an interrupted comparison goes on where it stopped. Scorers, ratios, seeds and
        compensations may be added later; everything else must be the same, also the code and the
        values of a model function, a loss or an augmentation, and a sample of the examples
        (of a loader only their number).
    progress : callable (done, total, text), optional
        Called before and after each row.

    Returns
    -------
    Comparison
        Rows, ``table()``, ``plot(path)``, ``to_json()``, ``to_csv()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the directory holds another comparison: what differs is named.
    RuntimeError
        If a model computes NaN or a loss is not finite.
    FileExistsError
        If the directory is a file, or holds other files.

    Notes
    -----
    The best epoch may be epoch 0, the pruned model as it is; `ComparisonRow.best_epoch` tells. It
    is chosen on `valid`: without `test`, the values after fine-tuning are optimistic for all alike.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv1d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv1d(8, 8, 3),
    ...     torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
    ...     torch.nn.Linear(8, 2))
    >>> data = torch.randn(32, 1, 9), torch.arange(32) % 2
    >>> found = hp.compare(body, data, data, example_inputs=data[0][:1], scorers=["l1"],
    ...     ratios=[0.5], seeds=[0], finetune={"epochs": 1})
    >>> [(row.scorer, row.ratio) for row in found.rows]
    [('unpruned', None), ('l1', 0.5), ('random', 0.5)]
    """
    grid = Grid(scorers, ratios, seeds, compensate)
    options = _checked_options(finetune)
    check_count(batch_size, "batch_size")
    check_count(round_to, "round_to")
    if isinstance(batches, Iterable) and not hasattr(batches, "__len__"):
        batches = list(batches)  # an iterator would be empty for the second model
    for name in grid.compensate:
        check_compensation(name, None if name == "none" else batches)
    bench = Bench(
        model, train, valid, test, example_inputs, options, layers, keep, round_to, batches,
        metric, output, batch_size, stored=directory is not None,
    )  # fmt: skip
    store = None
    if directory is not None:
        configuration = {**bench.configuration, **bench.contents}
        store = Store(Path(directory), configuration, bench.unknown)
    jobs = grid.jobs()
    rows: dict[Job, ComparisonRow] = {}
    missing = []
    for job in jobs:
        row = None if store is None else store.read(job)
        if row is None:
            missing.append(job)
        else:
            rows[job] = row
            bench.expect(row)
    with preserved_rng():
        for number, job in enumerate(missing):
            if progress is not None:
                progress(len(rows), len(jobs), f"{job.key} ({number + 1} of {len(missing)} left)")
            rows[job] = bench.run(job, store)
            if store is not None:
                store.write(job, rows[job])
    if progress is not None:
        progress(len(rows), len(jobs), "done")
    ordered = sorted(jobs, key=lambda job: grid.place(job))
    return Comparison(
        rows=tuple(rows[job] for job in ordered),
        metric=bench.metric,
        lower_is_better=bench.metric == "log_loss",
        data="valid" if test is None else "test",
        configuration={**bench.configuration, **grid.to_dict()},
    )


def _checked_options(finetune: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if finetune is None:
        return None
    if not isinstance(finetune, Mapping):
        raise TypeError(
            f"finetune must be a mapping of options or None; got {type(finetune).__name__}"
        )
    for name in finetune:
        if name in _OURS:
            raise ValueError(f"finetune must not hold {name!r}: compare sets it")
        if name not in OPTIONS:
            raise ValueError(f"finetune must hold options of {', '.join(OPTIONS)}; got {name!r}")
    return dict(finetune)

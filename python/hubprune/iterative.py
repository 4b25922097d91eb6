# SPDX-License-Identifier: MIT
"""Pruning in steps: score, cut, fine-tune, and again, until the target is reached."""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .arguments import check_count
from .checkpointing import fingerprint
from .description import differences, plain_value
from .file_writing import remove_leftovers, replaced_file
from .finetuning import evaluate, finetune
from .json_numbers import all_writable
from .model_runs import ExampleInputs, check_example_inputs, check_model, duplicate, tensors_of
from .planning import plan_counts, plan_to_counts
from .planning.pruning_plan import PruningPlan
from .progress import Progress
from .report import report
from .scorers import Scorer, make_scorer
from .surgery import load_pruned, prune, save_pruned
from .tables import text_table
from .training_state import OtherRunError

__all__ = ["IterativeResult", "prune_iteratively", "stepwise_count"]

StrPath = str | os.PathLike[str]

_FORMAT = "hubprune-steps 1"
_SETTINGS = "steps.json"
_OURS = frozenset({"checkpoint", "resume", "seed", "progress"})


@dataclass(frozen=True)
class IterativeResult:
    """What `prune_iteratively` made.

    Attributes
    ----------
    model : torch.nn.Module
        Pruned and fine-tuned, in the mode and on the device of the model that was given.
    plan : PruningPlan
        All steps composed: ``hubprune.prune(original, plan)`` has the sizes of `model`.
    history : list of dict
        A record for the model as it came (``step`` 0) and one per step: ``filters`` (of each layer
        that is pruned), ``parameters``, ``macs`` (of the example inputs), ``before`` and ``after``
        (metrics on `valid` before and after fine-tuning, None without `valid`), ``epochs`` run,
        ``best_epoch`` and ``seconds`` of fine-tuning (None in step 0).
    """

    model: nn.Module
    plan: PruningPlan
    history: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The plan and the history as JSON-able values; "Infinity" and "NaN" are texts."""
        return {"plan": self.plan.to_dict(), "history": all_writable(self.history)}

    def explain(self) -> str:
        """Tell the sizes and metrics of each step, as a table."""
        names = list(self.history[0]["after"] or ())
        header = ["step", "filters", "parameters", "MACs"]
        header += [f"{name} {when}" for name in names for when in ("cut", "tuned")]
        rows = []
        for record in self.history:
            metrics = []
            for name in names:
                for when in ("before", "after"):
                    value = (record[when] or {}).get(name)
                    metrics.append("-" if value is None else f"{value:.4f}")
            total = sum(record["filters"].values())
            sizes = [total, f"{record['parameters']:,}", f"{record['macs']:,}"]
            rows.append([str(each) for each in (record["step"], *sizes, *metrics)])
        return text_table(header, rows)


def stepwise_count(whole: int, target: int, step: int, steps: int) -> int:
    """How many of `whole` units stay after a step: they fall geometrically, rounded up.

    :math:`\\lceil n (k / n)^{s / S} \\rceil` for n units of which k stay after the last step S.

    Examples
    --------
    >>> [stepwise_count(64, 8, step, 3) for step in range(4)]
    [64, 32, 16, 8]
    """
    if step >= steps:
        return target
    exact: float = whole * (target / whole) ** (step / steps)
    # A count that is whole in exact arithmetic must not be rounded up for its last bit.
    return max(target, min(whole, math.ceil(exact - 1e-9 * whole)))


def prune_iteratively(
    model: nn.Module,
    example_inputs: ExampleInputs,
    train: Any,
    valid: Any,
    *,
    scorer: str | Scorer = "degree",
    ratio: float | Mapping[str, float] | None = None,
    budget: Mapping[str, float] | None = None,
    steps: int = 3,
    keep: Collection[str] = (),
    round_to: int = 1,
    global_: bool = False,
    compensate: str = "none",
    batches: Any = None,
    finetune: Mapping[str, Any] | None = None,
    directory: StrPath | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> IterativeResult:
    """Prune a copy of a model in several steps, each of them scored, cut and fine-tuned.

    How many filters each layer keeps in the end is what `hubprune.plan` decides for the whole model
    with the same `ratio` or `budget`; on the way there the counts fall geometrically
    (`stepwise_count`). Which filters go is decided at each step, by the weights of that step.

    Parameters
    ----------
    model : torch.nn.Module
        The model to prune; it is not touched.
    example_inputs : tensor, tuple or dict
        As in `hubprune.plan`.
    train, valid : Dataset, (inputs, targets) or DataLoader
        As in `hubprune.finetune`.
    scorer, ratio, budget, keep, round_to, global_
        As in `hubprune.plan`: the target of the last step.
    steps : int, default 3
        How many.
    compensate, batches
        Passed to `hubprune.prune` at each step, unless `compensate` is "none".
    finetune : mapping, optional
        Options of `hubprune.finetune` for each step, such as ``{"epochs": 5, "lr": 1e-4}``; all but
        ``checkpoint``, ``resume``, ``seed`` and ``progress``.
    directory : str or os.PathLike, optional
        Where to keep each step: ``step-1/`` (as `hubprune.save_pruned` writes it, cut and not yet
        fine-tuned, with the plan from the original model) and ``step-1.safetensors`` (the
        fine-tuning's checkpoint), and so on. The same call with the same folder goes on where it
        was interrupted.
    seed : int, default 0
        Step s is fine-tuned with the seed ``seed + s - 1``.
    progress : callable (done, total, text), optional
        Called with every step of fine-tuning: done and total of this one, the text says which.

    Returns
    -------
    IterativeResult
        Model, composed plan, and history.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, as in `hubprune.plan` and `hubprune.finetune`; also if the folder
        holds another run: the message says what differs.
    RuntimeError
        If the loss is not finite, or the model computes NaN.
    OSError
        If the directory cannot be used: FileExistsError for a file, or a folder with other files;
        FileNotFoundError where its parent does not exist.

    Notes
    -----
    The result is bit for bit the same with interruptions and without, on the same machine with the
    same number of threads. A step whose counts do not fall (few filters, many steps) is fine-tuned
    all the same. Each fine-tuning keeps its best epoch, which may be the model as it was cut.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv1d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2)
    ... )
    >>> data = torch.randn(16, 1, 8), torch.arange(16) % 2
    >>> options = {"epochs": 1}
    >>> result = hp.prune_iteratively(body, data[0][:1], data, data, ratio=0.75, finetune=options)
    >>> [record["filters"]["0"] for record in result.history]
    [8, 6, 4, 2]
    """
    options = _check_options(steps, compensate, seed, finetune)
    check_model(model, filled=True)
    check_example_inputs(model, example_inputs)
    target, first = plan_counts(
        model,
        example_inputs,
        scorer=scorer,
        ratio=ratio,
        budget=budget,
        keep=keep,
        round_to=round_to,
        global_=global_,
    )
    folder = None if directory is None else Path(directory)
    if folder is not None:
        settings = {
            "scorer": repr(make_scorer(scorer)),
            "ratio": dict(ratio) if isinstance(ratio, Mapping) else ratio,
            "budget": None if budget is None else dict(budget),
            "steps": steps,
            "keep": sorted(keep),
            "round_to": round_to,
            "global": bool(global_),
            "compensate": compensate,
            "seed": seed,
            "finetune": {
                name: plain_value(each, f"finetune.{name}") for name, each in options.items()
            },
            "model": fingerprint(model),
            "example_inputs": [list(each.shape) for each in tensors_of(example_inputs)],
        }
        _open_folder(folder, settings)
    compensation: dict[str, Any] = {}
    if compensate != "none":
        # A generator would be empty at the second step.
        again = list(batches) if isinstance(batches, Iterator) else batches
        compensation = {"compensate": compensate, "batches": again}
    before = None if valid is None else _evaluate(model, valid, options)
    names = list(first.layers)
    history = [_record(0, model, model, example_inputs, names, None, before)]
    current, composed = model, None
    for step in range(1, steps + 1):
        counts = {
            key: (stepwise_count(whole, last, step, steps), whole)
            for key, (last, whole) in target.items()
        }
        place = None if folder is None else folder / f"step-{step}"
        if place is not None and (place / "plan.json").is_file():
            text = (place / "plan.json").read_text(encoding="utf-8")
            composed = PruningPlan.from_json(text)
            cut = load_pruned(lambda: duplicate(model), place)
        else:
            one = plan_to_counts(
                current, example_inputs, counts, scorer=scorer, ratio=ratio, keep=keep,
                round_to=round_to,
            )  # fmt: skip
            cut = prune(current, one, **compensation)
            composed = one if composed is None else composed.then(one)
            if place is not None:
                save_pruned(cut, composed, place)
        try:
            tuned = _finetune(
                cut,
                train,
                valid,
                **options,
                seed=seed + step - 1,
                checkpoint=None if place is None else place.with_name(f"{place.name}.safetensors"),
                progress=_named(progress, step, steps),
            )
        except OtherRunError as error:
            raise ValueError(
                f"directory: {folder} holds another run: {'; '.join(error.different)}"
            ) from error
        current = tuned.model
        record = _record(step, model, current, example_inputs, names, tuned, None)
        history.append(record)
    if composed is None:  # steps is at least 1
        raise RuntimeError("no step was made")
    return IterativeResult(current, composed, history)


_finetune = finetune  # the argument of the same name hides it


def _check_options(
    steps: Any, compensate: Any, seed: Any, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    check_count(steps, "steps")
    if not isinstance(compensate, str):
        raise TypeError(f"compensate must be a str; got {type(compensate).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63 - steps:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1 - steps; got {seed!r}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            f'finetune must be a mapping such as {{"epochs": 5}}; got {type(options).__name__}'
        )
    wrong = sorted(_OURS.intersection(options or {}))
    if wrong:
        raise ValueError(f"finetune must not hold {wrong[0]!r}: it is set for each step")
    known = [name for name in inspect.signature(finetune).parameters if name not in _OURS]
    for name in options or {}:
        if name not in known[3:]:  # behind model, train and valid
            raise ValueError(f"finetune must hold options of {', '.join(known[3:])}; got {name!r}")
    return dict(options or {})


def _open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder of a run, or check that it is of this one."""
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"directory: {folder.absolute().parent} does not exist")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"directory: {folder} is not a folder")
    file = folder / _SETTINGS
    if file.is_file():
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"directory: {file} is damaged: {error}") from error
        if not isinstance(saved, dict) or saved.pop("format", None) != _FORMAT:
            raise ValueError(f"directory: {file} was not written by prune_iteratively")
        wanted = json.loads(json.dumps(settings))  # tuples as lists
        different = differences(saved, wanted, later=["example_inputs", "finetune"])
        if different:
            raise ValueError(f"directory: {folder} holds another run: {'; '.join(different)}")
        return
    if folder.is_dir():
        remove_leftovers(file)
        if any(folder.iterdir()):
            raise FileExistsError(f"directory: {folder} holds other files; choose a new folder")
    folder.mkdir(exist_ok=True)
    with replaced_file(file) as part:
        part.write_text(json.dumps({"format": _FORMAT, **settings}, indent=2) + "\n", "utf-8")


def _evaluate(model: nn.Module, valid: Any, options: Mapping[str, Any]) -> dict[str, float]:
    known = {name: options[name] for name in ("batch_size", "output") if name in options}
    return evaluate(model, valid, **known)


def _named(progress: Progress | None, step: int, steps: int) -> Progress | None:
    if progress is None:
        return None

    def report_step(done: int, total: int, text: str) -> None:
        progress(done, total, f"step {step} of {steps}, {text}")

    return report_step


def _record(
    step: int,
    original: nn.Module,
    model: nn.Module,
    example_inputs: ExampleInputs,
    names: list[str],
    tuned: Any,
    before: dict[str, float] | None,
) -> dict[str, Any]:
    counted = report(original, model, example_inputs, latency=False)
    filters = {layer.name: layer.filters_after for layer in counted.layers}
    metrics = (before, before)
    if tuned is not None:
        metrics = (tuned.history[0]["valid"], tuned.history[tuned.best_epoch]["valid"])
    return {
        "step": step,
        "filters": {name: filters[name] for name in names},
        "parameters": counted.after.parameters,
        "macs": counted.after.macs,
        "before": metrics[0],
        "after": metrics[1],
        "epochs": None if tuned is None else len(tuned.history) - 1,
        "best_epoch": None if tuned is None else tuned.best_epoch,
        "seconds": None if tuned is None else tuned.seconds,
    }

# SPDX-License-Identifier: MIT
"""A fair comparison of scorers: the same models, data, recipe and seeds for all, and two controls.

What is unpruned but fine-tuned in the same way tells what pruning costs; what is pruned at random
tells what a scorer is worth.
"""

from __future__ import annotations

import inspect
import numbers
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .arguments import check_choice, check_count, shape_text
from .checkpointing import fingerprint
from .comparison_result import UNPRUNED, Comparison, ComparisonRow, Summary
from .comparison_store import Job, Store, rule_text
from .compensation import check_compensation
from .description import described
from .finetuning import finetune as fine_tune
from .layer_kinds import CONVOLUTIONS
from .model_runs import ExampleInputs, check_example_inputs, check_model, tensors_of
from .objective import METRICS, Objective
from .planning import plan
from .planning.pruning_plan import PruningPlan
from .progress import Progress
from .report import report
from .scorers import Random, Scorer, make_scorer
from .surgery import prune
from .training_data import GLOBAL, VALID, Examples, preserved_rng, seed_everything, stream_seed

__all__ = ["Comparison", "ComparisonRow", "Summary", "compare"]

StrPath = str | os.PathLike[str]
Models = nn.Module | Callable[[int], nn.Module]

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
        values of a model function, a loss or an augmentation.
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
    grid = _Grid(scorers, ratios, seeds, compensate)
    options = _checked_options(finetune)
    check_count(batch_size, "batch_size")
    check_count(round_to, "round_to")
    if isinstance(batches, Iterable) and not hasattr(batches, "__len__"):
        batches = list(batches)  # an iterator would be empty for the second model
    for name in grid.compensate:
        check_compensation(name, None if name == "none" else batches)
    bench = _Bench(
        model, train, valid, test, example_inputs, options, layers, keep, round_to, batches,
        metric, output, batch_size,
    )  # fmt: skip
    store = (
        None if directory is None else Store(Path(directory), bench.configuration, bench.unknown)
    )
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


class _Grid:
    """Every combination that is asked for, and the controls."""

    def __init__(
        self,
        scorers: Collection[str | Scorer] | Mapping[str, str | Scorer],
        ratios: Sequence[float],
        seeds: Sequence[int],
        compensate: Sequence[str],
    ) -> None:
        if isinstance(scorers, str | Scorer):
            raise TypeError("scorers must be a collection of names or scorers, or a mapping")
        if isinstance(scorers, Mapping):
            named = [(str(label), make_scorer(each)) for label, each in scorers.items()]
        else:
            named = [(rule.name, rule) for rule in map(make_scorer, scorers)]
        self.rules: dict[str, Scorer] = {}
        for label, rule in named:
            if not re.fullmatch(r"[\w.+-]+", label) or label == UNPRUNED:
                raise ValueError(
                    "the label of a scorer must be letters, digits and . + - _, and not "
                    f"{UNPRUNED!r}; got {label!r}"
                )
            if label in self.rules:
                raise ValueError(f"scorers must have different labels; {label!r} is there twice")
            if label == "random" and not isinstance(rule, Random):
                raise ValueError("the label 'random' is that of the control; choose another")
            self.rules[label] = rule
        self.rules.setdefault("random", Random())
        self.ratios = _distinct("ratios", ratios, float)
        for ratio in self.ratios:
            if not 0 < ratio < 1:
                raise ValueError(f"ratios must be in (0, 1); got {ratio}")
        self.seeds = _distinct("seeds", seeds, int)
        for seed in self.seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"seeds must be integers from 0 to 2**63 - 1; got {seed}")
        self.compensate = _distinct("compensate", compensate, str)

    def jobs(self) -> list[Job]:
        """Seed by seed, so that each base network is made once."""
        found = []
        for seed in self.seeds:
            found.append(Job(UNPRUNED, None, None, "none", seed))
            for label, rule in self.rules.items():
                if isinstance(rule, Random):
                    rule = Random(seed=seed)
                ratios = [None] if _decides_the_count(rule) else self.ratios
                found += [
                    Job(label, rule, ratio, each, seed)
                    for ratio in ratios
                    for each in self.compensate
                ]
        return found

    def place(self, job: Job) -> tuple[int, ...]:
        return (
            -1 if job.rule is None else list(self.rules).index(job.scorer),
            -1 if job.ratio is None else self.ratios.index(job.ratio),
            self.compensate.index(job.compensate) if job.rule is not None else 0,
            self.seeds.index(job.seed),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "scorers": {label: repr(rule) for label, rule in self.rules.items()},
            "ratios": self.ratios,
            "seeds": self.seeds,
            "compensate": self.compensate,
        }


class _Bench:
    """The same conditions for every job."""

    def __init__(
        self,
        model: Models,
        train: Any,
        valid: Any,
        test: Any,
        example_inputs: ExampleInputs,
        options: dict[str, Any] | None,
        layers: Collection[str] | None,
        keep: Collection[str],
        round_to: int,
        batches: Iterable[Any] | None,
        metric: str | None,
        output: str | None,
        batch_size: int,
    ) -> None:
        if isinstance(model, nn.Module):
            check_model(model)
            check_example_inputs(model, example_inputs)
        elif not callable(model):
            raise TypeError(
                "model must be a torch.nn.Module or a function of a seed that gives one; got "
                f"{type(model).__name__}"
            )
        if isinstance(layers, str) or isinstance(keep, str):
            raise TypeError("layers and keep must be collections of names; got a string")
        self.model, self.inputs, self.options = model, example_inputs, options
        self.layers, self.keep, self.round_to = layers, list(keep), round_to
        self.train, self.valid, self.batches = train, valid, batches
        self.output, self.batch_size = output, batch_size
        with preserved_rng():
            self.data = {"valid": Examples(valid, "valid")}
            if test is not None:
                self.data["test"] = Examples(test, "test")
            known = list(self.data.values())
            if options is not None:
                known.append(Examples(train, "train"))
        if len({each.task for each in known}) > 1:
            raise ValueError("train, valid and test must have targets of one kind")
        self.task = known[0].task
        if isinstance(example_inputs, torch.Tensor):
            shape = example_inputs.shape[1:]
            for each in known:
                if len(each.input_shape) != len(shape):
                    raise ValueError(
                        f"{each.name} must have inputs of as many axes as example_inputs, which "
                        f"are {shape_text(shape)} for an example; got "
                        f"{shape_text(each.input_shape)}"
                    )
        if metric is not None:
            check_choice(metric, METRICS[self.task], "metric")
        self.metric = metric or METRICS[self.task][0]
        module = isinstance(model, nn.Module)
        self.unknown: list[str] = []  # what a stored comparison cannot be compared by
        self.configuration: dict[str, Any] = {
            "model": fingerprint(model)
            if isinstance(model, nn.Module)
            else described(model, "model", self.unknown),
            "model_per_seed": not module,
            "task": self.task,
            "metric": self.metric,
            "output": output,
            "finetune": None
            if options is None
            else {
                name: _plain(value, f"finetune.{name}", self.unknown)
                for name, value in sorted(options.items())
            },
            "layers": None if layers is None else sorted(layers),
            "keep": sorted(keep),
            "round_to": round_to,
            "examples": {each.name: each.count for each in known},
            "input_shape": list(self.data["valid"].input_shape),
            "example_inputs": [list(each.shape) for each in tensors_of(example_inputs)],
        }
        self._planned = False
        self._base: tuple[int, nn.Module, str] | None = None
        self._expected: dict[int, str] = {}

    def expect(self, row: ComparisonRow) -> None:
        """Remember which base network a stored row is of."""
        self._expected.setdefault(row.seed, row.model)

    def base(self, seed: int) -> tuple[nn.Module, str]:
        """The base network of a seed, and the hash of its weights."""
        if self._base is None or self._base[0] != seed:
            model = self.model
            if not isinstance(model, nn.Module):
                seed_everything(stream_seed(seed, 0, GLOBAL))
                model = model(seed)
                check_model(model, "model(seed)")
                check_example_inputs(model, self.inputs)
            self._base = seed, model, fingerprint(model)
        _, model, found = self._base
        if self._expected.setdefault(seed, found) != found:
            raise ValueError(
                f"model gives other weights for seed {seed} than those that the stored rows are "
                "of: it must be a function of its seed"
            )
        return model, found

    def run(self, job: Job, store: Store | None) -> ComparisonRow:
        base, found = self.base(job.seed)
        start = time.perf_counter()
        filters: dict[str, int] = {}
        model = base
        if job.rule is None and not self._planned:
            # Mistakes in `layers` and `keep` are told before anything is trained.
            self._decide(base, "l1", 0.5)
        if job.rule is not None:
            decision = self._decide(base, job.rule, job.ratio)
            filters = {name: len(kept) for name, kept in decision.layers.items()}
            if job.compensate == "none":
                model = prune(base, decision)
            else:
                how: Any = prune
                model = how(base, decision, compensate=job.compensate, batches=self.batches)
        pruned = time.perf_counter() - start
        sizes = report(base, model, self.inputs, latency=False)
        before = self.measure(model, job.seed)
        after, best_epoch, seconds, energy = None, None, 0.0, None
        if self.options is not None:
            result = fine_tune(
                model,
                self.train,
                self.valid,
                **self.options,
                metric=self.metric,
                output=self.output,
                seed=job.seed,
                checkpoint=None if store is None else store.checkpoint(job),
            )
            after = self.measure(result.model, job.seed)
            best_epoch, seconds, energy = result.best_epoch, result.seconds, result.energy
        return ComparisonRow(
            scorer=job.scorer,
            rule=rule_text(job),
            ratio=job.ratio,
            compensate=job.compensate,
            seed=job.seed,
            before=before,
            after=after,
            best_epoch=best_epoch,
            parameters=sizes.after.parameters,
            macs=sizes.after.macs,
            parameters_before=sizes.before.parameters,
            macs_before=sizes.before.macs,
            filters=filters,
            pruning_seconds=0.0 if job.rule is None else pruned,
            finetuning_seconds=seconds,
            energy=energy,
            model=found,
        )

    def _decide(self, model: nn.Module, scorer: str | Scorer, ratio: float | None) -> PruningPlan:
        self._planned = True
        return plan(
            model,
            self.inputs,
            scorer=scorer,
            ratio=ratio,
            keep=self._kept(model),
            round_to=self.round_to,
        )

    def measure(self, model: nn.Module, seed: int) -> dict[str, dict[str, float]]:
        """Every metric on the validation and test data."""
        seed_everything(stream_seed(seed, 0, VALID))
        objective = Objective(model, self.task, output=self.output, metric=self.metric)
        return {
            name: objective.evaluate(model, data, self.batch_size)
            for name, data in self.data.items()
        }

    def _kept(self, model: nn.Module) -> list[str]:
        """What to leave whole: `keep`, and every convolution outside of `layers`."""
        if self.layers is None:
            return self.keep
        names = [name for name, each in model.named_modules() if isinstance(each, CONVOLUTIONS)]
        chosen: set[str] = set()
        for layer in self.layers:
            within = {name for name in names if name == layer or name.startswith(f"{layer}.")}
            if not within:
                raise ValueError(f"layers: {layer!r} is no convolution and holds none")
            chosen |= within
        return [*self.keep, *(name for name in names if name not in chosen)]


def _decides_the_count(rule: Scorer) -> bool:
    """Whether a scorer says itself how many filters to remove."""
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    return rule.score(weight).count is not None


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


def _plain(value: Any, name: str, unknown: list[str]) -> Any:
    """An option as JSON holds it."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return list(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return described(value, name, unknown)


def _distinct(name: str, values: Any, kind: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence; got {values!r}")
    found = list(values)
    if not found:
        raise ValueError(f"{name} must hold at least one; got none")
    fits = {int: numbers.Integral, float: numbers.Real, str: str}[kind]  # NumPy's numbers too
    for value in found:
        if not isinstance(value, fits) or isinstance(value, bool):
            raise TypeError(f"{name} holds {value!r}, a {type(value).__name__}")
    found = [kind(value) for value in found]
    if len(set(found)) != len(found):
        raise ValueError(f"{name} must not hold one twice; got {found}")
    return found

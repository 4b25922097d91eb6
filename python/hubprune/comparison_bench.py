# SPDX-License-Identifier: MIT
"""The bench of a comparison: one base network a seed, pruned, fine-tuned and measured alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import nn

from .arguments import check_choice, shape_text
from .checkpointing import fingerprint
from .comparison_result import ComparisonRow
from .comparison_store import Job, Store, rule_text
from .description import CONTENTS, described, plain_value
from .finetuning import FineTuned
from .finetuning import finetune as fine_tune
from .layer_kinds import CONVOLUTIONS
from .model_runs import ExampleInputs, check_example_inputs, check_model, tensors_of
from .objective import METRICS, Objective
from .planning import plan
from .planning.pruning_plan import PruningPlan
from .report import report
from .scorers import Scorer
from .surgery import prune
from .training_data import GLOBAL, VALID, Examples, preserved_rng, seed_everything, stream_seed

__all__ = ["Bench", "Models"]

Models = nn.Module | Callable[[int], nn.Module]


class Bench:
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
        stored: bool,
    ) -> None:
        if isinstance(model, nn.Module):
            check_model(model, filled=True)
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
        _check_examples(known, example_inputs)
        self.task = known[0].task
        if metric is not None:
            check_choice(metric, METRICS[self.task], "metric")
        self.metric = metric or METRICS[self.task][0]
        self.unknown: list[str] = []  # what a stored comparison cannot be compared by
        self.configuration = self._configuration(known)
        self.contents = (
            {} if not stored else {each.name + CONTENTS: each.digest() for each in known}
        )
        self._planned = False
        self._base: tuple[int, nn.Module, str] | None = None
        self._expected: dict[int, str] = {}

    def _configuration(self, known: list[Examples]) -> dict[str, Any]:
        """What decides the rows, beside the grid, as JSON holds it."""
        options = None if self.options is None else sorted(self.options.items())
        return {
            "model": fingerprint(self.model)
            if isinstance(self.model, nn.Module)
            else described(self.model, "model", self.unknown),
            "model_per_seed": not isinstance(self.model, nn.Module),
            "task": self.task,
            "metric": self.metric,
            "output": self.output,
            "finetune": None
            if options is None
            else {
                name: plain_value(each, f"finetune.{name}", self.unknown) for name, each in options
            },
            "layers": None if self.layers is None else sorted(self.layers),
            "keep": sorted(self.keep),
            "round_to": self.round_to,
            "examples": {each.name: each.count for each in known},
            "input_shape": list(self.data["valid"].input_shape),
            "example_inputs": [list(each.shape) for each in tensors_of(self.inputs)],
        }

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
                check_model(model, "model(seed)", filled=True)
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
        if job.rule is None and not self._planned:
            # Mistakes in `layers` and `keep` are told before anything is trained.
            self._decide(base, "l1", 0.5)
        start = time.perf_counter()
        model, filters = self._pruned(base, job)
        pruning_seconds = 0.0 if job.rule is None else time.perf_counter() - start
        sizes = report(base, model, self.inputs, latency=False)
        before = self.measure(model, job.seed)
        tuned = self._tuned(model, job, store)
        return ComparisonRow(
            scorer=job.scorer,
            rule=rule_text(job),
            ratio=job.ratio,
            compensate=job.compensate,
            seed=job.seed,
            before=before,
            after=None if tuned is None else self.measure(tuned.model, job.seed),
            best_epoch=None if tuned is None else tuned.best_epoch,
            parameters=sizes.after.parameters,
            macs=sizes.after.macs,
            parameters_before=sizes.before.parameters,
            macs_before=sizes.before.macs,
            filters=filters,
            pruning_seconds=pruning_seconds,
            finetuning_seconds=0.0 if tuned is None else tuned.seconds,
            energy=None if tuned is None else tuned.energy,
            model=found,
        )

    def _pruned(self, base: nn.Module, job: Job) -> tuple[nn.Module, dict[str, int]]:
        """The network of a job before fine-tuning, and the filters that each pruned layer keeps."""
        if job.rule is None:
            return base, {}
        decision = self._decide(base, job.rule, job.ratio)
        if job.compensate == "none":
            model = prune(base, decision)
        else:
            model = prune(base, decision, compensate=job.compensate, batches=self.batches)
        return model, {name: len(kept) for name, kept in decision.layers.items()}

    def _tuned(self, model: nn.Module, job: Job, store: Store | None) -> FineTuned | None:
        if self.options is None:
            return None
        return fine_tune(
            model,
            self.train,
            self.valid,
            **self.options,
            metric=self.metric,
            output=self.output,
            seed=job.seed,
            checkpoint=None if store is None else store.checkpoint(job),
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


def _check_examples(known: list[Examples], example_inputs: ExampleInputs) -> None:
    """Require targets of one kind, and inputs of as many axes as the model is called with."""
    if len({each.task for each in known}) > 1:
        raise ValueError("train, valid and test must have targets of one kind")
    if not isinstance(example_inputs, torch.Tensor):
        return
    shape = example_inputs.shape[1:]
    for each in known:
        if len(each.input_shape) != len(shape):
            raise ValueError(
                f"{each.name} must have inputs of as many axes as example_inputs, which are "
                f"{shape_text(shape)} for an example; got {shape_text(each.input_shape)}"
            )

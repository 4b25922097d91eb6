# SPDX-License-Identifier: MIT
"""The training loop of fine-tuning: an epoch is a function of the state before it and the seed."""

from __future__ import annotations

import fnmatch
import math
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .arguments import check_choice, check_count
from .checkpointing import fill, fingerprint, state_of
from .description import CONTENTS, described
from .energy import EnergyMeter
from .model_runs import check_model, device_of, duplicate
from .objective import LoneExampleError, Loss, Metric, Objective, fitting, run_batch
from .progress import Progress, progress_bar
from .training_data import (
    AUGMENT,
    GLOBAL,
    SHUFFLE,
    VALID,
    Examples,
    preserved_rng,
    seed_everything,
    stream_seed,
)
from .training_state import TrainingState

__all__ = ["Augment", "TrainingRun"]

SCHEDULES = ("cosine", "plateau", "constant")
_PLATEAU_EPOCHS, _PLATEAU_FACTOR = 3, 0.5

Augment = Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


class TrainingRun:
    """One fine-tuning: what it is of, and how to go an epoch further."""

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        valid: Any,
        *,
        seed: int,
        amp: bool | str | None,
        freeze: Collection[str],
        augment: Augment | None,
        energy: bool | str,
    ) -> None:
        check_model(model, filled=True)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1; got {seed!r}")
        if augment is not None and not callable(augment):
            raise TypeError(f"augment must be callable; got {type(augment).__name__}")
        self.seed, self.augment, self.energy_of = seed, augment, energy
        self.device = device_of(model)
        self.amp = _amp_dtype(amp, self.device)
        with preserved_rng():
            self.train = Examples(train, "train")
            self.valid = None if valid is None else Examples(valid, "valid")
        if self.valid is not None and self.valid.task != self.train.task:
            raise ValueError(
                f"train has targets of {self.train.task} and valid of {self.valid.task}: they "
                "must be alike"
            )
        self.model = duplicate(model)
        self.flags = [parameter.requires_grad for parameter in self.model.parameters()]
        self.modes = [module.training for module in self.model.modules()]
        self.frozen = _frozen_modules(self.model, freeze)
        for module in self.frozen:
            module.requires_grad_(False)
        self.trained = [each for each in self.model.parameters() if each.requires_grad]
        if not self.trained:
            raise ValueError(
                "model must have parameters to train: all are frozen or there are none"
            )
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and parameter.dtype not in (torch.float32, torch.float64):
                raise ValueError(
                    f"model must have its weights in float32 or float64; '{name}' is "
                    f"{parameter.dtype}: call model.float(), and use amp for mixed precision"
                )
        self.freeze = sorted({freeze} if isinstance(freeze, str) else freeze)
        self.checkpoint: Path | None = None
        self.contents: dict[str, str | None] = {}  # of the examples, beside the configuration

    def set_options(self, **options: Any) -> None:
        for name in ("epochs", "batch_size"):
            check_count(options[name], name)
        if options["patience"] is not None:
            check_count(options["patience"], "patience")
        check_count(options["warmup"], "warmup", least=0)
        for name, low, high in (("lr", 0.0, None), ("weight_decay", None, None)):
            _check_number(name, options[name], above=low, at_most=high)
        _check_number("fraction", options["fraction"], above=0.0, at_most=1.0)
        check_choice(options["schedule"], SCHEDULES, "schedule")
        if self.valid is None and (options["patience"] or options["schedule"] == "plateau"):
            raise ValueError("valid must not be None with patience or schedule='plateau'")
        if options["warmup"] >= options["epochs"] and options["warmup"]:
            raise ValueError(
                f"warmup must be less than epochs ({options['epochs']}); got {options['warmup']}"
            )
        self.options = options
        self.subset = self.train.subset(options["fraction"], self.seed)
        self.examples = self.train.count if self.subset is None else len(self.subset)
        self.steps = self.train.batch_count(options["batch_size"], self.examples)
        optimizer = torch.optim.Adam(
            self.trained, lr=options["lr"], weight_decay=options["weight_decay"]
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == torch.float16)
        self.state = TrainingState(self.model, optimizer, scaler, self.device)

    def set_objective(
        self, *, loss: Loss | None, metric: str | Metric | None, output: str | None
    ) -> None:
        self.objective = Objective(
            self.model, self.train.task, output=output, loss=loss, metric=metric
        )
        self.unknown: list[str] = []
        functions = {
            "loss": loss,
            "augment": self.augment,
            "metric_function": metric if callable(metric) else None,
        }
        self.configuration = {
            **self.options,
            "seed": self.seed,
            "task": self.train.task,
            "metric": self.objective.metric,
            "output": self.objective.declared,
            **{
                name: None if each is None else described(each, name, self.unknown)
                for name, each in functions.items()
            },
            "freeze": self.freeze,
            "amp": None if self.amp is None else str(self.amp).removeprefix("torch."),
            "energy": self.energy_of,
            "examples": self.examples,
            "valid_examples": None if self.valid is None else self.valid.count,
            "input_shape": list(self.train.input_shape),
            "loader": self.train.loader is not None,
            "model": fingerprint(self.model),
        }

    def open_checkpoint(self, path: Path, *, resume: bool) -> None:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: {path} must be a file in a folder that exists")
        self.checkpoint = path
        for name, examples in (("train", self.train), ("valid", self.valid)):
            self.contents[name + CONTENTS] = None if examples is None else examples.digest()
        if resume and path.exists():
            self.state.resume(path, {**self.configuration, **self.contents}, self.unknown)

    def finish(self, meter: EnergyMeter | None, progress: Progress | None) -> dict[str, Any]:
        """Run what is left of the epochs; give the entries of the result."""
        epochs = self.options["epochs"]
        stopped = self._stopped()
        total = epochs * (self.steps or 1)
        with ExitStack() as stack:
            stack.enter_context(preserved_rng())
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(_deterministic_convolutions())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))  # the caller's
            bar = stack.enter_context(progress_bar("fine-tuning", total))

            def report(done: int, text: str) -> None:
                bar(done)
                if progress is not None:
                    progress(done, total, text)

            if not self.state.history:
                self._judge({"epoch": 0, "lr": None, "train_loss": None}, time.perf_counter())
            while stopped is None:
                if meter is None:
                    self._advance(report)
                else:
                    with meter.measure(self.state.energy):
                        self._advance(report)
                if self.checkpoint is not None:
                    self.state.save(self.checkpoint, {**self.configuration, **self.contents})
                stopped = self._stopped()
        self._give_back()
        return self._result(stopped, meter)

    def _give_back(self) -> None:
        """Leave the model with its best weights, and with the flags and modes it came with."""
        fill(self.model, self.state.best)
        for parameter, flag in zip(self.model.parameters(), self.flags, strict=True):
            parameter.requires_grad_(flag)
            parameter.grad = None
        for module, training in zip(self.model.modules(), self.modes, strict=True):
            module.training = training

    def _result(self, stopped: str, meter: EnergyMeter | None) -> dict[str, Any]:
        state, metric = self.state, self.objective.metric
        chosen = state.history[state.best_epoch]["valid"]
        return {
            "model": self.model,
            "history": state.history,
            "metric": metric,
            "best_epoch": state.best_epoch,
            "best": None if chosen is None else chosen[metric],
            "stopped": stopped,
            "seconds": state.seconds,
            "energy": {**state.energy, "country": meter.country}
            if meter and state.energy
            else None,
            "configuration": self.configuration,
        }

    def _stopped(self) -> str | None:
        last = len(self.state.history) - 1
        if last >= self.options["epochs"]:
            return "all epochs"
        patience = self.options["patience"]
        return "patience" if patience and last - self.state.best_epoch >= patience else None

    def _advance(self, report: Callable[[int, str], None]) -> None:
        """Train one epoch more, measure it, and keep its weights if they are the best."""
        start = time.perf_counter()
        epoch = len(self.state.history)
        seed_everything(stream_seed(self.seed, epoch, GLOBAL))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, AUGMENT))
        self.model.train()
        for module in self.frozen:
            module.eval()
        lone, left_out = 0, None
        total, seen, rate, before = 0.0, 0, 0.0, (epoch - 1) * (self.steps or 1)
        for number, (inputs, targets) in enumerate(self._batches(epoch), start=1):
            rate = self._rate(epoch, number)
            for group in self.state.optimizer.param_groups:
                group["lr"] = rate
            value = self._step_unless_lone(inputs, targets, generator)
            if isinstance(value, LoneExampleError):
                lone, left_out = lone + 1, value
                if seen == 0 and lone > 1:  # not a leftover: all batches are such
                    raise value
                continue
            if not math.isfinite(value):
                raise RuntimeError(
                    f"the loss is {value} in epoch {epoch}, batch {number} of "
                    f"{self.steps or 'unknown'}: try a lower lr (now {rate:.3g}), and look for "
                    "non-finite training inputs"
                )
            total += value * len(targets)
            seen += len(targets)
            report(before + number if self.steps else epoch, f"epoch {epoch}")
        if not seen:
            raise left_out or ValueError(f"train gave no examples in epoch {epoch}")
        if left_out is not None and epoch == 1:
            batches = "batch is" if lone == 1 else "batches are"
            warnings.warn(
                f"{left_out}; {lone} such {batches} left out of every epoch", stacklevel=4
            )
        self._judge({"epoch": epoch, "lr": rate, "train_loss": total / seen}, start)

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        seed = stream_seed(self.seed, epoch, SHUFFLE)
        order: Sequence[int] | None = None
        if self.train.loader is None:
            generator = torch.Generator().manual_seed(seed)
            count = self.examples or 0
            order = torch.randperm(count, generator=generator, device="cpu").tolist()
            if self.subset is not None:
                order = [self.subset[index] for index in order]
        return self.train.batches(self.options["batch_size"], order, loader_seed=seed)

    def _step_unless_lone(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> float | LoneExampleError:
        """Take a step and return its loss, or why a batch of one example cannot be trained on."""
        inputs = fitting(inputs.to(self.device), self.model)
        # What the layers before the one that fails have counted is taken back.
        counted = [each.clone() for each in self.model.buffers()] if len(inputs) == 1 else []
        try:
            return self._step(inputs, targets.to(self.device), generator)
        except LoneExampleError as error:
            for buffer, before in zip(self.model.buffers(), counted, strict=False):
                buffer.copy_(before)
            return error

    def _step(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> float:
        if self.augment is not None:
            inputs, targets = _augmented(self.augment(inputs, targets, generator))
        self.state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            output = run_batch(self.model, inputs, "train")
        loss = self.objective.loss(output, targets, "train")
        value = float(loss.detach())
        if math.isfinite(value):
            self.state.scaler.scale(loss).backward()
            with torch.device("cpu"):  # where torch 2.11 counts steps whatever the default device
                self.state.scaler.step(self.state.optimizer)
            self.state.scaler.update()
        return value

    def _rate(self, epoch: int, number: int) -> float:
        """The learning rate of a step, a function of the history and of where the step is."""
        options = self.options
        # Epochs completed, with the part of this one; of unknown length: whole epochs.
        within = (number - 1) / self.steps if self.steps else 0.0
        done, warmup = epoch - 1 + within, options["warmup"]
        if done < warmup:
            step = 1 / self.steps if self.steps else 1.0
            return float(options["lr"] * min(1.0, (done + step) / warmup))
        if options["schedule"] == "cosine":
            part = (done - warmup) / (options["epochs"] - warmup)
            return float(options["lr"] * 0.5 * (1 + math.cos(math.pi * part)))
        if options["schedule"] == "plateau":
            return float(options["lr"] * _PLATEAU_FACTOR ** self._plateaus())
        return float(options["lr"])

    def _plateaus(self) -> int:
        """How often the metric has stood still for `_PLATEAU_EPOCHS` epochs."""
        best: float | None = None
        still = found = 0
        for record in self.state.history:
            value = record["valid"][self.objective.metric]
            if best is None or self.objective.better(value, best):
                best, still = value, 0
            elif (still := still + 1) == _PLATEAU_EPOCHS:
                found, still = found + 1, 0
        return found

    def _judge(self, record: dict[str, Any], start: float) -> None:
        metrics = None
        epoch = record["epoch"]
        if self.valid is not None:
            seed_everything(stream_seed(self.seed, 0, VALID))  # the same after every epoch
            try:
                metrics = self.objective.evaluate(
                    self.model, self.valid, self.options["batch_size"]
                )
            except RuntimeError as error:
                raise RuntimeError(f"after epoch {epoch}: {error}") from error
        else:
            for name, parameter in self.model.named_parameters():
                if not bool(parameter.isfinite().all()):
                    raise RuntimeError(
                        f"'{name}' is not finite after epoch {epoch}: try a lower lr"
                    )
        metric = self.objective.metric
        best = self.state.history[self.state.best_epoch]["valid"] if self.state.history else None
        if metrics is None or best is None or self.objective.better(metrics[metric], best[metric]):
            self.state.best, self.state.best_epoch = state_of(self.model), epoch
        seconds = time.perf_counter() - start
        self.state.history.append({**record, "valid": metrics, "seconds": seconds})
        self.state.seconds += seconds


def _augmented(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What `augment` gave, if it is a batch."""
    tensors = isinstance(batch, tuple | list) and all(isinstance(x, torch.Tensor) for x in batch)
    if not tensors or len(batch) != 2 or len(batch[0]) != len(batch[1]):
        raise TypeError("augment must return two tensors of one length, inputs and targets")
    return batch[0], batch[1]


def _frozen_modules(model: nn.Module, freeze: Collection[str]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for pattern in [freeze] if isinstance(freeze, str) else freeze:
        if not isinstance(pattern, str):
            raise TypeError(f"freeze must hold strings; got {type(pattern).__name__}")
        matched = [
            module
            for name, module in model.named_modules()
            if name and fnmatch.fnmatchcase(name, pattern)
        ]
        if not matched:
            raise ValueError(f"freeze: no module of the model is called {pattern!r}")
        found += matched
    return found


def _amp_dtype(amp: bool | str | None, device: torch.device) -> torch.dtype | None:
    if amp is None:
        return torch.bfloat16 if device.type == "cuda" else None
    if isinstance(amp, bool):
        return torch.bfloat16 if amp else None
    check_choice(amp, ("bfloat16", "float16"), "amp")
    if amp == "float16" and device.type != "cuda":
        raise ValueError(f"amp must be 'bfloat16' or a bool on {device.type}; got 'float16'")
    return torch.bfloat16 if amp == "bfloat16" else torch.float16


@contextmanager
def _deterministic_convolutions() -> Iterator[None]:
    """Ask cuDNN for the same bits every time."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _check_number(name: str, value: Any, *, above: float | None, at_most: float | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number; got {type(value).__name__}")
    low = value > above if above is not None else value >= 0
    if not math.isfinite(value) or not low or (at_most is not None and value > at_most):
        text = "at least 0" if above is None else f"above {above:g}"
        text += "" if at_most is None else f" and at most {at_most:g}"
        raise ValueError(f"{name} must be {text}; got {value}")

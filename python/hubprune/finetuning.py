# SPDX-License-Identifier: MIT
"""Fine-tuning of a pruned network, exactly repeatable, and its evaluation.

Every random decision is a function of the seed and the epoch: a run that was killed and is started
again ends with the bits of one that was not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .arguments import check_choice, check_count
from .augmentation import Mixup, SpecAugment
from .checkpointing import fill, read_file, state_of, take_dtypes, write_file
from .energy import EnergyMeter
from .json_numbers import all_numbers, all_writable
from .model_runs import check_model
from .objective import Loss, Metric, Objective
from .progress import Progress
from .tables import text_table
from .training import Augment, TrainingRun
from .training_data import Examples, preserved_rng

__all__ = ["FineTuned", "Mixup", "SpecAugment", "evaluate", "finetune"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class FineTuned:
    """What `finetune` made; prints as what `explain` says.

    Attributes
    ----------
    model : torch.nn.Module
        The fine-tuned copy with its best weights, in the mode and on the device of the model that
        was given.
    history : list of dict
        A record per epoch: ``epoch``, ``lr`` at its end, ``train_loss`` (mean over the examples),
        ``valid`` (metrics, or None without validation data) and ``seconds``. The record of epoch 0
        is the model as it came: no ``lr`` and no ``train_loss``.
    metric : str
        What decided which weights are best.
    best_epoch : int
        Whose weights `model` has; 0: no epoch was better than the model as it came.
    best : float or None
        The metric's value there; None without validation data, where the last epoch is taken.
    stopped : str
        Why it ended: "all epochs" or "patience".
    seconds : float
        Spent in this run, and in the interrupted runs that it resumed.
    energy : dict or None
        ``kwh``, ``kg_co2`` and ``country``, if it was measured.
    configuration : dict
        The options, JSON-able.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    metric: str
    best_epoch: int
    best: float | None
    stopped: str
    seconds: float
    energy: dict[str, Any] | None
    configuration: dict[str, Any]

    def __repr__(self) -> str:
        value = "" if self.best is None else f", {self.metric} {self.best:.4f}"
        run = len(self.history) - 1
        return f"<FineTuned: epoch {self.best_epoch} of {run}{value}>"

    def __str__(self) -> str:
        return self.explain()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the model, as JSON-able values; "Infinity" and "NaN" are texts."""
        content = {
            "metric": self.metric,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "energy": self.energy,
            "configuration": self.configuration,
            "history": self.history,
        }
        return {name: all_writable(each) for name, each in content.items()}

    def explain(self) -> str:
        """Tell what was done and what came of it, with a line per epoch."""
        options = self.configuration
        first = self.history[0]["valid"]
        before = "" if first is None else f", {first[self.metric]:.4f} before"
        value = "" if self.best is None else f" ({self.metric} {self.best:.4f}{before})"
        batches = "the loader" if options.get("loader") else options["batch_size"]
        examples = "unknown" if options["examples"] is None else options["examples"]
        lines = [
            f"best weights: epoch {self.best_epoch} of {len(self.history) - 1} run{value}; "
            f"ended by {self.stopped}; {self.seconds:.1f} s",
            f"Adam, lr {options['lr']:g} {options['schedule']}, weight decay "
            f"{options['weight_decay']:g}, batches of {batches}, "
            f"{examples} training examples, seed {options['seed']}, "
            f"{options['amp'] or 'no mixed precision'}",
        ]
        if self.energy is not None:
            lines.append(
                f"energy: {self.energy['kwh']:.3g} kWh, {self.energy['kg_co2']:.3g} kg CO2 "
                f"({self.energy['country']}; codecarbon's estimate)"
            )
        names = list(first or ())
        rows = [
            [
                str(record["epoch"]) + (" *" if record["epoch"] == self.best_epoch else ""),
                "-" if record["lr"] is None else f"{record['lr']:.3g}",
                "-" if record["train_loss"] is None else f"{record['train_loss']:.4f}",
                *(_digits(record["valid"].get(name)) for name in names),
            ]
            for record in self.history
        ]
        return "\n".join([*lines, text_table(["epoch", "lr", "train loss", *names], rows)])

    def save(self, path: StrPath) -> None:
        """Save everything as one safetensors file; an older one is replaced in one step.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        write_file(path, state_of(self.model), {"format": "fine-tuned 1", **self.to_dict()})

    @classmethod
    def load(cls, factory: Callable[[], nn.Module], path: StrPath) -> FineTuned:
        """Load what `save` has written, in the dtypes it was saved in.

        Parameters
        ----------
        factory : callable
            Builds the architecture, such as ``lambda: hubprune.prune(Cnn14(), plan)``.
        path : str or os.PathLike
            The file.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is another file, or does not fit the architecture.
        """
        tensors, values = read_file(path)
        if values.get("format") != "fine-tuned 1":
            raise ValueError(f"{os.fspath(path)} holds no fine-tuned model")
        del values["format"]
        values |= {name: all_numbers(values[name]) for name in ("best", "history")}
        model = factory()
        take_dtypes(model, tensors)
        try:
            fill(model, tensors)
        except RuntimeError as error:
            raise ValueError(f"{os.fspath(path)} does not fit the model: {error}") from error
        return cls(model=model, **values)


def finetune(
    model: nn.Module,
    train: Any,
    valid: Any,
    *,
    epochs: int = 30,
    batch_size: int = 32,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    warmup: int = 0,
    patience: int | None = None,
    loss: Loss | None = None,
    metric: str | Metric | None = None,
    output: str | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    checkpoint: StrPath | None = None,
    resume: bool = True,
    amp: bool | str | None = None,
    energy: bool | str = False,
    freeze: Collection[str] = (),
    augment: Augment | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Train a copy of a model on, with Adam, and keep the best weights. The model is not touched.

    Parameters
    ----------
    model : torch.nn.Module
        Pruned or not, on any device; floating-point parameters in float32 or float64.
    train, valid : Dataset, (inputs, targets) or DataLoader
        Labelled examples: a data set of (input, target) pairs; two tensors or arrays; or a loader,
        which decides batches and order itself. Integer targets are classes (cross-entropy), float
        or boolean targets of shape (k,) are tags (binary cross-entropy). Floating-point inputs are
        given to the model in the dtype of its parameters, integers as they are. `valid` may be
        None: then the weights of the last epoch count.
    epochs : int, default 30
        Passes over the training examples.
    batch_size : int, default 32
        Examples a step. A last batch of one example joins the one before; a loader's is left out,
        with a warning, where batch normalisation cannot learn from it.
    lr : float, default 1e-3
        Adam's learning rate, at its peak.
    weight_decay : float, default 0
        Adam's L2 penalty.
    schedule : {"cosine", "plateau", "constant"}
        The learning rate: half a cosine to 0 over all steps; halved after every 3 epochs without a
        better validation metric; or as it is.
    warmup : int, default 0
        Epochs in which the learning rate first rises linearly from 0, step by step.
    patience : int or None
        End after this many epochs without a better validation metric.
    loss : callable (output, targets), optional
        Gives a tensor with the mean loss, instead of the task's own; takes what the model returns.
        With a `metric` of the caller's own too, that may be anything, such as a tuple of tensors:
        the metric gets it in the same form, for all examples. Float targets may then be any
        numbers; of the metrics below only those remain that outputs and targets define.
    metric : str or callable (scores, targets), optional
        What is best: "accuracy", "log_loss" (lower is better), "mean_average_precision", "roc_auc",
        "d_prime", or a function, higher being better. Default: accuracy, or mean average precision.
    output : {"logits", "probabilities"}, optional
        What the model returns. Default: see `hubprune.objective.Objective`; a tensor is logits
        unless the model is known to return probabilities.
    fraction : float, default 1
        Part of the training examples to use, in (0, 1]: a seeded choice, by class for classes.
    seed : int, default 0
        Decides the order of the examples, dropout, augmentation and `fraction`.
    checkpoint : str or os.PathLike, optional
        A safetensors file that holds the state after each epoch, replaced in one step. The same
        call with the same file goes on where it stopped, or returns what was finished. It holds
        four times the model's weights.
    resume : bool, default True
        False: ignore and replace a checkpoint that is there.
    amp : bool or {"bfloat16", "float16"}, optional
        Mixed precision of the training steps. Default: bfloat16 on CUDA, none on the CPU. float16
        scales the loss, and is for CUDA alone.
    energy : bool or str, default False
        Estimate the energy with codecarbon (offline); a country's ISO code, such as "GBR", for its
        emissions instead of the world's average.
    freeze : collection of str
        Names of modules, or patterns (``"conv_block1*"``), whose parameters, batch normalisation
        statistics and dropout stay as they are.
    augment : callable (inputs, targets, generator), optional
        Gives the inputs and targets to train on; on the model's device, the generator on the CPU.
        `Mixup` and `SpecAugment` are two.
    progress : callable (done, total, text), optional
        Called after each step. Default: a bar on a terminal.

    Returns
    -------
    FineTuned
        The new model, its history, the best epoch, time and energy.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; the message says which and what came. Also if the checkpoint is of
        another model or other options: it says what differs.
    RuntimeError
        If the loss is not finite (epoch and batch are named), or the model computes NaN.
    ImportError
        If `energy` is asked for and codecarbon is not installed.
    OSError
        If the checkpoint cannot be written; FileNotFoundError where its folder does not exist.

    Notes
    -----
    The same call gives the same bits on the same machine with the same number of threads; on CUDA
    cuDNN runs its deterministic kernels, and what has none in PyTorch is as repeatable as PyTorch.
    A data set that draws random numbers must take them from the global generators of Python, NumPy
    or torch: they are seeded for each epoch, and put back afterwards. (The workers of a loader with
    ``persistent_workers=True`` keep generators of their own from epoch to epoch: with random data a
    resumed run differs there.)
    Of the data a checkpoint knows length and shape, and a sample: 16 inputs, with all targets where
    arrays were given. Of a loader, and of a data set with a random state of its own, it does not
    notice other data of the same shape. Of a loss, an augmentation or a metric of the caller's own
    it notices other code, defaults, attributes, weights, and values from outside that it reads; a
    warning names what it cannot tell (an open file, a lock). A metric that does not get strictly
    better leaves the earlier weights the best.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> x, y = torch.randn(64, 4), torch.arange(64) % 2
    >>> x[:, 0] += 4 * y
    >>> tuned = hp.finetune(torch.nn.Linear(4, 2), (x, y), (x, y), epochs=20, lr=0.1)
    >>> tuned.best > 0.9
    True
    """
    if not isinstance(energy, bool | str):
        raise TypeError(f"energy must be a bool or a country's code; got {energy!r}")
    run = TrainingRun(
        model, train, valid, seed=seed, amp=amp, freeze=freeze, augment=augment, energy=energy
    )
    run.set_options(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        patience=patience,
        fraction=fraction,
    )
    run.set_objective(loss=loss, metric=metric, output=output)
    meter = None if energy is False else EnergyMeter(None if energy is True else energy)
    try:
        if checkpoint is not None:
            run.open_checkpoint(Path(checkpoint), resume=resume)
        return FineTuned(**run.finish(meter, progress))
    finally:
        if meter is not None:
            meter.close()


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def evaluate(
    model: nn.Module,
    data: Any,
    *,
    batch_size: int = 32,
    task: str | None = None,
    output: str | None = None,
) -> dict[str, float]:
    """Measure a model on labelled examples, in evaluation mode and full precision.

    Parameters
    ----------
    model : torch.nn.Module
        On any device, in any mode.
    data : Dataset, (inputs, targets) or DataLoader
        As in `finetune`.
    batch_size : int, default 32
        Examples a forward pass.
    task : {"classes", "tags"}, optional
        What the targets must be; default: what they are.
    output : {"logits", "probabilities"}, optional
        What the model returns, as in `finetune`.

    Returns
    -------
    dict of str to float
        For classes ``accuracy`` and ``log_loss`` (nats); for tags ``mean_average_precision``,
        ``roc_auc``, ``d_prime`` (infinite where the area is 1) and ``log_loss`` (mean over tags). A
        metric that the targets do not define is left out, and so is the log loss of independent
        sigmoids over classes (PANNs).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or output and targets do not fit.
    RuntimeError
        If the model computes NaN.
    """
    check_model(model, filled=True, quantised=True)
    check_count(batch_size, "batch_size")
    with preserved_rng():
        examples = Examples(data, "data")
        if task is not None and task != examples.task:
            check_choice(task, ("classes", "tags"), "task")
            raise ValueError(f"data has targets of {examples.task}; task is {task!r}")
        return Objective(model, examples.task, output=output).evaluate(model, examples, batch_size)

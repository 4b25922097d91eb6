# SPDX-License-Identifier: MIT
"""What a network's output means, and the loss and the metrics that fit it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import metrics
from .arguments import check_choice, compute_dtype, shape_text
from .model_runs import device_of, evaluating, first_line, tensors_of
from .training_data import Examples

__all__ = ["METRICS", "LoneExampleError", "Objective", "Predictions", "fitting", "run_batch"]

Metric = Callable[[torch.Tensor, torch.Tensor], float]
Loss = Callable[[Any, torch.Tensor], torch.Tensor]

#: Entries of a dict that are understood, in order of preference, and what they hold. PANNs gives
#: independent sigmoids, which are no distribution over classes.
_KNOWN_ENTRIES = {
    "logits": "logits",
    "clipwise_output": "sigmoids",
    "probabilities": "probabilities",
}
#: Names of the metrics by task; the first is the default.
METRICS = {
    "classes": ("accuracy", "log_loss"),
    "tags": ("mean_average_precision", "roc_auc", "d_prime", "log_loss"),
}
#: How to go on where that is not so.
_OWN_HINT = " (with a loss and a metric of your own it may return anything)"


class Predictions:
    """Scores and targets of a whole data set, on the CPU.

    `scores` are what the model returns where `output` is "own", for a metric of the user's own.
    """

    def __init__(self, scores: Any, targets: torch.Tensor, output: str) -> None:
        self.scores, self.targets, self.output = scores, targets, output


class Objective:
    """The loss and the metrics of a task.

    Parameters
    ----------
    model : torch.nn.Module
        Its class may say what it returns: ``output_kind = "logits"`` or ``"probabilities"``.
    task : {"classes", "tags"}
        One class of many, or independent tags.
    output : {"logits", "probabilities"} or None
        What the network returns. None: what its class says; probabilities where it is an
        `nn.Sequential` that ends in a softmax or sigmoid; of a dict the entry "logits",
        "clipwise_output" (independent probabilities, as in PANNs) or "probabilities"; else logits.
    loss : callable (output, targets) or None
        Instead of (binary) cross-entropy; takes what the model returns.
    metric : str, callable (scores, targets) or None
        What is best; callables: higher is better. None: accuracy, or mean average precision.
    """

    def __init__(
        self,
        model: nn.Module,
        task: str,
        *,
        output: str | None = None,
        loss: Loss | None = None,
        metric: str | Metric | None = None,
    ) -> None:
        check_choice(task, METRICS, "task")
        if output is not None:
            check_choice(output, ("logits", "probabilities"), "output")
        if loss is not None and not callable(loss):
            raise TypeError(f"loss must be callable (output, targets); got {type(loss).__name__}")
        if metric is None:
            metric = METRICS[task][0]
        elif isinstance(metric, str):
            check_choice(metric, METRICS[task], "metric")
        elif not callable(metric):
            raise TypeError(
                f"metric must be a name or callable (scores, targets); got {type(metric).__name__}"
            )
        self.task = task
        self.declared = output or _declared_output(model)
        self._explicit = output is not None
        self._loss = loss
        self._own: Metric | None = None if isinstance(metric, str) else metric
        self.metric = metric if isinstance(metric, str) else _callable_name(metric)
        self.lower_is_better = self._own is None and metric == "log_loss"

    def better(self, value: float, best: float) -> bool:
        """Whether a value of the metric is strictly better."""
        return value < best if self.lower_is_better else value > best

    def scores(
        self, output: Any, targets: torch.Tensor, data: str = "data"
    ) -> tuple[torch.Tensor, str]:
        """The scores (batch, k) in a network's output, and whether they are probabilities.

        `data` is the argument that holds the targets, for the messages.
        """
        kind = self.declared or "logits"
        if isinstance(output, Mapping):
            found = next((key for key in _KNOWN_ENTRIES if key in output), None)
            if found is None:
                raise TypeError(
                    "model must return a tensor or a dict with one of "
                    f"{', '.join(map(repr, _KNOWN_ENTRIES))}; got a dict with "
                    f"{', '.join(map(repr, output)) or 'nothing'}{_OWN_HINT}"
                )
            # What a class says of itself is about tensors; an entry's name is more exact.
            kind = kind if self._explicit else _KNOWN_ENTRIES[found]
            output = output[found]
        if not isinstance(output, torch.Tensor):
            raise TypeError(
                f"model must return a tensor or a dict of tensors; got {type(output).__name__}"
                f"{_OWN_HINT}"
            )
        if output.ndim != 2 or len(output) != len(targets):
            raise ValueError(
                f"model must return scores of shape ({len(targets)}, classes) for that many "
                f"examples; got shape {shape_text(output.shape)}"
            )
        if targets.ndim == 2:
            if targets.shape != output.shape:
                raise ValueError(
                    f"{data}: targets have shape {shape_text(targets.shape)}, the model's scores "
                    f"{shape_text(output.shape)}: they must agree"
                )
            low, high = float(targets.min()), float(targets.max())
            if not (low >= -1e-6 and high <= 1 + 1e-6):  # what mixing may round to
                raise ValueError(
                    f"{data}: targets must be probabilities in [0, 1]; got values from {low:.4g} "
                    f"to {high:.4g}"
                )
        elif len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= output.shape[1]):
            raise ValueError(
                f"{data}: targets must be classes in [0, {output.shape[1]}), as the model has "
                f"outputs; got values from {int(targets.min())} to {int(targets.max())}"
            )
        return output, kind

    def loss(self, output: Any, targets: torch.Tensor, data: str = "data") -> torch.Tensor:
        """The mean loss of a batch, in float32 or wider; targets of classes may be soft."""
        if self._loss is not None:
            value = self._loss(output, targets)
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise TypeError("loss must return a tensor with one value")
            if not value.requires_grad:
                raise ValueError("loss must depend on what the model returns: it has no gradient")
            return value.reshape(())
        scores, kind = self.scores(output, targets, data)
        scores = scores.to(compute_dtype(scores))
        if kind == "logits":
            if self.task == "classes":
                return F.cross_entropy(scores, targets)
            return F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype))
        if self.task == "classes" and kind == "sigmoids" and targets.ndim == 1:
            targets = F.one_hot(targets, scores.shape[1])  # each class against the rest
        if self.task == "tags" or kind == "sigmoids":
            return F.binary_cross_entropy(scores, targets.to(scores.dtype))
        # Keras's rule: probabilities away from 0, so that a certain mistake has a gradient.
        logs = scores.clamp(1e-7, 1.0).log()
        if targets.ndim == 2:
            return -(targets.to(logs.dtype) * logs).sum(1).mean()
        return F.nll_loss(logs, targets)

    def predict(self, model: nn.Module, data: Examples, batch_size: int) -> Predictions:
        """Run a model over a data set, in evaluation mode and full precision.

        Raises
        ------
        RuntimeError
            If it computes NaN; the example is named.
        """
        device = device_of(model)
        rows: list[Any] = []
        labels: list[torch.Tensor] = []
        kind, seen = "logits", 0
        free = self._loss is not None and self._own is not None
        with (
            evaluating(model),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            for inputs, targets in data.batches(batch_size):
                output = run_batch(model, fitting(inputs.to(device), model), data.name)
                if free and not _has_known_entry(output):
                    kind, scores = "own", _on_cpu(output)
                else:
                    scores, kind = self.scores(output, targets, data.name)
                    scores = scores.to(compute_dtype(scores)).cpu()
                bad = _first_nan(scores, len(targets))
                if bad is not None:
                    finite = bool(inputs[bad].isfinite().all()) if bad < len(inputs) else True
                    because = "" if finite else ", which is not finite itself"
                    raise RuntimeError(
                        f"the model computes NaN on example {seen + bad} of {data.name}{because}"
                    )
                rows.append(scores)
                labels.append(targets.cpu())
                seen += len(targets)
        found, known = _joined(rows), torch.cat(labels)
        if kind == "own" and _are_scores(found, known):
            kind = self.declared or "logits"
            found = found.to(compute_dtype(found))
        return Predictions(found, known, kind)

    def evaluate(self, model: nn.Module, data: Examples, batch_size: int) -> dict[str, float]:
        """Every metric of the task that the targets define.

        Raises
        ------
        ValueError
            If the targets do not define the metric that decides, or the output is not what it was
            taken for.
        RuntimeError
            If the model computes NaN.
        """
        found = self.predict(model, data, batch_size)
        if found.output == "logits" and not (self._explicit or self._loss):
            _look_like_logits(found.scores, self.task)
        try:
            return self._measured(found)
        except ValueError as error:
            raise ValueError(f"{data.name}: {error}") from error

    def _measured(self, found: Predictions) -> dict[str, float]:
        scores, targets = found.scores, found.targets
        result: dict[str, float] = {}
        if found.output == "own":
            pass  # what only the user's metric can read
        elif self.task == "classes":
            result["accuracy"] = metrics.accuracy(scores, targets)
        else:
            for name, each in (
                ("mean_average_precision", metrics.average_precision(scores, targets)),
                ("roc_auc", metrics.roc_auc_per_class(scores, targets)),
            ):
                # Without positives in any class (or negatives): not defined, so not in the result.
                if not np.isnan(each).all():
                    result[name] = float(np.nanmean(each))
            if "roc_auc" in result:
                result["d_prime"] = metrics.d_prime_of(result["roc_auc"])
        # Sigmoids are no distribution over classes, and what a loss of the user's own trains may
        # be no likelihood.
        if self._loss is None and not (self.task == "classes" and found.output == "sigmoids"):
            output = "logits" if found.output == "logits" else "probabilities"
            result["log_loss"] = metrics.log_loss(scores, targets, output=output)
        if self._own is not None:
            result[self.metric] = float(self._own(scores, targets))
        if self.metric not in result:
            raise ValueError(
                f"metric {self.metric} is not defined on it: no class has the positives "
                "and negatives it needs, or the outputs are no distribution"
            )
        # Perfect separation is an infinite d', and no mistake.
        if self.metric != "d_prime" and not abs(result[self.metric]) < float("inf"):
            raise ValueError(f"metric {self.metric} must be finite; got {result[self.metric]}")
        return result


def fitting(inputs: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Floating-point inputs in the dtype of the model's parameters, if they all have one."""
    dtypes = {each.dtype for each in model.parameters() if each.is_floating_point()}
    if not inputs.is_floating_point() or len(dtypes) != 1 or inputs.dtype in dtypes:
        return inputs
    return inputs.to(dtypes.pop())


def _has_known_entry(output: Any) -> bool:
    return isinstance(output, Mapping) and any(key in output for key in _KNOWN_ENTRIES)


def _are_scores(output: Any, targets: torch.Tensor) -> bool:
    """Whether what a model returns for all examples can be scores of these targets."""
    if not isinstance(output, torch.Tensor) or not output.is_floating_point() or output.ndim != 2:
        return False
    if targets.ndim == 2:
        return targets.shape == output.shape and bool(((targets == 0) | (targets == 1)).all())
    in_range = (targets >= 0) & (targets < output.shape[1])
    return len(output) == len(targets) and bool(in_range.all())


def _on_cpu(output: Any) -> Any:
    """A model's output, its tensors on the CPU."""
    if isinstance(output, torch.Tensor):
        return output.cpu()
    if isinstance(output, Mapping):
        return {name: _on_cpu(each) for name, each in output.items()}
    if isinstance(output, list | tuple):
        return tuple(map(_on_cpu, output))
    return output


def _joined(outputs: list[Any]) -> Any:
    """The outputs of all batches as one: tensors one after another, within tuples and dicts."""
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        if first.ndim == 0:
            return torch.stack(outputs)
        return torch.cat(outputs)
    if isinstance(first, dict):
        return {name: _joined([each[name] for each in outputs]) for name in first}
    if isinstance(first, tuple):
        return tuple(_joined(list(parts)) for parts in zip(*outputs, strict=True))
    return outputs


class LoneExampleError(ValueError):
    """A batch of one example, from which a layer cannot take the statistics it trains with."""


def run_batch(model: nn.Module, inputs: torch.Tensor, data: str) -> Any:
    """Call a model on a batch of the argument called `data`; say what is wrong with the inputs.

    Raises
    ------
    LoneExampleError
        If batch normalisation is trained on a single value of each channel.
    TypeError
        If the model fails on integers.
    ValueError
        If it fails on what the shape may be to blame for.
    """
    try:
        return model(inputs)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        told = f"{type(error).__name__}: {first_line(error)}"
        shape = shape_text(inputs.shape)
        kind = str(inputs.dtype).removeprefix("torch.")
        if "CUDA" in str(error) or "memory" in str(error):  # not the inputs' trouble
            raise
        if "Expected more than 1 value per channel" in str(error):
            raise LoneExampleError(
                f"{data} has a batch of one example, {shape}, from which batch normalisation "
                "cannot learn: use batches of two or more (drop_last=True in a DataLoader drops "
                "such a leftover)"
            ) from error
        if not inputs.is_floating_point():
            raise TypeError(
                f"{data} must have floating-point inputs for this model; got {kind}, with which it "
                f"fails ({told}): convert and scale them first"
            ) from error
        raise ValueError(
            f"{data}: the model fails on a batch of shape {shape}, {kind}"
            f"{_expected(model, inputs)} ({told})"
        ) from error


def _expected(model: nn.Module, inputs: torch.Tensor) -> str:
    """What a model's first layer takes, where the inputs have other axes, or in another order."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            break
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            axes = len(module.kernel_size) + 2
            last = inputs.ndim == axes and inputs.shape[-1] == module.in_channels
            last = last and inputs.shape[1] != module.in_channels
            if inputs.ndim == axes and not last:
                break
            sizes = ", ".join(["examples", str(module.in_channels), *["..."] * (axes - 2)])
            hint = "; add the channel axis: inputs[:, None]"
            hint = hint if inputs.ndim == axes - 1 and module.in_channels == 1 else ""
            hint = "; put the channels there: inputs.movedim(-1, 1)" if last else hint
            return f", whose first convolution '{name}' takes ({sizes}){hint}"
    return ""


def _first_nan(scores: Any, count: int) -> int | None:
    """The first example of a batch on which what the model returned, a tensor each, holds NaN."""
    for each in tensors_of(scores):
        if each.shape[:1] == (count,) and bool((bad := each.isnan()).any()):
            return int(bad.reshape(count, -1).any(1).nonzero()[0])
    return None


def _declared_output(model: nn.Module) -> str | None:
    kind = getattr(type(model), "output_kind", None)
    if kind in ("logits", "probabilities"):
        return str(kind)
    last = model
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    return "probabilities" if isinstance(last, nn.Softmax | nn.Sigmoid) else None


def _look_like_logits(scores: torch.Tensor, task: str) -> None:
    """Refuse a softmax taken for logits, and doubt a sigmoid."""
    if len(scores) < 2 or scores.shape[1] < 2 or bool((scores < 0).any() | (scores > 1).any()):
        return
    if task == "classes" and bool(((scores.sum(1) - 1).abs() < 1e-3).all()):
        raise ValueError(
            "the model's outputs sum to 1, as after a softmax, but were taken for logits: pass "
            "output='probabilities' (or output='logits' if they are)"
        )
    if task == "tags":
        warnings.warn(
            "all outputs are in [0, 1], as after a sigmoid, but are taken for logits: pass "
            "output='probabilities', or output='logits' if they are",
            stacklevel=2,
        )


def _callable_name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))

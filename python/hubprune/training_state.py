# SPDX-License-Identifier: MIT
"""What a fine-tuning has between two epochs, and the file that keeps it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpointing import fill, read_file, state_of, write_file
from .description import CONTENTS, differences
from .json_numbers import all_numbers

__all__ = ["OtherRunError", "TrainingState"]

#: The first format kept no more of a loss, an augmentation or a metric than its name.
_FORMAT, _FORMAT_OF_NAMES = "fine-tuning 2", "fine-tuning 1"


class OtherRunError(ValueError):
    """A checkpoint is of another run; `different` says in what."""

    def __init__(self, path: Path, different: list[str]) -> None:
        super().__init__(
            f"checkpoint: {path} is of another run: {'; '.join(different)}. Delete it, or pass "
            "resume=False, to start again; or choose another file"
        )
        self.different = different


class TrainingState:
    """The model, its optimizer, the epochs behind it and the best of them."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        device: torch.device,
    ) -> None:
        self.model, self.optimizer, self.scaler, self.device = model, optimizer, scaler, device
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch = 0
        self.seconds = 0.0
        self.energy: dict[str, float] = {}

    def save(self, path: Path, configuration: Mapping[str, Any]) -> None:
        """Write the file, in one step."""
        tensors = state_of(self.model, "model.")
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().contiguous()
        values = {
            "format": _FORMAT,
            "configuration": configuration,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "machine": _machine(self.device),
            "scaler": self.scaler.state_dict(),
            "seconds": self.seconds,
            "energy": self.energy,
        }
        write_file(path, tensors, values)

    def resume(self, path: Path, configuration: Mapping[str, Any], unknown: list[str]) -> None:
        """Go on with a file, if it is of the same run; `unknown`: what that cannot be known of."""
        tensors, values = read_file(path)
        if values.get("format") not in (_FORMAT, _FORMAT_OF_NAMES):
            raise ValueError(f"checkpoint: {path} holds no fine-tuning")
        if values["format"] == _FORMAT_OF_NAMES:
            _check_names(path, values["configuration"], configuration)
        different = differences(
            values["configuration"],
            configuration,
            later=["loader", "train" + CONTENTS, "valid" + CONTENTS],
        )
        if different:
            raise OtherRunError(path, different)
        if unknown:
            warnings.warn(
                f"checkpoint {path} is resumed, but whether {', '.join(unknown)} did not "
                "change since cannot be known: it is taken for the same",
                stacklevel=4,
            )
        changed = differences(values["machine"], _machine(self.device))
        if changed:
            warnings.warn(
                f"checkpoint {path} is resumed where {'; '.join(changed)}: the result may differ "
                "in its last bits from that of a run without interruption",
                stacklevel=4,
            )
        self._restore(tensors, values)

    def _restore(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        fill(self.model, _part(tensors, "model."))
        self.best = _part(tensors, "best.")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**state, "state": moments})
        self.scaler.load_state_dict(values["scaler"])
        self.history, self.best_epoch = all_numbers(values["history"]), values["best_epoch"]
        self.seconds, self.energy = values["seconds"], values["energy"]


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _check_names(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to resume where an earlier version kept the name of a function alone."""
    for name in ("loss", "augment", "metric_function"):
        now = wanted[name]
        if now is not None and now != saved.get(name):
            raise ValueError(
                f"checkpoint: {path} is of an earlier version of hubprune, which kept only the "
                f"name of {name.removesuffix('_function')}: whether it is the same cannot be "
                "known. Pass resume=False to start again, or another file"
            )


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last bits depend on, besides the configuration."""
    cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
    }

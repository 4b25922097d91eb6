# SPDX-License-Identifier: MIT
"""Tensors and readable values in one file, written so that a crash leaves the old or the new one.

The file is safetensors; the values are JSON in its metadata. Nothing in it can run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .file_writing import remove_leftovers, replaced_file, umask
from .json_numbers import all_writable

__all__ = [
    "fill",
    "fingerprint",
    "read_file",
    "save_tensors",
    "state_of",
    "take_dtypes",
    "write_file",
]

StrPath = str | os.PathLike[str]
_ENTRY = "hubprune"


def state_of(model: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """A copy of a model's state dict on the CPU, contiguous, no memory shared by two names.

    Raises
    ------
    ValueError
        If it holds something other than dense tensors.
    """
    state: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise ValueError(
                f"the model's state must hold dense tensors only; {name!r} is a "
                f"{type(value).__name__}"
            )
        state[prefix + name] = value.detach().to("cpu", copy=True).contiguous()
    return state


def fill(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state of `state_of`, which must fit.

    With the versions of the model's parts, which files do not hold: some modules take a state
    without them for an old one (torchvision's MNASNet).

    Raises
    ------
    RuntimeError
        As `load_state_dict`.
    """
    versioned = model.state_dict()
    versioned.clear()
    versioned.update(state)
    model.load_state_dict(versioned)


def take_dtypes(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give parameters and buffers the dtypes of a saved state: `load_state_dict` would cast it."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in state and tensor.dtype != state[name].dtype:
            tensor.data = tensor.data.to(state[name].dtype)


def fingerprint(model: nn.Module) -> str:
    """A hash of every name, dtype, shape and bit of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in state_of(model).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, with the mode of any new file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    try:
        save_file(dict(tensors), str(path), metadata=dict(metadata))
    except SafetensorError as error:
        # safetensors has the system's error as text: "I/O error: ... (os error 28)".
        found = re.search(r"\(os error (\d+)\)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code) if found else str(error)) from error
    path.chmod(0o666 & ~umask())  # safetensors writes for the owner alone


def write_file(path: StrPath, tensors: Mapping[str, torch.Tensor], values: Any) -> None:
    """Write tensors and JSON-able values; an older file is replaced in one step.

    Numbers that are not finite are written as texts, for `json_numbers.all_numbers`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    target = Path(path)
    remove_leftovers(target)
    with replaced_file(target) as file:
        entry = json.dumps(all_writable(values), allow_nan=False)
        save_tensors(file, tensors, {"format": "pt", _ENTRY: entry})


def read_file(path: StrPath) -> tuple[dict[str, torch.Tensor], Any]:
    """Read what `write_file` has written, on the CPU.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is another file, or damaged.
    """
    with Path(path).open("rb"):  # a missing or unreadable file is told as such
        pass
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            entry = (file.metadata() or {}).get(_ENTRY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if entry is None:
            raise ValueError("it was not written by hubprune")
        return tensors, json.loads(entry)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is no checkpoint that can be read: {error}") from error

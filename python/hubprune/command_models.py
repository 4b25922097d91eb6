# SPDX-License-Identifier: MIT
"""The models that the command line takes: known by name, or built by a user's own function."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .models import KNOWN_MODELS
from .models.checkpoints import load_weights, read_checkpoint

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True)
class LoadedModel:
    """A model from the command line, with what to tell about it."""

    model: nn.Module
    weights: str  # where they come from, for a person
    example: torch.Tensor | None
    builder: str  # the Python expression that builds the architecture


def load_model(name: str, checkpoint: Path | None, seed: int) -> LoadedModel:
    """Load what MODEL, --checkpoint and --seed name.

    Raises
    ------
    TypeError, ValueError, ImportError, FileNotFoundError, RuntimeError
        With a message in the words of the command line.
    """
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"--checkpoint: {checkpoint} is not a file")
    torch.manual_seed(seed)
    if name in KNOWN_MODELS:
        spec = KNOWN_MODELS[name]
        builder = f"hubprune.models.KNOWN_MODELS[{name!r}].build"
        if checkpoint is not None:
            model, weights = spec.load(checkpoint), f"weights of {checkpoint}"
        elif spec.packaged is not None:
            model, weights = spec.load(), "pretrained weights of the installed package"
        else:
            model = spec.build()
            weights = "random weights: no --checkpoint was given, so this shows the method only"
        return LoadedModel(model.eval(), weights, spec.example_inputs(), builder)
    if ":" not in name:
        close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"MODEL must be one of {', '.join(KNOWN_MODELS)}, or package.module:factory; got "
            f"{name!r}{hint}"
        )
    model = _build(name)
    weights = "the weights that the factory gives"
    if checkpoint is not None:
        load_weights(model, read_checkpoint(checkpoint), str(checkpoint))
        weights = f"weights of {checkpoint}"
    return LoadedModel(model.eval(), weights, None, name.replace(":", "."))


def _build(name: str) -> nn.Module:
    """Call the factory that `package.module:factory` names."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", name):
        raise ValueError(f"MODEL must be package.module:factory; got {name!r}")
    module_name, _, path = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Someone else's code: whatever goes wrong in it, also an exit, is told as what it is.
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ImportError(
            f"MODEL: module {module_name!r} cannot be imported: {_what(error)}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"MODEL: {module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module):
        raise TypeError(f"MODEL: {name} must be a function or class that builds the model")
    if not _takes_no_arguments(found):
        raise TypeError(f"MODEL: {name} must be callable without arguments")
    try:
        model = found()
    except (Exception, SystemExit) as error:
        raise RuntimeError(f"MODEL: {name} failed: {_what(error)}") from error
    if not isinstance(model, nn.Module):
        raise TypeError(f"MODEL: {name} must return a torch.nn.Module; got {type(model).__name__}")
    return model


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _takes_no_arguments(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return False
    except ValueError:  # no signature to read, as of some built-in functions: the call will tell
        return True
    return True

# SPDX-License-Identifier: MIT
"""Surgery: apply a plan to a model, save the smaller model, load it again.

A saved network is a folder: ``plan.json`` (what was cut, readable), ``model.safetensors`` (a plain
state_dict) and ``load.py`` (reads the two with torch alone, without hubprune). Nothing in it is a
pickle.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .checkpointing import fill, save_tensors, state_of, take_dtypes
from .compensation import check_compensation
from .compensation import compensate as _compensate
from .cutting import apply_cuts, check_cuts
from .file_writing import check_parent_folder, found_folder, put_back, replaced_folder
from .layer_kinds import sizes
from .model_runs import check_model, duplicate
from .planning.plan_file import OtherVersionError, format_json
from .planning.pruning_plan import PruningPlan, check_plan

__all__ = ["load_pruned", "prune", "save_pruned"]

_PLAN, _STATE, _LOADER = "plan.json", "model.safetensors", "load.py"
_FILES = {_PLAN, _STATE, _LOADER}

StrPath = str | os.PathLike[str]


def prune(
    model: nn.Module, plan: PruningPlan, *, compensate: str = "none", batches: Any = None
) -> nn.Module:
    """Cut a copy of a model as a plan says, and make up for what was cut where asked to.

    Parameters
    ----------
    model : torch.nn.Module
        The model the plan was made for, with these or other weights; on any device, in any mode.
    plan : PruningPlan
        From `hubprune.plan`, `PruningPlan.from_json` or `PruningPlan.then`.
    compensate : str, default "none"
        What the layers that read the removed channels get instead: ``"none"``; ``"bias"``, the
        removed channels' means; ``"merge"``, each removed channel as its share of the one kept
        channel that predicts it best; ``"interpolate"``, its regression on all kept channels.
        ``"recalibrate"`` measures the batch-norm statistics behind the cuts again, alone or after a
        fold (``"interpolate+recalibrate"``).
    batches : tensor, dict, or iterable of tensors, dicts or (inputs, targets), optional
        A few unlabelled inputs, 100 or so. Means and covariances of the channels are measured on
        them instead of predicted from the weights; ``"recalibrate"`` needs them. Targets are
        ignored. Of a model with several inputs: dicts of keyword arguments, or tuples of arguments
        in the place of `inputs`.

    Returns
    -------
    torch.nn.Module
        A new, smaller model in the same mode and on the same device, without gradients. The old one
        is untouched.

    Raises
    ------
    TypeError
        If `model` is no module, `plan` no plan, or `compensate` or `batches` of the wrong kind.
    ValueError
        If the plan does not fit the model: the first layer that is missing or has another size is
        named; if the model is wrapped or cannot be copied; if `compensate` is unknown or needs
        batches, or the batches are empty or not finite.

    Warns
    -----
    UserWarning
        If a layer cannot be compensated, with the reason.

    Notes
    -----
    Without batches, channels are predicted from filters and batch norms (hubprune/compensation.py
    has the formulas); max-pooling on the way is not modelled. A mean is folded into the bias, or
    into the batch norm behind a layer without one. Where a convolution pads with zeros, the
    removed channel was zero there and the bias is not: at the border the fold overdoes it.

    Without compensation, what stays of a tensor keeps its bits, and the pruned model computes what
    the original computes when its layers ignore the removed channels; `plan` has proven that on the
    example inputs.
    Memory: the model and its copy.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)
    ... )
    >>> hp.prune(body, hp.plan(body, torch.zeros(1, 1, 8, 8)))[2]
    Conv2d(4, 2, kernel_size=(3, 3), stride=(1, 1))
    """
    check_model(model)
    check_plan(plan)
    check_compensation(compensate, batches)
    check_cuts(model, plan.cuts)
    pruned = duplicate(model)
    with torch.inference_mode(False):  # else the cut tensors could never be trained again
        apply_cuts(pruned, plan.cuts)
        _compensate(model, pruned, plan, compensate, batches)
    return pruned


def save_pruned(model: nn.Module, plan: PruningPlan, path: StrPath) -> None:
    """Save a pruned model and its plan as a folder.

    Parameters
    ----------
    model : torch.nn.Module
        The pruned model, fine-tuned or not.
    plan : PruningPlan
        The plan it was pruned by.
    path : str or os.PathLike
        The folder. Its parent must exist. A folder saved before is replaced as a whole; one with
        anything else in it is refused.

    Raises
    ------
    TypeError
        If `model` is no module or `plan` no plan.
    ValueError
        If the model does not have the sizes that the plan leaves, its state holds something other
        than dense tensors, or the plan is not whole: what is saved could not be loaded.
    FileExistsError
        If the path is a file, or a folder with other files in it.
    FileNotFoundError
        If the path's parent does not exist.
    OSError
        If it cannot be written.

    Notes
    -----
    Everything is written beside the folder first and then exchanged in one step, so an interruption
    at any time leaves the old folder whole. Tied weights are stored once per name.

    To load with torch alone, put the saved folder on the path, ``from load import load_pruned``
    and call ``load_pruned(MyNetwork(), folder)``.
    """
    check_model(model)
    check_plan(plan)
    check_cuts(model, plan.cuts, done=True)
    target = Path(path)
    check_parent_folder(target, "path")
    put_back(target)
    _check_target(target)
    state = state_of(model)
    content = plan.to_dict()
    content["sizes"] = {
        name: known
        for name in dict.fromkeys(cut.target for cut in plan.cuts if cut.side != "parameter")
        if (known := sizes(model.get_submodule(name)))
    }
    text = format_json(content) + "\n"
    try:
        PruningPlan.from_json(text)
    except ValueError as error:
        raise ValueError(f"plan cannot be saved, as it could not be loaded: {error}") from error
    with replaced_folder(target) as folder:
        (folder / _PLAN).write_text(text, encoding="utf-8")
        save_tensors(folder / _STATE, state, {"format": "pt"})
        shutil.copyfile(Path(__file__).with_name("standalone_loader.py"), folder / _LOADER)


def load_pruned(factory: Callable[[], nn.Module], path: StrPath) -> nn.Module:
    """Load a model saved by `save_pruned`.

    Parameters
    ----------
    factory : callable
        Builds the architecture before pruning, such as the model's class.
    path : str or os.PathLike
        The folder.

    Returns
    -------
    torch.nn.Module
        The pruned model with its saved weights in the dtypes they were saved in, in the mode and on
        the device that the factory gives.

    Raises
    ------
    TypeError
        If the factory is not callable or does not return a module.
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file is damaged or of another release, or the architecture is another one: the first
        layer that does not fit is named.

    Examples
    --------
    >>> import tempfile, torch, hubprune as hp
    >>> build = lambda: torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.Conv1d(4, 2, 3))
    >>> body = build()
    >>> plan = hp.plan(body, torch.zeros(1, 1, 9))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hp.save_pruned(hp.prune(body, plan), plan, folder + "/half")
    ...     hp.load_pruned(build, folder + "/half")[0]
    Conv1d(1, 2, kernel_size=(3,), stride=(1,))
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        raise TypeError(
            "factory must be a function without arguments that builds the unpruned model; got "
            f"{type(factory).__name__}"
        )
    folder = found_folder(Path(path))
    for name in (_PLAN, _STATE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no pruned model: {name} is missing")
    try:
        plan = PruningPlan.from_json((folder / _PLAN).read_text(encoding="utf-8"))
        state = load_file(str(folder / _STATE))
    except OtherVersionError as error:
        raise ValueError(f"{folder} cannot be loaded: {error}") from error
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from error
    with torch.inference_mode(False):
        model = factory()
        if not isinstance(model, nn.Module):
            raise TypeError(f"factory must return a torch.nn.Module; got {type(model).__name__}")
        try:
            apply_cuts(model, plan.cuts)
        except ValueError as error:
            raise ValueError(
                f"{error}. factory must give the model that the plan was made for; if that was "
                "pruned before, save both steps as one, first_plan.then(second_plan)"
            ) from error
        take_dtypes(model, state)
        try:
            fill(model, state)
        except RuntimeError as error:
            raise ValueError(f"{folder} does not fit the model: {error}") from error
    return model


def _check_target(target: Path) -> None:
    """Refuse to replace what `save_pruned` has not written."""
    if target.is_dir():
        others = sorted({entry.name for entry in target.iterdir()} - _FILES)
        if others:
            raise FileExistsError(
                f"{target} holds other files ({', '.join(others[:3])}); choose a new folder"
            )
    elif target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} is not a folder; choose another path")

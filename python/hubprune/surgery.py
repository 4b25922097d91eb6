# SPDX-License-Identifier: MIT
"""Surgery: apply a plan to a model, save the pruned model, load it again.

A saved model is a folder of two files. ``model.safetensors`` is the plain state dict.
``plan.json`` is the plan, with the shape of every tensor and the sizes of every cut layer, so that
a process with nothing but torch can rebuild the pruned model (`save_pruned` shows how).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .channel_groups import apply_cuts, check_cuts, check_model, duplicate, sizes
from .planning import PruningPlan, format_json

__all__ = ["load_pruned", "prune", "save_pruned"]

_PLAN, _WEIGHTS = "plan.json", "model.safetensors"


def prune(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Cut a plan's filters, and everything that goes with them, out of a copy of a model.

    Parameters
    ----------
    model : torch.nn.Module
        The model that the plan was made for. It is untouched.
    plan : PruningPlan
        What `hubprune.plan` returned.

    Returns
    -------
    torch.nn.Module
        A smaller copy of the same classes: same mode, device, dtypes, `requires_grad` and hooks,
        no gradients. It computes what the model computes with the removed channels ignored.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the plan was made for another model (the layer is named), or the model cannot be copied.

    Notes
    -----
    Memory: one copy of the model. An optimizer must be made anew for the pruned model.

    Examples
    --------
    >>> import torch, hubprune as hp
    >>> body = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)
    ... )
    >>> decision = hp.plan(body, torch.zeros(1, 1, 8, 8), scorer="l2")
    >>> hp.prune(body, decision)[2]
    Conv2d(4, 2, kernel_size=(3, 3), stride=(1, 1))
    """
    check_model(model)
    _check_plan(plan)
    check_cuts(model, plan.cuts)  # before the copy: a wrong model is refused at no cost
    pruned = duplicate(model)
    with torch.inference_mode(False):
        apply_cuts(pruned, plan.cuts)
    return pruned


def _check_plan(plan: Any) -> None:
    if not isinstance(plan, PruningPlan):
        raise TypeError(f"plan must be a PruningPlan; got {type(plan).__name__}")


def save_pruned(model: nn.Module, plan: PruningPlan, path: str | os.PathLike[str]) -> None:
    r"""Save a pruned model and its plan as a folder.

    Parameters
    ----------
    model : torch.nn.Module
        The pruned model, fine-tuned or not.
    plan : PruningPlan
        The plan that it was pruned by (composed with `PruningPlan.then` after several rounds).
    path : str or os.PathLike
        The folder: new, empty, or written by an earlier call, whose model is then replaced. Other
        files in such a folder are carried over.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the model is not what the plan leaves, its state dict holds something else than
        tensors, or the folder holds files but no pruned model.
    FileExistsError
        If `path` is a file.

    Notes
    -----
    The files are written beside the folder and take its place in one step: a call that is
    interrupted, even by a kill or a power cut, leaves the old folder whole. What a killed call left
    behind is removed by the next one.

    Tied weights are written once for each name; the architecture ties them again. Gradients,
    optimizer and training mode are not saved.

    To load it without this package, build the unpruned model and call::

        import json, torch

        def load(model, folder):
            plan = json.load(open(f"{folder}/plan.json"))
            for name, shape in plan["shapes"].items():
                owner, _, leaf = name.rpartition(".")
                tensor = getattr(model.get_submodule(owner), leaf)
                tensor.data = tensor.data.new_empty(shape)
            for name, attributes in plan["attributes"].items():
                vars(model.get_submodule(name)).update(attributes)
            raw = bytearray(open(f"{folder}/model.safetensors", "rb").read())
            start = 8 + int.from_bytes(raw[:8], "little")
            header, state = json.loads(raw[8:start]), {}
            header.pop("__metadata__", None)
            dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
                      "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
                      "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
            for name, entry in header.items():
                first, last = (start + offset for offset in entry["data_offsets"])
                values = torch.frombuffer(raw[first:last], dtype=dtypes[entry["dtype"]])
                state[name] = values.reshape(entry["shape"])
            model.load_state_dict(state)
            return model
    """
    check_model(model)
    _check_plan(plan)
    check_cuts(model, plan.cuts, done=True)
    folder = Path(path).resolve()
    _check_folder(folder)
    state = _plain_state(model)
    document = {
        **plan.to_dict(),
        "shapes": {name: list(tensor.shape) for name, tensor in state.items()},
        "attributes": {
            cut.target: sizes(model.get_submodule(cut.target))
            for cut in plan.cuts
            if cut.side != "parameter"
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    _recover(folder)
    fresh = _sibling(folder, "new")
    try:
        fresh.mkdir()
        _write_folder(fresh, state, format_json(document) + "\n")
        if folder.is_dir():
            _carry_over(folder, fresh)
        _swap(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def load_pruned(factory: Callable[[], nn.Module], path: str | os.PathLike[str]) -> nn.Module:
    """Load what `save_pruned` wrote.

    Parameters
    ----------
    factory : callable
        Builds the unpruned architecture, such as the model's class. Its weights do not matter.
    path : str or os.PathLike
        The folder.

    Returns
    -------
    torch.nn.Module
        What `factory` built, cut in place and filled with the saved values in their saved dtypes,
        on the factory's device and in its mode (usually training: call ``eval()`` to use it).

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    TypeError
        If `factory` cannot be called or builds no module.
    ValueError
        If a file is damaged, or the architecture is another one (the layer is named).
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        raise TypeError(
            "factory must be a callable that builds the unpruned model, such as its class; got "
            f"{type(factory).__name__}"
        )
    folder = Path(path).resolve()
    _recover(folder)
    for name in (_PLAN, _WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no pruned model at {folder}: {name} is missing")
    try:
        plan = PruningPlan.from_json((folder / _PLAN).read_text(encoding="utf-8"))
    except ValueError as error:  # undecodable bytes too
        raise ValueError(f"{folder / _PLAN}: {error}") from error
    try:
        state = load_file(folder / _WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / _WEIGHTS} is damaged: {error}") from error
    model = factory()
    check_model(model, "the model that factory builds")
    with torch.inference_mode(False):
        apply_cuts(model, plan.cuts)
        _check_state(model, state)
        _fill(model, state)
    return model


# --- the state dict ------------------------------------------------------------------------------


def _plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as independent, contiguous tensors: the format takes no views or ties."""
    state: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise ValueError(
                f"the state dict must hold dense tensors only; '{name}' is a "
                f"{type(value).__name__ if not isinstance(value, torch.Tensor) else value.layout}"
            )
        if value.is_meta:
            raise ValueError(f"the state dict must hold data; '{name}' is on the meta device")
        state[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return state


def _check_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Refuse a state dict with other names or shapes than the cut model's."""
    own = model.state_dict()
    for name in own:
        if name not in state:
            raise ValueError(
                f"factory builds another architecture: '{name}' is in it and not in the file"
            )
    for name, values in state.items():
        if name not in own:
            raise ValueError(
                f"factory builds another architecture: '{name}' is in the file and not in it"
            )
        if own[name].shape != values.shape:
            raise ValueError(
                f"factory builds another architecture: '{name}' must have shape "
                f"{tuple(values.shape)} after pruning; got {tuple(own[name].shape)}"
            )


def _fill(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load values in the dtypes that they were saved in."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    for name, values in state.items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.dtype != values.dtype:
            tensor.data = tensor.data.to(values.dtype)
    model.load_state_dict(state)


# --- the folder ----------------------------------------------------------------------------------


def _sibling(folder: Path, kind: str) -> Path:
    """A path beside the folder, on the same file system, that tells who is writing it."""
    return folder.parent / f".{folder.name}.{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _backup(folder: Path) -> Path:
    """Where the old folder waits while the new one takes its name, if that takes two steps."""
    return folder.parent / f".{folder.name}.old"


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"path must be a folder; {folder} is a file")
    if folder.is_dir() and not (folder / _PLAN).is_file() and any(folder.iterdir()):
        raise ValueError(
            f"path must be a new or empty folder, or hold a pruned model; {folder} holds other "
            "files"
        )


def _write_folder(folder: Path, state: dict[str, torch.Tensor], document: str) -> None:
    try:
        save_file(state, folder / _WEIGHTS)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"the state dict cannot be written as safetensors: {error}") from error
    (folder / _PLAN).write_text(document, encoding="utf-8")
    # The temporary file of save_file has owner-only rights; give it those of any other new file.
    shutil.copymode(folder / _PLAN, folder / _WEIGHTS)
    for path in (folder / _WEIGHTS, folder / _PLAN, folder):
        _flush(path)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _carry_over(old: Path, fresh: Path) -> None:
    """Bring along what else lies in the folder, by links where the file system has them."""

    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    ours = {_PLAN, _WEIGHTS}
    for entry in old.iterdir():
        if entry.name in ours:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, fresh / entry.name, symlinks=True, copy_function=link)
        elif entry.is_symlink():
            (fresh / entry.name).symlink_to(os.readlink(entry))
        else:
            link(str(entry), str(fresh / entry.name))


def _swap(fresh: Path, folder: Path) -> None:
    """Put the new folder in the old one's place, and remove the old one."""
    if not folder.exists():
        os.rename(fresh, folder)
    elif _exchange(fresh, folder):
        shutil.rmtree(fresh)
    else:
        # In two steps; if the second never comes, `_recover` undoes the first.
        os.rename(folder, _backup(folder))
        os.rename(fresh, folder)
        shutil.rmtree(_backup(folder))
    _flush(folder.parent)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step (Linux renameat2); False where that does not exist."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_fdcwd, rename_exchange = -100, 2
    if renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(b))


def _recover(folder: Path) -> None:
    """Undo what killed calls left beside the folder."""
    backup = _backup(folder)
    if backup.is_dir():
        if folder.exists():
            shutil.rmtree(backup)
        else:
            os.rename(backup, folder)
    prefix = f".{folder.name}.new-"
    if not folder.parent.is_dir():
        return
    for entry in folder.parent.iterdir():
        if entry.name.startswith(prefix):
            writer = entry.name.removeprefix(prefix).partition("-")[0]
            if not (writer.isdigit() and _is_alive(int(writer))):
                shutil.rmtree(entry, ignore_errors=True)


def _is_alive(process: int) -> bool:
    with contextlib.suppress(PermissionError):  # it exists, and is somebody else's
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True

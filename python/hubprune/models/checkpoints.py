# SPDX-License-Identifier: MIT
"""Reading weight files of PyTorch models without running anything that is in them.

A file is known by its first bytes, never by its name. Whatever goes wrong comes back as a
`ValueError` that names the file and what is missing, unexpected or misshaped.
"""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from ..arguments import some_names

__all__ = ["StrPath", "file_format", "load_weights", "read_checkpoint", "vector_length"]

StrPath: TypeAlias = str | os.PathLike[str]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NPY_MAGIC = b"\x93NUMPY"
_WRAPPED = "module."  # DataParallel and DistributedDataParallel put it before every name


def file_format(path: StrPath) -> str:
    """Tell what kind of weight file this is.

    Parameters
    ----------
    path : str or os.PathLike
        A file.

    Returns
    -------
    str
        "hdf5", "npy", "safetensors", or "torch" for everything else.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(9)
    if head.startswith(_HDF5_MAGIC):
        return "hdf5"
    if head.startswith(_NPY_MAGIC):
        return "npy"
    # safetensors: eight bytes of header length, then the header, a JSON object.
    if head[8:9] == b"{":
        return "safetensors"
    return "torch"


class _Discarded:
    """Stands in for a NumPy object inside a checkpoint, which is skipped, not rebuilt.

    The PANNs training script saves its data sampler, with NumPy arrays, beside the weights.
    """

    def __init__(self, *args: object) -> None:
        del args

    def __setstate__(self, state: object) -> None:
        del state


_SKIPPED_GLOBALS = tuple(
    (_Discarded, name)
    for name in (
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
    )
)


def _load_torch(path: StrPath) -> object:
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            # Once more with the stand-ins, which must not shadow what a caller registered.
            with torch.serialization.safe_globals(list(_SKIPPED_GLOBALS)):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{os.fspath(path)} is not a plain PyTorch checkpoint: it holds something other than "
            "tensors, and pickled objects are never run; save it again with "
            "torch.save(model.state_dict(), path)"
        ) from error
    except OSError:
        raise
    # torch.load meets a damaged file with many kinds of error (RuntimeError, EOFError,
    # struct.error, ...): all of them mean the same to the caller, and the cause stays attached.
    except Exception as error:
        raise ValueError(
            f"{os.fspath(path)} is not a PyTorch checkpoint that can be read "
            f"({type(error).__name__}): it is damaged, or neither a file of torch.save nor of "
            "safetensors"
        ) from error


def _load_safetensors(path: StrPath) -> object:
    safetensors_torch = importlib.import_module("safetensors.torch")
    try:
        return safetensors_torch.load_file(path)
    except OSError:
        raise
    except Exception as error:  # SafetensorError, and what a damaged header sets off
        raise ValueError(
            f"{os.fspath(path)} is not a safetensors file that can be read: {error}"
        ) from error


def read_checkpoint(path: StrPath) -> dict[str, torch.Tensor]:
    """Read the state dict of a PyTorch checkpoint, on the CPU.

    Takes `torch.save` files (a bare state dict, or ``{"model": state_dict, ...}`` or
    ``{"state_dict": state_dict, ...}``) and safetensors files. The prefix ``module.`` of
    `torch.nn.DataParallel`, where every name has it, is left out.

    Parameters
    ----------
    path : str or os.PathLike
        The checkpoint.

    Returns
    -------
    dict of str to torch.Tensor
        The entries, dense CPU tensors of any dtype.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, holds objects other than tensors where weights belong, or would
        have to run pickled code to be loaded.

    Notes
    -----
    `torch.load` runs with ``weights_only=True``. NumPy objects beside the weights are skipped.
    """
    source = os.fspath(path)
    kind = file_format(path)
    if kind in ("hdf5", "npy"):
        raise ValueError(
            f"{source} is a {kind} file of Keras weights; expected a PyTorch checkpoint"
        )
    content = _load_safetensors(path) if kind == "safetensors" else _load_torch(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{source} must hold a state dict, or one under 'model' or 'state_dict'; "
            f"got {'an empty one' if content == {} else type(content).__name__}"
        )
    state: dict[str, torch.Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{source}: every entry of a state dict must be a tensor; "
                f"{name!r} is a {type(value).__name__}"
            )
        if value.layout != torch.strided or value.is_quantized:
            raise ValueError(f"{source}: {name!r} must be a dense, unquantised tensor")
        state[name] = value
    if all(name.startswith(_WRAPPED) for name in state):
        state = {name.removeprefix(_WRAPPED): value for name, value in state.items()}
    return state


def vector_length(state: Mapping[str, torch.Tensor], name: str, usual: int) -> int:
    """Read a layer's width from a vector of its state dict, such as its bias.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        A state dict.
    name : str
        The vector's name.
    usual : int
        The answer where there is no such vector: loading then names what is missing.

    Returns
    -------
    int
        Its length.

    Examples
    --------
    >>> vector_length({"conv1.bias": torch.zeros(11)}, "conv1.bias", usual=16)
    11
    """
    vector = state.get(name)
    return usual if vector is None or vector.ndim != 1 else len(vector)


def load_weights(model: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Give a model the weights of a state dict, or say everything that does not fit.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; it may sit on the meta device, and takes the CPU tensors over.
    state : mapping of str to torch.Tensor
        The weights. A missing ``num_batches_tracked`` counts as zero, as in PyTorch, which did
        not store it before 0.4.1.
    source : str
        Where they come from, for the message.

    Raises
    ------
    ValueError
        If names are missing or unexpected, a shape differs, or a weight is not floating point.
    """
    expected: dict[str, torch.Tensor] = model.state_dict()
    given = dict(state)
    if all(name.startswith(_WRAPPED) for name in expected):  # `read_checkpoint` has left it out
        given = {_WRAPPED + name.removeprefix(_WRAPPED): value for name, value in state.items()}
    for name, target in expected.items():
        if name.endswith(".num_batches_tracked") and name not in given:
            given[name] = torch.zeros((), dtype=target.dtype, device="cpu")
    problems = []
    if missing := expected.keys() - given.keys():
        problems.append(f"missing: {some_names(sorted(missing))}")
    if unexpected := given.keys() - expected.keys():
        problems.append(f"unexpected: {some_names(sorted(unexpected))}")
    common = expected.keys() & given.keys()
    if misshaped := [
        f"{name} must have shape {tuple(expected[name].shape)}, got {tuple(given[name].shape)}"
        for name in common
        if expected[name].shape != given[name].shape
    ]:
        problems.append(f"wrong shape: {some_names(sorted(misshaped))}")
    if wrong_kind := [
        f"{name} must be floating point, got {given[name].dtype}"
        for name in common
        if expected[name].is_floating_point() and not given[name].is_floating_point()
    ]:
        problems.append(f"wrong kind: {some_names(sorted(wrong_kind))}")
    if problems:
        raise ValueError(f"{source} does not fit {type(model).__name__}; {'; '.join(problems)}")
    # Own memory for each entry: a checkpoint may hand out views of one shared storage.
    owned: dict[str, Any] = {
        name: given[name].detach().to(target.dtype).clone(memory_format=torch.contiguous_format)
        for name, target in expected.items()
    }
    model.load_state_dict(owned, strict=True, assign=True)

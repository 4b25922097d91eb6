# SPDX-License-Identifier: MIT
"""Reading the weight files of Keras models without Keras, and without running what is in them.

Two layouts of the published models: HDF5 (`model.save_weights` and `model.save` of Keras 2), and
``.npy`` as written by ``np.save(path, model.get_weights())``. The latter is an array of Python
objects, which NumPy stores as a pickle. A pickle is a program, so it is read here by an unpickler
in which the three names that such a file needs stand for plain records, and every other name is
refused: neither NumPy nor anything else is called while it is read.
"""

from __future__ import annotations

import importlib
import os
import pickle
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hubprune.models.checkpoints import StrPath, file_format

__all__ = ["KerasArray", "read_keras_weights"]

_MAX_BYTES = 1 << 30
"""No array of these models is near 1 GiB (VGGish's largest has 201 MB); a damaged file may ask."""


@dataclass(frozen=True, eq=False)
class KerasArray:
    """One array of a Keras weight list.

    Attributes
    ----------
    name : str
        Its name in the file (``"conv2d_1/kernel:0"``), or ``"array 3"`` where it has none.
    values : numpy.ndarray
        float32, in Keras's layout.
    """

    name: str
    values: npt.NDArray[np.float32]


def _as_float32(values: npt.NDArray[Any], what: str) -> npt.NDArray[np.float32]:
    if values.dtype.kind != "f":
        raise ValueError(f"{what} must hold floating-point numbers; got dtype {values.dtype}")
    return np.ascontiguousarray(values, dtype=np.float32)


# ---- .npy ---------------------------------------------------------------------------------------


class _PickledDtype:
    """The record of a ``numpy.dtype`` in a pickle: its code and byte order."""

    def __init__(self, code: object = None, *flags: object) -> None:
        del flags
        self.code = code
        self.byte_order: object = None

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.byte_order = state[1]


class _PickledArray:
    """The record of a ``numpy.ndarray`` in a pickle: what NumPy would be told to build."""

    def __init__(self, *arguments: object) -> None:
        del arguments
        self.state: tuple[object, ...] = ()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple):
            self.state = state


class _PickledBytes:
    """The record of bytes in a pickle of protocol 2, where they hide in a string."""

    def __init__(self, text: object = None, encoding: object = None) -> None:
        self.text = text
        self.encoding = encoding


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows arrays as records and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Give a record class for NumPy's array, its constructor and dtype; refuse the rest."""
        if module == "numpy" and name == "dtype":
            return _PickledDtype
        if (module, name) == ("numpy", "ndarray") or (
            module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        ):
            return _PickledArray
        if (module, name) == ("_codecs", "encode"):
            return _PickledBytes
        raise pickle.UnpicklingError(
            f"it names {module}.{name}, and only plain NumPy arrays are read"
        )


def _array_of(record: object, what: str) -> npt.NDArray[np.float32]:
    """Build a numeric array from its record, checking every field."""
    # (version, shape, dtype, is_fortran, bytes)
    if not isinstance(record, _PickledArray) or len(record.state) != 5:
        raise ValueError(f"{what} must be a NumPy array; got {type(record).__name__}")
    _, shape, dtype, fortran, data = record.state
    if isinstance(data, _PickledBytes) and isinstance(data.text, str):
        if data.encoding != "latin1" or not all(ord(letter) < 256 for letter in data.text):
            raise ValueError(f"{what} holds bytes in an unknown encoding")
        data = data.text.encode("latin1")
    if not isinstance(dtype, _PickledDtype) or dtype.code not in ("f2", "f4", "f8"):
        code = dtype.code if isinstance(dtype, _PickledDtype) else type(dtype).__name__
        raise ValueError(f"{what} must hold floating-point numbers; got dtype {code!r}")
    if dtype.byte_order not in ("<", ">"):
        raise ValueError(f"{what} has an unknown byte order {dtype.byte_order!r}")
    is_shape = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not isinstance(data, bytes) or not isinstance(shape, tuple) or not is_shape:
        raise ValueError(f"{what} is damaged: it has no valid shape or data")
    values = np.frombuffer(data, dtype=f"{dtype.byte_order}{dtype.code}")
    size = 1
    for length in shape:
        size *= length
    if size != values.size:
        raise ValueError(f"{what} is damaged: shape {shape} does not fit {values.size} numbers")
    return _as_float32(values.reshape(shape, order="F" if fortran else "C"), what)


def _unpickle(file: BinaryIO, source: str) -> object:
    try:
        return _ArrayUnpickler(file).load()
    # A crafted pickle can raise anything at all; whatever it is, the file is refused.
    except Exception as error:
        raise ValueError(
            f"{source} is not a plain list of NumPy arrays, and pickled objects are never run: "
            f"{error}"
        ) from error


def _npy_dtype(file: BinaryIO, source: str) -> np.dtype[Any]:
    """Read the header, up to where the array begins."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)[2]
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)[2]
        raise ValueError(f"its format version is {version}")
    except ValueError as error:
        raise ValueError(f"{source} is not a .npy file that can be read: {error}") from error


def _read_npy(path: StrPath) -> list[KerasArray]:
    source = os.fspath(path)
    with open(path, "rb") as file:
        dtype = _npy_dtype(file, source)
        if dtype != np.dtype(object):
            raise ValueError(
                f"{source} must hold a list of arrays (dtype object), as np.save(path, "
                f"model.get_weights()) writes it; got one array of dtype {dtype}"
            )
        content = _unpickle(file, source)
    # The list itself is an array of objects: (version, (count,), dtype 'O8', is_fortran, [...]).
    items = content.state[4] if isinstance(content, _PickledArray) and content.state[4:] else None
    if not isinstance(items, list) or not isinstance(content, _PickledArray):
        raise ValueError(f"{source} must hold a list of arrays; got {type(content).__name__}")
    if content.state[1] != (len(items),):
        raise ValueError(
            f"{source} must hold a flat list of arrays; got an object array of shape "
            f"{content.state[1]}"
        )
    arrays = []
    for number, item in enumerate(items, start=1):
        name = f"array {number}"
        arrays.append(KerasArray(name, _array_of(item, f"{source}: {name}")))
    return arrays


# ---- HDF5 ---------------------------------------------------------------------------------------


def _names(group: Any, attribute: str, source: str) -> list[str]:
    """A list of names kept as an attribute, which Keras splits where it grows too long."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
        if not parts:
            raise ValueError(
                f"{source} is not a Keras 2 weight file: group {group.name!r} has no attribute "
                f"{attribute!r}"
            )
    # An empty list comes back as an array of float64: there is no name in it to decode.
    return [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for part in parts
        for name in np.atleast_1d(part)
    ]


def _dataset(h5py: Any, group: Any, name: str, source: str) -> npt.NDArray[np.float32]:
    what = f"{source}: {group.name.rstrip('/')}/{name}"
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{what} is named in the file but is not there")
    # HDF5 can point into other files; a weight file has no reason to.
    if dataset.file.id != group.file.id or dataset.external or dataset.is_virtual:
        raise ValueError(f"{what} must be stored in the file itself; it points to another file")
    if dataset.shape is None or dataset.size * dataset.dtype.itemsize > _MAX_BYTES:
        raise ValueError(f"{what} must hold at most {_MAX_BYTES} bytes; got shape {dataset.shape}")
    return _as_float32(np.asarray(dataset), what)


def _read_hdf5(path: StrPath) -> list[KerasArray]:
    source = os.fspath(path)
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError(
            f'{source} is HDF5, which needs h5py; install it with: pip install "hubprune[keras]"'
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return _arrays_of_layers(h5py, file, source)
    except FileNotFoundError:
        raise
    # h5py meets a damaged file with OSError, RuntimeError or KeyError.
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{source} is not an HDF5 file that can be read: {error}") from error


def _arrays_of_layers(h5py: Any, file: Any, source: str) -> list[KerasArray]:
    root = file.get("model_weights", file)
    if not isinstance(root, h5py.Group):
        raise ValueError(f"{source}: 'model_weights' must be a group of layers")
    arrays = []
    for layer in _names(root, "layer_names", source):
        group = root.get(layer)
        if not isinstance(group, h5py.Group):
            raise ValueError(f"{source}: layer {layer!r} is named but is not there")
        arrays += [
            KerasArray(name, _dataset(h5py, group, name, source))
            for name in _names(group, "weight_names", source)
        ]
    return arrays


def read_keras_weights(path: StrPath) -> list[KerasArray]:
    """Read the weights of a Keras model, in the order of ``model.get_weights()``.

    Parameters
    ----------
    path : str or os.PathLike
        HDF5 of Keras 2 (weights, or a whole model with a group ``model_weights``), or a ``.npy``
        that holds the weight list. The kind is told by the first bytes, not by the name.

    Returns
    -------
    list of KerasArray
        In layer order; float16 and float64 become float32.

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If it is HDF5 and h5py is not installed.
    ValueError
        If it is neither, is damaged, holds other than floating-point arrays, points into other
        files, or is a pickle that names anything but NumPy arrays.

    Notes
    -----
    Nothing that a file names is called. The pickle in a ``.npy`` may name ``numpy.ndarray``,
    ``numpy.dtype``, ``_reconstruct`` of ``numpy.core.multiarray`` or ``numpy._core.multiarray``
    and (protocol 2) ``_codecs.encode``; they stand for records, and the arrays are built from
    checked fields.
    """
    kind = file_format(path)
    if kind == "hdf5":
        return _read_hdf5(path)
    if kind == "npy":
        return _read_npy(path)
    raise ValueError(
        f"{os.fspath(path)} must be an HDF5 or .npy file of Keras weights; "
        f"its first bytes say neither (it looks like a {kind} file)"
    )

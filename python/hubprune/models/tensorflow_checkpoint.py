# SPDX-License-Identifier: MIT
"""TensorFlow checkpoints read without TensorFlow.

A checkpoint ("tensor bundle", the V2 format) is a sorted table ``PREFIX.index``, in LevelDB's
table format, which maps each tensor's name to its dtype, shape and place in the data files,
``PREFIX.data-00000-of-00001`` and on. A file comes from somewhere else, so every length in it is
checked against the bytes that are there before it is used, and every block and tensor against its
checksum.
"""

from __future__ import annotations

import importlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hubprune.models.checkpoints import StrPath

__all__ = ["TensorFlowArray", "read_tensorflow_checkpoint"]

TensorFlowArray = npt.NDArray[np.generic]

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # after each block: its compression, then its checksum
_UNCOMPRESSED, _SNAPPY = 0, 1
_MASK = 0xA282EAD8
# A large network has thousands of tensors at about fifty bytes each.
_LARGEST_INDEX = 16 << 20
_MOST_TENSORS = 100_000
_LONGEST_NAME = 1024
_STRING = 7
_DTYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies: the fields of a BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


class _Cursor:
    """Reads bytes from front to back, never past the end."""

    def __init__(self, data: bytes, source: str) -> None:
        self._data = data
        self._position = 0
        self.source = source

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError(
                f"{self.source}: {count} bytes must follow where only {self.left} are left"
            )
        start = self._position
        self._position += count
        return self._data[start : self._position]

    def varint(self) -> int:
        """Seven bits a byte, lowest first, at most 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value
        raise ValueError(f"{self.source}: a number is longer than 64 bits")


def _masked_crc(data: bytes) -> int:
    """CRC-32C as checkpoints store it: rotated and shifted, so that none is the CRC of itself."""
    try:
        library = importlib.import_module("google_crc32c")
    except ImportError as error:
        raise ImportError(
            "reading a TensorFlow checkpoint needs google-crc32c, for its checksums; install it "
            'with: pip install "hubprune[study]"'
        ) from error
    crc: int = library.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _decompressed(data: bytes, source: str) -> bytes:
    try:
        snappy = importlib.import_module("cramjam").snappy
    except ImportError as error:
        raise ImportError(
            f"{source} is compressed; reading it needs cramjam; install it with: "
            'pip install "hubprune[study]"'
        ) from error
    length = _Cursor(data, source).varint()  # a snappy block begins with what it grows to
    if length > _LARGEST_INDEX:
        raise ValueError(
            f"{source}: a compressed block must grow to at most {_LARGEST_INDEX} bytes; "
            f"it says {length}"
        )
    try:
        return bytes(snappy.decompress_raw(data))
    except Exception as error:  # cramjam.DecompressionError, a plain Exception
        raise ValueError(f"{source}: a compressed block cannot be read: {error}") from error


def _block(table: bytes, handle: bytes, source: str) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of the block that a handle (offset and size) points to."""
    cursor = _Cursor(handle, source)
    offset, size = cursor.varint(), cursor.varint()
    end = len(table) - _FOOTER - _TRAILER
    if offset > end or size > end - offset:
        raise ValueError(
            f"{source}: a block must lie before the footer; it is {size} bytes at {offset} of "
            f"{len(table)}"
        )
    # The checksum covers the block and the byte that names its compression.
    stored = table[offset : offset + size + 1]
    (checksum,) = struct.unpack_from("<I", table, offset + size + 1)
    if _masked_crc(stored) != checksum:
        raise ValueError(f"{source} is damaged: the block at {offset} fails its checksum")
    data, compression = stored[:-1], stored[-1]
    if compression == _SNAPPY:
        data = _decompressed(data, source)
    elif compression != _UNCOMPRESSED:
        raise ValueError(f"{source}: compression must be 0 or 1 (snappy); got {compression}")
    if len(data) < 4:
        raise ValueError(f"{source}: a block must have at least 4 bytes; got {len(data)}")
    # Restart points, for a search inside the block, end it; reading all of it needs none.
    (restarts,) = struct.unpack("<I", data[-4:])
    if 4 * restarts > len(data) - 4:
        raise ValueError(
            f"{source}: a block of {len(data)} bytes cannot hold {restarts} restart points"
        )
    entries = _Cursor(data[: len(data) - 4 - 4 * restarts], source)
    key = b""
    while entries.left:
        shared, unshared, length = entries.varint(), entries.varint(), entries.varint()
        if shared > len(key):
            raise ValueError(
                f"{source}: a key must share at most the {len(key)} bytes of the one before; "
                f"it says {shared}"
            )
        if shared + unshared > _LONGEST_NAME:
            raise ValueError(
                f"{source}: a name must have at most {_LONGEST_NAME} bytes; got {shared + unshared}"
            )
        key = key[:shared] + entries.take(unshared)
        yield key, entries.take(length)


def _message(data: bytes, source: str) -> dict[int, list[int | bytes]]:
    """The fields of a protocol buffer, by number."""
    cursor = _Cursor(data, source)
    fields: dict[int, list[int | bytes]] = {}
    while cursor.left:
        tag = cursor.varint()
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value = cursor.varint()
        elif wire == 1:
            value = int.from_bytes(cursor.take(8), "little")
        elif wire == 2:
            value = cursor.take(cursor.varint())
        elif wire == 5:
            value = int.from_bytes(cursor.take(4), "little")
        else:
            raise ValueError(f"{source}: field {number} has the unknown wire type {wire}")
        fields.setdefault(number, []).append(value)
    return fields


def _number(fields: dict[int, list[int | bytes]], field: int, source: str) -> int:
    """An integer field; 0 where it is left out, as in every protocol buffer of version 3."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"{source}: field {field} must be a number")
    return value


def _messages(
    fields: dict[int, list[int | bytes]], field: int, source: str
) -> list[dict[int, list[int | bytes]]]:
    found = []
    for value in fields.get(field, []):
        if not isinstance(value, bytes):
            raise ValueError(f"{source}: field {field} must be a message")
        found.append(_message(value, source))
    return found


def _shard_count(value: bytes, source: str) -> int:
    """Read the header, the table's first entry."""
    fields = _message(value, source)
    shards, endianness = _number(fields, 1, source), _number(fields, 2, source)
    if not 1 <= shards < 100_000:
        raise ValueError(f"{source}: the number of data files must be 1 to 99999; got {shards}")
    if endianness != 0:
        raise ValueError(f"{source} must be little-endian; it was written big-endian")
    return shards


def _entry(value: bytes, shards: int, source: str) -> _Entry:
    fields = _message(value, source)
    if 7 in fields:
        raise ValueError(f"{source} is stored in slices, which this reader does not join")
    shapes = _messages(fields, 2, source)
    dims = _messages(shapes[-1], 2, source) if shapes else []
    if shapes and _number(shapes[-1], 3, source):
        raise ValueError(f"{source} has no known rank")
    if len(dims) > 32:
        raise ValueError(f"{source} must have at most 32 dimensions; got {len(dims)}")
    entry = _Entry(
        dtype=_number(fields, 1, source),
        shape=tuple(_number(dim, 1, source) for dim in dims),
        shard=_number(fields, 3, source),
        offset=_number(fields, 4, source),
        size=_number(fields, 5, source),
        checksum=_number(fields, 6, source),
    )
    if entry.shard >= shards:
        raise ValueError(f"{source} lies in data file {entry.shard} of {shards}")
    if entry.dtype == _STRING:
        return entry
    if entry.dtype not in _DTYPES:
        raise ValueError(
            f"{source} must have a numeric dtype that NumPy has; got TensorFlow's number "
            f"{entry.dtype}"
        )
    wanted = math.prod(entry.shape) * np.dtype(_DTYPES[entry.dtype]).itemsize
    if entry.size != wanted:
        raise ValueError(
            f"{source} of shape {entry.shape} and dtype {_DTYPES[entry.dtype].__name__} must have "
            f"{wanted} bytes; it says {entry.size}"
        )
    return entry


def _read_index(path: str) -> tuple[int, dict[str, _Entry]]:
    """The number of data files, and every tensor's entry."""
    with open(path, "rb") as file:
        table = file.read(_LARGEST_INDEX + 1)
    if len(table) > _LARGEST_INDEX:
        raise ValueError(f"{path} must have at most {_LARGEST_INDEX} bytes")
    if len(table) < _FOOTER or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError(
            f"{path} is not the index of a TensorFlow checkpoint, or is cut short: it must end "
            "with a table's magic number"
        )
    footer = _Cursor(table[-_FOOTER:-8], path)
    footer.varint()  # the block of metadata, which checkpoints leave empty: offset,
    footer.varint()  # and size
    shards = 0
    entries: dict[str, _Entry] = {}
    last: bytes | None = None
    for _, handle in _block(table, footer.take(footer.left), path):
        empty = True
        for key, value in _block(table, handle, path):
            empty = False
            if last is not None and key <= last:
                raise ValueError(f"{path}: names must ascend; {key!r} follows {last!r}")
            if last is None:
                if key:
                    raise ValueError(f"{path} must begin with a header; it begins with {key!r}")
                shards = _shard_count(value, path)
            elif len(entries) == _MOST_TENSORS:
                raise ValueError(f"{path} must hold at most {_MOST_TENSORS} tensors")
            else:
                try:
                    name = key.decode()
                except UnicodeDecodeError as error:
                    raise ValueError(f"{path}: the name {key!r} is not UTF-8") from error
                entries[name] = _entry(value, shards, f"{path}: {name}")
            last = key
        if empty:  # or a table could name one such block without end
            raise ValueError(f"{path}: a block of names must not be empty")
    if last is None:
        raise ValueError(f"{path} must begin with a header; it is empty")
    return shards, entries


def _read_tensor(file: BinaryIO, length: int, entry: _Entry, source: str) -> TensorFlowArray:
    if entry.offset > length or entry.size > length - entry.offset:
        raise ValueError(
            f"{source} must lie inside the {length} bytes of the file, which may be cut short; it "
            f"is {entry.size} bytes at {entry.offset}"
        )
    file.seek(entry.offset)
    data = file.read(entry.size)
    if len(data) != entry.size:
        raise ValueError(f"{source}: expected {entry.size} bytes, read {len(data)}")
    if _masked_crc(data) != entry.checksum:
        raise ValueError(f"{source} is damaged: it fails its checksum")
    dtype = np.dtype(_DTYPES[entry.dtype]).newbyteorder("<")
    array: TensorFlowArray = np.frombuffer(data, dtype).reshape(entry.shape).copy()
    return array


def read_tensorflow_checkpoint(path: StrPath) -> dict[str, TensorFlowArray]:
    """Read the variables of a TensorFlow checkpoint (V2, "tensor bundle") without TensorFlow.

    Parameters
    ----------
    path : str or os.PathLike
        The ``.index`` file, or the prefix that it shares with its ``.data-00000-of-00001`` files,
        which must lie beside it.

    Returns
    -------
    dict of str to numpy.ndarray
        Every numeric variable by its name, in ascending order, with its own memory; optimiser
        slots (``.../Adam``) included. Strings, such as the object graph that TensorFlow 2 adds,
        are left out.

    Raises
    ------
    OSError
        If the index or a data file is not there or cannot be read.
    ImportError
        If google-crc32c is not installed, or the index is compressed and cramjam is not.
    ValueError
        If a file is no such file, is cut short, or fails a checksum; or if a variable is stored in
        slices or in a dtype that NumPy lacks (bfloat16, complex and quantised types). The message
        names the file and what is wrong with it.

    Notes
    -----
    Nothing in the file is run. The memory used is at most that of the data files, and the index
    must have at most 16 MiB. Formats: LevelDB's ``table_format.md``, and TensorFlow's
    ``tensor_bundle.proto``; checksums are CRC-32C, masked.
    """
    prefix = os.fspath(path).removesuffix(".index")
    shards, entries = _read_index(f"{prefix}.index")
    arrays: dict[str, TensorFlowArray] = {}
    for shard in range(shards):
        held = [
            (name, entry)
            for name, entry in entries.items()
            if entry.shard == shard and entry.dtype != _STRING
        ]
        if not held:
            continue
        source = f"{prefix}.data-{shard:05d}-of-{shards:05d}"
        with open(source, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if (total := sum(entry.size for _, entry in held)) > length:
                raise ValueError(
                    f"{source} must have at least the {total} bytes of its variables; it has "
                    f"{length}, and may be cut short"
                )
            for name, entry in held:
                arrays[name] = _read_tensor(file, length, entry, f"{source}: {name}")
    return {name: arrays[name] for name in entries if name in arrays}

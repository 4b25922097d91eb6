# SPDX-License-Identifier: MIT
"""TensorFlow checkpoints, written here by code that shares nothing with the reader."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hubprune.models import read_tensorflow_checkpoint

pytest.importorskip("google_crc32c", reason="needs google-crc32c, of hubprune[study]")

NUMBERS = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i8": 9, "b1": 10, "f2": 19}


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit (Castagnoli, reflected: 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def varint(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(
    array: np.ndarray, shard: int, offset: int, checksum: bytes | None = None, **other: int
) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    return (
        field(1, other.get("dtype", NUMBERS[array.dtype.str[1:]]))
        + field(2, other.get("shape", shape))
        + (field(3, shard) if shard else b"")
        + (field(4, offset) if offset else b"")
        + field(5, other.get("size", array.nbytes))
        + varint(6 << 3 | 5)
        + (masked(array.tobytes()) if checksum is None else checksum)
    )


def block(entries: list[tuple[bytes, bytes]], interval: int = 3) -> bytes:
    """A table block: names share their beginning with the one before, but at restart points."""
    out, restarts, before = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:]
        out += value
        before = key
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def literal_snappy(data: bytes) -> bytes:
    """A snappy stream of literals of up to 60 bytes."""
    out = varint(len(data))
    for start in range(0, len(data), 60):
        part = data[start : start + 60]
        out += bytes([(len(part) - 1) << 2]) + part
    return out


def table(entries: list[tuple[bytes, bytes]], per_block: int = 4, compression: int = 0) -> bytes:
    out = b""

    def append(data: bytes) -> bytes:
        nonlocal out
        stored = (literal_snappy(data) if compression == 1 else data) + bytes([compression])
        handle = varint(len(out)) + varint(len(stored) - 1)
        out += stored + masked(stored)
        return handle

    index = []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        index.append((part[-1][0], append(block(part))))
    metadata = append(block([]))
    footer = metadata + append(block(index, interval=1))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


HEADER = field(1, 1) + field(3, field(1, 1))


def write(prefix: Path, arrays: dict[str, np.ndarray], shards: int = 1, **how: int) -> Path:
    data = [b""] * shards
    entries = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for index, (name, array) in enumerate(sorted(arrays.items())):
        shard = index % shards
        entries.append((name.encode(), entry(array, shard, len(data[shard]))))
        data[shard] += array.tobytes()
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    path = Path(f"{prefix}.index")
    path.write_bytes(table(entries, **how))
    return path


def some_arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    arrays = {
        f"layer_{index}/kernel": draw.normal(size=(3, index + 1)).astype("f4") for index in range(9)
    }
    return arrays | {
        "layer_1/kernel/Adam": np.arange(6, dtype="f8").reshape(1, 2, 3),
        "step": np.array(7, "i8"),
        "empty": np.zeros((0, 4), "f4"),
        "flags": np.array([True, False]),
        "half": np.array([1.5], "f2"),
        "żółw": np.array([1, 2], "i4"),
    }


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("per_block", [1, 4, 100])
@pytest.mark.parametrize("compression", [0, 1])
def test_round_trip(tmp_path: Path, shards: int, per_block: int, compression: int) -> None:
    if compression:
        pytest.importorskip("cramjam", reason="needs cramjam, of hubprune[study]")
    arrays = some_arrays()
    path = write(
        tmp_path / "model.ckpt-7", arrays, shards, per_block=per_block, compression=compression
    )
    for place in (path, str(path), tmp_path / "model.ckpt-7"):
        got = read_tensorflow_checkpoint(place)
        assert list(got) == sorted(arrays, key=str.encode)
        for name, array in arrays.items():
            assert got[name].dtype == array.dtype
            assert got[name].shape == array.shape
            np.testing.assert_array_equal(got[name], array)
            assert got[name].flags.owndata
            assert got[name].flags.writeable


def test_prefix_without_a_name(tmp_path: Path) -> None:
    """As in musicnn: the folder is the prefix."""
    write(tmp_path / "x", {"a": np.ones(2, "f4")})
    (tmp_path / "x.index").rename(tmp_path / ".index")
    (tmp_path / "x.data-00000-of-00001").rename(tmp_path / ".data-00000-of-00001")
    assert list(read_tensorflow_checkpoint(tmp_path / ".index")) == ["a"]
    assert list(read_tensorflow_checkpoint(f"{tmp_path}/")) == ["a"]


def test_truncated_anywhere(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(3, dtype="f4"), "a/c": np.arange(2, dtype="i8")}
    path = write(tmp_path / "m", arrays, per_block=2)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"m\.index"):
            read_tensorflow_checkpoint(path)
        path.write_bytes(content[length + 1 :])  # the beginning is gone instead
        with pytest.raises(ValueError, match=r"m\.index"):
            read_tensorflow_checkpoint(path)
    path.write_bytes(content)
    data = tmp_path / "m.data-00000-of-00001"
    content = data.read_bytes()
    for length in range(len(content)):
        data.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"m\.data-00000-of-00001 must have at least the 28"):
            read_tensorflow_checkpoint(path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"a/b": np.arange(3, dtype="f4"), "a/c": np.ones(1)}, per_block=2)
    content = path.read_bytes()
    # The block of metadata is not read; the footer has no checksum.
    footer = iter(content[-48:])
    first = next(footer)
    metadata = first if first < 128 else first - 128 + 128 * next(footer)
    for place in range(len(content) - 48):
        if metadata <= place < metadata + 9:
            continue
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="fails its checksum"):
                read_tensorflow_checkpoint(path)
    for place in range(len(content) - 8, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not the index of a TensorFlow checkpoint"):
            read_tensorflow_checkpoint(path)
    path.write_bytes(content)
    data = tmp_path / "m.data-00000-of-00001"
    content = data.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 4
        data.write_bytes(damaged)
        name = "a/b" if place < 12 else "a/c"
        with pytest.raises(ValueError, match=rf"00001: {name} is damaged: it fails its checksum"):
            read_tensorflow_checkpoint(path)


def test_any_footer(tmp_path: Path) -> None:
    """Handles that point anywhere give an error, never a crash."""
    path = write(tmp_path / "m", {"a": np.ones(1)})
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(300):
        path.write_bytes(content[:-48] + draw.bytes(40) + content[-8:])
        with pytest.raises(ValueError, match=r"m\.index"):
            read_tensorflow_checkpoint(path)


def one(**other: int) -> Callable[[], bytes]:
    return lambda: table([(b"", HEADER), (b"w", entry(np.ones((2, 3), "f4"), 0, 0, **other))])


def raw(data: bytes) -> Callable[[], bytes]:
    """A table of one block with these bytes."""

    def make() -> bytes:
        stored = data + b"\0"
        out = stored + masked(stored)
        index = block([(b"z", varint(0) + varint(len(data)))]) + b"\0"
        handle = varint(len(out)) + varint(len(index) - 1)
        out += index + masked(index)
        footer = varint(0) + varint(0) + handle
        return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one(dtype=14), "w must have a numeric dtype that NumPy has; got TensorFlow's number 14"),
        (one(size=20), r"w of shape \(2, 3\) and dtype float32 must have 24 bytes; it says 20"),
        (lambda: table([(b"", HEADER), (b"w", entry(np.ones(3), 0, 1))]), "must lie inside the 24"),
        (lambda: table([(b"", HEADER), (b"w", entry(np.ones(2), 0, 2**63))]), "must lie inside"),
        (lambda: table([(b"", HEADER), (b"w", entry(np.ones(2), 1, 0))]), "data file 1 of 1"),
        (
            lambda: table([(b"", HEADER), (b"w", entry(np.ones(2), 0, 0) + field(7, b""))]),
            "w is stored in slices",
        ),
        (
            lambda: table([(b"", HEADER), (b"w", field(1, 1) + field(2, field(3, 1)))]),
            "w has no known rank",
        ),
        (
            lambda: table([(b"", HEADER), (b"w", field(1, 1) + field(2, field(2, b"") * 33))]),
            "w must have at most 32 dimensions; got 33",
        ),
        (lambda: table([(b"", HEADER), (b"w", field(1, b"x"))]), "w: field 1 must be a number"),
        (lambda: table([(b"", HEADER), (b"w", field(2, 5))]), "w: field 2 must be a message"),
        (lambda: table([(b"", HEADER), (b"w", b"\x0b")]), "field 1 has the unknown wire type 3"),
        (lambda: table([(b"", HEADER), (b"w", b"\x08" + b"\xff" * 10)]), "longer than 64 bits"),
        (lambda: table([(b"", HEADER), (b"w", b"\x12\x7f")]), "127 bytes must follow where only 0"),
        (lambda: table([(b"", field(1, 0))]), "number of data files must be 1 to 99999; got 0"),
        (lambda: table([(b"", field(1, 1) + field(2, 1))]), "must be little-endian"),
        (lambda: table([]), "must begin with a header; it is empty"),
        (lambda: table([(b"w", HEADER)]), "must begin with a header; it begins with b'w'"),
        (
            lambda: table([(b"", HEADER), *[(b"w", entry(np.ones(3), 0, 0))] * 2]),
            "names must ascend; b'w' follows b'w'",
        ),
        (lambda: table([(b"", HEADER), (b"\xff", entry(np.ones(3), 0, 0))]), "is not UTF-8"),
        (
            lambda: table([(b"", HEADER), *[(x, entry(np.ones(3), 0, 0)) for x in (b"v", b"w")]]),
            "must have at least the 48 bytes of its variables; it has 24",
        ),
        (
            lambda: table([(b"", HEADER), (b"w" * 2000, b"")]),
            "must have at most 1024 bytes; got 2000",
        ),
        (raw(b"\0\0"), "a block must have at least 4 bytes; got 2"),
        (raw(struct.pack("<I", 9)), "a block of 4 bytes cannot hold 9 restart points"),
        (raw(struct.pack("<I", 0)), "a block of names must not be empty"),
        (raw(b"\x02\x01\x00x" + struct.pack("<I", 0)), "must share at most the 0 bytes"),
        (lambda: table([(b"", HEADER)], compression=7), "compression must be 0 or 1"),
    ],
)
def test_what_is_wrong(tmp_path: Path, make: Callable[[], bytes], message: str) -> None:
    (tmp_path / "m.index").write_bytes(make())
    (tmp_path / "m.data-00000-of-00001").write_bytes(np.ones((2, 3), "f4").tobytes())
    with pytest.raises(ValueError, match=message):
        read_tensorflow_checkpoint(tmp_path / "m")


def test_bad_compression(tmp_path: Path) -> None:
    pytest.importorskip("cramjam", reason="needs cramjam, of hubprune[study]")
    for data, message in (
        (varint(1 << 40) + b"x", "must grow to at most 16777216 bytes; it says 1099511627776"),
        (varint(9) + b"\xff\xff", "a compressed block cannot be read"),
    ):
        content = raw(data)()
        stored = data + b"\1"
        (tmp_path / "m.index").write_bytes(stored + masked(stored) + content[len(data) + 5 :])
        with pytest.raises(ValueError, match=message):
            read_tensorflow_checkpoint(tmp_path / "m")


def test_strings_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"a": np.ones(1)})
    text = field(1, 7) + field(2, b"") + field(5, 3)
    path.write_bytes(table([(b"", HEADER), (b"_GRAPH", text), (b"a", entry(np.ones(1), 0, 0))]))
    assert list(read_tensorflow_checkpoint(path)) == ["a"]


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.index"):
        read_tensorflow_checkpoint(tmp_path / "none")
    path = write(tmp_path / "m", {"a": np.ones(1)})
    (tmp_path / "m.data-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match=r"m\.data-00000-of-00001"):
        read_tensorflow_checkpoint(path)


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m", {"a": np.ones(1)}, compression=1)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(ImportError, match=r'compressed.*cramjam.*pip install "hubprune\[study\]"'):
        read_tensorflow_checkpoint(path)
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ImportError, match=r'google-crc32c.*pip install "hubprune\[study\]"'):
        read_tensorflow_checkpoint(path)


def test_largest_index(tmp_path: Path) -> None:
    with open(tmp_path / "m.index", "wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ValueError, match="must have at most 16777216 bytes"):
        read_tensorflow_checkpoint(tmp_path / "m")

# SPDX-License-Identifier: MIT
"""Keras weight files, and the DCASE 2021 baseline that is loaded from them."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cases import assert_within
from hubprune.models import (
    Dcase21Baseline,
    KerasArray,
    load_dcase21,
    load_keras,
    read_keras_weights,
)
from hubprune.models.keras_weights import conv_weight, dense_weight

Arrays = list[np.ndarray[Any, np.dtype[Any]]]
ROLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


def weight_list(
    filters: Sequence[int] = (16, 16, 32), hidden: int = 100, seed: int = 0, dtype: Any = "f4"
) -> Arrays:
    """What `get_weights` gives for the Keras baseline: 22 arrays."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = []
    before = 1
    for count in filters:
        arrays.append(rng.normal(size=(7, 7, before, count)) / 7 / np.sqrt(before))
        arrays += [rng.normal(size=count) for _ in range(4)]
        arrays.append(rng.uniform(0.5, 2, count))
        before = count
    for inputs, units in ((2 * before, hidden), (hidden, 10)):
        arrays += [rng.normal(size=(inputs, units)) / np.sqrt(inputs), rng.normal(size=units)]
    return [array.astype(dtype) for array in arrays]


def as_objects(arrays: Sequence[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """The object array that NumPy made of a ragged list when these files were written."""
    objects = np.empty(len(arrays), dtype=object)
    objects[:] = arrays
    return objects


def write_npy(path: Path, arrays: Sequence[Any]) -> Path:
    np.save(path, as_objects(arrays), allow_pickle=True)
    return path


def write_pickle(path: Path, payload: bytes, shape: tuple[int, ...] = (1,)) -> Path:
    """A .npy of objects around any pickle."""
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(payload)
    return path


def write_hdf5(path: Path, arrays: Arrays, *, whole_model: bool = False) -> Path:
    """The layout of Keras 2: `save_weights`, or `save` with a group of its own."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        layers: dict[str, dict[str, Any]] = {}
        rest = list(arrays)
        for number in range(1, 4):
            layers[f"conv2d_{number}"] = {role: rest.pop(0) for role in ROLES[:2]}
            layers[f"batch_normalization_{number}"] = {role: rest.pop(0) for role in ROLES[2:]}
            layers[f"activation_{number}"] = {}
        for number in (1, 2):
            layers[f"dense_{number}"] = {role: rest.pop(0) for role in ROLES[:2]}
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for layer, weights in layers.items():
            group = root.create_group(layer)
            names = [f"{layer}/{role}:0".encode() for role in weights]
            group.attrs["weight_names"] = np.array(names) if names else np.zeros(0)
            for role, values in weights.items():
                group.create_dataset(f"{layer}/{role}:0", data=values)
    return path


def keras_forward(arrays: Arrays, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The Keras baseline, channels last, in float64 NumPy; x is (40, 500)."""
    rest = [array.astype(np.float64) for array in arrays]
    maps = x.astype(np.float64)[:, :, None]
    for pool in ((1, 1), (5, 5), (4, 100)):
        kernel, bias, gamma, beta, mean, variance = (rest.pop(0) for _ in range(6))
        height, width, _ = maps.shape
        padded = np.pad(maps, ((3, 3), (3, 3), (0, 0)))
        out = np.zeros((height, width, kernel.shape[3])) + bias
        for row in range(7):
            for column in range(7):
                out += padded[row : row + height, column : column + width] @ kernel[row, column]
        out = np.maximum((out - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)
        down, right = pool
        tiles = out.reshape(height // down, down, width // right, right, -1)
        maps = tiles.max(axis=(1, 3))
    kernel, bias, last_kernel, last_bias = rest
    hidden = np.maximum(maps.reshape(-1) @ kernel + bias, 0)
    return np.asarray(hidden @ last_kernel + last_bias)


# ---- the network --------------------------------------------------------------------------------


def test_parameter_count_with_statistics() -> None:
    state = Dcase21Baseline().state_dict()
    counted = {k: v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert sum(counted.values()) == 46_246
    assert counted["conv1.weight"] + counted["conv1.bias"] == 800
    assert counted["conv2.weight"] + counted["conv2.bias"] == 12_560
    assert counted["conv3.weight"] + counted["conv3.bias"] == 25_120


@pytest.mark.parametrize("filters", [(16, 16, 32), (11, 11, 22)])
@pytest.mark.parametrize("layout", ["npy", "h5", "model.h5"])
def test_forward_is_the_keras_one(tmp_path: Path, filters: tuple[int, ...], layout: str) -> None:
    arrays = weight_list(filters)
    if layout == "npy":
        path = write_npy(tmp_path / "weights.npy", arrays)
    else:
        path = write_hdf5(tmp_path / "weights.h5", arrays, whole_model=layout == "model.h5")
    model = load_keras(path)
    assert not model.training
    assert tuple(m.out_channels for m in (model.conv1, model.conv2, model.conv3)) == filters
    x = np.random.default_rng(1).normal(size=(40, 500)).astype(np.float32)
    with torch.no_grad():
        got = model(torch.from_numpy(x)[None, None])[0].double().numpy()
    expected = keras_forward(arrays, x)
    assert got.shape == (10,)
    assert np.ptp(expected) > 0.5
    # float32 against float64: 2e-6 measured on logits of about 3.
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=0)


def test_flatten_order_matters() -> None:
    """A loader that only transposes the dense kernel would compute something else."""
    arrays = weight_list()
    wrong = [*arrays[:18], arrays[18].reshape(2, 32, 100).swapaxes(0, 1).reshape(64, 100)]
    wrong += arrays[19:]
    x = np.random.default_rng(1).normal(size=(40, 500))
    assert np.abs(keras_forward(arrays, x) - keras_forward(wrong, x)).max() > 0.1


def test_hidden_units_and_half_precision_are_read(tmp_path: Path) -> None:
    arrays = weight_list((16, 8, 16), hidden=32, dtype="f2")
    model = load_keras(write_hdf5(tmp_path / "a.h5", arrays))
    assert (model.fc1.in_features, model.fc1.out_features) == (32, 32)
    assert model.conv1.weight.dtype == torch.float32
    np.testing.assert_array_equal(model.bn2.running_var.numpy(), arrays[11].astype("f4"))  # type: ignore[union-attr]


def test_training_mode_and_gradient() -> None:
    torch.manual_seed(0)
    model = Dcase21Baseline((2, 2, 4))
    model(torch.randn(2, 1, 40, 500)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.bn1.momentum == pytest.approx(0.01)
    assert model.bn1.eps == pytest.approx(1e-3)


def test_dropout_in_training_only(dropouts: list[tuple[float, bool]]) -> None:
    model = Dcase21Baseline((1, 1, 1))
    model(torch.zeros(2, 1, 40, 500))
    assert dropouts == [(0.3, True)] * 3
    model.eval()(torch.zeros(2, 1, 40, 500))
    assert dropouts[3:] == [(0.3, False)] * 3


def test_network_errors() -> None:
    model = Dcase21Baseline((1, 1, 1))
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 1, 40, 500\); got shape"):
        model(torch.zeros(1, 1, 500, 40))
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor; got torch\.int32"):
        model(torch.zeros(1, 1, 40, 500, dtype=torch.int32))
    with pytest.raises(ValueError, match="filters must hold three numbers; got 2"):
        Dcase21Baseline((16, 16))
    with pytest.raises(ValueError, match=r"filters\[1\] must be at least 1; got 0"):
        Dcase21Baseline((16, 0, 16))
    with pytest.raises(TypeError, match="hidden must be an int; got float"):
        Dcase21Baseline(hidden=1.5)  # type: ignore[arg-type]


def test_export() -> None:
    model = Dcase21Baseline((2, 3, 4)).eval()
    x = torch.randn(3, 1, 40, 500)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x), model(x))


def test_state_dict_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pruned = Dcase21Baseline((11, 12, 22), hidden=7, classes=3)
    torch.save(pruned.state_dict(), tmp_path / "a.pt")
    model = load_dcase21(tmp_path / "a.pt")
    assert all(torch.equal(v, pruned.state_dict()[k]) for k, v in model.state_dict().items())
    npy = write_npy(tmp_path / "a.npy", weight_list((3, 4, 5)))
    assert load_dcase21(npy).conv3.out_channels == 5
    torch.save({"conv1.bias": torch.zeros(4)}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt does not fit Dcase21Baseline; missing: bn1\.bias"):
        load_dcase21(tmp_path / "b.pt")


# ---- wrong arrays -------------------------------------------------------------------------------


def without(index: int) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays[:index] + arrays[index + 1 :]


def replaced(index: int, shape: tuple[int, ...]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: [*arrays[:index], np.zeros(shape, "f4"), *arrays[index + 1 :]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced(0, (3, 3, 1, 16)),
            r"array 1, the conv1 kernel, must have shape \(7, 7, 1, any\)",
        ),
        (replaced(6, (7, 7, 8, 16)), r"array 7, the conv2 kernel, .*\(7, 7, 16, any\); got shape"),
        (replaced(12, (7, 7, 16, 0)), r"array 13, the conv3 kernel, .*got shape \(7, 7, 16, 0\)"),
        (replaced(1, (15,)), r"array 2, the conv1 bias, must have shape \(16\); got shape \(15,\)"),
        (replaced(11, (17,)), r"array 12, the bn2 moving variance, must have shape \(16\)"),
        (replaced(18, (32, 100)), r"array 19, the fc1 kernel, must have shape \(64, any\)"),
        (without(2), r"array 6, the bn1 moving variance, must have shape \(16\)"),
        (without(21), r"holds 21 arrays; fc2 bias is missing, expected as array 22"),
        (lambda a: [*a, a[0]], r"holds 23 arrays; expected 22, the first left over is 'array 23'"),
        (lambda a: [], r"holds 0 arrays; conv1 kernel is missing, expected as array 1"),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, change: Callable[[Arrays], Arrays], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_keras(write_npy(tmp_path / "a.npy", change(weight_list())))


def test_the_message_names_the_array_of_a_file_with_names(tmp_path: Path) -> None:
    arrays = replaced(6, (5, 5, 16, 16))(weight_list())
    with pytest.raises(ValueError, match=r"a\.h5: array 7 \('conv2d_2/kernel:0'\), the conv2 ker"):
        load_keras(write_hdf5(tmp_path / "a.h5", arrays))


# ---- .npy ---------------------------------------------------------------------------------------


def values(path: Path) -> Arrays:
    return [array.values for array in read_keras_weights(path)]


def test_npy_round_trip(tmp_path: Path) -> None:
    arrays: Arrays = [
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="<f8").reshape(2, 3)),
        np.arange(4, dtype=">f4"),
        np.arange(4, dtype="<f2"),
        np.arange(12, dtype="f4").reshape(3, 4)[::2, ::-1],
        np.zeros((0, 3), "f4"),
        np.array(2.5, "f4"),
    ]
    read = read_keras_weights(write_npy(tmp_path / "a.npy", arrays))
    assert [type(array) for array in read] == [KerasArray] * 7
    assert [array.name for array in read] == [f"array {n}" for n in range(1, 8)]
    for array, original in zip(read, arrays, strict=True):
        assert array.values.dtype == np.float32
        np.testing.assert_array_equal(array.values, original)


@pytest.mark.parametrize(
    ("protocol", "module"),
    [(2, b"numpy.core.multiarray"), (3, b"numpy.core.multiarray"), (3, b"numpy._core.multiarray")],
)
def test_npy_of_older_numpy(tmp_path: Path, protocol: int, module: bytes) -> None:
    """NumPy 1 wrote protocol 2 or 3, and another module name than NumPy 2 with its protocol 4."""
    arrays = weight_list((2, 3, 4), hidden=5)
    payload = pickle.dumps(as_objects(arrays), protocol=protocol)
    payload = payload.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    payload = payload.replace(b"numpy.core.multiarray", module)
    assert payload.count(module) == 1
    path = write_pickle(tmp_path / "a.npy", payload, (len(arrays),))
    for got, expected in zip(values(path), arrays, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_npy_of_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"a\.npy must hold a list of arrays.*dtype float64"):
        read_keras_weights(tmp_path / "a.npy")


class Call:
    """A pickle of this calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("place", ["list", "item", "shape"])
def test_a_pickle_never_runs(tmp_path: Path, protocol: int, place: str) -> None:
    ran = tmp_path / "ran"
    bomb = Call(os.mkdir, str(ran))
    if place == "list":
        content: Any = bomb
    elif place == "item":
        content = as_objects([np.zeros(2, "f4"), bomb])
    else:
        content = as_objects([Call(np.zeros, (bomb,))])
    path = write_pickle(tmp_path / "a.npy", pickle.dumps(content, protocol=protocol))
    with pytest.raises(ValueError, match=r"a\.npy is not a plain list.*pickled objects are never"):
        load_keras(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "function",
    [eval, getattr, np.load, np.frombuffer, np.fromfile, io.open, pickle.loads],
    ids=lambda function: str(function.__name__),
)
def test_no_other_name_is_admitted(tmp_path: Path, function: Callable[..., Any]) -> None:
    payload = pickle.dumps(Call(function, "1"))
    with pytest.raises(ValueError, match=r"it names .*, and only plain NumPy arrays are read"):
        read_keras_weights(write_pickle(tmp_path / "a.npy", payload))


def test_a_dotted_name_does_not_get_through(tmp_path: Path) -> None:
    payload = b"\x80\x04\x8c\x05numpy\x8c\x0cdtype.mro.im\x93."
    with pytest.raises(ValueError, match=r"it names numpy\.dtype\.mro\.im"):
        read_keras_weights(write_pickle(tmp_path / "a.npy", payload))


def forged(state: Any) -> bytes:
    """A weight list of one array whose record says anything."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(tR" + pickle.dumps(state, 2)[2:-1] + b"b"
    outer = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01K\x01\x85N\x89]" + array
    return outer + b"atb."


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((1, (2,), np.dtype("<f4"), False, b"1234"), r"shape \(2,\) does not fit 1 numbers"),
        ((1, (1 << 60,), np.dtype("<f4"), False, b"1234"), "does not fit 1 numbers"),
        ((1, (-1,), np.dtype("<f4"), False, b"1234"), "it has no valid shape or data"),
        ((1, "2", np.dtype("<f4"), False, b"1234"), "it has no valid shape or data"),
        ((1, (True,), np.dtype("<f4"), False, b"1234"), "it has no valid shape or data"),
        ((1, (1,), np.dtype("<f4"), False, None), "it has no valid shape or data"),
        ((1, (1,), np.dtype("<f4"), False, ["x"]), "it has no valid shape or data"),
        ((1, (1,), np.dtype("<i4"), False, b"1234"), "floating-point numbers; got dtype 'i4'"),
        ((1, (1,), np.dtype(object), False, b"12345678"), "floating-point.*got dtype 'O8'"),
        ((1, (1,), "f4", False, b"1234"), "floating-point numbers; got dtype 'str'"),
        ((1, (1,)), "array 1 must be a NumPy array"),
        ({"a": 1}, "array 1 must be a NumPy array"),
    ],
)
def test_forged_records(tmp_path: Path, state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_keras_weights(write_pickle(tmp_path / "a.npy", forged(state)))


def test_a_forged_record_that_is_right_is_read(tmp_path: Path) -> None:
    """So the refusals above are for their reasons."""
    data = struct.pack(">2f", 1.5, -2)
    path = write_pickle(tmp_path / "a.npy", forged((1, (1, 2), np.dtype(">f4"), False, data)))
    np.testing.assert_array_equal(values(path)[0], [[1.5, -2]])


@pytest.mark.parametrize("order", ["|", "x", None])
def test_forged_byte_order(tmp_path: Path, order: str | None) -> None:
    state = pickle.dumps((1, (1,), np.dtype("<f4"), False, b"1234"), 2)
    replacement = b"N" if order is None else b"X\x01\x00\x00\x00" + order.encode()
    assert state.count(b"X\x01\x00\x00\x00<") == 1
    state = state.replace(b"X\x01\x00\x00\x00<", replacement)[2:-1]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(tR" + state + b"b"
    payload = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01K\x01\x85N\x89]" + array
    with pytest.raises(ValueError, match="has an unknown byte order"):
        read_keras_weights(write_pickle(tmp_path / "a.npy", payload + b"atb."))


def test_other_contents_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="array 2 must be a NumPy array; got str"):
        read_keras_weights(write_npy(tmp_path / "a.npy", [np.zeros(1), "text"]))
    nested = as_objects([np.zeros(2)])
    with pytest.raises(ValueError, match="array 1 must hold floating-point numbers; got dtype 'O8"):
        read_keras_weights(write_npy(tmp_path / "b.npy", [nested]))
    np.save(tmp_path / "c.npy", np.array([[None], [None]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"must hold a flat list of arrays.*shape \(2, 1\)"):
        read_keras_weights(tmp_path / "c.npy")
    with pytest.raises(ValueError, match=r"must hold a list of arrays; got list"):
        read_keras_weights(write_pickle(tmp_path / "d.npy", pickle.dumps([1])))


@pytest.mark.parametrize("encoding", ["utf-8", "rot13"])
def test_bytes_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    payload = pickle.dumps(as_objects([np.ones(1, "f4")]), 2)
    assert b"latin1" in payload
    text = encoding.encode()
    payload = payload.replace(
        b"X\x06\x00\x00\x00latin1", b"X" + struct.pack("<I", len(text)) + text
    )
    with pytest.raises(ValueError, match="array 1 holds bytes in an unknown encoding"):
        read_keras_weights(write_pickle(tmp_path / "a.npy", payload))


@pytest.mark.parametrize("length", [7, 40, 200, -1, -400])
def test_truncated_npy(tmp_path: Path, length: int) -> None:
    path = write_npy(tmp_path / "a.npy", weight_list((1, 1, 1)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.npy is not a"):
        read_keras_weights(path)


def test_unknown_npy_version(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x09\x00" + bytes(64))
    with pytest.raises(ValueError, match=r"a\.npy is not a \.npy file.*version"):
        read_keras_weights(tmp_path / "a.npy")


# ---- HDF5 ---------------------------------------------------------------------------------------


def test_hdf5_names_and_order(tmp_path: Path) -> None:
    arrays = weight_list((2, 3, 4))
    read = read_keras_weights(write_hdf5(tmp_path / "any.name", arrays))
    assert [a.name for a in read[:3]] == [
        "conv2d_1/kernel:0",
        "conv2d_1/bias:0",
        "batch_normalization_1/gamma:0",
    ]
    for got, expected in zip(read, arrays, strict=True):
        np.testing.assert_array_equal(got.values, expected)


def test_hdf5_with_split_names(tmp_path: Path) -> None:
    """Keras splits a list of names that is too long for one attribute."""
    path = write_hdf5(tmp_path / "a.h5", weight_list((2, 3, 4)))
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:4], names[4:]
    assert len(read_keras_weights(path)) == 22


def edited(path: Path, edit: Callable[[Any], None]) -> Path:
    write_hdf5(path, weight_list((2, 3, 4)))
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def drop_names(file: Any) -> None:
    del file.attrs["layer_names"]


def drop_layer(file: Any) -> None:
    del file["dense_1"]


def drop_array(file: Any) -> None:
    del file["dense_1/dense_1/bias:0"]


def number_names(file: Any) -> None:
    file.attrs["layer_names"] = 3


def integers(file: Any) -> None:
    drop_array(file)
    file["dense_1/dense_1/bias:0"] = np.arange(100)


def huge(file: Any) -> None:
    drop_array(file)
    file["dense_1"].create_dataset("dense_1/bias:0", (1 << 40,), "f4", chunks=(1024,))


def empty(file: Any) -> None:
    drop_array(file)
    file["dense_1/dense_1"].create_dataset("bias:0", data=h5py.Empty("f4"))


def external_link(file: Any) -> None:
    drop_array(file)
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["secret"] = np.zeros(100, "f4")
    file["dense_1/dense_1/bias:0"] = h5py.ExternalLink(str(other), "secret")


def external_storage(file: Any) -> None:
    drop_array(file)
    other = Path(file.filename).with_name("secret.bin")
    other.write_bytes(bytes(400))
    file["dense_1/dense_1"].create_dataset("bias:0", (100,), "f4", external=[(str(other), 0, 400)])


def virtual(file: Any) -> None:
    drop_array(file)
    layout = h5py.VirtualLayout(shape=(100,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(100,))
    file["dense_1/dense_1"].create_virtual_dataset("bias:0", layout)


def model_weights_array(file: Any) -> None:
    file["model_weights"] = np.zeros(3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_names, "is not a Keras 2 weight file: group '/' has no attribute 'layer_names'"),
        (number_names, "layer '3' is named but is not there"),
        (drop_layer, "layer 'dense_1' is named but is not there"),
        (drop_array, r"/dense_1/dense_1/bias:0 is named in the file but is not there"),
        (integers, "bias:0 must hold floating-point numbers; got dtype int64"),
        (huge, "bias:0 must hold at most 1073741824 bytes; got shape"),
        (empty, "bias:0 must hold at most 1073741824 bytes; got shape None"),
        (external_link, "bias:0 must be stored in the file itself; it points to another file"),
        (external_storage, "bias:0 must be stored in the file itself"),
        (virtual, "bias:0 must be stored in the file itself"),
        (model_weights_array, "'model_weights' must be a group of layers"),
    ],
)
def test_hdf5_that_is_wrong(tmp_path: Path, edit: Callable[[Any], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_keras_weights(edited(tmp_path / "a.h5", edit))


def test_truncated_hdf5(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", weight_list((2, 3, 4)))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"a\.h5 is not an HDF5 file that can be read"):
        read_keras_weights(path)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hdf5(tmp_path / "a.h5", weight_list((1, 1, 1)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'needs h5py.*pip install "hubprune\[keras\]"'):
        read_keras_weights(path)


def test_neither_hdf5_nor_npy(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"a\.h5 must be an HDF5 or \.npy file.*a torch file"):
        load_keras(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError):
        load_keras(tmp_path / "none.h5")


# ---- layouts ------------------------------------------------------------------------------------


def test_conv_weight_layouts() -> None:
    for kernel in ((7,), (7, 5), (2, 3, 4)):
        values = np.random.default_rng(0).normal(size=(*kernel, 3, 2)).astype("f4")
        weight = conv_weight(values)
        assert weight.shape == (2, 3, *kernel)
        for out in range(2):
            for channel in range(3):
                np.testing.assert_array_equal(weight[out, channel], values[..., channel, out])


def test_dense_weight_layout() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")  # height, width, channels
    kernel = np.random.default_rng(1).normal(size=(24, 5)).astype("f4")
    expected = maps.reshape(-1) @ kernel
    flat = torch.from_numpy(maps.transpose(2, 0, 1).copy()).flatten()
    assert_within(dense_weight(kernel, positions=6) @ flat, expected, 3e-6)
    np.testing.assert_array_equal(dense_weight(kernel), kernel.T)

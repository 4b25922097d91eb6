# SPDX-License-Identifier: MIT
"""The published feature arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hubprune.datasets.dcase import DcaseArrays


def write(place: Path, x: np.ndarray, y: np.ndarray, split: str = "train") -> Path:
    np.save(place / f"X_{split}.npy", x)
    np.save(place / f"Y_{split}.npy", y)
    return place


def features(n: int = 3, *shape: int) -> np.ndarray:
    shape = shape or (40, 500, 1)
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 500), (40, 500, 1)])
@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "one-hot", "column"])
def test_every_layout(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    labels = np.array([2, 0, 9])
    y = {"one-hot": np.eye(10)[labels], "column": labels[:, None]}.get(
        kind, labels.astype(kind) if kind in ("int64", "uint8", "float64") else labels
    )
    x = features(3, *shape)
    data = DcaseArrays.open(write(tmp_path, x, y))
    assert len(data) == 3
    assert data.targets == [2, 0, 9]
    got, target = data[2]
    assert target == 9
    assert type(target) is int
    assert got.dtype == torch.float32
    assert got.shape == (1, 40, 500)
    np.testing.assert_array_equal(got[0].numpy(), x[2].reshape(40, 500))
    assert torch.equal(data[-1][0], got)
    assert len(list(iter(data))) == 3  # type: ignore[call-overload]


def test_memory_mapped_and_pickled_small(tmp_path: Path) -> None:
    data = DcaseArrays.open(write(tmp_path, features(20), np.zeros(20, int)))
    assert isinstance(data._inputs, np.memmap)
    content = pickle.dumps(data)
    assert len(content) < 10_000  # the features alone are 1.6 MB
    assert torch.equal(pickle.loads(content)[7][0], data[7][0])


def test_float64_and_vggish_shape(tmp_path: Path) -> None:
    x = features(2, 96, 64, 1).astype(np.float64)
    data = DcaseArrays.open(write(tmp_path, x, np.array([0, 1])), shape=(96, 64))
    assert data[0][0].shape == (1, 96, 64)
    assert data[0][0].dtype == torch.float32


def test_splits(tmp_path: Path) -> None:
    write(tmp_path, features(1), np.array([1]))
    write(tmp_path, features(2), np.array([1, 2]), "test")
    assert len(DcaseArrays.open(tmp_path, "test")) == 2
    message = r"must hold X_val\.npy; it has X_test\.npy, X_train\.npy, Y_test\.npy, Y_train\.npy"
    with pytest.raises(FileNotFoundError, match=message):
        DcaseArrays.open(tmp_path, "val")
    np.save(tmp_path / "x_valid.npy", features(3))
    np.save(tmp_path / "y_valid.npy", np.zeros(3))
    assert len(DcaseArrays.open(tmp_path, "val")) == 3
    with pytest.raises(ValueError, match="split must be one of train, val, test; got 'dev'"):
        DcaseArrays.open(tmp_path, "dev")
    with pytest.raises(NotADirectoryError, match="none is not a folder"):
        DcaseArrays.open(tmp_path / "none")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (features(2, 500, 40), [0, 1], r"X_train\.npy must have shape \(n, 40, 500\) or .*500, 40"),
        (features(2), [0, 1, 2], r"Y_train\.npy must be as long as .*X_train\.npy, 2; got 3"),
        (features(2).astype(int), [0, 1], r"X_train\.npy must hold floating-point .* got int64"),
        (features(2), [0, 10], r"Y_train\.npy: row 1 must be a class from 0 to 9; got 10"),
        (features(2), [-1, 0], r"Y_train\.npy: row 0 must be a class from 0 to 9; got -1"),
        (features(2), [0, 0.5], r"Y_train\.npy: row 1 must be a class from 0 to 9; got 0\.5"),
        (features(2), [0, np.nan], r"Y_train\.npy: row 1 must be a class from 0 to 9; got nan"),
        (features(2), ["bus", "tram"], r"Y_train\.npy must hold numbers; got <U4"),
        (features(2), np.eye(2, 9), r"Y_train\.npy must have shape \(n,\) or \(n, 10\); got .*9\)"),
        (features(2), np.ones((2, 10)), r"Y_train\.npy: row 0 must be one-hot; got \[1\.0, 1"),
        (features(2), np.zeros((2, 1, 1)), r"Y_train\.npy must have shape \(n,\) or \(n, 10\)"),
        (features(0), np.zeros(0), r"X_train\.npy must hold inputs; it is empty"),
    ],
)
def test_bad_arrays(tmp_path: Path, x: np.ndarray, y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DcaseArrays.open(write(tmp_path, x, np.asarray(y)))


def test_nan_features_name_the_row(tmp_path: Path) -> None:
    x = features(3)
    x[1, 3, 4] = np.nan
    data = DcaseArrays.open(write(tmp_path, x, np.zeros(3)))
    data[0]
    with pytest.raises(ValueError, match=r"X_train\.npy: row 1 must be finite; it holds NaN"):
        data[1]
    with pytest.raises(ValueError, match=r"X_train\.npy: row 1 must be finite"):
        data[-2]


def test_damaged_files_and_pickles(tmp_path: Path) -> None:
    write(tmp_path, features(2), np.array([{}, {}]))
    with pytest.raises(ValueError, match=r"Y_train\.npy is not a plain NumPy array .*allow_pickle"):
        DcaseArrays.open(tmp_path)
    path = tmp_path / "X_train.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"X_train\.npy is not a plain NumPy array that can be"):
        DcaseArrays.open(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"X_train\.npy is not a plain NumPy array that can be"):
        DcaseArrays.open(tmp_path)
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(ValueError, match=r"X_train\.npy must hold one array \(\.npy\); got an arc"):
        DcaseArrays.open(tmp_path)

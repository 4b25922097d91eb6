# SPDX-License-Identifier: MIT
"""Files that cannot be written: the error names what was asked for, and what was there stays."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import hubprune as hp
from hubprune.checkpointing import write_file
from hubprune.file_writing import replaced_file, replaced_folder
from hubprune.surgery import save_pruned


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 256 bytes: the system refuses as it does when a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _text(path: Path) -> None:
    with replaced_file(path) as file:
        file.write_text("x" * 1000)


def _tensors(path: Path) -> None:
    write_file(path, {"x": torch.zeros(1000)}, {})


def _factor(path: Path) -> None:
    hp.nystrom(torch.randn(40, 5), 4).save(path)


def _folder(path: Path) -> None:
    with replaced_folder(path) as folder:
        (folder / "a").write_text("x" * 1000)


def _model(path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 50, 9), torch.nn.Conv1d(50, 2, 9))
    plan = hp.plan(model, torch.zeros(1, 1, 30), ratio=0.5)
    save_pruned(hp.prune(model, plan), plan, path)


@pytest.mark.parametrize("write", [_text, _tensors, _factor])
def test_a_file_that_is_too_large(
    write: Callable[[Path], None], tmp_path: Path, small_files: Any
) -> None:
    path = tmp_path / "result"
    path.write_text("before")
    with pytest.raises(OSError, match="File too large") as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"


@pytest.mark.parametrize("write", [_folder, _model])
def test_a_folder_whose_files_are_too_large(
    write: Callable[[Path], None], tmp_path: Path, small_files: Any
) -> None:
    path = tmp_path / "result"
    path.mkdir()
    (path / "model.safetensors").write_text("before")
    with pytest.raises(OSError, match="File too large") as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [*tmp_path.iterdir()] == [path]
    assert (path / "model.safetensors").read_text() == "before"


def test_an_error_that_names_its_file_keeps_the_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught, replaced_file(tmp_path / "result"):
        missing.read_text()
    assert caught.value.filename == str(missing)
    with pytest.raises(OSError, match="torn") as other, replaced_file(tmp_path / "result"):
        raise OSError("torn")
    assert other.value.filename is None

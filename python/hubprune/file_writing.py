# SPDX-License-Identifier: MIT
"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "check_parent_folder",
    "found_folder",
    "put_back",
    "remove_leftovers",
    "replaced_file",
    "replaced_folder",
    "umask",
]


def check_parent_folder(path: Path, name: str) -> None:
    """Require that the folder is there in which a file or folder is to be made.

    Raises
    ------
    FileNotFoundError
        If it is not; the message names the argument.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"{name}: {parent} does not exist as a folder")


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new file to write; put it in the place of `path` if all goes well.

    It lies in a folder of its own beside `path`, so that whatever a library puts next to it
    (safetensors first writes under a name that it draws) goes with it.

    Yields
    ------
    pathlib.Path
        The file to write. If the block raises, it is removed and `path` stays as it was. A device
        or a pipe is not replaced: it is given what was written.

    Raises
    ------
    IsADirectoryError
        If `path` is a folder.
    OSError
        If it cannot be written; the error names `path`.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a folder, not a file", str(path))
    if path.exists() and not path.is_file():
        with _named(path), tempfile.TemporaryDirectory() as elsewhere:
            file = Path(elsewhere) / path.name
            yield file
            with file.open("rb") as written, path.open("wb") as device:
                shutil.copyfileobj(written, device)
        return
    target = path.resolve()  # behind a link: the link stays
    folder = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}-", suffix=".part", dir=target.parent)
    )
    try:
        # Not mkstemp: it makes private files, and results follow the umask like any others.
        file = folder / target.name
        with _named(path):
            yield file
            with file.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(file, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _named(target: Path) -> Iterator[None]:
    """Name `target` in errors of the system that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(target)
        raise


def remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed while they wrote `target` have left beside it."""
    for entry in _abandoned(target.resolve(), r"(\d+)(-\w+)?\.part"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:  # of an earlier version
            with contextlib.suppress(OSError):
                entry.unlink()


def _abandoned(target: Path, ending: str) -> Iterator[Path]:
    """What lies beside `target` and ends as a process named it, by its number, that is no more."""
    name = re.compile(rf"\.{re.escape(target.name)}\.{ending}")
    for entry in target.parent.iterdir():
        found = name.fullmatch(entry.name)
        if found is not None and not _is_running(int(found[1])):
            yield entry


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; put it in the target's place if all goes well.

    Raises
    ------
    OSError
        If it cannot be written; the error names `target`.
    """
    target = target.resolve()  # behind a link: the link stays, its folder is replaced
    for entry in _abandoned(target, r"saving-(\d+)(-.*)?"):
        shutil.rmtree(entry, ignore_errors=True)
    prefix = f".{target.name}.saving-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    folder.chmod(0o777 & ~umask())
    try:
        with _named(target):
            yield folder
            for entry in (*folder.iterdir(), folder):
                _flush(entry)
        if target.exists():
            _exchange(folder, target)
        else:
            folder.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders, in one step where the system can."""
    if sys.platform == "linux":
        # renameat2(AT_FDCWD, new, AT_FDCWD, old, RENAME_EXCHANGE): glibc 2.28, Linux 3.15.
        libc: Any = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(AttributeError):
            if libc.renameat2(-100, os.fsencode(new), -100, os.fsencode(old), 2) == 0:
                return
    # In two steps. If this process ends between them, `found_folder` finds the old one aside and
    # `put_back` puts it back.
    aside = _aside(old)
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    shutil.rmtree(aside)


def _aside(target: Path) -> Path:
    """Where the old folder waits while the new one takes its name."""
    target = target.resolve()
    return target.with_name(f".{target.name}.replaced")


def found_folder(target: Path) -> Path:
    """Where a folder is: at its place, or aside if a process was killed while it exchanged it."""
    if target.exists():
        return target
    aside = _aside(target)
    return aside if aside.is_dir() else target


def put_back(target: Path) -> None:
    """Finish, or undo, an exchange in two steps that was cut short."""
    aside = _aside(target)
    if aside.is_dir():
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target.resolve())


def umask() -> int:
    """The permissions that this process takes from new files, which only setting them tells."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

# SPDX-License-Identifier: MIT
"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_running", "remove_leftovers", "replaced_file", "umask"]


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new file to write; put it in the place of `path` if all goes well.

    It lies in a folder of its own beside `path`, so that whatever a library puts next to it
    (safetensors first writes under a name that it draws) goes with it.

    Yields
    ------
    pathlib.Path
        The file to write. If the block raises, it is removed and `path` stays as it was.
    """
    target = Path(path).resolve()  # behind a link: the link stays
    folder = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}-", suffix=".part", dir=target.parent)
    )
    try:
        # Not mkstemp: it makes private files, and results follow the umask like any others.
        file = folder / target.name
        yield file
        with file.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(file, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed while they wrote `target` have left beside it."""
    target = target.resolve()
    name = re.compile(rf"\.{re.escape(target.name)}\.(\d+)(-\w+)?\.part")
    for entry in target.parent.iterdir():
        found = name.fullmatch(entry.name)
        if found is None or is_running(int(found[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:  # of an earlier version
            with contextlib.suppress(OSError):
                entry.unlink()


def umask() -> int:
    """The permissions that this process takes from new files, which only setting them tells."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

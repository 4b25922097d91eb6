# SPDX-License-Identifier: MIT
"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replaced_file"]


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new file beside `path` to write; put it in its place if all goes well.

    Yields
    ------
    pathlib.Path
        The file to write. If the block raises, it is removed and `path` stays as it was.
    """
    target = Path(path)
    # Not mkstemp: it makes private files, and results follow the umask like any others.
    file = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield file
        with file.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(file, target)
    finally:
        file.unlink(missing_ok=True)

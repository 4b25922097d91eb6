# SPDX-License-Identifier: MIT
"""The Python blocks of the documents, to be run as they stand."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent

_BLOCK = re.compile(r"(?:<!-- needs: ([\w., ]+) -->\n+)?```python\n(.*?)```", flags=re.DOTALL)


@dataclass(frozen=True)
class Block:
    """The code of a block, and the modules that the comment before it names."""

    code: str
    needs: tuple[str, ...]

    def missing(self) -> list[str]:
        """The modules it needs that are not installed."""
        return [name for name in self.needs if not _installed(name)]


def blocks(document: Path) -> Iterator[Block]:
    """Give the ``python`` blocks of a document, in order.

    ``<!-- needs: module, module -->`` in the line before a block names modules without which it
    cannot run.
    """
    for needs, code in _BLOCK.findall(document.read_text(encoding="utf-8")):
        yield Block(code, tuple(filter(None, (name.strip() for name in needs.split(",")))))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False

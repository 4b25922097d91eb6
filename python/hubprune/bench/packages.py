# SPDX-License-Identifier: MIT
"""Packages that only some peers need: told by a peer's name, imported when it runs."""

from __future__ import annotations

import importlib
from typing import Any

# The package that a peer needs and what to import of it, by the first words of the peer's name.
_NEEDS = {
    "scikit-learn": ("sklearn", ("sklearn.metrics.pairwise", "sklearn.neighbors")),
    "scipy": ("scipy", ("scipy.sparse.linalg",)),
    "torchmetrics": ("torchmetrics", ("torchmetrics.functional",)),
    # NumPy's matrix product brings its own threads: without this nothing can set their number.
    "numpy": ("threadpoolctl", ("threadpoolctl",)),
}


def optional_module(name: str) -> Any:
    """Import an optional package; untyped, whatever it ships."""
    return importlib.import_module(name)


def peer_needs(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return (package, what to import of it) of a peer by its name; None if it needs none."""
    return next((needed for word, needed in _NEEDS.items() if name.startswith(word)), None)

# SPDX-License-Identifier: MIT
"""Tables as plain text, for terminals and for whatever prints a result of this package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["text_table"]


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> str:
    """Align columns of text, the first to the left and the others to the right (or all `left`).

    Examples
    --------
    >>> print(text_table(["layer", "filters"], [["conv1", "16"]]))
    layer  filters
    conv1       16
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left or column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )

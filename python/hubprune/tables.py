# SPDX-License-Identifier: MIT
"""Tables as text: plain, for terminals and for whatever prints a result; and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table", "text_table"]


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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up; the first to the left, the others to the right.

    Examples
    --------
    >>> print(markdown_table(["layer", "filters"], [["conv1", "16"]]))
    | layer | filters |
    | ----- | ------: |
    | conv1 |      16 |
    """
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (header, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

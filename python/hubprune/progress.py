# SPDX-License-Identifier: MIT
"""A progress bar for what takes long inside the library, on standard error, where a person sits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["Progress", "progress_bar", "without_progress_bar"]

#: Told how far something is: done, total, and what is being done.
Progress = Callable[[int, int, str], None]

#: Seconds before a bar appears: what ends sooner shows none.
DELAY = 1.0

_taken = False


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Show no bar inside: the caller shows its own."""
    global _taken
    before, _taken = _taken, True
    try:
        yield
    finally:
        _taken = before


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to report how many of `total` steps are done.

    A bar appears after `DELAY` seconds, on standard error, and is gone at the end. There is none
    where standard error is no terminal or another bar is shown.
    """
    if _taken or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    start = time.perf_counter()
    with ExitStack() as stack:
        update: Callable[[int], None] | None = None

        def report(done: int) -> None:
            nonlocal update
            if update is None and time.perf_counter() - start > DELAY:
                update = stack.enter_context(_bar(text, total))
            if update is not None:
                update(done)

        yield report


@contextmanager
def _bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    # Imported where a bar is shown: rich is not needed for anything else here.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        without_progress_bar(),
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)

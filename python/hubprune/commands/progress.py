# SPDX-License-Identifier: MIT
"""The progress bar of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..progress import without_progress_bar

__all__ = ["Bar", "progress_display"]


class Bar:
    """What a progress bar shows: steps of a known number, or a stage of unknown length."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, count="")

    def step(self, done: int, total: int, text: str) -> None:
        self._progress.update(
            self._task, completed=done, total=total, description=text, count=f"{done}/{total}"
        )

    def stage(self, text: str) -> None:
        # A task whose total is known cannot lose it again.
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=None, count="")


@contextmanager
def progress_display() -> Iterator[Bar]:
    """A progress bar on standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    shown = console.is_terminal
    progress = Progress(*columns, console=console, transient=True, disable=not shown)
    # Before rich 15 one that is disabled still ends with a line feed, if it was started.
    with without_progress_bar(), progress if shown else nullcontext():
        yield Bar(progress)

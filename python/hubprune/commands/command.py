# SPDX-License-Identifier: MIT
"""What the command line knows of a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Command"]


class Command(NamedTuple):
    """One command of ``hubprune``.

    Attributes
    ----------
    name : str
        As it is called.
    text : str
        One line on it, for the list of commands.
    epilog : str
        What its help says below the arguments.
    add_arguments : callable (parser)
        Adds its arguments.
    run : callable (arguments) -> object
        Does the work, and returns what to print: text, or with ``--json`` what JSON can hold.
    state : callable (arguments) -> Path, optional
        Where an interrupted run leaves what the same command goes on from.
    """

    name: str
    text: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Any]
    state: Callable[[argparse.Namespace], Path] | None = None

# SPDX-License-Identifier: MIT
"""Calling the command line, and a user's own module for it, as the tests of its commands need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hubprune import cli

Run = Callable[..., tuple[int, str, str]]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call main with words: (status, standard output, standard error)."""

    def call(*words: object) -> tuple[int, str, str]:
        status = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def user_module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Write a user's own module in the current folder, under a name no other test imports."""
    name = f"user_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(folder)])
    return name

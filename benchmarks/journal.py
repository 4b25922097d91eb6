# SPDX-License-Identifier: MIT
"""A journal of measurements on a device whose kernels may hang, or break the process's context.

Every result is on disk before the next measurement starts, and a measurement that ends the process
is on disk as failed: run again with what is there kept, a script goes on behind it.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Exit codes of the scripts, none of them Python's or pytest's.
DONE = 0
NO_DEVICE = 2
RUN_AGAIN = 13  # the device does not answer this process any more: a new one may go on
BOUND_MISSED = 14  # everything was measured; an error was above its bound
SOME_FAILED = 15

UNFINISHED = "did not finish: it hung, or ended the process"

Result = dict[str, Any]
Measurement = Callable[[], list[Result]]


def device_answers() -> bool:
    """Wait for the device: after a fault in a kernel every call of the process fails."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


class Journal:
    """What was measured and what failed, by the measurements' names, in a JSON file.

    `render` makes the text of the Markdown file beside it.
    """

    def __init__(self, path: Path, keep: bool, render: Callable[[Journal], str]) -> None:
        kept = json.loads(path.read_text()) if keep and path.exists() else {}
        self.machine: dict[str, Any] = kept.get("machine", {})
        self.results: dict[str, list[Result]] = kept.get("results", {})
        self.failed: dict[str, str] = kept.get("failed", {})
        self._path = path
        self._render = render

    def save(self) -> None:
        """Write both files; a process that ends meanwhile leaves the old ones."""
        report = {"machine": self.machine, "results": self.results, "failed": self.failed}
        for path, content in (
            (self._path, json.dumps(report, indent=2) + "\n"),
            (self._path.with_suffix(".md"), self._render(self)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(path.name + ".part")
            fresh.write_text(content)
            fresh.replace(path)

    def run(self, name: str, measurement: Measurement, seconds: float) -> None:
        """Measure, unless it was tried before; end the process after `seconds`.

        Raises `SystemExit` with `RUN_AGAIN` if the device does not answer afterwards.
        """
        if name in self.results or name in self.failed:
            return
        self.failed[name] = UNFINISHED
        self.save()
        # A thread of its own that needs no lock of Python's ends the process: a call that waits for
        # a kernel for ever may hold them.
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
        try:
            self.results[name] = measurement()
            del self.failed[name]
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}:", file=sys.stderr)
            traceback.print_exc()
        answers = device_answers()
        faulthandler.cancel_dump_traceback_later()
        if not answers:
            self.failed.setdefault(name, "the device stopped answering afterwards")
        self.save()
        print(f"{name}: {self.failed.get(name, 'measured')}", flush=True)
        if not answers:
            raise SystemExit(RUN_AGAIN)

    def exit_code(self, names: list[str], wrong: list[str]) -> int:
        """Return how a script that asked for `names` ends; `wrong`: errors above their bounds."""
        failed = [f"{name}: {self.failed[name]}" for name in names if name in self.failed]
        for each in wrong + failed:
            print(each, file=sys.stderr)
        if failed:
            return SOME_FAILED
        return BOUND_MISSED if wrong else DONE
